//! Wrong messages: what the control thread finds.

use super::{Attack, Case, case, endless};
use crate::vnic::front::{self, FrontEnd, message, numbers, request, words};
use crate::vnic::{GUEST, MEMORY, Queue, USER, region, table};
use anyhow::{Result, ensure};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most regions that a table is to hold.
const REGIONS: u64 = 509;
const PAGE: u64 = 4096;

pub const CASES: &[Case] = &[
    case("has regions overlap", "overlap", |attack| {
        regions(attack, MEMORY, &[region(0, MEMORY), region(PAGE, PAGE)])
    }),
    case("has a region that wraps", "reaches beyond the end", |attack| {
        regions(attack, MEMORY, &[[u64::MAX - 4095, 2 * PAGE, USER, 0]])
    }),
    case("has a region longer than its file", "of its file", |attack| {
        regions(attack, MEMORY, &[region(0, 1 << 62)])
    }),
    case("shares a tebibyte and goes", "", |attack| {
        let (front, file) = (FrontEnd::connect(&attack.socket)?, memory(1 << 40)?);
        front.request(request::SET_MEM_TABLE, front::PLAIN, &table(&[region(0, 1 << 40)]), &[file.as_fd()]);
        Ok(())
    }),
    case("has a table of 500 regions", "bytes of payload", |attack| {
        let front = FrontEnd::connect(&attack.socket)?;
        front.request(request::SET_MEM_TABLE, front::PLAIN, &numbers(&[500; 2001]), &[]);
        closed(front)
    }),
    case("adds regions until there are too many", "at most 509", add_regions),
    case("cuts a message short", "SET_FEATURES with 7 bytes", |attack| {
        say(attack, request::SET_FEATURES, &[0; 7])
    }),
    case("sends a message that is too long", "4294967295 bytes", |attack| {
        let front = FrontEnd::connect(&attack.socket)?;
        front.send(&words(&[request::SET_FEATURES, 1, u32::MAX]), &[]);
        closed(front)
    }),
    case("sends noise", "protocol version", |attack| {
        let front = FrontEnd::connect(&attack.socket)?;
        front.send(&[0xff; 4096], &[]);
        closed(front)
    }),
    case("sends too many descriptors", "more than 32 descriptors", |attack| {
        let (front, file) = (FrontEnd::connect(&attack.socket)?, memory(MEMORY)?);
        front.request(request::SET_OWNER, front::PLAIN, &[], &[file.as_fd(); 64]);
        closed(front)
    }),
    case("sends descriptors that nobody asked for", "SET_OWNER with 3 descriptors", |attack| {
        let (front, file) = (FrontEnd::connect(&attack.socket)?, memory(MEMORY)?);
        front.request(request::SET_OWNER, front::PLAIN, &[], &[file.as_fd(); 3]);
        closed(front)
    }),
    case("sends no descriptors", "SET_MEM_TABLE with 0 descriptors", |attack| {
        say(attack, request::SET_MEM_TABLE, &table(&[region(0, MEMORY)]))
    }),
    case("gives memory for a kick", "no eventfd", |attack| {
        let (front, file) = (FrontEnd::connect(&attack.socket)?, memory(MEMORY)?);
        front.request(request::SET_VRING_KICK, front::PLAIN, &numbers(&[0]), &[file.as_fd()]);
        closed(front)
    }),
    case("sends messages out of order", "changed features while rings run", |attack| {
        let mut vnic = attack.vnic()?;
        vnic.front.request(request::SET_VRING_ENABLE, front::PLAIN, &words(&[0, 0]), &[]);
        vnic.front.request(request::GET_VRING_BASE, front::PLAIN, &words(&[0, 0]), &[]);
        vnic.front.request(request::SET_VRING_ADDR, front::PLAIN, &vnic.addresses(Queue::Receive, 0), &[]);
        vnic.front.request(request::SET_FEATURES, front::PLAIN, &numbers(&[1 << 32]), &[]);
        vnic.front.until_closed()
    }),
    case("speaks of a queue that there is not", "speaks of queue 255", |attack| {
        say(attack, request::SET_VRING_NUM, &words(&[255, 256]))
    }),
    case("does not read the answers", "does not read the replies", |attack| {
        let front = FrontEnd::connect(&attack.socket)?;
        while front.request(request::GET_FEATURES, front::PLAIN, &[], &[]) {}
        Ok(())
    }),
    endless("sends as many messages as are taken", "", flood),
    endless("sets a table of regions again and again", "", set_tables),
    case("goes and comes", "", |attack| FrontEnd::connect(&attack.socket).map(drop)),
    case("goes and comes in the middle of a message", "", |attack| {
        let front = FrontEnd::connect(&attack.socket)?;
        front.send(&[1], &[]);
        Ok(())
    }),
    case("goes and comes with running rings", "", |attack| attack.vnic().map(drop)),
];

/// One message.
fn say(attack: &Attack, request: u32, payload: &[u8]) -> Result<()> {
    let front = FrontEnd::connect(&attack.socket)?;
    front.request(request, front::PLAIN, payload, &[]);
    closed(front)
}

fn closed(mut front: FrontEnd) -> Result<()> {
    front.until_closed()
}

fn memory(bytes: u64) -> Result<OwnedFd> {
    let file = memfd_create("hostile", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, bytes)?;
    Ok(file)
}

fn regions(attack: &Attack, bytes: u64, regions: &[[u64; 4]]) -> Result<()> {
    let (front, file) = (FrontEnd::connect(&attack.socket)?, memory(bytes)?);
    let fds: Vec<BorrowedFd<'_>> = regions.iter().map(|_| file.as_fd()).collect();
    front.request(request::SET_MEM_TABLE, front::PLAIN, &table(regions), &fds);
    closed(front)
}

/// One by one.
fn add_regions(attack: &Attack) -> Result<()> {
    let (front, file) = (FrontEnd::connect(&attack.socket)?, memory(REGIONS * PAGE + PAGE)?);
    for number in 0..=REGIONS {
        let region = [&[0], &region(number * PAGE, PAGE)[..]].concat();
        front.request(request::ADD_MEM_REG, front::PLAIN, &numbers(&region), &[file.as_fd()]);
    }
    closed(front)
}

/// A thousand messages at a time.
fn flood(attack: &Attack) -> Result<()> {
    let front = FrontEnd::connect(&attack.socket)?;
    let many = message(request::SET_OWNER, front::PLAIN, &[]).repeat(1000);
    while attack.goes_on() {
        ensure!(front.send(&many, &[]), "the flood is not taken");
        attack.count();
    }
    Ok(())
}

/// Of 32 regions of a gibibyte each, with running rings in them.
fn set_tables(attack: &Attack) -> Result<()> {
    let mut vnic = attack.vnic()?;
    let file = memory(1 << 30)?;
    let fds = [&[vnic.memory.as_fd()][..], &[file.as_fd(); 31]].concat();
    let apart = |number: u64| [GUEST + (number << 32), 1 << 30, USER + (number << 32), 0];
    let all: Vec<_> = [region(0, MEMORY)].into_iter().chain((1..32).map(apart)).collect();
    let payload = table(&all);
    while attack.goes_on() {
        vnic.front.done(request::SET_MEM_TABLE, &payload, &fds)?;
        attack.count();
    }
    Ok(())
}
