//! DHCP guard and router guard, written from the RFCs' pictures of headers and not from `wire`: byte by byte, by index.

/// What a receiver could find in a frame.
enum Found {
    Udp {
        v6: bool,
        from: u16,
        to: u16,
        message: Option<u8>,
    },
    Icmp {
        v6: bool,
        kind: u8,
    },
    Harmless,
    /// The header ends too early, is none that exists, or may be replaced by a fragment that follows.
    Unclear,
}

pub fn dhcp_guard_drops(header: &[u8]) -> bool {
    match behind_type(header, 12) {
        Found::Udp { v6: false, to: 68, .. } | Found::Udp { v6: true, to: 546, .. } | Found::Unclear => true,
        Found::Udp { v6: false, from, to, message } => (from == 67 || to == 67) && message != Some(1),
        Found::Udp { v6: true, from, to, message } => {
            (from == 547 || to == 547) && matches!(message, None | Some(2 | 7 | 10 | 13))
        }
        Found::Icmp { .. } | Found::Harmless => false,
    }
}

pub fn router_guard_drops(header: &[u8]) -> bool {
    match behind_type(header, 12) {
        Found::Icmp { v6: false, kind } => kind == 5 || kind == 9,
        Found::Icmp { v6: true, kind } => kind == 134 || kind == 137,
        Found::Unclear => true,
        Found::Udp { .. } | Found::Harmless => false,
    }
}

fn number(h: &[u8], at: usize) -> Option<u16> {
    Some(u16::from(*h.get(at)?) * 256 + u16::from(*h.get(at + 1)?))
}

fn behind_type(h: &[u8], at: usize) -> Found {
    match number(h, at) {
        None => Found::Unclear,
        Some(0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300) => behind_type(h, at + 4),
        Some(0x0800) => behind_v4(h, at + 2),
        Some(0x86dd) => behind_v6(h, at + 2),
        Some(0..0x600) => match (h.get(at + 2), h.get(at + 5..at + 8)) {
            (None, _) | (Some(0xaa | 0xab), None) => Found::Unclear,
            (Some(0xaa | 0xab), Some([0, 0, 0] | [0, 0, 0xf8])) => behind_type(h, at + 8),
            _ => Found::Harmless,
        },
        Some(_) => Found::Harmless,
    }
}

fn behind_v4(h: &[u8], at: usize) -> Found {
    let (Some(first), Some(fragment)) = (h.get(at), number(h, at + 6)) else { return Found::Unclear };
    let length = usize::from(first % 16) * 4;
    if first / 16 != 4 || length < 20 || h.len() < at + length {
        return Found::Unclear;
    }
    match fragment % 0x4000 {
        0 => transport(h, at + length, h[at + 9], false, true),
        0x2000 => transport(h, at + length, h[at + 9], false, false),
        _ => Found::Harmless,
    }
}

fn behind_v6(h: &[u8], at: usize) -> Found {
    match h.get(at..at + 40) {
        Some(fixed) if fixed[0] / 16 == 6 => behind_next_header(h, at + 40, fixed[6], false),
        _ => Found::Unclear,
    }
}

fn behind_next_header(h: &[u8], at: usize, kind: u8, in_fragment: bool) -> Found {
    match kind {
        0 | 43 | 44 | 60 if in_fragment => Found::Unclear,
        0 | 43 | 60 => match (h.get(at), h.get(at + 1)) {
            (Some(next), Some(length)) => {
                let end = at + 8 + 8 * usize::from(*length);
                if end > h.len() { Found::Unclear } else { behind_next_header(h, end, *next, false) }
            }
            _ => Found::Unclear,
        },
        44 => match h.get(at..at + 8) {
            None => Found::Unclear,
            Some([_, _, 0, 0..8, ..]) => behind_next_header(h, at + 8, h[at], true),
            Some(_) => Found::Harmless,
        },
        _ => transport(h, at, kind, true, !in_fragment),
    }
}

fn transport(h: &[u8], at: usize, protocol: u8, v6: bool, whole: bool) -> Found {
    match (protocol, v6) {
        (17, _) => match (number(h, at), number(h, at + 2), h.get(at + 7)) {
            (Some(from), Some(to), Some(_)) => {
                let message = if whole { h.get(at + 8).copied() } else { None };
                Found::Udp { v6, from, to, message }
            }
            _ => Found::Unclear,
        },
        (1, false) | (58, true) => h.get(at).map_or(Found::Unclear, |kind| Found::Icmp { v6, kind: *kind }),
        _ => Found::Harmless,
    }
}
