//! Files for `apply`: wrong ones change nothing, right ones are what `export` prints.

use crate::stage::{PATIENCE, Stage, Traces, operable, resting_host, same, says};
use anyhow::{Context, Result};
use lab::{Namespace, Snapshot, World, wait_until};
use serde_json::json;

const HEAD: &str = "version = 1\n\n[[switch]]\nname = \"lan\"\nkind = \"external\"\n\n[[switch.port]]\nname = \"nic0\"\n\
                    attach = { uplink = \"nic0\" }\nguard = false\n\n[[switch.port]]\nname = \"host\"\nattach = { host = \"lan\" }\n";

struct File(tempfile::NamedTempFile);

fn file(text: &str) -> Result<File> {
    let file = tempfile::Builder::new().suffix(".toml").tempfile()?;
    std::fs::write(file.path(), text)?;
    Ok(File(file))
}

impl File {
    fn path(&self) -> String {
        self.0.path().display().to_string()
    }
}

#[test]
fn root_a_file_with_a_mistake_is_refused_with_line_and_column() -> Result<()> {
    let stage = Stage::new()?;
    let port = "\n[[switch.port]]\nname = \"vm1\"\nattach = { tap = \"tap1\" }\n";
    for (text, parts) in [
        (format!("{HEAD}{port}colour = \"red\"\n"), ["line 19, column 1:", "unknown field `colour`"]),
        (format!("{HEAD}{port}mac = \"02:00\"\n"), ["line 19, column 7:", "six bytes"]),
        (format!("{HEAD}{port}guard = \"of"), ["line 19, column", "string"]),
        (
            format!("{HEAD}{port}{port}"),
            ["switch 'lan' has two ports named 'vm1'", "give one of them another name"],
        ),
        (HEAD.replace("external", "outer"), ["line 5, column 8:", "unknown variant `outer`"]),
        (HEAD.replace("version = 1", "version = 7"), ["state version 7 is not known", "reads version 1"]),
        (
            format!("{HEAD}{HEAD}").replace("\nversion = 1", "\n"),
            ["two switches are named 'lan'", "another name"],
        ),
    ] {
        let file = file(&text)?;
        let place = format!("{}: ", file.path());
        for dry_run in ["", " --dry-run"] {
            let parts = [&[place.as_str()][..], &parts].concat();
            stage.refused(1, &format!("apply {}{dry_run}", file.path()), &parts).context(text.clone())?;
        }
    }
    stage.refused(1, "apply /nonexistent.toml", &["cannot read /nonexistent.toml", "No such file"])?;
    stage.finish()
}

/// The switch that was removed and made again has a host vNIC and a TAP with new numbers.
fn numberless(mut traces: Traces) -> Traces {
    traces.remove("host");
    traces
}

#[test]
fn root_a_file_that_fails_in_its_middle_is_undone_as_a_whole() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "old", "--internal"])?;
    stage.daemon.cli_ok(&["port", "add", "old", "vm0", "--tap", "tap0", "--mac", "02:00:00:00:00:07"])?;
    let ports = "\n[[switch.port]]\nname = \"vm1\"\nattach = { tap = \"tap1\" }\n\
                 \n[[switch.port]]\nname = \"web\"\nattach = { netns = { netns = \"nowhere\", ifname = \"eth0\" } }\n\
                 \n[[switch]]\nname = \"last\"\nkind = \"private\"\n";
    let middle = file(&format!("{HEAD}{ports}"))?;
    let parts = ["network namespace /run/netns/nowhere is not there", "create it first"];
    let before = stage.traces()?;
    let message = stage.daemon.cli_refused(1, &["apply", &middle.path()])?;
    says(&message, &parts)?;
    let after = stage.traces()?;
    same(&numberless(before), &numberless(after))?;
    stage.world.host.ping(lab::FAR_IPV4)?;
    stage.finish()
}

/// What had waited for its namespace goes on waiting, and keeps nobody else from coming back.
#[test]
fn root_ports_come_back_when_a_file_fails_though_one_of_them_cannot_be_opened() -> Result<()> {
    let (stage, web) = (Stage::new()?, Namespace::new("web")?);
    stage.daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    stage.daemon.cli_ok(&["port", "add", "lab", "a", "--netns", web.name()])?;
    stage.daemon.cli_ok(&["port", "add", "lab", "b", "--tap", "tap0"])?;
    drop(web);
    let state = |port: &str| -> Result<String> {
        let shown = stage.daemon.cli_json(&["port", "show", &format!("lab/{port}")])?;
        Ok(shown["state"].as_str().context("a state")?.to_owned())
    };
    wait_until("the namespace is missed", PATIENCE, || Ok(state("a")? == "down"))?;
    let fails = "version = 1\n[[switch]]\nname = \"lab\"\nkind = \"private\"\n\n[[switch.port]]\nname = \"c\"\n\
                 attach = { netns = { netns = \"nowhere\", ifname = \"eth0\" } }\n";
    let message = stage.daemon.cli_refused(1, &["apply", &file(fails)?.path()])?;
    says(&message, &["network namespace /run/netns/nowhere is not there"])?;
    assert_eq!((state("a")?.as_str(), state("b")?.as_str()), ("down", "up"));
    stage.finish()
}

#[test]
fn root_a_dry_run_prints_the_plan_and_changes_nothing() -> Result<()> {
    let stage = Stage::new()?;
    let (file, before) = (file(HEAD)?, stage.traces()?);
    let dry = stage.daemon.cli_ok(&["apply", &file.path(), "--dry-run"])?;
    same(&before, &stage.traces()?)?;
    assert!(
        dry.starts_with("This would be done:\n  1. add external switch lan\n  2. take nic0 over"),
        "{dry}"
    );
    let done = stage.daemon.cli_ok(&["apply", &file.path()])?;
    assert_eq!(dry.replace("This would be done:", "Done:"), done);
    stage.world.host.ping(lab::FAR_IPV4)?;
    // A plan that cannot be carried out is refused as the change itself would be.
    let lo = self::file(&HEAD.replace("\"nic0\"", "\"lo\""))?;
    let body = json!({"version": 1, "switch": [{"name": "lan", "kind": "external"}]});
    stage.problem("PUT", "/v1/state?dry_run=true", &body)?.expect(
        422,
        "invalid",
        &["'lan' is external and has no uplink"],
    )?;
    stage.refused(1, &format!("apply {} --dry-run", lo.path()), &["'lo' is the loopback interface"])?;
    stage.finish()
}

#[test]
fn root_a_file_converts_a_switch_whose_host_vnic_keeps_its_name() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lan", "--internal"])?;
    let internal = file(&stage.daemon.cli_ok(&["export"])?)?;
    stage.daemon.cli_ok(&["switch", "set", "lan", "--external", "nic0"])?;
    let external = file(&stage.daemon.cli_ok(&["export"])?)?;
    for (to, kind) in [(&internal, "internal"), (&external, "external"), (&internal, "internal")] {
        let dry = stage.daemon.cli_ok(&["apply", &to.path(), "--dry-run"])?;
        let done = stage.daemon.cli_ok(&["apply", &to.path()])?;
        assert_eq!(dry.replace("This would be done:", "Done:"), done);
        assert_eq!(stage.daemon.cli_json(&["switch", "show", "lan"])?["kind"], kind);
        stage.world.host.ping(lab::FAR_IPV4)?;
    }
    stage.daemon.cli_ok(&["switch", "remove", "lan"])?;
    stage.finish()
}

#[test]
fn root_a_file_takes_the_host_off_a_switch_and_says_what_it_loses_and_gets_back() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lan", "--external", "nic0"])?;
    let with = file(&stage.daemon.cli_ok(&["export"])?)?;
    stage.daemon.cli_ok(&["switch", "set", "lan", "--host", "off"])?;
    let without = file(&stage.daemon.cli_ok(&["export"])?)?;
    let on = stage.daemon.cli_ok(&["apply", &with.path()])?;
    says(&on, &["1. make a host vNIC on switch lan", "give lan the address 10.9.0.1/24"])?;
    stage.world.host.ping(lab::FAR_IPV4)?;
    let off = stage.daemon.cli_ok(&["apply", &without.path()])?;
    says(&off, &["1. take the host vNIC of switch lan away", "note: the host loses 10.9.0.1/24"])?;
    stage.daemon.cli_ok(&["switch", "remove", "lan"])?;
    stage.world.host.ping(lab::FAR_IPV4)?;
    stage.finish()
}

#[test]
fn root_what_export_prints_is_nothing_to_do_for_apply_and_outlives_a_restart() -> Result<()> {
    let (mut stage, web) = (Stage::new()?, Namespace::new("web")?);
    web.disable_ipv6()?;
    for command in [
        "switch add lan --external nic0 --ageing 60s",
        "switch add lab --internal --mac-table-size 1024",
        "port add lan vm1 --tap tap1 --guard off --learn-limit 9",
        "port add lan fw --tap tap2 --allow-mac 02:00:00:00:00:aa --allow-reserved 01:80:c2:00:00:0e",
        "port add lab more --host more0 --mtu 1400",
    ] {
        stage.daemon.cli_ok(&command.split(' ').collect::<Vec<_>>())?;
    }
    stage.daemon.cli_ok(&["port", "add", "lan", "web", "--netns", web.name()])?;
    let socket = stage.daemon.scratch().join("vm2.sock").display().to_string();
    stage.daemon.cli_ok(&["port", "add", "lab", "vm2", "--unix-stream", &socket])?;
    Snapshot::take(&stage.daemon, "lan")?;
    let (before, export) = (stage.traces()?, stage.daemon.cli_ok(&["export"])?);
    let file = file(&export)?;
    for flag in [&["--dry-run"][..], &[]] {
        let done = stage.daemon.cli_ok(&[&["apply", file.path().as_str()], flag].concat())?;
        assert_eq!(done, "Nothing to do: all is as the file says.\n");
        same(&before, &stage.traces()?)?;
    }
    let links = || -> Result<String> { Ok(operable(&web.ip("-j link")?)) };
    let web_before = links()?;
    stage.daemon.restart()?;
    resting_host(&stage.world)?;
    same(&before, &stage.traces()?)?;
    wait_until("the vNIC as it was", PATIENCE, || Ok(links()? == web_before))?;
    stage.world.host.ping(lab::FAR_IPV4)?;
    stage.finish()
}

#[test]
fn root_the_documented_state_file_is_applied() -> Result<()> {
    let text = include_str!("../../../../docs/state-file.md");
    let example =
        text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).context("an example")?;
    let (world, web) = (World::new()?, Namespace::new("web")?);
    web.disable_ipv6()?;
    world.plug("eth0", "02:00:00:09:00:07", "p7")?;
    let stage = Stage::of(world)?;
    let socket = stage.daemon.scratch().join("router.sock").display().to_string();
    let here = example.replace("netns = \"web\"", &format!("netns = \"{}\"", web.name()));
    let file = file(&here.replace("/run/vmswitch/router.sock", &socket))?;
    stage.daemon.cli_ok(&["apply", &file.path()])?;
    assert_eq!(web.mac("eth0")?, "02:00:00:00:00:02");
    // The MAC that the file leaves open stays the one that was handed out.
    let (before, again) = (stage.traces()?, stage.daemon.cli_ok(&["apply", &file.path()])?);
    assert_eq!(again, "Nothing to do: all is as the file says.\n");
    same(&before, &stage.traces()?)?;
    stage.finish()
}
