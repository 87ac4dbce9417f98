//! Errors of the parts below become refusals of the API: which kind, and the whole chain of causes in one text.

use crate::{
    api::{Refused, RefusedKind},
    host::HostError,
    store::StoreError,
};
use control::{Refusal, edit::EditError};
use rustix::io::Errno;
use std::error::Error;

const EPERM: i32 = Errno::PERM.raw_os_error();

/// An error that a request can end in.
pub trait Refusable: Error {
    fn kind(&self) -> RefusedKind;
}

/// The refusal that says all of it.
pub fn refused(error: impl Refusable) -> Refused {
    Refused::new(error.kind(), chain(&error))
}

impl<E: Refusable> From<E> for Refused {
    fn from(error: E) -> Self {
        refused(error)
    }
}

/// What to do where the kernel does not permit it: no part below knows whose process it is in.
const PRIVILEGES: &str =
    "vmswitchd needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN for that: run it as root";

/// An error and its causes.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    let mut not_permitted = false;
    while let Some(error) = cause {
        not_permitted |=
            error.downcast_ref::<std::io::Error>().is_some_and(|e| e.raw_os_error() == Some(EPERM));
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    if not_permitted { [text.as_str(), PRIVILEGES].join(". ") } else { text }
}

pub fn no_switch(switch: &str) -> Refused {
    refused(EditError::NoSwitch(switch.into()))
}

pub fn no_port(switch: &str, port: &str) -> Refused {
    let detail =
        format!("switch '{switch}' has no port '{port}'; `vmswitch port list {switch}` shows those it has");
    Refused::new(RefusedKind::NotFound, detail)
}

impl Refusable for EditError {
    fn kind(&self) -> RefusedKind {
        match self {
            Self::NoSwitch(_) | Self::NoPort { .. } => RefusedKind::NotFound,
            Self::SwitchExists(_) | Self::PortExists { .. } | Self::PoolExhausted => RefusedKind::Conflict,
            _ => RefusedKind::Invalid,
        }
    }
}

impl Refusable for Refusal {
    fn kind(&self) -> RefusedKind {
        match self {
            Self::NoInterface(_) | Self::MtuAboveNic { .. } => RefusedKind::Invalid,
            _ => RefusedKind::Conflict,
        }
    }
}

macro_rules! refusable {
    ($($error:ty => $kind:ident,)+) => {
        $(impl Refusable for $error {
            fn kind(&self) -> RefusedKind {
                RefusedKind::$kind
            }
        })+
    };
}

refusable! {
    StoreError => Internal,
    HostError => HostRefused,
    netlink::ApplyError => HostRefused,
    dataplane::Gone => Internal,
    io::TapError => HostRefused,
    io::InterfaceError => HostRefused,
    io::UnixPathError => HostRefused,
    io::VhostError => HostRefused,
    io::netns::NamespaceError => Invalid,
}
