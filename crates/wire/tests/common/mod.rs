//! Frames as a guest with offloads hands them over, built without the crate under test.

#![allow(dead_code, reason = "each test binary uses a part")]

use wire::VnetHdr;

/// The addresses and the transport of a frame.
#[derive(Clone, Debug)]
pub struct Spec {
    /// (TPID, TCI), outer first.
    pub tags: Vec<(u16, u16)>,
    pub ip: Ip,
    pub transport: Transport,
    pub payload: Vec<u8>,
}

#[derive(Clone, Debug)]
pub enum Ip {
    /// The identification and the options, a multiple of four bytes.
    V4 { id: u16, options: Vec<u8> },
    /// Extension headers of eight bytes each, by protocol number.
    V6 { extensions: Vec<u8> },
}

#[derive(Clone, Debug)]
pub enum Transport {
    /// Options: a multiple of four bytes.
    Tcp {
        seq: u32,
        flags: u8,
        options: Vec<u8>,
    },
    Udp,
}

pub const SRC_V4: [u8; 4] = [10, 77, 0, 1];
pub const DST_V4: [u8; 4] = [10, 77, 0, 2];
pub const SRC_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub const DST_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// Bytes that look random and are the same each time.
pub fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_add(17).wrapping_mul(2_654_435_761) >> 21) as u8).collect()
}

pub fn tcp_v4(payload: usize) -> Spec {
    Spec {
        tags: vec![],
        ip: Ip::V4 { id: 0xfffe, options: vec![] },
        transport: Transport::Tcp { seq: 0xffff_f000, flags: 0x18, options: timestamps() },
        payload: noise(payload),
    }
}

pub fn udp_v4(payload: usize) -> Spec {
    Spec { transport: Transport::Udp, ..tcp_v4(payload) }
}

pub fn tcp_v6(payload: usize) -> Spec {
    Spec { ip: Ip::V6 { extensions: vec![] }, ..tcp_v4(payload) }
}

pub fn udp_v6(payload: usize) -> Spec {
    Spec { transport: Transport::Udp, ..tcp_v6(payload) }
}

/// NOP, NOP, timestamps: what Linux sends.
fn timestamps() -> Vec<u8> {
    vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]
}

impl Spec {
    pub fn tagged(mut self, tpid: u16, tci: u16) -> Self {
        self.tags.push((tpid, tci));
        self
    }

    pub fn header_len(&self) -> usize {
        self.csum_start() + self.transport_header_len()
    }

    /// Where the IP header begins.
    pub fn network(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    pub fn csum_start(&self) -> usize {
        self.network()
            + match &self.ip {
                Ip::V4 { options, .. } => 20 + options.len(),
                Ip::V6 { extensions } => 40 + 8 * extensions.len(),
            }
    }

    fn transport_header_len(&self) -> usize {
        match &self.transport {
            Transport::Tcp { options, .. } => 20 + options.len(),
            Transport::Udp => 8,
        }
    }

    pub fn protocol(&self) -> u8 {
        if matches!(self.transport, Transport::Udp) { 17 } else { 6 }
    }

    /// The frame with a partial checksum: the field holds the pseudo header's sum.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        for (tpid, tci) in &self.tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        let transport_len = self.transport_header_len() + self.payload.len();
        match &self.ip {
            Ip::V4 { id, options } => self.push_v4(&mut frame, *id, options, transport_len),
            Ip::V6 { extensions } => self.push_v6(&mut frame, extensions, transport_len),
        }
        self.push_transport(&mut frame, transport_len);
        frame.extend(&self.payload);
        frame
    }

    fn push_v4(&self, frame: &mut Vec<u8>, id: u16, options: &[u8], transport_len: usize) {
        let header_len = 20 + options.len();
        let mut ip = vec![0x40 | (header_len / 4) as u8, 0];
        ip.extend(((header_len + transport_len) as u16).to_be_bytes());
        ip.extend(id.to_be_bytes());
        ip.extend([0x40, 0, 64, self.protocol(), 0, 0]);
        ip.extend(SRC_V4);
        ip.extend(DST_V4);
        ip.extend(options);
        let checksum = !fold(&ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend([0x08, 0x00]);
        frame.extend(ip);
    }

    fn push_v6(&self, frame: &mut Vec<u8>, extensions: &[u8], transport_len: usize) {
        let mut chain = extensions.iter().copied().chain([self.protocol()]);
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(((8 * extensions.len() + transport_len) as u16).to_be_bytes());
        frame.extend([chain.next().unwrap_or_default(), 64]);
        frame.extend(SRC_V6);
        frame.extend(DST_V6);
        for next in chain {
            // PadN of six bytes; read as a routing header: type 1 with no segments left.
            frame.extend([next, 0, 1, 0, 0, 0, 0, 0]);
            let at = frame.len() - 5;
            frame[at] = 4;
        }
    }

    fn push_transport(&self, frame: &mut Vec<u8>, transport_len: usize) {
        let pseudo = self.pseudo_sum(transport_len).to_be_bytes();
        frame.extend([0x30, 0x39, 0x14, 0x51]);
        match &self.transport {
            Transport::Tcp { seq, flags, options } => {
                frame.extend(seq.to_be_bytes());
                frame.extend([0, 0, 0x10, 0, ((20 + options.len()) as u8) << 2, *flags, 0x20, 0]);
                frame.extend(pseudo);
                frame.extend([0, 0]);
                frame.extend(options);
            }
            Transport::Udp => {
                frame.extend((transport_len as u16).to_be_bytes());
                frame.extend(pseudo);
            }
        }
    }

    fn pseudo_sum(&self, transport_len: usize) -> u16 {
        let mut pseudo = match self.ip {
            Ip::V4 { .. } => [SRC_V4, DST_V4].concat(),
            Ip::V6 { .. } => [SRC_V6, DST_V6].concat(),
        };
        pseudo.extend((transport_len as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, self.protocol()]);
        fold(&pseudo)
    }

    /// The offload header of a frame that goes as it is, with its checksum partial.
    pub fn checksum_hdr(&self) -> VnetHdr {
        let csum_offset = if matches!(self.transport, Transport::Udp) { 6 } else { 16 };
        VnetHdr {
            flags: VnetHdr::NEEDS_CSUM,
            csum_start: self.csum_start() as u16,
            csum_offset,
            hdr_len: self.header_len() as u16,
            ..VnetHdr::default()
        }
    }

    /// The offload header of a frame to be cut into `gso_size` bytes each.
    pub fn gso_hdr(&self, gso_size: u16) -> VnetHdr {
        let gso_type = match (&self.transport, &self.ip) {
            (Transport::Udp, _) => 5,
            (_, Ip::V4 { .. }) => 1,
            (_, Ip::V6 { .. }) => 4,
        };
        VnetHdr { gso_type, gso_size, ..self.checksum_hdr() }
    }
}

/// RFC 1071, word by word.
pub fn fold(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// All segments, each as it would leave.
pub fn segments(frame: &[u8], hdr: &VnetHdr) -> Vec<Vec<u8>> {
    let mut segments = wire::Segments::new(frame, hdr).expect("the frame can be segmented");
    let mut buffer = [0; wire::segment::MAX_HEADER_LEN];
    let mut out = Vec::new();
    while let Some(segment) = segments.next_into(&mut buffer) {
        out.push([&buffer[..segment.header_len], &frame[segment.payload]].concat());
    }
    out
}
