//! Mirroring of a port.

use clap::Args;
use model::{ChangePort, MirrorStatus, PortConfig, policy::mirror::MirrorConfig};

/// Mirroring of a port.
#[derive(Debug, Args)]
pub struct MirrorArgs {
    /// Copies of the port's frames: to=PORT, erspan=ADDRESS,session=N[,type=ii|iii], or both, and of which frames, as the switch
    /// sees it: in, out or both [default: off]
    #[arg(long, value_name = "WHERE[,in|out|both]")]
    mirror: Option<MirrorConfig>,
}

impl MirrorArgs {
    pub fn add_to(&self, port: &mut PortConfig) {
        port.mirror = self.mirror.clone().unwrap_or_default();
    }

    pub fn add_to_change(&self, change: &mut ChangePort) {
        change.mirror.clone_from(&self.mirror);
    }
}

/// What `port show` says.
pub fn row(port: &PortConfig) -> (&'static str, String) {
    ("Mirror", port.mirror.to_string())
}

/// What `port show` says of the copies for a collector.
pub fn copies_row(status: &MirrorStatus) -> (&'static str, String) {
    let MirrorStatus { sent, truncated, unsent, lost, error } = status;
    let why = error.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    ("Copies", format!("{sent} sent, {truncated} of them cut; {unsent} not sent{why}; {lost} lost"))
}
