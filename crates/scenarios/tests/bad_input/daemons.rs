//! A daemon that cannot start, or may not do what it is for.

use crate::stage::{PATIENCE, Stage, files, host, resting_host, same, says, unchanged};
use anyhow::{Context, Result, ensure};
use lab::{Binaries, Daemon, DaemonOptions, Process, World, wait_until};
use std::path::{Path, PathBuf};

/// vmswitchd started by hand, in directories that may be another's.
struct Plain<'a> {
    world: &'a World,
    before: &'a [&'a str],
    socket: PathBuf,
    run: PathBuf,
    state: PathBuf,
}

impl Plain<'_> {
    fn spawn(&self, log: &Path) -> Result<Process> {
        let text = |path: &Path| path.display().to_string();
        let daemon = text(&Binaries::find()?.daemon());
        let [socket, run, state] = [&self.socket, &self.run, &self.state].map(|path| text(path));
        let args = [&daemon, "--socket", &socket, "--run-dir", &run, "--state-dir", &state];
        self.world.host.spawn(&[self.before, &args].concat(), log)
    }

    /// Its exit status has to be 1; what it printed.
    fn fails(&self) -> Result<String> {
        let dir = lab::temp_dir()?;
        let mut process = self.spawn(&dir.path().join("log"))?;
        let status = process.wait(PATIENCE)?;
        ensure!(status.code() == Some(1), "{status}: {}", process.log());
        Ok(process.log())
    }
}

/// A daemon whose state file is `spoilt` does not start, says why, and starts again once the file is mended.
fn refuses_state(spoil: impl Fn(&str) -> String, parts: &[&str]) -> Result<()> {
    let mut stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lan", "--external", "nic0"])?;
    stage.daemon.cli_ok(&["port", "add", "lan", "vm1", "--tap", "tap1"])?;
    let export = stage.daemon.cli_ok(&["export"])?;
    stage.daemon.stop()?;
    let path = stage.daemon.state_dir().join("state.toml");
    let good = std::fs::read_to_string(&path)?;
    std::fs::write(&path, spoil(&good))?;
    let (files_before, host_before) = (files(stage.daemon.scratch())?, resting_host(&stage.world)?);
    let (socket, run, state) = (stage.daemon.socket(), stage.daemon.run_dir(), stage.daemon.state_dir());
    let message = Plain { world: &stage.world, before: &[], socket, run, state }.fails()?;
    says(&message, parts)?;
    let named = format!("vmswitchd: {}: ", path.display());
    says(&message, &[&named, "The file was left as it is", "mend it, or move it away"])?;
    same(&files_before, &files(stage.daemon.scratch())?)?;
    unchanged(&host_before, &host(&stage.world)?)?;
    std::fs::write(&path, good)?;
    stage.daemon.launch()?;
    assert_eq!(stage.daemon.cli_ok(&["export"])?, export);
    stage.world.host.wait_ping(lab::FAR_IPV4, PATIENCE)?;
    stage.finish()
}

#[test]
fn root_a_state_file_cut_in_half_is_refused_with_its_place_and_kept() -> Result<()> {
    let half = |text: &str| {
        let at = text.find("kind = \"external\"").unwrap_or_default();
        text[..at + "kind = \"ext".len()].to_owned()
    };
    refuses_state(half, &["line 6, column 12"])
}

#[test]
fn root_a_state_file_with_an_unknown_key_is_refused_with_its_place_and_kept() -> Result<()> {
    let unknown = |text: &str| text.replace("kind = \"external\"", "kind = \"external\"\ncolour = \"red\"");
    refuses_state(unknown, &["line 7, column 1", "unknown field `colour`"])
}

#[test]
fn root_a_state_file_of_another_version_is_refused_and_kept() -> Result<()> {
    let parts = ["state version 2 is not known", "reads version 1"];
    refuses_state(|text| text.replace("version = 1", "version = 2"), &parts)
}

#[test]
fn root_a_second_daemon_on_the_same_state_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lan", "--external", "nic0"])?;
    let (before, dir) = (stage.traces()?, lab::temp_dir()?);
    let (socket, run) = (dir.path().join("api.sock"), dir.path().join("run"));
    let second = Plain { world: &stage.world, before: &[], socket, run, state: stage.daemon.state_dir() };
    let parts = ["is in use by another vmswitchd", "stop that one", "--state-dir of its own"];
    says(&second.fails()?, &parts)?;
    same(&before, &stage.traces()?)?;
    stage.world.host.ping(lab::FAR_IPV4)?;
    stage.finish()
}

#[test]
fn root_a_second_daemon_on_the_same_socket_is_refused_before_it_touches_anything() -> Result<()> {
    let stage = Stage::new()?;
    stage.world.plug("nic1", "02:00:00:09:00:05", "p5")?;
    let dir = lab::temp_dir()?;
    let (run, state) = (dir.path().join("run"), dir.path().join("state"));
    std::fs::create_dir(&state)?;
    std::fs::write(state.join("state.toml"), EXTERNAL)?;
    let before = stage.traces()?;
    let second = Plain { world: &stage.world, before: &[], socket: stage.daemon.socket(), run, state };
    let parts = ["another vmswitchd serves", "stop it, or give this one its own --socket"];
    says(&second.fails()?, &parts)?;
    same(&before, &stage.traces()?)
}

const EXTERNAL: &str = "version = 1\n[[switch]]\nname = \"wan\"\nkind = \"external\"\n[[switch.port]]\nname = \"nic1\"\n\
                        attach = { uplink = \"nic1\" }\nguard = false\n";

#[test]
fn root_a_socket_path_that_is_somebodys_file_is_refused_before_anything_is_touched() -> Result<()> {
    let (world, dir) = (World::new()?, lab::temp_dir()?);
    let [socket, run, state] = ["api.sock", "run", "state"].map(|name| dir.path().join(name));
    std::fs::write(&socket, "precious")?;
    std::fs::create_dir(&state)?;
    std::fs::write(state.join("state.toml"), EXTERNAL.replace("nic1", "nic0"))?;
    let before = resting_host(&world)?;
    let daemon = Plain { world: &world, before: &[], socket: socket.clone(), run, state };
    says(&daemon.fails()?, &["exists and is no socket", "choose another --socket"])?;
    assert_eq!(std::fs::read_to_string(socket)?, "precious");
    unchanged(&before, &host(&world)?)
}

/// The user is still root, so that it may use the programs and directories of the test; the kernel lets it do no more
/// with the network than any other user.
const UNPRIVILEGED: [&str; 2] = ["setpriv", "--bounding-set=-net_admin,-net_raw,-sys_admin"];

#[test]
fn root_a_nic_without_permission_is_refused() -> Result<()> {
    let world = World::new()?;
    let daemon = Daemon::prepare(&world.host, DaemonOptions::default())?;
    let (socket, run, state) = (daemon.socket(), daemon.run_dir(), daemon.state_dir());
    let before = resting_host(&world)?;
    let plain = Plain { world: &world, before: &UNPRIVILEGED, socket, run, state };
    let _process = plain.spawn(&daemon.scratch().join("log"))?;
    wait_until("answer of vmswitchd", PATIENCE, || Ok(daemon.cli(&["switch", "list"])?.status.success()))
        .with_context(|| daemon.log())?;
    for command in [
        "switch add lan --external nic0",
        "switch add lan --external nic0 --no-host",
        "switch add lab --internal",
    ] {
        let files_before = files(daemon.scratch())?;
        let message = daemon.cli_refused(1, &command.split(' ').collect::<Vec<_>>())?;
        says(&message, &["CAP_NET_ADMIN", "not permitted"]).context(command)?;
        same(&files_before, &files(daemon.scratch())?)?;
        unchanged(&before, &host(&world)?).context(command)?;
    }
    Ok(())
}
