//! A frame in a few words.

use model::MacAddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::{
    Fragment, IpVersion, Ipv4View, Ipv6View, Layers, TcpView, UdpView, VlanTag, ethernet, ip, transport, vlan,
};

/// Names of TCP's flags, as tcpdump has them.
const FLAGS: [(u8, char); 6] = [(0x02, 'S'), (0x01, 'F'), (0x04, 'R'), (0x08, 'P'), (0x20, 'U'), (0x10, '.')];
/// Types of ICMPv6 messages that switches have to do with (RFC 4443, RFC 4861, RFC 3810).
const ICMPV6: [(u8, &str); 10] = [
    (1, "unreachable"),
    (2, "packet too big"),
    (128, "echo request"),
    (129, "echo reply"),
    (133, "router solicitation"),
    (134, "router advertisement"),
    (135, "neighbour solicitation"),
    (136, "neighbour advertisement"),
    (137, "redirect"),
    (143, "listener report"),
];
/// Types of ICMP messages (RFC 792).
const ICMP: [(u8, &str); 5] =
    [(0, "echo reply"), (3, "unreachable"), (5, "redirect"), (8, "echo request"), (11, "time exceeded")];

/// What can be told of a frame by its first bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub source: Option<MacAddr>,
    pub destination: Option<MacAddr>,
    pub vlans: Vec<u16>,
    pub carries: String,
}

/// What can be told of the frame that begins so.
pub fn of(head: &[u8]) -> Summary {
    let Some((destination, source)) = ethernet::addresses(head) else {
        return Summary { carries: "no Ethernet header".into(), ..Summary::default() };
    };
    let vlans = tags(head).map(VlanTag::vid).collect();
    Summary { source: Some(source), destination: Some(destination), vlans, carries: carries(head) }
}

/// The tags of a frame, the outer one first.
fn tags(head: &[u8]) -> impl Iterator<Item = VlanTag> {
    let places = (ethernet::TYPE_OFFSET..).step_by(vlan::TAG_LEN).take(vlan::MAX_TAGS);
    places.map_while(|at| {
        let (tpid, tci) = (be16(head, at)?, be16(head, at + 2)?);
        vlan::is_tpid(tpid).then_some(VlanTag { tpid, tci })
    })
}

fn carries(head: &[u8]) -> String {
    if let Ok(layers) = transport::locate(head) {
        return packet(head, &layers);
    }
    match transport::payload_type(head) {
        Ok((ethernet::ARP, at)) => arp(head.get(at..).unwrap_or_default()),
        Ok((ethernet::IPV4, _)) => "IPv4, malformed or cut off".into(),
        Ok((ethernet::IPV6, _)) => "IPv6, malformed or cut off".into(),
        Ok((kind, _)) if kind >= ethernet::FIRST_ETHERTYPE => format!("EtherType 0x{kind:04x}"),
        Ok(_) => "LLC".into(),
        Err(_) => "cut off".into(),
    }
}

/// RFC 826, for IPv4 over Ethernet.
fn arp(bytes: &[u8]) -> String {
    let address =
        |at: usize| bytes.get(at..at + 4).and_then(|b| b.first_chunk::<4>()).map(|b| Ipv4Addr::from(*b));
    match (be16(bytes, 6), address(14), address(24)) {
        (Some(1), Some(sender), Some(target)) => format!("ARP who has {target} tell {sender}"),
        (Some(2), Some(sender), Some(_)) => format!("ARP {sender} is here"),
        _ => "ARP".into(),
    }
}

fn packet(head: &[u8], layers: &Layers) -> String {
    let Some((source, destination)) = addresses(head, layers) else { return "IP".into() };
    let rest = match layers.fragment {
        Fragment::Later => &[],
        _ => head.get(layers.transport..).unwrap_or_default(),
    };
    let between = |ports: Option<(u16, u16)>| match ports {
        Some((from, to)) => format!("{} > {}", with_port(source, from), with_port(destination, to)),
        None => format!("{source} > {destination}"),
    };
    let what = match layers.protocol {
        ip::TCP => {
            let view = TcpView::parse(rest);
            let flags = view.map(|tcp| format!(" [{}]", flags(tcp.flags()))).unwrap_or_default();
            format!("TCP {}{flags}", between(view.map(|tcp| tcp.ports())))
        }
        ip::UDP => format!("UDP {}", between(UdpView::parse(rest).map(|udp| udp.ports()))),
        ip::ICMP => format!("ICMP {}{}", between(None), message(&ICMP, rest)),
        ip::ICMPV6 => format!("ICMPv6 {}{}", between(None), message(&ICMPV6, rest)),
        protocol => format!("IP protocol {protocol} {}", between(None)),
    };
    what + if layers.fragment == Fragment::Whole { "" } else { " (fragment)" }
}

fn addresses(head: &[u8], layers: &Layers) -> Option<(IpAddr, IpAddr)> {
    let header = head.get(layers.network..)?;
    Some(match layers.version {
        IpVersion::V4 => {
            let ip = Ipv4View::parse(header).ok()?;
            (Ipv4Addr::from(ip.src()).into(), Ipv4Addr::from(ip.dst()).into())
        }
        IpVersion::V6 => {
            let ip = Ipv6View::parse(header).ok()?;
            (Ipv6Addr::from(ip.src()).into(), Ipv6Addr::from(ip.dst()).into())
        }
    })
}

fn with_port(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

fn flags(flags: u8) -> String {
    FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect()
}

fn message(names: &[(u8, &str)], bytes: &[u8]) -> String {
    let Some(&kind) = bytes.first() else { return String::new() };
    let name = names.iter().find(|(known, _)| *known == kind);
    name.map_or_else(|| format!(" type {kind}"), |(_, name)| format!(" {name}"))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u16::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

    fn carried(behind_addresses: &[&[u8]]) -> String {
        of(&[&ADDRESSES[..], &behind_addresses.concat()].concat()).carries
    }

    fn v4(protocol: u8, fragment: [u8; 2], payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 60, 0, 0, fragment[0], fragment[1], 64, protocol, 0, 0];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn addresses_and_vlans_are_told() {
        let head = [&ADDRESSES[..], &[0x88, 0xa8, 0, 100, 0x81, 0, 0x60, 7, 0x88, 0xb5]].concat();
        let summary = of(&head);
        assert_eq!((summary.vlans, &*summary.carries), (vec![100, 7], "EtherType 0x88b5"));
        assert_eq!(summary.source, Some("02:00:00:00:00:01".parse().unwrap()));
        assert_eq!(summary.destination, Some("02:00:00:00:00:02".parse().unwrap()));
        assert_eq!(of(&head[..9]), Summary { carries: "no Ethernet header".into(), ..Summary::default() });
    }

    #[test]
    fn what_frames_carry_is_told_in_a_few_words() {
        let syn = [&[0x1f, 0x90, 0, 80][..], &[0; 8], &[0x50, 0x12], &[0; 6]].concat();
        let told = |packet: Vec<u8>| carried(&[&[8, 0], &packet]);
        assert_eq!(told(v4(6, [0, 0], &syn)), "TCP 10.0.0.1:8080 > 10.0.0.2:80 [S.]");
        assert_eq!(told(v4(17, [0, 0], &[0, 68, 0, 67, 0, 8, 0, 0])), "UDP 10.0.0.1:68 > 10.0.0.2:67");
        assert_eq!(told(v4(1, [0, 0], &[8, 0])), "ICMP 10.0.0.1 > 10.0.0.2 echo request");
        assert_eq!(told(v4(17, [0, 9], &[1, 2, 3, 4])), "UDP 10.0.0.1 > 10.0.0.2 (fragment)");
        assert_eq!(told(v4(47, [0, 0], &[])), "IP protocol 47 10.0.0.1 > 10.0.0.2");
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[2; 6], &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 2]].concat();
        assert_eq!(carried(&[&[8, 6], &arp]), "ARP who has 10.0.0.2 tell 10.0.0.1");
        let nd = [&[0x60, 0, 0, 0, 0, 4, 58, 255][..], &[0; 15], &[1], &[0; 15], &[2], &[135, 0]].concat();
        assert_eq!(carried(&[&[0x86, 0xdd], &nd]), "ICMPv6 ::1 > ::2 neighbour solicitation");
        assert_eq!(carried(&[&[8, 0, 0x45]]), "IPv4, malformed or cut off");
        assert_eq!(carried(&[&[0, 40, 0xaa]]), "LLC");
    }
}
