//! The host as the manager sees it: facts, take-over steps, random numbers.

use control::{action::Action, facts::Facts};
use model::IfName;
use netlink::{Applied, ApplyError, Netlink, NetlinkError};
use std::{fs::File, io::Read};

/// The kernel's interfaces of the namespace that the daemon runs in.
#[derive(Debug)]
pub struct Host {
    netlink: Netlink,
    boot_id: String,
    /// Opened once: looking for its path takes longer than reading it.
    random: File,
}

/// Why the host cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The kernel's netlink is not to be had
    #[error("the kernel's network settings cannot be read")]
    Netlink(#[from] NetlinkError),
    /// A file of the kernel cannot be read
    #[error("{path} cannot be read")]
    File {
        /// The file.
        path: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const RANDOM: &str = "/dev/urandom";

impl Host {
    /// Opens the namespace of the calling thread.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn open() -> Result<Self, HostError> {
        let unreadable = |path| move |source| HostError::File { path, source };
        let boot_id = std::fs::read_to_string(BOOT_ID).map_err(unreadable(BOOT_ID))?;
        let random = File::open(RANDOM).map_err(unreadable(RANDOM))?;
        Ok(Self { netlink: Netlink::open()?, boot_id: boot_id.trim().to_owned(), random })
    }

    /// Which run of the kernel this is.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// All interfaces, and the settings of those named.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn facts(&mut self, of: &[&IfName]) -> Result<Facts, HostError> {
        Ok(self.netlink.facts(of)?)
    }

    /// Runs a take-over step, or says that it is the data path's.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn apply(&mut self, action: &Action) -> Result<Applied, ApplyError> {
        netlink::apply(&mut self.netlink, action)
    }

    /// Removes an interface that was made for a port; one that is gone is no error.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn delete_link(&mut self, ifname: &IfName) -> Result<(), HostError> {
        match self.netlink.delete_link(ifname) {
            Err(NetlinkError::NoInterface(_)) => Ok(()),
            other => Ok(other?),
        }
    }

    /// A number that no guest can guess.
    ///
    /// # Errors
    /// The kernel has none.
    pub fn random(&self) -> Result<u64, HostError> {
        let mut bytes = [0; 8];
        let read = (&self.random).read_exact(&mut bytes);
        read.map_err(|source| HostError::File { path: RANDOM, source })?;
        Ok(u64::from_ne_bytes(bytes))
    }
}
