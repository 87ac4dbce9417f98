use super::*;
use alloc::{collections::BTreeMap, vec};
use proptest::{collection::vec, prelude::*};

#[derive(Clone, Debug)]
enum Op {
    Join { vlan: u16, group: IpAddr, port: PortIndex, lasts: u64 },
    Shorten { vlan: u16, group: IpAddr, port: PortIndex, lasts: u64 },
    ShortenAll { vlan: u16, group: IpAddr, lasts: u64 },
    KeepBelow(u16),
    Step(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let group = prop_oneof![
        (0..3u8).prop_map(|n| IpAddr::from([239, 0, 0, n])),
        (0..2u16).prop_map(|n| IpAddr::from([0xff05, 0, 0, 0, 0, 0, 0, n])),
    ];
    let place = (0..2u16, group, (0..4u16).prop_map(PortIndex), 0..4000u64);
    prop_oneof![
        4 => place.clone().prop_map(|(vlan, group, port, lasts)| Op::Join { vlan, group, port, lasts }),
        2 => place.clone().prop_map(|(vlan, group, port, lasts)| Op::Shorten { vlan, group, port, lasts }),
        1 => place.prop_map(|(vlan, group, _, lasts)| Op::ShortenAll { vlan, group, lasts }),
        1 => (0..5u16).prop_map(Op::KeepBelow),
        3 => (0..2000u64).prop_map(Op::Step),
    ]
}

/// Key to since and until: no order, no limits, no sweeping.
type Naive = BTreeMap<(u16, IpAddr, PortIndex), (u64, u64)>;

fn joined(naive: &mut Naive, key: (u16, IpAddr, PortIndex), until: u64, now: u64) {
    let entry = naive.entry(key).or_insert((now, until));
    *entry = (if entry.1 <= now { now } else { entry.0 }, entry.1.max(until));
}

proptest! {
    #[test]
    fn memberships_are_what_a_naive_map_says(ops in vec(op(), 0..200)) {
        let (mut now, mut naive, mut real) = (0, Naive::new(), Memberships::new(Millis(0)));
        for op in ops {
            match op {
                Op::Join { vlan, group, port, lasts } => {
                    joined(&mut naive, (vlan, group, port), now + lasts, now);
                    prop_assert!(real.join(vlan, group, port, Millis(now + lasts), Millis(now)));
                }
                Op::Shorten { vlan, group, port, lasts } => {
                    let entry = naive.get_mut(&(vlan, group, port)).filter(|entry| entry.1 > now);
                    let was = real.shorten(vlan, group, port, Millis(now + lasts), Millis(now));
                    prop_assert_eq!(was, entry.is_some());
                    entry.into_iter().for_each(|entry| entry.1 = entry.1.min(now + lasts));
                }
                Op::ShortenAll { vlan, group, lasts } => {
                    let those = naive.iter_mut().filter(|(key, _)| (key.0, key.1) == (vlan, group));
                    those.for_each(|(_, entry)| entry.1 = entry.1.min(now + lasts));
                    real.shorten_all(vlan, group, Millis(now + lasts));
                }
                Op::KeepBelow(limit) => {
                    naive.retain(|key, _| key.2.0 < limit);
                    real.keep(|port| port.0 < limit);
                }
                Op::Step(by) => now += by,
            }
            naive.retain(|_, entry| entry.1 > now);
            let listed: Vec<_> = real.iter(Millis(now)).map(|m| (m.key(), (m.since.0, m.until.0))).collect();
            prop_assert_eq!(&listed, &naive.clone().into_iter().collect::<Vec<_>>());
            for ((vlan, group, port), _) in listed {
                prop_assert!(real.ports(vlan, group, Millis(now)).any(|member| member == port));
            }
        }
    }
}

fn group(n: usize) -> IpAddr {
    IpAddr::from([239, 1, (n >> 8) as u8, n as u8])
}

#[test]
fn a_port_at_its_limit_gets_no_further_place_and_others_do() {
    let mut real = Memberships::new(Millis(0));
    let mut join = |n, port, now| real.join(0, group(n), PortIndex(port), Millis(now + 5000), Millis(now));
    assert!((0..MAX_OF_PORT).all(|n| join(n, 1, 0)));
    assert!(!join(MAX_OF_PORT, 1, 0));
    assert!(join(0, 1, 0), "one that is there already takes no place");
    assert!(join(0, 2, 0));
    assert!(!join(MAX_OF_PORT, 1, 3000), "they last");
    assert!(join(MAX_OF_PORT, 1, 5000), "they ran out");
}

#[test]
fn all_ports_together_are_bounded_and_the_room_never_grows() {
    let mut real = Memberships::new(Millis(0));
    let room = real.list.capacity();
    let ports = MAX_MEMBERSHIPS / MAX_OF_PORT;
    for port in 0..=ports as u16 {
        for n in 0..MAX_OF_PORT {
            let joined = real.join(0, group(n), PortIndex(port), Millis(1000), Millis(0));
            assert_eq!(joined, usize::from(port) < ports);
        }
    }
    assert_eq!((real.list.len(), real.list.capacity()), (MAX_MEMBERSHIPS, room));
    assert_eq!(vec![MAX_OF_PORT; ports], real.held[..ports]);
}
