//! What VMs send that want past the guards: headers in every order, with what matters among likely values, and cut anywhere.

use proptest::{collection::vec, prelude::*, sample::select};

type Bytes = Vec<u8>;

/// What follows the addresses of a frame.
pub fn packet() -> impl Strategy<Value = Bytes> {
    let cut = prop_oneof![6 => Just(usize::MAX), 1 => 0..120usize];
    (links(), prop_oneof![v4(), v6()], cut).prop_map(|(links, packet, cut)| {
        let mut bytes = [links, packet].concat();
        bytes.truncate(cut.min(114));
        bytes
    })
}

fn links() -> impl Strategy<Value = Bytes> {
    let link = select(vec![
        &[0x81, 0x00, 0x00, 0x00][..],
        &[0x81, 0x00, 0x0f, 0xff],
        &[0x88, 0xa8, 0x00, 0x07],
        &[0x91, 0x00, 0xe0, 0x07],
        &[0x00, 0x40, 0xaa, 0xaa, 0x03, 0x00, 0x00, 0x00],
        &[0x00, 0x00, 0xab, 0xaa, 0x03, 0x00, 0x00, 0xf8],
        &[0x05, 0xff, 0xaa, 0xaa, 0x03, 0x00, 0x00, 0x0c],
        &[0x00, 0x26, 0x42, 0x42, 0x03],
    ]);
    vec(link, 0..4).prop_map(|links| links.concat())
}

fn v4() -> impl Strategy<Value = Bytes> {
    let first = prop_oneof![4 => Just(0x45u8), 2 => 0x45..=0x4fu8, 1 => any::<u8>()];
    let fragment = select(vec![0u16, 0, 0x4000, 0x2000, 0x2001, 1, 0x1fff]);
    let protocol = select(vec![1u8, 17, 17, 6, 58, 136]);
    (first, fragment, protocol, transport()).prop_map(|(first, fragment, protocol, transport)| {
        let mut header = vec![0; usize::from(first % 16).max(5) * 4];
        (header[0], header[9]) = (first, protocol);
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        [vec![0x08, 0x00], header, transport].concat()
    })
}

fn v6() -> impl Strategy<Value = Bytes> {
    let first = prop_oneof![9 => Just(0x60u8), 1 => any::<u8>()];
    let extension = (select(vec![0u8, 43, 44, 44, 60]), 0..3u8, select(vec![0u16, 1, 8, 9, 0xfff8]));
    let protocol = select(vec![58u8, 58, 17, 17, 6, 1, 50, 59]);
    (first, vec(extension, 0..5), protocol, transport()).prop_map(|(first, chain, protocol, transport)| {
        let mut header = vec![0; 40];
        (header[0], header[6]) = (first, chain.first().map_or(protocol, |(kind, ..)| *kind));
        let nexts = chain.iter().skip(1).map(|(kind, ..)| *kind).chain([protocol]);
        for ((kind, length, fragment), next) in chain.iter().zip(nexts) {
            header.extend([next, *length]);
            header.extend(fragment.to_be_bytes());
            header.extend(vec![0; if *kind == 44 { 4 } else { 4 + 8 * usize::from(*length) }]);
        }
        [vec![0x86, 0xdd], header, transport].concat()
    })
}

/// As UDP, ports and the first byte behind the header; as ICMP, a type.
fn transport() -> impl Strategy<Value = Bytes> {
    let port = select(vec![53u16, 67, 68, 546, 547]);
    let udp = (port.clone(), port, 0..15u8).prop_map(|(from, to, message)| {
        [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0, 9, 0, 0, message]].concat()
    });
    let icmp = select(vec![0u8, 5, 8, 9, 10, 128, 133, 134, 135, 136, 137]);
    prop_oneof![2 => udp, 1 => icmp.prop_map(|kind| vec![kind, 0, 0, 0, 0, 0, 0, 0, 0])]
}
