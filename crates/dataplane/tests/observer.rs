//! What a listener is told of a switch whose worker has others, too.
#![allow(clippy::unwrap_used, clippy::panic)]

use dataplane::{
    Fabric, Tables,
    tap::{Direction, Event, Fate, Listener, Selection, Tap, TapReader},
};
use engine::{Millis, PortIndex, PortPolicy, Role, Snapshot, TableConfig};
use io::{
    Batch, Port,
    test_ports::{Fault, FaultPort, LoopPort},
};
use std::sync::Arc;

const FROM: PortIndex = PortIndex(0);
const TO: PortIndex = PortIndex(1);

/// A switch of two ports without guards, of which one gets what the other's peer sends.
fn switch(to: impl Port + 'static) -> (Fabric, LoopPort) {
    let tables = Arc::new(Tables::new(TableConfig::default(), [1, 2]));
    let open = PortPolicy { guard: false, ..PortPolicy::new(Role::Vnic) };
    tables.install(Arc::new(Snapshot::new(vec![(FROM, open.clone()), (TO, open)])), Millis(0));
    let mut fabric = Fabric::new(tables);
    let (from, peer) = LoopPort::pair().unwrap();
    assert!(fabric.attach(FROM, Box::new(from)).is_none() && fabric.attach(TO, Box::new(to)).is_none());
    (fabric, peer)
}

fn listen(fabric: &mut Fabric) -> TapReader {
    let selection = Selection::default();
    let listener = Listener { selection, sample: 1, snaplen: 64, capacity: 1 << 16, wake: Box::new(|| {}) };
    let (tap, reader) = Tap::new(listener, None);
    fabric.listen(tap);
    reader
}

/// A broadcast frame of the peer's passes the switch.
fn pass(fabric: &mut Fabric, peer: &mut LoopPort, batch: &mut Batch) {
    let mut sending = Batch::default();
    sending.push_bytes(&[&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], &[0; 46]].concat());
    assert_eq!(peer.transmit(&sending, &[0]).unwrap().frames, 1);
    assert!(fabric.turn(FROM, batch, Millis(0), &mut Vec::new()));
}

/// What became of each frame that left.
fn fates(reader: &mut TapReader) -> Vec<Fate> {
    let fates = |event: Event<'_>| match event {
        Event::Frame(frame) => frame.views().filter(|view| view.direction == Direction::Outbound).collect(),
        Event::Named(..) => Vec::new(),
    };
    reader.take().iter().flat_map(fates).map(|view| view.fate).collect()
}

#[test]
fn what_a_port_of_one_switch_does_not_take_is_no_matter_of_those_who_listen_to_another() {
    let (near, _far) = LoopPort::pair().unwrap();
    let (mut watched, mut peer) = switch(near);
    let (near, _other_far) = LoopPort::pair().unwrap();
    let full = (0..4).fold(FaultPort::new(near), |port, call| port.sending(call, Fault::Loss));
    let (mut other, mut other_peer) = switch(full);
    let (mut batch, mut reader) = (Batch::default(), listen(&mut watched));
    pass(&mut watched, &mut peer, &mut batch);
    assert_eq!(fates(&mut reader), [Fate::Passed]);
    (0..3).for_each(|_| pass(&mut other, &mut other_peer, &mut batch));
    let mut noted = Vec::new();
    batch.take_untaken(&mut noted);
    assert_eq!(noted, []);
    pass(&mut other, &mut other_peer, &mut batch);
    pass(&mut watched, &mut peer, &mut batch);
    assert_eq!(fates(&mut reader), [Fate::Passed]);
}
