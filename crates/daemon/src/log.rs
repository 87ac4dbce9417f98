//! The log: on stderr, where a service manager picks it up.

use crate::LogForm;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging; which lines are printed is said by VMSWITCH_LOG, `info` unless told otherwise.
pub fn start(form: LogForm) {
    let filter = EnvFilter::try_from_env("VMSWITCH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match form {
        LogForm::Text => lines.init(),
        LogForm::Json => lines.json().init(),
    }
}
