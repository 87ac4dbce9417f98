//! Front ends that break the rules. Expected of all: the port is faulted with the reason, nothing is left behind, and the
//! port works again with the next front end.

use super::stage::*;
use crate::vhost::{device::State, features::Features, link::VhostRole};
use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

/// Lets a front end break the rules; the reason must tell of it.
fn breaks(why: &str, rules: impl Fn(&mut Raw, &Guest)) {
    let stage = Stage::new(VhostRole::Server);
    let name = format!("vhost-hostile-{:?}", std::thread::current().id());
    let guest = Guest { memory: memory(&name), ..Guest::new() };
    for _ in 0..2 {
        let mut raw = Raw::new(stage.connect());
        rules(&mut raw, &guest);
        raw.until_closed();
        assert_eq!(stage.device().state(), State::Faulted);
        let reason = stage.device().fault_reason().unwrap_or_default();
        assert!(reason.contains(why), "{reason}\nis not about\n{why}");
        assert!(until_so(|| copies_of_memory(&name) == 1), "{why}: something is left");
        let _front = set_up(stage.connect(), &guest);
        assert_eq!(stage.device().state(), State::Up);
    }
}

fn table(guest: &Guest) -> Vec<(Vec<u8>, Vec<BorrowedFd<'_>>)> {
    let region = |at: u64, size: u64, user: u64, offset: u64| [at, size, user, offset];
    let regions = |regions: &[[u64; 4]]| {
        let fds = regions.iter().map(|_| guest.memory.as_fd()).collect();
        ([&[regions.len() as u64], regions.as_flattened()].map(numbers).concat(), fds)
    };
    vec![
        regions(&[region(GUEST, 0, USER, 0)]),
        regions(&[region(u64::MAX - 4095, 8192, USER, 0)]),
        regions(&[region(GUEST, MEMORY + 1, USER, 0)]),
        regions(&[region(GUEST, MEMORY, USER, u64::MAX - 10)]),
        regions(&[region(GUEST, MEMORY, USER, 0), region(GUEST + 4096, 4096, USER + MEMORY, 0)]),
        regions(&[region(GUEST, MEMORY, USER, 0), region(GUEST + MEMORY, MEMORY, USER + 4096, 0)]),
    ]
}

#[test]
fn memory_tables_that_cannot_be() {
    for number in 0..table(&Guest::new()).len() {
        breaks("memory region", |raw, guest| {
            let (payload, fds) = &table(guest)[number];
            raw.request(5, 1, payload, fds);
        });
    }
}

#[test]
fn messages_that_are_no_messages() {
    breaks("protocol version 0", |raw, _| {
        raw.send(&[0; 12], &[]);
    });
    breaks("reply to request 1", |raw, _| {
        raw.request(1, 5, &[], &[]);
    });
    breaks("16008 bytes of payload", |raw, _| {
        // A memory table of 500 regions.
        raw.request(5, 1, &numbers(&[500; 2001]), &[]);
    });
    breaks("4294967295 bytes", |raw, _| {
        raw.send(&words(&[2, 1, u32::MAX]), &[]);
    });
    breaks("SET_FEATURES with 7 bytes", |raw, _| {
        raw.request(2, 1, &[0; 7], &[]);
    });
    breaks("SET_VRING_ADDR with 8 bytes", |raw, _| {
        raw.request(9, 1, &[0; 8], &[]);
    });
}

#[test]
fn descriptors_that_do_not_belong_there() {
    breaks("SET_MEM_TABLE with 0 descriptors", |raw, _| {
        raw.request(5, 1, &numbers(&[1, GUEST, MEMORY, USER, 0]), &[]);
    });
    breaks("SET_OWNER with 3 descriptors", |raw, guest| {
        raw.request(3, 1, &[], &[guest.memory.as_fd(); 3]);
    });
    breaks("more than 32 descriptors", |raw, guest| {
        raw.request(3, 1, &[], &[guest.memory.as_fd(); 64]);
    });
    breaks("more than 32 descriptors", |raw, guest| {
        let bytes = message(2, 1, &[0; 8]);
        raw.send(&bytes[..12], &[guest.memory.as_fd(); 20]);
        raw.send(&bytes[12..], &[guest.memory.as_fd(); 20]);
    });
    breaks("no eventfd", |raw, guest| {
        raw.request(12, 1, &numbers(&[0]), &[guest.memory.as_fd()]);
    });
    breaks("no eventfd", |raw, guest| {
        raw.request(13, 1, &numbers(&[0]), &[guest.memory.as_fd()]);
    });
}

#[test]
fn rings_that_cannot_be() {
    breaks("speaks of queue 4", |raw, _| {
        raw.request(8, 1, &words(&[4, 256]), &[]);
    });
    breaks("speaks of queue 255", |raw, _| {
        raw.request(12, 1, &numbers(&[0x1ff]), &[]);
    });
    breaks("speaks of queue", |raw, _| {
        raw.request(11, 1, &words(&[u32::MAX, 0]), &[]);
    });
    breaks("to have 0 descriptors", |raw, _| {
        raw.request(8, 1, &words(&[0, 0]), &[]);
    });
    breaks("to have 32769 descriptors", |raw, _| {
        raw.request(8, 1, &words(&[0, 32769]), &[]);
    });
    breaks("features that were not offered", |raw, _| {
        raw.request(2, 1, &numbers(&[1 << 33]), &[]);
    });
    for at in [0, USER + MEMORY, u64::MAX - 4096, USER - 1] {
        breaks("ring", |raw, guest| {
            let event = event();
            raw.request(2, 1, &numbers(&[Features::VERSION_1.bits()]), &[]);
            raw.request(5, 1, &numbers(&[1, GUEST, MEMORY, USER, 0]), &[guest.memory.as_fd()]);
            raw.request(8, 1, &words(&[0, 256]), &[]);
            raw.request(9, 1, &[words(&[0, 0]), numbers(&[at, at, at, 0])].concat(), &[]);
            raw.request(12, 1, &numbers(&[0]), &[event.as_fd()]);
        });
    }
}

#[test]
fn a_log_that_is_too_short() {
    breaks("too few for the guest's memory", |raw, guest| {
        raw.request(5, 1, &numbers(&[1, GUEST, MEMORY, USER, 0]), &[guest.memory.as_fd()]);
        raw.request(6, 1, &numbers(&[4096, 0]), &[guest.memory.as_fd()]);
    });
    breaks("cannot be mapped", |raw, guest| {
        raw.request(6, 1, &numbers(&[0, 0]), &[guest.memory.as_fd()]);
    });
}

#[test]
fn replies_that_nobody_reads() {
    breaks("does not read the replies", |raw, _| while raw.request(1, 1, &[], &[]) {});
}

#[test]
fn a_message_in_pieces_is_still_a_message() {
    let stage = Stage::new(VhostRole::Server);
    let mut raw = Raw::new(stage.connect());
    for byte in message(2, 1, &numbers(&[Features::VERSION_1.bits()])) {
        raw.send(&[byte], &[]);
    }
    raw.ask(1, 1, &[], &[]);
    assert_eq!(stage.device().state(), State::NotReady);
}

#[test]
fn requests_that_are_not_supported_do_not_end_a_connection() {
    let (stage, guest) = (Stage::new(VhostRole::Server), Guest::new());
    let stream = stage.connect();
    let mut raw = Raw::new(stream.try_clone().unwrap());
    let _front = set_up(stream, &guest);
    for request in [21, 23, 25, 26, 29, 33, 35, 41, 42, 43, 1000, u32::MAX] {
        raw.request(request, 1, &[1; 64], &[guest.memory.as_fd()]);
        assert_eq!(raw.ask(request, 9, &[1; 64], &[guest.memory.as_fd()]), numbers(&[1]), "{request}");
    }
    // These have answers of their own, with or without that being asked for.
    for flags in [1, 9] {
        assert_eq!(raw.ask(24, flags, &[0; 24], &[]), [0; 0]);
        assert_eq!(raw.ask(28, flags, &[], &[]), [0; 0]);
        assert_eq!(raw.ask(22, flags, &[0; 40], &[]), numbers(&[1]));
        assert_eq!(raw.ask(30, flags, &[], &[]), numbers(&[1]));
    }
    assert_eq!(stage.device().state(), State::Up);
}

#[test]
fn what_is_refused_with_an_answer_leaves_the_connection_open() {
    let stage = Stage::new(VhostRole::Server);
    let mut raw = Raw::new(stage.connect());
    raw.negotiate();
    assert_eq!(raw.ask(8, 9, &words(&[0, 0]), &[]), numbers(&[1]));
    assert_eq!(raw.ask(8, 9, &words(&[0]), &[]), numbers(&[1]));
    assert_eq!(raw.ask(8, 9, &words(&[0, 256]), &[]), numbers(&[0]));
    assert_eq!(stage.device().state(), State::Faulted, "that it was refused is shown");
    assert!(stage.device().fault_reason().unwrap().contains("0 descriptors"));
}

/// CPU time of the threads of that name.
fn cpu_time(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let read = |path: &std::path::Path, file| std::fs::read_to_string(path.join(file)).unwrap_or_default();
    let ours = tasks.filter(|task| read(task, "comm").trim() == name);
    let time = |text: String| text.split(' ').next().unwrap().parse().unwrap_or(0);
    Duration::from_nanos(ours.map(|task| time(read(&task, "schedstat"))).sum())
}

#[test]
fn a_flood_of_messages_gets_a_fiftieth_of_a_cpu() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("port");
    let mut config = config(&path, VhostRole::Server);
    config.name = "flood".to_owned();
    let stage = Stage { directory, link: super::super::ControlThread::open(&config).unwrap() };
    let raw = Raw::new(stage.connect());
    let many = message(3, 1, &[]).repeat(1000);
    let (started, mut messages) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(2) {
        raw.0.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        messages += if raw.send(&many, &[]) { 1000 } else { 0 };
    }
    let (taken, elapsed) = (cpu_time("vhost-flood"), started.elapsed());
    assert!(taken < Duration::from_millis(50) + elapsed / 20, "{taken:?} of {elapsed:?}");
    assert!(messages >= 1000, "nothing was taken");
    drop(stage);
}
