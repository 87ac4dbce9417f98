//! Opening an interface by AF_XDP or AF_PACKET: as it was asked for, or by the rule in the header of `xdp.rs`.

use crate::{PacketError, PacketSocket, Port, Refusal, Traits, XdpError, XdpMode, XdpPort};
use model::{IoChoice, IoMode, IoStatus, RefusedMode};

const ASKED_FOR: &str = "asked for";

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
}

/// Opens an interface in the namespace of the calling thread.
///
/// # Errors
/// [`InterfaceError`]; nothing was changed then.
pub fn open_interface(ifname: &str, choice: IoChoice) -> Result<OpenInterface, InterfaceError> {
    match choice {
        IoChoice::AfXdp => Ok(by_xdp(XdpPort::open(ifname, &XdpMode::ALL)?, ASKED_FOR)),
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
        IoChoice::AfXdp if now.mode.is_xdp() => Ok((None, told(ASKED_FOR, now.refused.clone()))),
        IoChoice::AfPacket if !now.mode.is_xdp() => Ok((None, told(ASKED_FOR, vec![]))),
        IoChoice::Auto if now.mode.is_xdp() => {
            let rule = rule_for(ifname);
            let is_good = |mode| rule.modes.iter().any(|good| mode_of(*good) == mode);
            if is_good(now.mode) {
                return Ok((None, told(rule.why, now.refused.clone())));
            }
            let refused = now.refused.iter().filter(|refused| is_good(refused.mode)).cloned().collect();
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

fn rule_for(ifname: &str) -> Rule {
    // An interface that cannot be asked cannot be opened either, and opening it says so.
    rule(Traits::of(ifname).unwrap_or(Traits { local_peer: true, segments: true }))
}

const fn rule(traits: Traits) -> Rule {
    match traits {
        Traits { local_peer: true, .. } => Rule {
            modes: &[],
            why: "its other end is this host or a VMM and no wire, where AF_PACKET carries TCP several times as fast",
        },
        Traits { segments: true, .. } => Rule {
            modes: &[XdpMode::ZeroCopy],
            why: "it cuts segments itself, where AF_XDP is faster with zero-copy only",
        },
        Traits { .. } => Rule {
            modes: &[XdpMode::ZeroCopy, XdpMode::NativeCopy],
            why: "it does not cut segments itself, where AF_XDP is faster with zero-copy and native copy",
        },
    }
}

fn open_by_rule(ifname: &str, rule: &Rule) -> Result<OpenInterface, InterfaceError> {
    if rule.modes.is_empty() {
        return by_packet(ifname, rule.why.to_owned(), vec![]);
    }
    match XdpPort::open(ifname, rule.modes) {
        Ok(port) => Ok(by_xdp(port, rule.why)),
        Err(XdpError::NoMode(_, refused)) => by_packet(ifname, rule.why.to_owned(), told(&refused)),
        Err(error) => by_packet(ifname, format!("AF_XDP cannot be had: {error}"), vec![]),
    }
}

fn by_xdp(port: XdpPort, why: &str) -> OpenInterface {
    let (mode, refused) = (mode_of(port.mode()), told(port.refused()));
    (Box::new(port), IoStatus { mode, why: why.to_owned(), refused })
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
        let modes = |local_peer, segments| rule(Traits { local_peer, segments }).modes;
        assert_eq!((modes(true, true), modes(true, false)), (&[][..], &[][..]));
        assert_eq!(modes(false, true), [XdpMode::ZeroCopy]);
        assert_eq!(modes(false, false), [XdpMode::ZeroCopy, XdpMode::NativeCopy]);
    }

    #[test]
    fn an_interface_that_is_not_there_is_told_of_whatever_was_chosen() {
        for choice in [IoChoice::Auto, IoChoice::AfXdp, IoChoice::AfPacket] {
            let error = open_interface("nothing-there", choice).unwrap_err().to_string();
            assert!(error.contains("interface nothing-there is not there"), "{error}");
        }
    }
}
