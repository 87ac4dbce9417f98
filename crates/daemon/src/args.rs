//! The daemon's command line.

use clap::Parser;
use std::path::PathBuf;

/// The switch daemon: keeps the switches, takes NICs over and gives them back, and serves the API.
///
/// What the switches should be is told with `vmswitch`. After a restart they are restored from the state directory.
#[derive(Debug, Parser)]
#[command(name = "vmswitchd", version, after_help = EXAMPLES)]
pub struct Args {
    /// Where the API socket is made
    #[arg(long, value_name = "PATH", default_value = "/run/vmswitch/api.sock")]
    pub socket: PathBuf,
    /// Directory for what need not survive a reboot
    #[arg(long, value_name = "DIR", default_value = "/run/vmswitch")]
    pub run_dir: PathBuf,
    /// Directory for what must survive: the desired state and the journals of take-overs
    #[arg(long, value_name = "DIR", default_value = "/var/lib/vmswitch")]
    pub state_dir: PathBuf,
    /// CPUs to pin workers to, one worker each, like 2,4-5; without it one worker runs where the kernel puts it
    #[arg(long, value_name = "CPULIST", value_parser = cpu_list, default_value = "")]
    pub workers: CpuList,
    /// Form of the log on stderr; which lines it has is set with VMSWITCH_LOG, like info or vmswitchd=debug
    #[arg(long, value_enum, default_value = "text")]
    pub log: LogForm,
}

const EXAMPLES: &str = "Examples:
  vmswitchd                            serve /run/vmswitch/api.sock
  vmswitchd --workers 2,3              two workers, pinned to CPUs 2 and 3
  vmswitchd --socket /tmp/s/api.sock --run-dir /tmp/s --state-dir /tmp/s
                                       a second daemon, away from the first";

/// How log lines look.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum LogForm {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// CPU numbers, each once, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

fn cpu_list(text: &str) -> Result<CpuList, String> {
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |n: &str| {
            n.trim().parse::<usize>().map_err(|_| format!("'{part}' is no CPU: write numbers like 2,4-5"))
        };
        for cpu in number(first)?..=number(last)? {
            if cpu > 4095 || cpus.contains(&cpu) {
                return Err(format!("CPU {cpu} is named twice or is above 4095"));
            }
            cpus.push(cpu);
        }
    }
    Ok(CpuList(cpus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list("2,4-5"), Ok(CpuList(vec![2, 4, 5])));
        assert_eq!(cpu_list(""), Ok(CpuList(vec![])));
        for bad in ["a", "1,1", "0-9999", "-1"] {
            assert!(cpu_list(bad).is_err(), "{bad}");
        }
    }
}
