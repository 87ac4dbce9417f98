//! Errors of the parts below become refusals of the API: which kind, and the whole chain of causes in one text.

use crate::{
    api::{Refused, RefusedKind},
    host::HostError,
    store::StoreError,
};
use control::{Refusal, edit::EditError};
use std::error::Error;

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

/// An error and its causes.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
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
    io::PacketError => HostRefused,
    io::UnixPathError => HostRefused,
    io::netns::NamespaceError => Invalid,
}
