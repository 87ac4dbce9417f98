//! Frames as they are described, and their bytes: so who judges the description shares no parser with the engine.

use std::net::IpAddr;

pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;
pub const FIN: u8 = 1;

#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub src_mac: [u8; 6],
    pub dst_mac: [u8; 6],
    pub tags: Vec<u8>,
    pub carries: Carries,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Carries {
    Arp,
    Lldp,
    /// Nothing behind the addresses, or half an EtherType.
    Nothing,
    /// An IP header that contradicts itself: its version.
    BadIp(u8),
    Ip(Ip),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ip {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub part: Part,
    pub upper: Upper,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    Whole,
    /// With more to come.
    First(u16),
    /// Identification, and offset in eight bytes.
    Later(u16, u16),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Upper {
    Tcp(Tcp),
    Udp(u16, u16),
    /// Type, identifier and what follows.
    Icmp(u8, u16, Vec<u8>),
    Other(u8),
    /// Of this protocol, and cut off in its header.
    Cut(u8),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tcp {
    pub ports: (u16, u16),
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub scale: Option<u8>,
    pub payload: u16,
}

impl Ip {
    pub fn is_v4(&self) -> bool {
        self.src.is_ipv4()
    }

    pub fn protocol(&self) -> u8 {
        match self.upper {
            Upper::Tcp(_) => 6,
            Upper::Udp(..) => 17,
            Upper::Icmp(..) => {
                if self.is_v4() {
                    1
                } else {
                    58
                }
            }
            Upper::Other(protocol) | Upper::Cut(protocol) => protocol,
        }
    }

    /// Its bytes, with as many of the payload as make no difference.
    pub fn bytes(&self) -> Vec<u8> {
        let (upper, more) = (upper_bytes(&self.upper), stated_payload(&self.upper));
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (id, word) = match self.part {
                    Part::Whole => (1, 0x4000),
                    Part::First(id) => (id, 0x2000),
                    Part::Later(id, offset) => (id, offset),
                };
                let total = (20 + upper.len() + more) as u16;
                let mut header = vec![0x45, 0];
                header.extend(total.to_be_bytes());
                header.extend(u16::to_be_bytes(id));
                header.extend(u16::to_be_bytes(word));
                header.extend([64, self.protocol(), 0, 0]);
                header.extend(src.octets());
                header.extend(dst.octets());
                [header, upper].concat()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let fragment = match self.part {
                    Part::Whole => vec![],
                    Part::First(id) => fragment_header(self.protocol(), id, 1),
                    Part::Later(id, offset) => fragment_header(self.protocol(), id, offset << 3),
                };
                let next = if fragment.is_empty() { self.protocol() } else { 44 };
                let length = (fragment.len() + upper.len() + more) as u16;
                let mut header = vec![0x60, 0, 0, 0];
                header.extend(length.to_be_bytes());
                header.extend([next, 64]);
                header.extend(src.octets());
                header.extend(dst.octets());
                [header, fragment, upper].concat()
            }
            _ => panic!("two versions"),
        }
    }
}

fn fragment_header(next: u8, id: u16, word: u16) -> Vec<u8> {
    [&[next, 0][..], &word.to_be_bytes(), &[0, 0], &id.to_be_bytes()].concat()
}

fn stated_payload(upper: &Upper) -> usize {
    if let Upper::Tcp(tcp) = upper { tcp.payload.into() } else { 0 }
}

pub fn upper_bytes(upper: &Upper) -> Vec<u8> {
    match upper {
        Upper::Tcp(tcp) => tcp.bytes(),
        Upper::Udp(src, dst) => [&src.to_be_bytes()[..], &dst.to_be_bytes(), &[0, 8, 0, 0]].concat(),
        Upper::Icmp(kind, id, body) => [&[*kind, 0, 0, 0][..], &id.to_be_bytes(), &[0, 1], body].concat(),
        Upper::Other(_) => vec![1, 2, 3, 4, 5, 6, 7, 8],
        Upper::Cut(_) => vec![0],
    }
}

impl Tcp {
    pub fn bytes(&self) -> Vec<u8> {
        let options = self.scale.map_or(vec![], |scale| vec![1, 3, 3, scale]);
        let mut bytes = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([((20 + options.len()) / 4 * 16) as u8, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes
    }
}

impl Frame {
    pub fn of(ip: Ip) -> Self {
        Self { src_mac: [2; 6], dst_mac: [4; 6], tags: vec![], carries: Carries::Ip(ip) }
    }

    pub fn header(&self) -> Vec<u8> {
        let rest = match &self.carries {
            Carries::Arp => vec![8, 6, 0, 1, 8, 0],
            Carries::Lldp => vec![0x88, 0xcc, 2, 7],
            Carries::Nothing => vec![8],
            Carries::BadIp(4) => [&[8, 0, 0x42][..], &[0; 30]].concat(),
            Carries::BadIp(_) => [&[0x86, 0xdd, 0x40][..], &[0; 60]].concat(),
            Carries::Ip(ip) if ip.is_v4() => [vec![8, 0], ip.bytes()].concat(),
            Carries::Ip(ip) => [vec![0x86, 0xdd], ip.bytes()].concat(),
        };
        let mut frame = [self.dst_mac.to_vec(), self.src_mac.to_vec(), self.tags.clone(), rest].concat();
        frame.truncate(128);
        frame
    }
}
