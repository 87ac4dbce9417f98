//! TAPs against the real kernel; needs root.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use io::{Batch, Port, PortError, Sent, Tap, TapConfig, TapError, netns};
use support::{
    Namespace, Observer, Sender, alone, batch_of, batch_with, frames_of_every_form, open_descriptors,
    receive, run,
};
use wire::VnetHdr;

fn open(ns: &Namespace, config: TapConfig) -> Result<Tap, TapError> {
    ns.inside(|| Tap::open(&config))
}

fn jumbo(ifname: &str) -> TapConfig {
    TapConfig { mtu: Some(9000), ..TapConfig::new(ifname) }
}

#[test]
fn root_frames_from_the_tap_arrive_byte_for_byte() {
    let _alone = alone();
    let ns = Namespace::default();
    let mut tap = open(&ns, jumbo("t0")).unwrap();
    let sender = Sender::new(&ns, "t0");
    let frames = frames_of_every_form(true);
    frames.iter().for_each(|frame| sender.send(frame));
    assert_eq!(receive(&mut tap, frames.len()), frames);
}

#[test]
fn root_frames_to_the_tap_arrive_byte_for_byte() {
    let _alone = alone();
    for queues in [1, 3] {
        let ns = Namespace::default();
        let mut tap = open(&ns, TapConfig { queues, ..jumbo("t0") }).unwrap();
        let mut observer = Observer::new(&ns, "t0");
        let frames = frames_of_every_form(true);
        let (batch, which) = batch_of(&frames);
        let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
        let sent = tap.transmit(&batch, &which).unwrap();
        assert_eq!(sent, Sent { frames: frames.len() as u64, bytes, ..Sent::default() });
        for frame in frames {
            assert_eq!(observer.next(), frame);
        }
        assert_eq!(tap.poll_fds().len(), usize::from(queues));
    }
}

#[test]
fn root_a_tap_is_made_as_told() {
    let _alone = alone();
    let ns = Namespace::default();
    let mac = "02:00:00:12:34:56".parse().unwrap();
    let tap = open(&ns, TapConfig { mac: Some(mac), mtu: Some(1400), ..TapConfig::new("t0") }).unwrap();
    let shown = ns.ip("link show t0");
    assert!(shown.contains("mtu 1400") && shown.contains("link/ether 02:00:00:12:34:56"), "{shown}");
    assert!(shown.contains(",UP"), "{shown}");
    assert_eq!(tap.mac().unwrap(), mac);
    drop(tap);
    assert!(!ns.ip("-o link").contains("t0"));
    let off = open(&ns, TapConfig { up: false, ..TapConfig::new("t1") }).unwrap();
    assert!(!ns.ip("link show t1").contains(",UP"));
    drop(off);
}

#[test]
fn root_a_persistent_tap_is_taken_up_again_and_ends_once_let_go() {
    let _alone = alone();
    for queues in [1, 2] {
        let ns = Namespace::default();
        let config = TapConfig { persist: true, queues, ..TapConfig::new("t0") };
        let index = |ns: &Namespace| ns.ip("-o link show t0").split(':').next().map(str::to_owned);
        drop(open(&ns, config.clone()).unwrap());
        let before = index(&ns);
        let tap = open(&ns, config).unwrap();
        assert_eq!(index(&ns), before);
        ns.inside(|| tap.retire()).unwrap();
        assert!(!ns.ip("-o link").contains("t0"), "its name is not free");
        assert!(!ns.ip("-o link show vmsw-gone0").contains(",UP"));
        drop(tap);
        assert!(!ns.ip("-o link").contains("vmsw-gone"));
    }
}

#[test]
fn root_what_cannot_be_a_tap_is_said_clearly() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.ip("link add d0 type bridge");
    assert!(matches!(open(&ns, TapConfig::new("d0")), Err(TapError::NotATap(name)) if name == "d0"));
    let _first = open(&ns, TapConfig::new("t0")).unwrap();
    assert!(matches!(open(&ns, TapConfig::new("t0")), Err(TapError::Busy(name)) if name == "t0"));
    for name in ["", "sixteen-bytes-xx", "tap%d"] {
        assert!(matches!(open(&ns, TapConfig::new(name)), Err(TapError::Name(..))), "{name}");
    }
    let error =
        open(&ns, TapConfig { mtu: Some(70_000), persist: true, ..TapConfig::new("t1") }).unwrap_err();
    assert_eq!(error.to_string(), "TAP t1: setting its MTU failed");
    assert!(!ns.ip("-o link").contains("t1"), "a TAP that could not be made stayed");
}

#[test]
fn root_a_tap_switched_off_takes_no_frames() {
    let _alone = alone();
    let ns = Namespace::default();
    let mut tap = open(&ns, TapConfig::new("t0")).unwrap();
    let (batch, which) = batch_of(&frames_of_every_form(false));
    ns.ip("link set t0 down");
    let all = which.len() as u64;
    assert_eq!(tap.transmit(&batch, &which).unwrap(), Sent { down: all, ..Sent::default() });
    tap.receive(&mut Batch::default()).unwrap();
    ns.ip("link set t0 up");
    assert_eq!(tap.transmit(&batch, &which).unwrap().frames, all);
}

#[test]
fn root_an_offload_header_that_does_not_fit_is_counted() {
    let _alone = alone();
    let ns = Namespace::default();
    let mut tap = open(&ns, TapConfig::new("t0")).unwrap();
    let unknown = VnetHdr { gso_type: 77, ..VnetHdr::default() };
    let (batch, which) = batch_with(&frames_of_every_form(false)[..3], 1, unknown);
    let sent = tap.transmit(&batch, &which).unwrap();
    assert_eq!((sent.frames, sent.bad_offload), (2, 1));
}

#[test]
fn root_a_removed_tap_is_down() {
    let _alone = alone();
    let ns = Namespace::default();
    let mut tap = open(&ns, TapConfig::new("t0")).unwrap();
    ns.ip("link del t0");
    let (batch, which) = batch_of(&frames_of_every_form(false));
    assert!(matches!(tap.receive(&mut Batch::default()), Err(PortError::Down(_))));
    assert!(matches!(tap.transmit(&batch, &which), Err(PortError::Down(_))));
    assert!(tap.mac().is_err());
    let mut again = open(&ns, TapConfig::new("t0")).unwrap();
    assert_eq!(again.transmit(&batch, &which).unwrap().frames, which.len() as u64);
}

#[test]
fn root_two_hundred_taps_leave_no_descriptor() {
    let _alone = alone();
    let ns = Namespace::default();
    let before = open_descriptors();
    for _ in 0..200 {
        drop(open(&ns, TapConfig { queues: 2, ..TapConfig::new("t0") }).unwrap());
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn root_work_in_a_namespace_leaves_the_caller_where_it_is() {
    let _alone = alone();
    let ns = Namespace::default();
    let here = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = here();
    assert_ne!(ns.inside(here), before);
    assert_eq!(here(), before);
}

#[test]
fn root_a_replaced_namespace_has_another_id() {
    let _alone = alone();
    let ns = Namespace::default();
    let tap = open(&ns, TapConfig::new("t0")).unwrap();
    let before = netns::namespace_id(&ns.0);
    assert!(before.is_some());
    run(&format!("ip netns del {}", ns.0));
    assert_eq!(netns::namespace_id(&ns.0), None);
    run(&format!("ip netns add {}", ns.0));
    assert_ne!(netns::namespace_id(&ns.0), before);
    drop(tap);
}

#[test]
fn root_a_tap_dealt_to_workers_has_its_queues_with_them_and_all_of_them_send() {
    let _alone = alone();
    // Queues, workers, and how many queues each then has to receive from.
    for (queues, workers, expected) in [(3, 2, vec![2, 1]), (1, 3, vec![1, 0, 0]), (2, 2, vec![1, 1])] {
        let ns = Namespace::default();
        let mut first = open(&ns, TapConfig { queues, ..jumbo("t0") }).unwrap();
        let others = first.deal(workers - 1).unwrap();
        let mut shares: Vec<Box<dyn Port>> = std::iter::once(Box::new(first) as _).chain(others).collect();
        assert_eq!(shares.iter().map(|share| share.poll_fds().len()).collect::<Vec<_>>(), expected);
        let mut observer = Observer::new(&ns, "t0");
        for share in &mut shares {
            let frames = frames_of_every_form(true);
            let (batch, which) = batch_of(&frames);
            assert_eq!(share.transmit(&batch, &which).unwrap().frames, frames.len() as u64);
            frames.iter().for_each(|frame| assert_eq!(observer.next(), *frame));
        }
        let sender = Sender::new(&ns, "t0");
        (0..20).for_each(|_| sender.send(&frames_of_every_form(false)[0]));
        let mut batch = Batch::default();
        let mut receive = |share: &mut Box<dyn Port>| {
            batch.clear();
            share.receive(&mut batch).unwrap();
            batch.len()
        };
        assert_eq!(shares.iter_mut().map(&mut receive).sum::<usize>(), 20);
    }
}
