//! What went wrong, why, and what to do.

use model::Problem;
use std::{fmt::Display, io, path::PathBuf};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(
        "vmswitchd does not answer at {}: {error}.\nStart it (systemctl start vmswitchd, or vmswitchd as root), \
         or name its socket with --socket or VMSWITCH_SOCKET.", socket.display()
    )]
    NotRunning { socket: PathBuf, error: io::Error },
    #[error(
        "you may not use {}: permission denied.\nOnly root and members of the group 'vmswitch' may: use sudo, or add \
         yourself (sudo usermod -aG vmswitch $USER) and log in anew.", .0.display()
    )]
    Denied(PathBuf),
    #[error("{}", .0.detail)]
    Refused(Problem),
    #[error(
        "the connection to vmswitchd broke: {0}.\nWhat was asked may have been done: look (vmswitch switch list), and \
         see its log (journalctl -u vmswitchd)."
    )]
    Broken(String),
    #[error(
        "vmswitchd's answer makes no sense here: {0}.\nAre vmswitch and vmswitchd of one version? vmswitch version says."
    )]
    Answer(String),
    #[error("cannot read {file}: {error}")]
    File { file: String, error: io::Error },
    #[error("{file}: {}", problem.detail)]
    State { file: String, problem: Problem },
    #[error("cannot write {file}: {error}")]
    Unwritten { file: String, error: io::Error },
    #[error(
        "a capture is nothing to read on a terminal.\nName a file (--write FILE), or pipe it on: \
         vmswitch capture ... --write - | tshark -r -"
    )]
    BinaryToTerminal,
    #[error("it ended by itself: the switch or the port was removed, or vmswitchd stopped")]
    CaptureEnded,
    #[error("the stream of events ended: vmswitchd stopped")]
    StreamEnded,
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error("cannot write the answer: {0}")]
    Output(io::Error),
    #[error("nobody reads the answer")]
    OutputClosed,
}

impl Failure {
    pub fn broken(error: impl Display) -> Self {
        Self::Broken(error.to_string())
    }

    pub fn answer(error: impl Display) -> Self {
        Self::Answer(error.to_string())
    }

    /// A closed pipe (`vmswitch events | head`) is how a reader says that it has enough.
    pub fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::OutputClosed } else { Self::Output(error) }
    }
}
