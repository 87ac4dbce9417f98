//! `vmswitch apply` and `vmswitch export`

use crate::{
    answer::Answer,
    client::{Client, TOML},
    failure::Failure,
};
use clap::Args;
use hyper::Method;
use model::{DesiredState, Plan};
use std::io::Read;

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// The file goes to the daemon as it is: line and column of its errors are those of the file.
pub async fn apply(args: ApplyArgs, client: &Client) -> Result<Answer, Failure> {
    let ApplyArgs { file, dry_run } = args;
    let body = read(&file).map_err(|error| Failure::File { file: file.clone(), error })?;
    let kind = if file.ends_with(".json") { "application/json" } else { TOML };
    let path = format!("/v1/state?dry_run={dry_run}");
    let plan =
        client.send_text(Method::PUT, &path, kind, body).await.map_err(|failure| in_file(file, failure))?;
    Answer::new(&plan, plan_text(&plan, dry_run))
}

fn read(file: &str) -> std::io::Result<Vec<u8>> {
    if file != "-" {
        return std::fs::read(file);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn in_file(file: String, failure: Failure) -> Failure {
    match failure {
        Failure::Refused(problem) => Failure::State { file, problem },
        other => other,
    }
}

fn plan_text(plan: &Plan, dry_run: bool) -> String {
    if plan.steps.is_empty() {
        return "Nothing to do: all is as the file says.".into();
    }
    let head = if dry_run { "This would be done:" } else { "Done:" };
    let step = |(at, step): (usize, &String)| format!("{:>3}. {step}\n", at + 1);
    format!("{head}\n{}", plan.steps.iter().enumerate().map(step).collect::<String>())
}

pub async fn export(client: &Client, json: bool) -> Result<Answer, Failure> {
    if json {
        let state: DesiredState = client.get("/v1/state").await?;
        return Answer::new(&state, "");
    }
    Answer::new(&(), client.get_text("/v1/state", TOML).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_numbered_list() {
        let plan = Plan { steps: vec!["make switch 'lan'".into(), "make port 'lan/vm1'".into()] };
        let expected = "This would be done:\n  1. make switch 'lan'\n  2. make port 'lan/vm1'\n";
        assert_eq!(plan_text(&plan, true), expected);
        assert!(plan_text(&plan, false).starts_with("Done:\n"));
        assert_eq!(plan_text(&Plan::default(), true), "Nothing to do: all is as the file says.");
    }
}
