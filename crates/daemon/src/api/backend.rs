//! What answers the API's requests: the handlers decide nothing.

use crate::tap::{Tapped, Wanted};
use model::{
    ChangePort, ChangeSwitch, DesiredState, Event, ExplainFrame, Explanation, FlushMacs, MacEntry, NewSwitch,
    Plan, PortConfig, PortStatus, SwitchStatus, policy::multicast::MulticastStatus,
};
use tokio::sync::broadcast;

/// The switches of this host. Methods may block (netlink, disk): they are called on blocking threads, several at once.
#[allow(clippy::missing_errors_doc, reason = "Refused says what can be refused, for every method alike")]
pub trait Backend: Send + Sync + 'static {
    /// Every switch as it is.
    fn switches(&self) -> Vec<SwitchStatus>;
    /// One switch as it is.
    fn switch(&self, name: &str) -> Result<SwitchStatus, Refused>;
    /// Makes a switch.
    fn add_switch(&self, new: NewSwitch) -> Result<SwitchStatus, Refused>;
    /// Changes a switch in place.
    fn change_switch(&self, name: &str, change: ChangeSwitch) -> Result<SwitchStatus, Refused>;
    /// Removes a switch and gives the host back what the switch had taken.
    fn remove_switch(&self, name: &str) -> Result<(), Refused>;
    /// Keeps a switch that would be rolled back otherwise.
    fn confirm_switch(&self, name: &str) -> Result<SwitchStatus, Refused>;
    /// Every port of a switch as it is.
    fn ports(&self, switch: &str) -> Result<Vec<PortStatus>, Refused>;
    /// One port as it is.
    fn port(&self, switch: &str, port: &str) -> Result<PortStatus, Refused>;
    /// Makes a port.
    fn add_port(&self, switch: &str, port: PortConfig) -> Result<PortStatus, Refused>;
    /// Changes a port in place.
    fn change_port(&self, switch: &str, port: &str, change: ChangePort) -> Result<PortStatus, Refused>;
    /// Removes a port.
    fn remove_port(&self, switch: &str, port: &str) -> Result<(), Refused>;
    /// The MAC table of a switch.
    fn macs(&self, switch: &str) -> Result<Vec<MacEntry>, Refused>;
    /// Forgets learned entries and says how many.
    fn flush_macs(&self, switch: &str, which: FlushMacs) -> Result<u64, Refused>;
    /// What a switch knows of multicast groups.
    fn multicast(&self, switch: &str) -> Result<MulticastStatus, Refused>;
    /// What would become of a frame that the port's vNIC sent.
    fn explain(&self, switch: &str, port: &str, asked: &ExplainFrame) -> Result<Explanation, Refused>;
    /// Lets somebody listen to the frames that pass a switch.
    fn listen(&self, switch: &str, wanted: Wanted) -> Result<Tapped, Refused>;
    /// All switches as they should be.
    fn export(&self) -> DesiredState;
    /// Makes this the desired state; with `dry_run` only says what that would do.
    fn apply(&self, desired: DesiredState, dry_run: bool) -> Result<Plan, Refused>;
    /// What happens from now on.
    fn events(&self) -> broadcast::Receiver<Event>;
}

/// A request that was refused; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refused {
    /// What kind of refusal it is.
    pub kind: RefusedKind,
    /// What went wrong, why, and what to do.
    pub detail: String,
}

impl Refused {
    /// A refusal of that kind.
    #[must_use]
    pub fn new(kind: RefusedKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedKind {
    /// There is no such switch, port or entry.
    NotFound,
    /// It contradicts what is there already.
    Conflict,
    /// It makes no sense on any host.
    Invalid,
    /// The host or its kernel said no.
    HostRefused,
    /// The caller may not do this.
    Forbidden,
    /// The daemon itself failed.
    Internal,
}
