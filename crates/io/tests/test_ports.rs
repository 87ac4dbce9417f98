//! The test ports themselves.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use io::{
    Batch, Port, PortError, Sent,
    test_ports::{Fault, FaultPort, LoopPort, PcapError, PcapPort},
};
use support::{batch_of, frames_of_every_form, receive};

#[test]
fn a_loop_gives_one_end_what_the_other_was_given() {
    let (mut near, mut far) = LoopPort::pair().unwrap();
    let frames = frames_of_every_form(true);
    let (batch, which) = batch_of(&frames);
    near.transmit(&batch, &which).unwrap();
    assert_eq!(receive(&mut far, frames.len()), frames);
    far.transmit(&batch, &[1]).unwrap();
    assert_eq!(receive(&mut near, 1), frames[1..2]);
}

#[test]
fn a_loop_that_nobody_reads_is_full() {
    let (mut near, _far) = LoopPort::pair().unwrap();
    let (batch, which) = batch_of(&vec![vec![1; 60]; 64]);
    let full: u64 = (0..17).map(|_| near.transmit(&batch, &which).unwrap().full).sum();
    assert_eq!(full, 64);
}

#[test]
fn what_goes_into_a_capture_file_comes_out_of_it() {
    let frames = frames_of_every_form(true);
    let (batch, which) = batch_of(&frames);
    let empty = PcapPort::new(&[], Vec::new());
    assert!(matches!(empty, Err(PcapError::Format)));
    let header = b"\xa1\xb2\xc3\xd4\x00\x02\x00\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0\0\x01";
    let mut writer = PcapPort::new(header, Vec::new()).unwrap();
    writer.transmit(&batch, &which).unwrap();
    let file = writer.into_writer();
    let mut reader = PcapPort::new(&file, Vec::new()).unwrap();
    assert_eq!(receive(&mut reader, frames.len()), frames);
    let cut = PcapPort::new(&file[..file.len() - 1], Vec::new());
    assert!(matches!(cut, Err(PcapError::Truncated(number)) if number == frames.len()));
}

#[test]
fn faults_come_at_the_chosen_calls_and_only_there() {
    let (near, mut far) = LoopPort::pair().unwrap();
    let mut port = FaultPort::new(near)
        .receiving(1, Fault::Loss)
        .receiving(2, Fault::Down)
        .sending(0, Fault::Loss)
        .sending(1, Fault::Faulted);
    let (batch, which) = batch_of(&frames_of_every_form(false));
    let all = which.len() as u64;
    let mut came = Batch::default();
    far.transmit(&batch, &which[..2]).unwrap();
    port.receive(&mut came).unwrap();
    far.transmit(&batch, &which).unwrap();
    port.receive(&mut came).unwrap();
    assert_eq!((came.len(), port.kernel_drops(), port.kernel_drops()), (2, all, 0));
    assert!(matches!(port.receive(&mut came), Err(PortError::Down(_))));
    assert_eq!(port.transmit(&batch, &which).unwrap(), Sent { full: all, ..Sent::default() });
    assert!(matches!(port.transmit(&batch, &which), Err(PortError::Faulted(_))));
    assert_eq!(port.transmit(&batch, &which).unwrap().frames, all);
}
