//! A port that is dealt to several workers.

use super::*;
use std::collections::BTreeMap;

/// A port and its further shares.
fn dealt(mut port: XdpPort, shares: usize) -> Vec<Box<dyn Port>> {
    let others = port.deal(shares - 1).unwrap();
    std::iter::once(Box::new(port) as Box<dyn Port>).chain(others).collect()
}

/// What is there now, by source (`udp`): the numbers in the order they came.
fn by_source(port: &mut dyn Port) -> BTreeMap<u8, Vec<u8>> {
    let (mut batch, mut came) = (Batch::default(), BTreeMap::<_, Vec<_>>::new());
    loop {
        batch.clear();
        port.receive(&mut batch).unwrap();
        for index in 0..batch.len() as u16 {
            let frame = batch.whole(index, &mut Vec::new()).to_vec();
            came.entry(frame[29]).or_default().push(frame[19]);
        }
        port.complete();
        if batch.is_empty() {
            return came;
        }
    }
}

#[test]
fn root_flows_leave_on_every_queue_and_each_in_order_on_one() {
    let _alone = alone();
    let ns = namespace();
    wide_cable(&ns, 4);
    let (mut near, far) = (open(&ns, "near").unwrap(), open(&ns, "far").unwrap());
    let mut far = dealt(far, 4);
    let frames: Vec<_> = (0..4).flat_map(|number| (0..16).map(move |source| udp(source, number))).collect();
    let (batch, which) = batch_of(&frames);
    assert_eq!(near.transmit(&batch, &which).unwrap().frames, 64);
    let came: Vec<_> = far.iter_mut().map(|queue| by_source(&mut **queue)).collect();
    assert!(came.iter().all(|flows| !flows.is_empty()), "{came:?}");
    let flows: Vec<_> = came.into_iter().flatten().collect();
    assert!(flows.len() == 16 && flows.iter().all(|(_, numbers)| *numbers == [0, 1, 2, 3]), "{flows:?}");
}

#[test]
fn root_flows_leave_only_on_queues_that_the_interface_sends_on() {
    let _alone = alone();
    let ns = namespace();
    wide_cable(&ns, 4);
    ns.exec("ethtool -L near tx 2");
    let (near, mut far) = (open(&ns, "near").unwrap(), dealt(open(&ns, "far").unwrap(), 4));
    assert_eq!(near.queues(), 4);
    let frames: Vec<_> = (0..64).map(|source| udp(source, 0)).collect();
    let (batch, which) = batch_of(&frames);
    for share in &mut dealt(near, 4) {
        assert_eq!(share.transmit(&batch, &which).unwrap().frames, 64);
        let came: usize = far.iter_mut().map(|queue| by_source(&mut **queue).len()).sum();
        assert_eq!(came, 64);
    }
}

#[test]
fn root_each_share_receives_from_its_own_queues_and_all_send() {
    let _alone = alone();
    let ns = namespace();
    wide_cable(&ns, 3);
    let mut near = dealt(open(&ns, "near").unwrap(), 2);
    let sender = Sender::new(&ns, "far");
    (0..200).for_each(|source| sender.send(&udp(source, 1)));
    let came: Vec<_> = near.iter_mut().map(|share| by_source(&mut **share).len()).collect();
    assert!(came.iter().sum::<usize>() == 200 && came.iter().all(|count| *count > 0), "{came:?}");
    let mut observer = Observer::new(&ns, "far");
    for share in &mut near {
        let frames: Vec<_> = (0..16).map(|source| udp(source, 2)).collect();
        let (batch, which) = batch_of(&frames);
        assert_eq!(share.transmit(&batch, &which).unwrap().frames, 16);
        let mut seen: Vec<_> = frames.iter().map(|_| observer.next()).collect();
        seen.sort();
        assert!(seen == frames);
    }
}

#[test]
fn root_shares_without_a_queue_send_on_anothers_and_lose_nothing() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let (mut near, mut far) = (dealt(open(&ns, "near").unwrap(), 3), open(&ns, "far").unwrap());
    Sender::new(&ns, "far").send(&udp(9, 9));
    let came: Vec<_> = near.iter_mut().map(|share| by_source(&mut **share).len()).collect();
    assert_eq!(came, [1, 0, 0]);
    assert!(near.iter_mut().all(|share| share.arm()));
    let rounds = 100;
    thread::scope(|scope| {
        for (share, source) in near.iter_mut().zip(0..) {
            scope.spawn(move || {
                let (batch, which) = batch_of(&[udp(source, 0), udp(source, 1), udp(source, 2)]);
                for _ in 0..rounds {
                    assert_eq!(share.transmit(&batch, &which).unwrap().frames, 3);
                    // What the kernel did not send at once is sent again here.
                    share.receive(&mut Batch::default()).unwrap();
                }
            });
        }
        let mut came = vec![Vec::new(); 3];
        receive(&mut far, 3 * 3 * rounds)
            .iter()
            .for_each(|frame| came[usize::from(frame[29])].push(frame[19]));
        let expected: Vec<_> = (0..rounds).flat_map(|_| [0, 1, 2]).collect();
        assert!(came.iter().all(|numbers| *numbers == expected), "{came:?}");
    });
}

#[test]
fn root_what_stops_one_share_stops_all_and_the_last_lets_the_interface_go() {
    let _alone = alone();
    let ns = namespace();
    wide_cable(&ns, 2);
    let mut near = dealt(open(&ns, "near").unwrap(), 3);
    let (batch, which) = batch_of(&frames_of_every_form(false));
    ns.ip("link set near down");
    assert_eq!(stops(&mut *near[0]), "interface is down");
    for share in &mut near {
        assert_eq!(stops(&mut **share), "interface is down");
        assert!(
            matches!(share.transmit(&batch, &which), Err(PortError::Down(why)) if why == "interface is down")
        );
    }
    ns.ip("link set near up");
    drop(near.drain(..2));
    assert!(matches!(open(&ns, "near"), Err(XdpError::OtherProgram(name)) if name == "near"));
    near.clear();
    has_no_program(&ns, "near");
    assert_eq!(receive_one_from_far(&ns), udp(1, 1));
}

fn receive_one_from_far(ns: &Namespace) -> Vec<u8> {
    let mut port = open(ns, "near").unwrap();
    Sender::new(ns, "far").send(&udp(1, 1));
    receive(&mut port, 1).remove(0)
}
