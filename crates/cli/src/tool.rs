//! `vmswitch version` and `vmswitch completions`: about the tool itself.

use crate::{answer::Answer, args::Cli, client::Client, failure::Failure};
use clap::CommandFactory;
use clap_complete::Shell;
use model::Version;
use serde_json::json;

const OWN: &str = env!("CARGO_PKG_VERSION");

/// A daemon that does not answer is part of the answer here.
pub async fn version(client: &Client) -> Result<Answer, Failure> {
    let (daemon, text) = match client.get::<Version>("/v1/version").await {
        Ok(version) => (Some(version.version.clone()), format!("vmswitchd {}", version.version)),
        Err(failure) => (None, failure.to_string()),
    };
    Answer::new(&json!({ "vmswitch": OWN, "vmswitchd": daemon }), format!("vmswitch {OWN}\n{text}"))
}

pub fn completions(shell: Shell) -> Result<Answer, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vmswitch", &mut script);
    let script = String::from_utf8(script).map_err(Failure::answer)?;
    Answer::new(&json!({ "shell": shell.to_string(), "script": script }), script)
}
