//! Mirrors go to a port that is there and end there.

use super::Invalid;
use crate::{Attachment, Name, PortConfig, SwitchConfig, policy::mirror::SESSIONS};

pub(super) fn check(switch: &SwitchConfig) -> Result<(), Invalid> {
    switch.ports.iter().try_for_each(|port| check_port(switch, port))
}

fn check_port(switch: &SwitchConfig, port: &PortConfig) -> Result<(), Invalid> {
    if let Some(erspan) = &port.mirror.erspan {
        super::in_range("ERSPAN session", &port.name, erspan.session, &SESSIONS)?;
    }
    let Some(to) = &port.mirror.to else { return Ok(()) };
    let refused = |why| Err(Invalid::Mirror { port: port.name.clone(), to: to.clone(), why });
    match find(switch, to) {
        None => refused("there is no such port; name another one, or turn the mirror off first"),
        Some(other) if other.name == port.name => {
            refused("a port has its own frames already; name another one")
        }
        Some(other) if other.mirror.to.is_some() => refused(
            "that port is mirrored itself, and copies of copies could go round for ever; turn one of the two off",
        ),
        Some(other) if matches!(other.attach, Attachment::Uplink(_)) => refused(
            "that is the uplink, and the network outside would learn addresses where they are not; use erspan",
        ),
        Some(_) => Ok(()),
    }
}

fn find<'a>(switch: &'a SwitchConfig, name: &Name) -> Option<&'a PortConfig> {
    switch.ports.iter().find(|port| &port.name == name).map(AsRef::as_ref)
}
