//! Which rules of one direction match a frame.
//!
//! All rules that look at IP, basic ones, meters and extended ones, are in one order, and each field of a frame is looked up once
//! for all of them. A rule *could* match what is hidden ([`wire::packet`]): so a deny does, and an allow that needs to know does not.

use super::{
    field::{self, Field, Number, Row, Takes},
    rules::{Entry, Section},
};
use alloc::vec::Vec;
use model::AclTraffic;
use wire::{
    FiveTuple, IpVersion,
    packet::{Addresses, Network, Packet, Transport},
};

/// What is looked at: two addresses, two ports, and what is carried.
const FIELDS: usize = 5;
/// Numbers of protocols.
const PROTOCOLS: usize = 256;

/// A frame as rules see it: which of them each field lets through.
pub(super) type Rows<'a> = field::Rows<'a, FIELDS>;

/// The rules of one direction.
#[derive(Clone, Debug)]
pub(super) struct Classifier {
    local: Address,
    remote: Address,
    local_port: Port,
    remote_port: Port,
    carried: Carried,
    /// Which words of a row are whose.
    sections: [u64; Section::COUNT],
}

/// Ports, or the type of an ICMP message at the vNIC's end.
#[derive(Clone, Debug)]
struct Port {
    known: Field<u16>,
    hidden: Row,
    absent: Row,
}

#[derive(Clone, Debug)]
struct Address {
    v4: Field<u32>,
    v6: Field<u128>,
    hidden_v4: Row,
    hidden_v6: Row,
    hidden: Row,
    absent: Row,
}

#[derive(Clone, Debug)]
struct Carried {
    /// Rows of protocols: most have the same one.
    rows: Vec<Row>,
    of_protocol: Vec<u16>,
    hidden_ip: Row,
    arp: Row,
    other: Row,
    hidden: Row,
}

/// Which end of a rule.
#[derive(Clone, Copy)]
pub(super) enum End {
    Local,
    Remote,
}

impl Classifier {
    /// Of rules in their order; each section begins at a word of its own, with `None` in between.
    pub(super) fn new(entries: &[Option<Entry>], sections: [u64; Section::COUNT]) -> Self {
        let words = entries.len().div_ceil(64);
        let build = Build { entries, words };
        Self {
            local: build.address(End::Local),
            remote: build.address(End::Remote),
            local_port: build.port(End::Local),
            remote_port: build.port(End::Remote),
            carried: build.carried(),
            sections,
        }
    }

    /// The rows of a frame's fields. `is_out` where the vNIC is its source.
    #[inline]
    pub(super) fn rows(&self, network: &Network<'_>, is_out: bool) -> Rows<'_> {
        Rows::new(self.fields(network, is_out))
    }

    #[inline]
    fn fields(&self, network: &Network<'_>, is_out: bool) -> [&[u64]; FIELDS] {
        match network {
            Network::Ip(packet) => self.rows_of_packet(packet, is_out),
            Network::Arp => self.rows_of_other(&self.carried.arp),
            Network::Other => self.rows_of_other(&self.carried.other),
            Network::Hidden => [
                self.local.hidden.words(),
                self.remote.hidden.words(),
                self.local_port.hidden.words(),
                self.remote_port.hidden.words(),
                self.carried.hidden.words(),
            ],
        }
    }

    fn rows_of_other<'a>(&'a self, carried: &'a Row) -> [&'a [u64]; FIELDS] {
        [
            self.local.absent.words(),
            self.remote.absent.words(),
            self.local_port.absent.words(),
            self.remote_port.absent.words(),
            carried.words(),
        ]
    }

    #[inline]
    fn rows_of_packet(&self, packet: &Packet<'_>, is_out: bool) -> [&[u64]; FIELDS] {
        let [local, remote] = self.address_rows(packet.addresses, is_out);
        let [local_port, remote_port, carried] = self.upper_rows(&packet.transport, is_out);
        [local, remote, local_port, remote_port, carried]
    }

    /// The same of a packet of which no more is known, nor has to be.
    #[inline]
    pub(super) fn rows_of_tuple(&self, tuple: &FiveTuple, is_out: bool) -> Rows<'_> {
        let [local, remote] = self.address_rows(tuple.addresses(), is_out);
        let [local_port, remote_port, carried] = self.port_rows(tuple.protocol(), tuple.ports(), is_out);
        Rows::new([local, remote, local_port, remote_port, carried])
    }

    #[inline]
    fn address_rows(&self, addresses: Addresses, is_out: bool) -> [&[u64]; 2] {
        match addresses {
            Addresses::V4(src, dst) => {
                let (local, remote) = if is_out { (src, dst) } else { (dst, src) };
                [self.local.v4.row(local), self.remote.v4.row(remote)]
            }
            Addresses::V6(src, dst) => {
                let (local, remote) = if is_out { (src, dst) } else { (dst, src) };
                [self.local.v6.row(local), self.remote.v6.row(remote)]
            }
            Addresses::Hidden(version) => [self.local.hidden(version), self.remote.hidden(version)],
        }
    }

    #[inline]
    fn port_rows(&self, protocol: u8, (src, dst): (u16, u16), is_out: bool) -> [&[u64]; 3] {
        let (local, remote) = if is_out { (src, dst) } else { (dst, src) };
        [
            self.local_port.known.row(local),
            self.remote_port.known.row(remote),
            self.carried.protocol(protocol),
        ]
    }

    #[inline]
    fn upper_rows(&self, transport: &Transport<'_>, is_out: bool) -> [&[u64]; 3] {
        match transport {
            Transport::Tcp(segment) => self.port_rows(wire::ip::TCP, segment.ports, is_out),
            Transport::Udp(src, dst) => self.port_rows(wire::ip::UDP, (*src, *dst), is_out),
            Transport::Icmp(icmp) => [
                self.local_port.known.row(icmp.kind.into()),
                self.remote_port.absent.words(),
                self.carried.protocol(icmp.protocol()),
            ],
            Transport::Other(protocol) => [
                self.local_port.absent.words(),
                self.remote_port.absent.words(),
                self.carried.protocol(*protocol),
            ],
            Transport::Hidden(protocol) => [
                self.local_port.hidden.words(),
                self.remote_port.hidden.words(),
                protocol.map_or(self.carried.hidden_ip.words(), |protocol| self.carried.protocol(protocol)),
            ],
        }
    }

    /// The first rule of a section that matches.
    #[inline]
    pub(super) fn first(&self, rows: Rows<'_>, section: Section) -> Option<usize> {
        rows.first(self.sections[section as usize])
    }

    /// True where there are rules of a section.
    #[inline]
    pub(super) const fn has(&self, section: Section) -> bool {
        self.sections[section as usize] != 0
    }

    /// True where there are rules besides extended ones.
    #[inline]
    pub(super) const fn looks_first(&self) -> bool {
        self.sections[Section::Meters as usize] | self.sections[Section::Basic as usize] != 0
    }

    pub(super) fn bytes(&self) -> usize {
        let address = |a: &Address| a.v4.bytes() + a.v6.bytes();
        let ports = self.local_port.known.bytes() + self.remote_port.known.bytes();
        let rows: usize = self.carried.rows.iter().map(|row| size_of_val(row.words())).sum();
        address(&self.local) + address(&self.remote) + ports + rows
    }
}

impl Address {
    fn hidden(&self, version: IpVersion) -> &[u64] {
        match version {
            IpVersion::V4 => self.hidden_v4.words(),
            IpVersion::V6 => self.hidden_v6.words(),
        }
    }
}

impl Carried {
    #[inline]
    fn protocol(&self, protocol: u8) -> &[u64] {
        let row =
            self.of_protocol.get(usize::from(protocol)).and_then(|row| self.rows.get(usize::from(*row)));
        row.map(Row::words).unwrap_or_default()
    }
}

/// What the fields are made of.
struct Build<'a> {
    entries: &'a [Option<Entry>],
    words: usize,
}

impl Build<'_> {
    /// The rules for which `is_in` is true.
    fn row(&self, is_in: impl Fn(&Entry) -> bool) -> Row {
        let has = |at: usize| self.entries.get(at).and_then(Option::as_ref).is_some_and(&is_in);
        Row::of(self.entries.len(), self.words, has)
    }

    /// A field of which each rule takes something; a place without a rule takes nothing.
    fn field<K: Number>(&self, takes: impl Fn(&Entry) -> Takes<K>) -> Field<K> {
        let takes = |entry: &Option<Entry>| entry.as_ref().map_or(Takes::Nothing, &takes);
        Field::new(&self.entries.iter().map(takes).collect::<Vec<_>>(), self.words)
    }

    fn address(&self, end: End) -> Address {
        let prefix = |entry: &Entry| entry.prefix(end);
        let v4 = self.field(|entry| match prefix(entry) {
            None => Takes::All,
            Some((IpVersion::V4, first, last)) => Takes::Range(first as u32, last as u32),
            Some(_) => Takes::Nothing,
        });
        let v6 = self.field(|entry| match prefix(entry) {
            None => Takes::All,
            Some((IpVersion::V6, first, last)) => Takes::Range(first, last),
            Some(_) => Takes::Nothing,
        });
        let could = |entry: &Entry, version: Option<IpVersion>| {
            prefix(entry).is_none_or(|(of, ..)| entry.is_deny() && (version == Some(of) || version.is_none()))
        };
        Address {
            v4,
            v6,
            hidden_v4: self.row(|entry| could(entry, Some(IpVersion::V4))),
            hidden_v6: self.row(|entry| could(entry, Some(IpVersion::V6))),
            hidden: self.row(|entry| could(entry, None)),
            absent: self.row(|entry| prefix(entry).is_none()),
        }
    }

    fn port(&self, end: End) -> Port {
        let ports = |entry: &Entry| entry.ports(end);
        Port {
            known: self
                .field(|entry| ports(entry).map_or(Takes::All, |(first, last)| Takes::Range(first, last))),
            hidden: self.row(|entry| ports(entry).is_none() || entry.is_deny()),
            absent: self.row(|entry| ports(entry).is_none()),
        }
    }

    fn carried(&self) -> Carried {
        let (mut rows, mut of_protocol) = (Vec::new(), Vec::with_capacity(PROTOCOLS));
        for protocol in 0..=u8::MAX {
            let row = self.row(|entry| entry.takes_protocol(protocol));
            let at = rows.iter().position(|other| *other == row).unwrap_or(rows.len());
            if at == rows.len() {
                rows.push(row);
            }
            of_protocol.push(at as u16);
        }
        let is = |entry: &Entry, traffic: AclTraffic| entry.traffic() == traffic;
        let is_any = |entry: &Entry| is(entry, AclTraffic::Any);
        Carried {
            rows,
            of_protocol,
            hidden_ip: self.row(|entry| {
                is_any(entry) || is(entry, AclTraffic::Ip) || (entry.is_deny() && !is(entry, AclTraffic::Arp))
            }),
            arp: self.row(|entry| is_any(entry) || is(entry, AclTraffic::Arp)),
            other: self.row(is_any),
            hidden: self.row(|entry| is_any(entry) || entry.is_deny()),
        }
    }
}
