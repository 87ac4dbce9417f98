//! Connections that come and go.

use super::stage::*;
use crate::{
    unix_path::UnixPathError,
    vhost::{
        chains::Chains,
        device::State,
        features::Features,
        link::{ControlThread, VhostError, VhostRole},
    },
};
use ::vhost::{
    VhostBackend,
    vhost_user::{Frontend, VhostUserFrontend},
};
use rustix::io::pwrite;
use std::{
    io::Write,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::Arc,
    time::Instant,
};

#[test]
fn a_front_end_that_connects_brings_the_port_up() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    assert_eq!((stage.device().state(), stage.device().queues().len()), (State::Waiting, 4));
    let mut front = negotiate(stage.connect(), modern());
    assert_eq!(front.get_queue_num().unwrap(), 2);
    assert_eq!(front.get_max_mem_slots().unwrap(), 509);
    front.set_mem_table(&[guest.region()]).unwrap();
    set_up_ring(&mut front, &guest, 0);
    assert_eq!(stage.device().state(), State::NotReady);
    set_up_ring(&mut front, &guest, 1);
    assert_eq!(stage.device().state(), State::Up);
    let queue = stage.device().queues()[1].lock();
    assert!(queue.enabled && queue.ring.is_some() && queue.memory.is_some() && queue.call.is_some());
    assert_eq!(queue.features.without(modern()).bits(), 0);
    assert_eq!(queue.features.header_len(), 12);
}

#[test]
fn a_front_end_that_listens_is_found_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("port");
    let link = ControlThread::open(&config(&path, VhostRole::Client)).unwrap();
    let stage = Stage { directory, link };
    for _ in 0..3 {
        let listener = UnixListener::bind(&path).unwrap();
        let guest = Guest::new();
        let front = set_up(listener.accept().unwrap().0, &guest);
        stage.until(State::Up);
        drop((front, listener));
        stage.until(State::Waiting);
        assert!(!stage.runs(0) && !stage.runs(1));
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_vmm_that_is_gone_leaves_nothing_behind() {
    let stage = Stage::new(VhostRole::Server);
    for _ in 0..3 {
        let guest = Guest { memory: memory("vhost-gone"), ..Guest::new() };
        let call = event();
        let front = set_up(stage.connect(), &guest);
        front.set_vring_call(0, &as_event(&call)).unwrap();
        front.set_vring_kick(1, &as_event(&call)).unwrap();
        assert_eq!((copies_of_memory("vhost-gone"), copies_of_event(&call)), (2, 3));
        let memory = Arc::downgrade(stage.device().queues()[0].lock().memory.as_ref().unwrap());
        drop(front);
        stage.until(State::Waiting);
        assert!(!stage.runs(0) && !stage.runs(1) && memory.upgrade().is_none());
        assert_eq!((copies_of_memory("vhost-gone"), copies_of_event(&call)), (1, 1));
    }
}

/// Starts a packed ring, the guest's transmit queue, where the front end believes it to be.
fn start_packed(stage: &Stage, guest: &Guest, base: u16) -> Frontend {
    let mut front = negotiate(stage.connect(), modern().with(Features::RING_PACKED));
    front.set_mem_table(&[guest.region()]).unwrap();
    start_at(&mut front, guest, base);
    front
}

fn start_at(front: &mut Frontend, guest: &Guest, base: u16) {
    front.set_vring_num(1, SIZE).unwrap();
    front.set_vring_base(1, base).unwrap();
    front.set_vring_addr(1, &addresses(1)).unwrap();
    front.set_vring_kick(1, &guest.kicks[1]).unwrap();
}

/// One that cannot ask where the ring was left, as our end died or closed the connection, tells the base that it knows.
#[test]
fn a_packed_ring_goes_on_where_it_was_left_by_the_connection_before() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let front = start_packed(&stage, &guest, 0x8000);
    let base = || stage.device().queues()[1].lock().ring.as_ref().unwrap().base();
    assert_eq!(base(), 0x8000_8000);
    // Address, length, id and flags of a descriptor that is available.
    let descriptor = [numbers(&[GUEST]), words(&[60, 0x80_0000])].concat();
    pwrite(&guest.memory, &descriptor, ring_at(1)).unwrap();
    {
        let mut queue = stage.device().queues()[1].lock();
        let (ring, mut chains) = (queue.ring.as_mut().unwrap(), Chains::default());
        ring.take(1, &mut chains).unwrap();
        assert!(ring.put(&chains, 0..1));
    }
    drop(front);
    stage.until(State::Waiting);
    let mut front = start_packed(&stage, &guest, 0x8000);
    assert_eq!(base(), 0x8001_8001);
    // It is told, and so it is it who knows.
    assert_eq!(front.get_vring_base(1).unwrap(), 0x8001_8001);
    start_at(&mut front, &guest, 0x8000);
    assert_eq!(base(), 0x8000_8000);
    drop(front);
    stage.until(State::Waiting);
    pwrite(&guest.memory, &[0; 0x3000], ring_at(1)).unwrap();
    let _front = start_packed(&stage, &guest, 0x8000);
    assert_eq!(base(), 0x8000_8000, "the driver has made it anew");
}

#[test]
fn a_second_vmm_waits_until_the_first_has_gone() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let first = set_up(stage.connect(), &guest);
    let second = stage.connect();
    let before = stage.device().generation();
    let mut asked = Raw::new(second.try_clone().unwrap());
    assert!(asked.request(1, 1, &[], &[]));
    assert_eq!((stage.device().state(), stage.device().generation()), (State::Up, before));
    drop(first);
    asked.reply(1);
    let _second = set_up(second, &guest);
    assert_eq!(stage.device().state(), State::Up);
}

#[test]
fn a_fault_of_the_rings_closes_the_connection_and_is_told_until_the_port_is_up_again() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let error = event();
    let stream = stage.connect();
    let front = set_up(stream.try_clone().unwrap(), &guest);
    front.set_vring_err(1, &as_event(&error)).unwrap();
    stage.device().fault(&"the guest chained a descriptor to itself");
    assert_eq!(stage.device().state(), State::Faulted);
    Raw::new(stream).until_closed();
    assert!(!stage.runs(0) && !stage.runs(1));
    assert!(rustix::io::read(&error, &mut [0; 8]).is_ok(), "the front end was not told");
    let second = stage.connect();
    let mut front = negotiate(second, modern());
    let reason = stage.device().fault_reason();
    assert_eq!(reason.as_deref(), Some("the guest chained a descriptor to itself"));
    front.set_mem_table(&[guest.region()]).unwrap();
    set_up_ring(&mut front, &guest, 0);
    assert_eq!(stage.device().state(), State::Faulted);
    set_up_ring(&mut front, &guest, 1);
    assert_eq!((stage.device().state(), stage.device().fault_reason()), (State::Up, None));
}

#[test]
fn a_port_is_closed_at_once_and_its_socket_goes() {
    for said in [&[][..], &message(1, 1, &[])[..5], &message(2, 1, &[0; 8])[..15]] {
        let stage = Stage::new(VhostRole::Server);
        let mut stream = stage.connect();
        stream.write_all(said).unwrap();
        let (started, path) = (Instant::now(), stage.path());
        let Stage { directory: _directory, link } = stage;
        drop(link);
        assert!(started.elapsed() < LONG / 10, "{:?}", started.elapsed());
        assert!(!path.exists());
        Raw::new(stream).until_closed();
    }
    let started = Instant::now();
    drop(Stage::new(VhostRole::Client));
    assert!(started.elapsed() < LONG / 10, "{:?}", started.elapsed());
}

#[test]
fn a_socket_in_use_is_refused_and_a_stale_one_is_replaced() {
    let stage = Stage::new(VhostRole::Server);
    let again = ControlThread::open(&config(&stage.path(), VhostRole::Server)).unwrap_err();
    assert!(matches!(again, VhostError::Socket(UnixPathError::InUse(_))), "{again}");
    let stale = stage.directory.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let link = ControlThread::open(&config(&stale, VhostRole::Server)).unwrap();
    let _guest = UnixStream::connect(&stale).unwrap();
    drop(link);
    for role in [VhostRole::Server, VhostRole::Client] {
        let long = ControlThread::open(&config(Path::new(&"x".repeat(200)), role)).unwrap_err();
        assert!(matches!(long, VhostError::Socket(UnixPathError::TooLong(_))), "{long}");
    }
}

#[test]
fn a_fault_of_rings_that_are_no_more_does_not_end_the_next_connection() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let stream = stage.connect();
    let mut raw = Raw::new(stream.try_clone().unwrap());
    let _front = set_up(stream, &guest);
    stage.device().fault(&"its memory is gone");
    raw.until_closed();
    stage.device().fault(&"its memory is gone, as the worker finds again");
    let _front = set_up(stage.connect(), &guest);
    assert_eq!(stage.device().state(), State::Up);
}
