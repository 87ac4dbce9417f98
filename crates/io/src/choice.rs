//! Opening an interface by AF_XDP or AF_PACKET: as it was asked for, or by the rule in the header of `xdp.rs`.

use crate::{
    PacketError, PacketSocket, Port, Refusal, Traits, XdpError, XdpMode, XdpPort, xdp::STRAY_HEADERS,
};
use model::{IoChoice, IoMode, IoStatus, RefusedMode};

const ASKED_FOR: &str = "asked for";
const NOT_BESIDE: &str = "two programs do not fit on one interface, which had another mode of AF_XDP; tried when it is opened next";

/// Why an interface could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// Not by AF_PACKET.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// AF_XDP was asked for.
    #[error("AF_XDP was asked for and cannot be had: {0}. Other choices: --io af-packet, --io auto")]
    Xdp(#[from] XdpError),
}

/// An interface that was opened, and how.
pub type OpenInterface = (Box<dyn Port>, IoStatus);

/// What `auto` does on an interface.
struct Rule {
    /// Modes of AF_XDP that are better than AF_PACKET there, best first.
    modes: &'static [XdpMode],
    why: &'static str,
    /// Why zero-copy is none of them, where it would be.
    against_zero_copy: Option<&'static str>,
}

/// Opens an interface in the namespace of the calling thread.
///
/// # Errors
/// [`InterfaceError`]; nothing was changed then.
pub fn open_interface(ifname: &str, choice: IoChoice) -> Result<OpenInterface, InterfaceError> {
    match choice {
        IoChoice::AfXdp => {
            let port = XdpPort::open(ifname, &XdpMode::ALL)?;
            let why = asked_for(ifname, mode_of(port.mode()));
            Ok(by_xdp(port, why, None))
        }
        IoChoice::AfPacket => by_packet(ifname, ASKED_FOR.to_owned(), vec![]),
        IoChoice::Auto => open_by_rule(ifname, &rule_for(ifname)),
    }
}

/// Refuses early what [`open_interface`] would refuse late, as far as that can be told without changing anything.
///
/// # Errors
/// [`InterfaceError`].
pub fn check_choice(ifname: &str, choice: IoChoice) -> Result<(), InterfaceError> {
    match choice {
        IoChoice::AfXdp => XdpPort::is_hopeless(ifname).map_or(Ok(()), |error| Err(error.into())),
        IoChoice::Auto | IoChoice::AfPacket => Ok(()),
    }
}

/// Opens an interface that is open already as `now` tells, because another choice was made: as a second port, to take the
/// place of the first. `None` in place of the port where the first one serves, and only what is told of it changes: so it is
/// wherever it has AF_XDP and may keep it, since two programs do not fit on one interface.
///
/// # Errors
/// [`InterfaceError`]; nothing was changed then.
pub fn open_beside(
    ifname: &str,
    choice: IoChoice,
    now: &IoStatus,
) -> Result<(Option<Box<dyn Port>>, IoStatus), InterfaceError> {
    let told = |why: &str, refused| IoStatus { mode: now.mode, why: why.to_owned(), refused };
    match choice {
        IoChoice::AfXdp if now.mode.is_xdp() => {
            Ok((None, told(&asked_for(ifname, now.mode), now.refused.clone())))
        }
        IoChoice::AfPacket if !now.mode.is_xdp() => Ok((None, told(ASKED_FOR, vec![]))),
        IoChoice::Auto if now.mode.is_xdp() => {
            let rule = rule_for(ifname);
            if rule.modes.iter().any(|good| mode_of(*good) == now.mode) {
                return Ok((None, told(rule.why, now.refused.clone())));
            }
            let refused = rule.modes.iter().map(|mode| refused_before(mode_of(*mode), now));
            let refused = rule.untried().into_iter().chain(refused).collect();
            another(by_packet(ifname, rule.why.to_owned(), refused))
        }
        _ => another(open_interface(ifname, choice)),
    }
}

/// False where an interface is opened by AF_PACKET in any case.
#[must_use]
pub fn may_use_xdp(ifname: &str, choice: IoChoice) -> bool {
    match choice {
        IoChoice::AfXdp => true,
        IoChoice::AfPacket => false,
        IoChoice::Auto => !rule_for(ifname).modes.is_empty(),
    }
}

fn another(
    opened: Result<OpenInterface, InterfaceError>,
) -> Result<(Option<Box<dyn Port>>, IoStatus), InterfaceError> {
    opened.map(|(port, status)| (Some(port), status))
}

/// Why a mode is not taken on an interface that is open in another one: it was refused then, or not tried.
fn refused_before(mode: IoMode, now: &IoStatus) -> RefusedMode {
    let refused = now.refused.iter().find(|refused| refused.mode == mode).cloned();
    refused.unwrap_or_else(|| RefusedMode { mode, why: NOT_BESIDE.to_owned() })
}

/// What is told of a mode that was asked for.
fn asked_for(ifname: &str, mode: IoMode) -> String {
    let strays = || Traits::of(ifname).is_ok_and(|traits| traits.stray_headers);
    match mode {
        IoMode::AfXdpZeroCopy if strays() => format!("{ASKED_FOR}, but {STRAY_HEADERS}"),
        _ => ASKED_FOR.to_owned(),
    }
}

fn rule_for(ifname: &str) -> Rule {
    // An interface that cannot be asked cannot be opened either, and opening it says so.
    rule(Traits::of(ifname).unwrap_or(Traits { local_peer: true, segments: true, stray_headers: false }))
}

const fn rule(traits: Traits) -> Rule {
    let Traits { local_peer, segments, stray_headers } = traits;
    if local_peer {
        let why = "its other end is this host or a VMM and no wire, where AF_PACKET carries TCP several times as fast";
        return Rule { modes: &[], why, against_zero_copy: None };
    }
    let why = match segments {
        true => "it cuts segments itself, where AF_XDP is faster with zero-copy only",
        false => "it does not cut segments itself, where AF_XDP is faster with zero-copy and native copy",
    };
    let modes: &[_] = match (segments, stray_headers) {
        (true, true) => &[],
        (true, false) => &[XdpMode::ZeroCopy],
        (false, true) => &[XdpMode::NativeCopy],
        (false, false) => &[XdpMode::ZeroCopy, XdpMode::NativeCopy],
    };
    Rule { modes, why, against_zero_copy: if stray_headers { Some(STRAY_HEADERS) } else { None } }
}

impl Rule {
    /// What is told of zero-copy where it is not tried.
    fn untried(&self) -> Option<RefusedMode> {
        let why = self.against_zero_copy?.to_owned();
        Some(RefusedMode { mode: IoMode::AfXdpZeroCopy, why })
    }
}

fn open_by_rule(ifname: &str, rule: &Rule) -> Result<OpenInterface, InterfaceError> {
    let packet = |refused: Vec<Refusal>| {
        let refused = rule.untried().into_iter().chain(told(&refused)).collect();
        by_packet(ifname, rule.why.to_owned(), refused)
    };
    if rule.modes.is_empty() {
        return packet(vec![]);
    }
    match XdpPort::open(ifname, rule.modes) {
        Ok(port) => Ok(by_xdp(port, rule.why.to_owned(), rule.untried())),
        Err(XdpError::NoMode(_, refused)) => packet(refused),
        Err(error) => by_packet(ifname, format!("AF_XDP cannot be had: {error}"), vec![]),
    }
}

fn by_xdp(port: XdpPort, why: String, untried: Option<RefusedMode>) -> OpenInterface {
    let mode = mode_of(port.mode());
    let refused = untried.into_iter().chain(told(port.refused())).collect();
    (Box::new(port), IoStatus { mode, why, refused })
}

fn by_packet(ifname: &str, why: String, refused: Vec<RefusedMode>) -> Result<OpenInterface, InterfaceError> {
    let port = PacketSocket::open(ifname)?;
    Ok((Box::new(port), IoStatus { mode: IoMode::AfPacket, why, refused }))
}

fn told(refused: &[Refusal]) -> Vec<RefusedMode> {
    refused.iter().map(|r| RefusedMode { mode: mode_of(r.mode), why: r.why.clone() }).collect()
}

const fn mode_of(mode: XdpMode) -> IoMode {
    match mode {
        XdpMode::ZeroCopy => IoMode::AfXdpZeroCopy,
        XdpMode::NativeCopy => IoMode::AfXdpNativeCopy,
        XdpMode::GenericCopy => IoMode::AfXdpGenericCopy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_goes_by_the_other_end_and_by_who_cuts_segments() {
        let modes = |local_peer, segments| rule(Traits { local_peer, segments, stray_headers: false }).modes;
        assert_eq!((modes(true, true), modes(true, false)), (&[][..], &[][..]));
        assert_eq!(modes(false, true), [XdpMode::ZeroCopy]);
        assert_eq!(modes(false, false), [XdpMode::ZeroCopy, XdpMode::NativeCopy]);
    }

    #[test]
    fn auto_does_not_try_zero_copy_where_frames_are_lost_by_it_and_says_so() {
        for (segments, modes) in [(true, &[][..]), (false, &[XdpMode::NativeCopy])] {
            let rule = rule(Traits { local_peer: false, segments, stray_headers: true });
            let told = rule.untried().map(|untried| (untried.mode, untried.why));
            assert_eq!(rule.modes, modes);
            assert_eq!(told, Some((IoMode::AfXdpZeroCopy, STRAY_HEADERS.to_owned())));
        }
    }

    #[test]
    fn an_interface_that_is_not_there_is_told_of_whatever_was_chosen() {
        for choice in [IoChoice::Auto, IoChoice::AfXdp, IoChoice::AfPacket] {
            let error = open_interface("nothing-there", choice).unwrap_err().to_string();
            assert!(error.contains("interface nothing-there is not there"), "{error}");
        }
    }
}
