//! The IP guard against a naive judge, who reads headers byte by byte, by index, from the RFCs' pictures of them.

use engine::{
    Flood, FrameIn, IpGuard, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Verdict,
    Verdicts,
};
use model::DropReason;
use model::policy::vlan::{Trunk, VlanMode};
use proptest::{collection::vec, prelude::*, sample::select};
use std::sync::Arc;
use wire::MacAddr;

type Bytes = Vec<u8>;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OWN: [u8; 4] = [10, 9, 0, 7];
const OWN6: [u8; 16] = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1];

fn address() -> impl Strategy<Value = [u8; 4]> {
    select(vec![OWN, OWN, [0; 4], [10, 9, 0, 8], [224, 0, 0, 1], [255; 4]])
}

fn address6() -> impl Strategy<Value = [u8; 16]> {
    let mut mapped = [0; 16];
    mapped[10..].copy_from_slice(&[0xff, 0xff, 10, 9, 0, 7]);
    let with = |first: u8, last: u8| {
        let mut address = LINK_LOCAL.map(|_| 0);
        (address[0], address[1], address[15]) = (first, if first == 0xfe { 0x80 } else { 0 }, last);
        address
    };
    select(vec![OWN6, OWN6, LINK_LOCAL, [0; 16], with(0xfe, 1), with(0xfd, 8), with(0xff, 1), mapped])
}

fn links() -> impl Strategy<Value = Bytes> {
    let link = select(vec![
        &[0x81, 0x00, 0x00, 0x07][..],
        &[0x88, 0xa8, 0x00, 0x07],
        &[0x91, 0x00, 0xe0, 0x07],
        &[0x00, 0x40, 0xaa, 0xaa, 0x03, 0x00, 0x00, 0x00],
        &[0x00, 0x00, 0xab, 0xaa, 0x03, 0x00, 0x00, 0xf8],
        &[0x05, 0xff, 0xaa, 0xaa, 0x03, 0x00, 0x00, 0x0c],
        &[0x00, 0x26, 0x42, 0x42, 0x03],
    ]);
    prop_oneof![3 => Just(vec![]), 2 => vec(link, 0..3).prop_map(|links| links.concat())]
}

fn arp() -> impl Strategy<Value = Bytes> {
    let form =
        prop_oneof![6 => Just([0, 1, 8, 0, 6, 4]), 1 => Just([0, 6, 8, 0, 6, 4]), 1 => any::<[u8; 6]>()];
    let mac = select(vec![MAC, MAC, OTHER_MAC]);
    (select(vec![[0x08, 0x06], [0x80, 0x35]]), form, 0..9u8, mac, address(), address()).prop_map(
        |(kind, form, op, mac, sender, target)| {
            [&kind[..], &form, &[0, op], &mac, &sender, &[0; 6], &target].concat()
        },
    )
}

fn v4() -> impl Strategy<Value = Bytes> {
    let first = prop_oneof![6 => Just(0x45u8), 2 => 0x45..=0x47u8, 1 => any::<u8>()];
    let fragment = select(vec![0u16, 0, 0x4000, 0x2000, 1]);
    let port = select(vec![67u16, 68, 53]);
    let udp = (port.clone(), port)
        .prop_map(|(from, to)| [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0, 8, 0, 0]].concat());
    (first, fragment, select(vec![1u8, 2, 6, 17, 17]), address(), udp).prop_map(
        |(first, fragment, protocol, source, udp)| {
            let mut header = vec![1; usize::from(first % 16).max(5) * 4];
            (header[0], header[9]) = (first, protocol);
            header[6..8].copy_from_slice(&fragment.to_be_bytes());
            header[12..16].copy_from_slice(&source);
            [vec![0x08, 0x00], header, udp].concat()
        },
    )
}

fn v6() -> impl Strategy<Value = Bytes> {
    let first = prop_oneof![9 => Just(0x60u8), 1 => any::<u8>()];
    let extension = (select(vec![0u8, 43, 44, 60]), 0..2u8, select(vec![0u16, 0, 1, 8]));
    let message = (prop_oneof![Just(135u8), Just(136), 128..146u8], address6())
        .prop_map(|(kind, target)| [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target].concat());
    let chain = prop_oneof![2 => Just(vec![]), 1 => vec(extension, 0..3)];
    (first, chain, select(vec![58u8, 58, 58, 17, 6]), address6(), message).prop_map(
        |(first, chain, protocol, source, message)| {
            let mut header = vec![0; 40];
            (header[0], header[6]) = (first, chain.first().map_or(protocol, |(kind, ..)| *kind));
            header[8..24].copy_from_slice(&source);
            let nexts = chain.iter().skip(1).map(|(kind, ..)| *kind).chain([protocol]);
            for ((kind, length, fragment), next) in chain.iter().zip(nexts) {
                header.extend([next, *length]);
                header.extend(fragment.to_be_bytes());
                header.extend(vec![0; if *kind == 44 { 4 } else { 4 + 8 * usize::from(*length) }]);
            }
            [vec![0x86, 0xdd], header, message].concat()
        },
    )
}

fn frame() -> impl Strategy<Value = Bytes> {
    let cut = prop_oneof![6 => Just(usize::MAX), 1 => 0..120usize];
    (links(), prop_oneof![arp(), v4(), v6()], cut).prop_map(|(links, packet, cut)| {
        let mut bytes = [&[0xff; 6][..], &MAC, &links, &packet].concat();
        bytes.truncate(cut.clamp(14, 128));
        bytes
    })
}

fn number(h: &[u8], at: usize) -> Option<u16> {
    Some(u16::from(*h.get(at)?) * 256 + u16::from(*h.get(at + 1)?))
}

fn is_own6(address: &[u8]) -> bool {
    address == OWN6 || address == LINK_LOCAL
}

/// Whether a frame speaks for the own addresses only. `None` where it cannot be told.
fn speaks(h: &[u8], at: usize) -> Option<bool> {
    match number(h, at)? {
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => speaks(h, at + 4),
        0x0806 => arp_speaks(h.get(at + 2..at + 30)?, false),
        0x8035 => arp_speaks(h.get(at + 2..at + 30)?, true),
        0x0800 => v4_speaks(h, at + 2),
        0x86dd => v6_speaks(h, at + 2),
        0..0x600 => match (h.get(at + 2)?, h.get(at + 5..at + 8)) {
            (0xaa | 0xab, None) => None,
            (0xaa | 0xab, Some([0, 0, 0] | [0, 0, 0xf8])) => speaks(h, at + 8),
            _ => Some(true),
        },
        _ => Some(true),
    }
}

fn arp_speaks(m: &[u8], reverse: bool) -> Option<bool> {
    if m[..6] != [0, 1, 8, 0, 6, 4] && m[..6] != [0, 6, 8, 0, 6, 4] {
        return None;
    }
    let (mac, sender, target) = (&m[8..14], &m[14..18], &m[24..28]);
    let (sender_is_none, target_is_none) = (sender == [0; 4], target == [0; 4]);
    let addresses = if reverse {
        (sender_is_none || sender == OWN) && (target_is_none || target == OWN)
    } else {
        sender == OWN || (sender_is_none && target == OWN)
    };
    Some(mac == MAC && addresses)
}

fn v4_speaks(h: &[u8], at: usize) -> Option<bool> {
    let (first, fragment) = (h.get(at)?, number(h, at + 6)?);
    let length = usize::from(first % 16) * 4;
    if first / 16 != 4 || length < 20 || h.len() < at + length {
        return None;
    }
    let (source, end) = (&h[at + 12..at + 16], at + length);
    let is_whole = fragment % 0x4000 == 0;
    let is_request = h[at + 9] == 17 && h.get(end..end + 4) == Some(&[0, 68, 0, 67]) && h.len() >= end + 8;
    let may_be_nobodys = is_whole && (h[at + 9] == 2 || is_request);
    Some(source == OWN || (source == [0; 4] && may_be_nobodys))
}

fn v6_speaks(h: &[u8], at: usize) -> Option<bool> {
    let fixed = h.get(at..at + 40)?;
    if fixed[0] / 16 != 6 {
        return None;
    }
    upper_speaks(h, at + 40, fixed[6], &fixed[8..24], false)
}

fn upper_speaks(h: &[u8], at: usize, kind: u8, source: &[u8], in_fragment: bool) -> Option<bool> {
    let nobody = source == [0; 16];
    match kind {
        0 | 43 | 44 | 60 if in_fragment => None,
        0 | 43 | 60 => {
            let end = at + 8 + 8 * usize::from(*h.get(at + 1)?);
            h.get(at..end)?;
            upper_speaks(h, end, h[at], source, false)
        }
        44 => match h.get(at..at + 8)? {
            [_, _, 0, 0..8, ..] => upper_speaks(h, at + 8, h[at], source, true),
            _ => Some(is_own6(source)),
        },
        58 => {
            let target = h.get(at + 8..at + 24);
            match h.get(at)? {
                133..=137 if in_fragment => None,
                131 | 132 | 143 if nobody => Some(!in_fragment),
                133 if nobody => Some(true),
                135 => Some(if nobody { is_own6(target?) } else { target.is_some() && is_own6(source) })
                    .filter(|_| target.is_some()),
                136 => Some(is_own6(target?) && is_own6(source)),
                _ => Some(is_own6(source)),
            }
        }
        _ => Some(is_own6(source)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80 * ProptestConfig::default().cases, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ip_guard_judges_as_the_naive_judge_does(frame in frame()) {
        let addresses = vec!["10.9.0.7".parse().unwrap(), "fd00:9::7".parse().unwrap()];
        let vm = PortPolicy {
            mac: Some(MacAddr(MAC)),
            ip_guard: Some(IpGuard { addresses, most_leases: 0 }),
            vlan: VlanMode::Trunk(Trunk::all()),
            ..PortPolicy::new(Role::Vnic)
        };
        let mut switch = Switch::new(TableConfig::default(), [1, 2]);
        let ports = vec![(PortIndex(0), PortPolicy::new(Role::Uplink)), (PortIndex(1), vm)];
        switch.install(Arc::new(Snapshot::new(ports)), Millis(0));
        let mut out = Verdicts::default();
        switch.process(PortIndex(1), &[FrameIn { header: &frame, len: 128 }], Millis(0), &mut out);
        let passes = match out[0] {
            Verdict::Flood(Flood::Group, _) => true,
            Verdict::Drop(DropReason::SpoofedIp) => false,
            // A tag that is cut off.
            Verdict::Drop(DropReason::Runt) => return Ok(()),
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(passes, speaks(&frame, 12).unwrap_or(false), "{:02x?}", frame);
    }
}
