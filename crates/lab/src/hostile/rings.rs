//! Wrong rings: what the worker finds.

use super::{Attack, Case, case, endless};
use crate::vnic::front::{self, request};
use crate::vnic::{Descriptor, GUEST, INDIRECT, MEMORY, NEXT, Queue, Vnic, WRITE, frame_at, header_at};
use anyhow::Result;
use rustix::fs::ftruncate;
use std::time::Duration;

const BUFFER: u64 = GUEST + 0x34_0000;
/// Bytes of a frame with its header.
const FRAME: u32 = 72;

pub const CASES: &[Case] = &[
    case("chains a descriptor to itself", "it is a loop", |attack| chain(attack, &[(BUFFER, 64, NEXT, 0)])),
    case("chains descriptors in a ring", "it is a loop", |attack| {
        let ring: Vec<_> = (0..super::SIZE).map(|at| (BUFFER, 64, NEXT, (at + 1) % super::SIZE)).collect();
        chain(attack, &ring)
    }),
    case("chains to a descriptor that there is not", "to number 999", |attack| {
        chain(attack, &[(BUFFER, 64, NEXT, 999)])
    }),
    case("sends from outside its memory", "not all in its memory", |attack| {
        chain(attack, &[(0xdead_0000_0000, 64, 0, 0)])
    }),
    case("sends from the last byte of its memory and the one behind", "not all in its memory", |attack| {
        chain(attack, &[(GUEST + MEMORY - 1, 2, 0, 0)])
    }),
    case("sends from an address that wraps", "not all in its memory", |attack| {
        chain(attack, &[(u64::MAX - 31, 64, 0, 0)])
    }),
    case("sends no bytes", "of no bytes", |attack| chain(attack, &[(BUFFER, 0, 0, 0)])),
    case("sends 2^32-1 bytes", "not all in its memory", |attack| chain(attack, &[(BUFFER, u32::MAX, 0, 0)])),
    case("sends from a buffer that is to be written to", "to be written to", |attack| {
        chain(attack, &[(BUFFER, 64, WRITE, 0)])
    }),
    case("has an indirect table of 24 bytes", "indirect table of 24 bytes", |attack| {
        chain(attack, &[(BUFFER, 24, INDIRECT, 0)])
    }),
    case("has an indirect table in an indirect table", "into an indirect table", |attack| {
        let table = (Vnic::descriptor_address(Queue::Transmit, 1), 16, INDIRECT, 0);
        chain(attack, &[table, table])
    }),
    case("has the available index jump", "descriptors available in a ring of", |attack| {
        let mut vnic = attack.vnic()?;
        vnic.publish(Queue::Transmit, 0xffff)?;
        caught(vnic)
    }),
    case("sends a header with an impossible checksum", "whose checksum is to begin", |attack| {
        header(attack, [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])
    }),
    case("sends a header with segments of no bytes", "segments of no bytes", |attack| {
        header(attack, [1, 1, 54, 0, 0, 0, 34, 0, 16, 0])
    }),
    case("sends a header with an unknown offload", "offload type 0x7f", |attack| {
        header(attack, [1, 0x7f, 54, 0, 0, 0, 34, 0, 16, 0])
    }),
    case("truncates its memory", "took memory away", |attack| {
        let mut vnic = attack.vnic()?;
        vnic.post(Queue::Transmit, 1)?;
        ftruncate(&vnic.memory, 0)?;
        caught(vnic)
    }),
    endless("moves its rings while they run", "not a multiple of", move_rings),
    endless("rewrites what it sends meanwhile", "", rewrite),
];

/// Sends what the first descriptors describe.
fn chain(attack: &Attack, descriptors: &[Descriptor]) -> Result<()> {
    let mut vnic = attack.vnic()?;
    vnic.describe(Queue::Transmit, 0, descriptors)?;
    vnic.post(Queue::Transmit, 1)?;
    caught(vnic)
}

fn header(attack: &Attack, header: [u8; 10]) -> Result<()> {
    let mut vnic = attack.vnic()?;
    vnic.write(header_at(0), &header)?;
    vnic.post(Queue::Transmit, 1)?;
    caught(vnic)
}

/// The worker looks, and the port closes the connection.
fn caught(mut vnic: Vnic) -> Result<()> {
    vnic.kick(Queue::Transmit);
    vnic.front.until_closed()
}

/// From one place in its memory to another and back, without end.
fn move_rings(attack: &Attack) -> Result<()> {
    let mut vnic = attack.vnic()?;
    let mut moved = 0;
    while attack.goes_on() {
        moved ^= 8;
        let addresses = vnic.addresses(Queue::Transmit, moved);
        vnic.front.done(request::SET_VRING_ADDR, &addresses, &[])?;
        attack.count();
    }
    // Its place is to be a place.
    vnic.front.request(request::SET_VRING_ADDR, front::PLAIN, &vnic.addresses(Queue::Transmit, 1), &[]);
    vnic.front.until_closed()
}

/// What it sends is changed two hundred times meanwhile: between its own source address and others, and between memory that
/// it has and memory that it has not. Now and then the worker finds the latter.
fn rewrite(attack: &Attack) -> Result<()> {
    const FRAMES: u16 = 4;
    let mut vnic = attack.vnic()?;
    vnic.load(|_| super::neighbours::frame_to_neighbour())?;
    let mut first = 0;
    while attack.goes_on() {
        vnic.post(Queue::Transmit, FRAMES)?;
        vnic.kick(Queue::Transmit);
        for change in 0..200_u8 {
            vnic.write(frame_at(0) + 6, &[2, 0, 0, 0, 0, change])?;
            let elsewhere = u64::from(change % 2) << 40;
            let descriptor = (GUEST + header_at(0) + elsewhere, FRAME, 0, 0);
            vnic.describe(Queue::Transmit, first, &[descriptor; FRAMES as usize])?;
        }
        attack.count();
        first = (first + FRAMES) % super::SIZE;
        if !vnic.front.request(request::SET_OWNER, front::PLAIN, &[], &[]) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
