//! The socket of a vhost-user port: where it is, who makes it, and what becomes of it.

use anyhow::{Context, Result, ensure};
use lab::{Daemon, Namespace, wait_until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

struct Lab {
    daemon: Daemon,
    _host: Namespace,
}

impl Lab {
    fn new() -> Result<Lab> {
        let host = Namespace::new("host")?;
        let daemon = Daemon::start(&host)?;
        daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
        Ok(Lab { daemon, _host: host })
    }

    fn add(&self, arguments: &[&str]) -> Result<Value> {
        self.daemon.cli_json(&[&["port", "add", "lab", "vm1", "--vhost-user"], arguments].concat())
    }

    fn default_socket(&self) -> PathBuf {
        self.daemon.run_dir().join("vhost/lab/vm1.sock")
    }

    fn port(&self) -> Result<Value> {
        self.daemon.cli_json(&["port", "show", "lab/vm1"])
    }

    fn wait_state(&self, state: &str, reason: &str) -> Result<()> {
        let waited = wait_until(&format!("port {state}: {reason}"), PATIENCE, || {
            let port = self.port()?;
            Ok(port["state"] == state && port["reason"].as_str().is_some_and(|r| r.contains(reason)))
        });
        waited.with_context(|| format!("{:?}", self.port()))
    }
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_socket())
}

/// `VHOST_USER_GET_FEATURES`, and the bits in the answer.
fn features_offered(mut vmm: &UnixStream) -> Result<u64> {
    let request: Vec<u8> = [1_u32, 1, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    vmm.write_all(&request)?;
    let mut answer = [0; 20];
    vmm.set_read_timeout(Some(PATIENCE))?;
    vmm.read_exact(&mut answer)?;
    Ok(u64::from_ne_bytes(answer[12..].try_into()?))
}

#[test]
fn root_a_vhost_user_port_listens_where_its_switch_and_name_say() -> Result<()> {
    let lab = Lab::new()?;
    let (added, socket) = (lab.add(&[])?, lab.default_socket());
    ensure!(added["kind"] == "vhost-user" && added["state"] == "down", "{added}");
    ensure!(is_socket(&socket), "{} is no socket", socket.display());
    let vhost = json!({"socket": socket, "role": "server", "queue_pairs": 0, "features": []});
    let shown = lab.port()?;
    ensure!(shown["vhost"] == vhost && shown["reason"] == "no VMM is connected to its socket", "{shown}");
    let exported = lab.daemon.cli_json(&["export"])?;
    ensure!(
        exported["switch"][0]["port"][0]["attach"] == json!({"vhost-user": {"role": "server"}}),
        "{exported}"
    );

    let rings = std::fs::metadata(lab.daemon.run_dir().join("rings/lab/vm1"))?;
    ensure!(rings.permissions().mode() & 0o077 == 0, "others may touch where its rings are noted to be");

    let vmm = UnixStream::connect(&socket)?;
    ensure!(features_offered(&vmm)? & 1 << 32 != 0, "virtio 1 is not offered");
    lab.wait_state("down", "the driver in the VM has not set it up")?;
    drop(vmm);
    lab.wait_state("down", "no VMM is connected to its socket")?;

    lab.daemon.cli_ok(&["port", "remove", "lab/vm1"])?;
    let left = ["vhost/lab", "rings/lab"].map(|dir| lab.daemon.run_dir().join(dir).exists());
    ensure!(!socket.exists() && left == [false; 2], "something is left: {left:?}");
    Ok(())
}

#[test]
fn root_a_port_that_is_client_connects_whenever_its_vmm_listens() -> Result<()> {
    let lab = Lab::new()?;
    let path = lab.daemon.scratch().join("vm1.sock");
    let added = lab.add(&[&path.display().to_string(), "--vhost-role", "client"])?;
    ensure!(added["vhost"]["role"] == "client" && !path.exists(), "{added}");
    lab.wait_state("down", "no VMM listens on its socket")?;
    for _ in 0..2 {
        let listener = UnixListener::bind(&path)?;
        let (vmm, _) = listener.accept()?;
        ensure!(features_offered(&vmm)? != 0, "no features are offered");
        std::fs::remove_file(&path)?;
    }
    lab.wait_state("down", "no VMM listens on its socket")
}

#[test]
fn root_a_port_that_is_to_be_the_other_side_of_its_socket_is_opened_anew() -> Result<()> {
    let lab = Lab::new()?;
    let (mac, socket) = (lab.add(&[])?["mac"].clone(), lab.default_socket());
    let run = |role| lab.daemon.cli(&["port", "set", "lab/vm1", "--vhost-role", role]);
    ensure!(run("client")?.status.success() && !socket.exists(), "the socket is left: who shall listen now?");
    let listener = UnixListener::bind(&socket)?;
    let _vmm = listener.accept()?;
    // The VMM listens, so the port cannot; it stays what it was.
    let refused = run("server")?;
    ensure!(refused.code() == 1 && refused.stderr.contains("in use by another program"), "{refused:?}");
    let _vmm_again = listener.accept()?;
    ensure!(lab.port()?["vhost"]["role"] == "client", "{}", lab.port()?);
    drop(listener);
    ensure!(run("server")?.status.success() && UnixStream::connect(&socket).is_ok(), "it does not listen");
    ensure!(lab.port()?["mac"] == mac, "the MAC has changed");
    Ok(())
}

#[test]
fn root_a_port_moves_to_another_socket_and_keeps_its_mac() -> Result<()> {
    let lab = Lab::new()?;
    let (mac, old) = (lab.add(&[])?["mac"].clone(), lab.default_socket());
    let new = lab.daemon.scratch().join("vm1.sock");
    lab.daemon.cli_ok(&["port", "set", "lab/vm1", "--vhost-user", &new.display().to_string()])?;
    ensure!(!old.exists() && is_socket(&new) && lab.port()?["mac"] == mac, "{}", lab.port()?);
    Ok(())
}

#[test]
fn root_sockets_are_there_again_after_a_crash() -> Result<()> {
    let mut lab = Lab::new()?;
    lab.add(&["--queues", "4"])?;
    for _ in 0..2 {
        lab.daemon.kill9()?;
        lab.daemon.launch()?;
        ensure!(features_offered(&UnixStream::connect(lab.default_socket())?)? != 0);
        let shown = lab.port()?;
        ensure!(shown["vhost"]["role"] == "server" && shown["config"]["queues"] == 4, "{shown}");
    }
    Ok(())
}

#[test]
fn root_a_vmm_that_breaks_the_rules_faults_its_port_with_the_reason() -> Result<()> {
    let lab = Lab::new()?;
    lab.add(&[])?;
    let mut vmm = UnixStream::connect(lab.default_socket())?;
    vmm.write_all(&[0xff; 64])?;
    wait_until("port faulted", PATIENCE, || Ok(lab.port()?["state"] == "faulted"))?;
    let reason = lab.port()?["reason"].clone();
    ensure!(reason.as_str().is_some_and(|reason| !reason.is_empty()), "no reason: {}", lab.port()?);
    // The next one is served all the same.
    ensure!(features_offered(&UnixStream::connect(lab.default_socket())?)? != 0);
    Ok(())
}
