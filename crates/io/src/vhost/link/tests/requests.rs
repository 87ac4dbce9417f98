//! What requests do to rings that run and to rings that do not.

use super::stage::*;
use crate::vhost::{device::State, features::Features, link::VhostRole};
use ::vhost::{
    VhostBackend, VhostUserDirtyLogRegion,
    vhost_user::{VhostUserFrontend, message::VhostUserInflight},
};
use std::os::fd::{AsFd, AsRawFd};
use wire::MacAddr;

#[test]
fn a_ring_that_is_stopped_says_where_it_stands_and_goes_on_there() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let front = set_up(stage.connect(), &guest);
    assert_eq!(front.get_vring_base(1).unwrap(), 0);
    assert_eq!(stage.device().state(), State::NotReady);
    assert!(stage.runs(0) && !stage.runs(1));
    // As if 77 chains had been used by a device that died.
    guest.set_used_index(1, 77);
    front.set_vring_base(1, 5).unwrap();
    front.set_vring_kick(1, &guest.kicks[1]).unwrap();
    assert_eq!(stage.device().state(), State::Up);
    assert_eq!(front.get_vring_base(1).unwrap(), 77);
    assert_eq!(front.get_vring_base(1).unwrap(), 77);
}

#[test]
fn a_packed_ring_starts_and_stops_with_its_wrap_counters() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let mut front = negotiate(stage.connect(), modern().with(Features::RING_PACKED));
    front.set_mem_table(&[guest.region()]).unwrap();
    for queue in 0..2 {
        set_up_ring(&mut front, &guest, queue);
        assert!(!stage.runs(queue) || queue == 0 || stage.device().state() == State::Up);
        front.get_vring_base(queue).unwrap();
        // DPDK's virtio-user says where the driver begins, and not where the device does.
        front.set_vring_base(queue, 0x8000).unwrap();
        front.set_vring_kick(queue, &guest.kicks[queue]).unwrap();
    }
    assert_eq!(stage.device().state(), State::Up);
    assert_eq!(front.get_vring_base(0).unwrap(), 0x8000_8000);
}

#[test]
fn a_ring_is_enabled_and_disabled_while_it_runs() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let mut front = set_up(stage.connect(), &guest);
    let before = stage.device().generation();
    front.set_vring_enable(1, false).unwrap();
    assert_ne!(stage.device().generation(), before);
    assert!(stage.runs(1) && !stage.device().queues()[1].lock().enabled);
    assert_eq!(stage.device().state(), State::NotReady);
    front.set_vring_enable(1, true).unwrap();
    assert_eq!(stage.device().state(), State::Up);
}

#[test]
fn rings_come_up_enabled_for_a_front_end_that_knows_no_protocol_features() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let mut raw = Raw::new(stage.connect());
    raw.request(3, 1, &[], &[]);
    raw.request(2, 1, &numbers(&[Features::VERSION_1.bits()]), &[]);
    let table = numbers(&[1, GUEST, MEMORY, USER, 0]);
    raw.request(5, 1, &table, &[guest.memory.as_fd()]);
    for queue in 0..2 {
        let at = USER + ring_at(queue);
        let index = queue as u32;
        raw.request(8, 1, &words(&[index, SIZE.into()]), &[]);
        raw.request(10, 1, &words(&[index, 0]), &[]);
        let address = [words(&[index, 0]), numbers(&[at, at + 0x2000, at + 0x1000, 0])].concat();
        raw.request(9, 1, &address, &[]);
        // Without a descriptor: the ring is polled.
        raw.request(12, 1, &numbers(&[queue | 0x100]), &[]);
    }
    raw.ask(1, 1, &[], &[]);
    assert_eq!(stage.device().state(), State::Up);
}

#[test]
fn a_ring_starts_in_whichever_order_its_parts_come() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let mut front = negotiate(stage.connect(), modern());
    for queue in 0..2 {
        front.set_vring_kick(queue, &guest.kicks[queue]).unwrap();
        front.set_vring_enable(queue, true).unwrap();
        front.set_vring_addr(queue, &addresses(queue as u64)).unwrap();
        front.set_vring_call(queue, &guest.calls[queue]).unwrap();
        front.set_vring_num(queue, SIZE).unwrap();
        assert!(!stage.runs(queue));
    }
    front.set_mem_table(&[guest.region()]).unwrap();
    assert_eq!(stage.device().state(), State::Up);
    assert_eq!(guest.calls[0].read().unwrap(), 1, "a call too many, for one that got lost");
}

#[test]
fn memory_changes_under_running_rings() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let mut front = set_up(stage.connect(), &guest);
    guest.set_used_index(0, 9);
    let regions =
        |queue: usize| stage.device().queues()[queue].lock().memory.as_ref().unwrap().regions().count();
    let more = memory("vhost-more");
    front.add_mem_region(&region(&more, 1)).unwrap();
    assert_eq!((regions(0), regions(1), stage.device().state()), (2, 2, State::Up));
    front.add_mem_region(&region(&more, 1)).unwrap();
    assert_eq!((regions(0), stage.device().state()), (2, State::Up), "QEMU adds it for each queue pair");
    assert!(front.add_mem_region(&region(&guest.memory, 1)).is_err(), "it is another file's");
    assert_eq!((regions(0), stage.device().state()), (2, State::Up));
    front.remove_mem_region(&region(&more, 1)).unwrap();
    front.remove_mem_region(&region(&more, 1)).unwrap();
    assert_eq!((regions(0), stage.device().state()), (1, State::Up), "as it removes it");
    assert_eq!(copies_of_memory("vhost-more"), 1);
    front.set_mem_table(&[region(&more, 1), guest.region()]).unwrap();
    assert_eq!((regions(0), regions(1), stage.device().state()), (2, 2, State::Up));
    assert_eq!(front.get_vring_base(0).unwrap(), 9, "the ring goes on where it stood");
    // The memory that the rings are in.
    assert!(front.remove_mem_region(&guest.region()).is_err());
    assert!(!stage.runs(1) && stage.device().state() != State::Up);
}

#[test]
fn a_dirty_log_is_taken_up_and_put_down_by_running_rings() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let front = set_up(stage.connect(), &guest);
    let log = memory("vhost-log");
    let area =
        |size| VhostUserDirtyLogRegion { mmap_size: size, mmap_offset: 0, mmap_handle: log.as_raw_fd() };
    let covers = (GUEST + MEMORY) / 4096 / 8;
    front.set_log_base(0, Some(area(covers))).unwrap();
    let logs = || stage.device().queues()[1].lock().log.is_some();
    assert!(!logs());
    front.set_features(modern().with(Features::LOG_ALL).bits()).unwrap();
    let mut logged = addresses(1);
    (logged.flags, logged.log_addr) = (1, Some(GUEST + ring_at(1) + 0x2000));
    front.set_vring_addr(1, &logged).unwrap();
    assert!(logs() && stage.device().state() == State::Up);
    front.set_features(modern().bits()).unwrap();
    assert!(!logs() && stage.device().state() == State::Up);
    assert!(front.set_features(modern().with(Features::MQ).bits()).is_err(), "other features stay");
    assert_eq!(stage.device().state(), State::Up);
}

#[test]
fn a_ring_whose_writes_are_to_be_marked_starts_when_the_log_is_there() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let mut front = negotiate(stage.connect(), modern().with(Features::LOG_ALL));
    front.set_mem_table(&[guest.region()]).unwrap();
    (0..2).for_each(|queue| set_up_ring(&mut front, &guest, queue));
    assert!(!stage.runs(0) && !stage.runs(1) && stage.device().state() == State::NotReady);
    let log = memory("vhost-log");
    let (mmap_size, mmap_handle) = ((GUEST + MEMORY) / 4096 / 8, log.as_raw_fd());
    front.set_log_base(0, Some(VhostUserDirtyLogRegion { mmap_size, mmap_offset: 0, mmap_handle })).unwrap();
    assert_eq!(stage.device().state(), State::Up);
    assert!((0..2).all(|queue| stage.device().queues()[queue].lock().log.is_some()));
}

#[test]
fn an_mtu_is_accepted_up_to_the_ports_and_a_rarp_is_kept_for_it() {
    let stage = Stage::new(VhostRole::Server);
    let mut raw = Raw::new(stage.connect());
    raw.negotiate();
    assert_eq!(raw.ask(20, 9, &numbers(&[9000]), &[]), numbers(&[0]));
    for wrong in [0, 67, 9001, 65536, u64::MAX] {
        assert_eq!(raw.ask(20, 9, &numbers(&[wrong]), &[]), numbers(&[1]), "{wrong}");
    }
    assert_eq!(stage.device().take_rarp(), None);
    assert_eq!(raw.ask(19, 9, &[2, 0, 0, 0, 0, 9, 0, 0], &[]), numbers(&[0]));
    assert_eq!(raw.ask(19, 9, &[3, 0, 0, 0, 0, 9, 0, 0], &[]), numbers(&[1]));
    assert_eq!(stage.device().take_rarp(), Some(MacAddr([2, 0, 0, 0, 0, 9])));
    assert_eq!(stage.device().take_rarp(), None);
}

#[test]
fn the_worker_is_told_of_a_rarp_even_where_no_ring_runs() {
    let stage = Stage::new(VhostRole::Server);
    let mut raw = Raw::new(stage.connect());
    raw.negotiate();
    // An answer, so that all before it was done.
    assert_eq!(raw.ask(20, 9, &numbers(&[1500]), &[]), numbers(&[0]));
    let before = stage.device().generation();
    assert_eq!(raw.ask(19, 9, &[2, 0, 0, 0, 0, 9, 0, 0], &[]), numbers(&[0]));
    assert_ne!(stage.device().generation(), before);
}

#[test]
fn a_reset_stops_the_rings_and_keeps_the_memory() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let mut front = set_up(stage.connect(), &guest);
    front.reset_device().unwrap();
    assert!(!stage.runs(0) && !stage.runs(1));
    assert_eq!(stage.device().state(), State::NotReady);
    front.set_features(modern().bits()).unwrap();
    for queue in 0..2 {
        set_up_ring(&mut front, &guest, queue);
    }
    assert_eq!(stage.device().state(), State::Up);
}

#[test]
fn a_driver_that_writes_status_0_has_its_rings_stopped() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let stream = stage.connect();
    let mut raw = Raw::new(stream.try_clone().unwrap());
    let _front = set_up(stream, &guest);
    assert_eq!(raw.ask(39, 9, &numbers(&[7]), &[]), numbers(&[0]));
    assert_eq!(raw.ask(40, 1, &[], &[]), numbers(&[7]));
    assert_eq!(stage.device().state(), State::Up);
    assert_eq!(raw.ask(39, 9, &numbers(&[0]), &[]), numbers(&[0]));
    assert!(!stage.runs(0) && !stage.runs(1));
}

#[test]
fn a_buffer_for_what_is_in_flight_is_given_and_taken_back() {
    let stage = Stage::new(VhostRole::Server);
    let mut front = negotiate(stage.connect(), modern());
    let asked = VhostUserInflight { mmap_size: 0, mmap_offset: 0, num_queues: 2, queue_size: SIZE };
    let (given, buffer) = front.get_inflight_fd(&asked).unwrap();
    let part = 16 + 16 * u64::from(SIZE);
    assert_eq!(given.mmap_size, 2 * part.next_multiple_of(64));
    assert_eq!(buffer.metadata().unwrap().len(), given.mmap_size);
    front.set_inflight_fd(&given, buffer.as_raw_fd()).unwrap();
    let longer = VhostUserInflight { mmap_size: given.mmap_size + 1, ..given };
    assert!(front.set_inflight_fd(&longer, buffer.as_raw_fd()).is_err());
}

#[test]
fn kicks_ring_the_doorbell_while_the_ring_runs() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let mut front = set_up(stage.connect(), &guest);
    let rings = || {
        let mut ready = Vec::new();
        let epoll = crate::Epoll::new().unwrap();
        epoll.add(stage.device().doorbells()[0].as_fd(), 0).unwrap();
        epoll.wait(Some(std::time::Duration::ZERO), &mut ready).unwrap();
        stage.device().doorbells()[0].quiet();
        !ready.is_empty()
    };
    assert!(rings() && !rings());
    for _ in 0..2 {
        guest.kicks[1].write(1).unwrap();
        assert!(rings() && !rings());
    }
    front.get_vring_base(1).unwrap();
    assert!(rings() && !rings());
    guest.kicks[1].write(1).unwrap();
    assert!(!rings());
    front.set_vring_enable(0, false).unwrap();
    assert!(rings());
}
