//! What the kernel refused, in sentences.

use std::io;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be opened or used.
    #[error("cannot talk to the kernel's network configuration (rtnetlink): {0}")]
    Socket(#[from] io::Error),
    /// The kernel's answer could not be read.
    #[error("the kernel's answer to '{what}' could not be read: {why}")]
    Malformed {
        /// What was asked.
        what: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The kernel said no.
    #[error("the kernel refused to {what}: {}", said(.source, .explanation))]
    Refused {
        /// What was asked.
        what: String,
        /// Its error number.
        source: io::Error,
        /// Its own words (extended acknowledgement).
        explanation: Option<String>,
    },
    /// There is no such interface.
    #[error("there is no interface '{0}'")]
    NoInterface(String),
    /// A file under `/proc/sys/net` could not be read or written.
    #[error("cannot set {path} to '{value}': {source}")]
    Sysctl {
        /// The file.
        path: String,
        /// What was to be written.
        value: String,
        /// Why not.
        source: io::Error,
    },
}

fn said(source: &io::Error, explanation: &Option<String>) -> String {
    let hint = match source.raw_os_error() {
        Some(EPERM) => "; this needs root (CAP_NET_ADMIN)",
        _ => "",
    };
    match explanation {
        Some(text) => format!("{source}: {text}{hint}"),
        None => format!("{source}{hint}"),
    }
}

const EPERM: i32 = 1;

impl NetlinkError {
    /// The kernel's error number, where it gave one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::Socket(source) | Self::Sysctl { source, .. } => {
                source.raw_os_error()
            }
            Self::Malformed { .. } | Self::NoInterface(_) => None,
        }
    }
}

/// Takes an error number for success: the state that was asked for is there already.
pub(crate) fn unless(result: Result<(), NetlinkError>, fine: &[i32]) -> Result<(), NetlinkError> {
    match result {
        Err(e) if e.errno().is_some_and(|n| fine.contains(&n)) => Ok(()),
        other => other,
    }
}

/// The error numbers that mean "there already" or "not there".
pub(crate) mod errno {
    /// No such file or directory.
    pub const ENOENT: i32 = 2;
    /// No such process; rtnetlink's "no such route".
    pub const ESRCH: i32 = 3;
    /// File exists.
    pub const EEXIST: i32 = 17;
    /// No such device.
    pub const ENODEV: i32 = 19;
    /// Invalid argument.
    pub const EINVAL: i32 = 22;
    /// Cannot assign requested address; rtnetlink's "no such address".
    pub const EADDRNOTAVAIL: i32 = 99;
}
