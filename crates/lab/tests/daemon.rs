//! What the lab says where vmswitchd does not come up. That it does is what every scenario test shows.

use anyhow::Result;
use lab::{Binaries, Daemon, DaemonOptions, KillAt, Namespace};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A folder in which `vmswitchd` is this shell script.
fn broken(folder: &Path, script: &str) -> Result<DaemonOptions> {
    for program in ["vmswitchd", "vmswitch"] {
        let path = folder.join(program);
        fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(DaemonOptions { binaries: Some(Binaries::in_folder(folder)?), ..DaemonOptions::default() })
}

#[test]
fn root_a_daemon_that_does_not_start_is_reported_with_its_log() -> Result<()> {
    let (namespace, folder) = (Namespace::new("broken")?, lab::temp_dir()?);
    let options = broken(folder.path(), "echo the state file is cut in half >&2; exit 1")?;
    let error = format!("{:#}", Daemon::start_with(&namespace, options).unwrap_err());
    assert!(error.contains("the state file is cut in half"), "{error}");
    Ok(())
}

#[test]
fn root_a_process_dies_at_the_system_call_that_was_named() -> Result<()> {
    let (namespace, folder) = (Namespace::new("killed")?, lab::temp_dir()?);
    let options = broken(folder.path(), "cd /proc; echo one; cd /sys; echo two; cd /run; echo three")?;
    let mut daemon = Daemon::prepare(&namespace, options)?;
    assert!(!daemon.launch_to_die(&KillAt { syscall: "chdir".to_owned(), nth: 2 })?);
    assert_eq!(daemon.log(), "one\n", "the second change of directory did not take place");
    assert!(daemon.ended()?.is_some_and(|status| !status.success()));
    Ok(())
}
