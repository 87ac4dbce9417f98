//! `vmswitch top` and `vmswitch stats --watch` in front of a daemon at work: what somebody sees, and what is left behind.

use anyhow::{Context, Result, ensure};
use lab::frames::{EXPERIMENT, mac, of_length};
use lab::{Daemon, Left, Namespace, Process, RawSender, Terminal};
use serde_json::Value;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const VM1_MAC: &str = "02:00:00:00:00:01";
const VM2_MAC: &str = "02:00:00:00:00:02";
/// No port sees more frames a second here.
const PLAUSIBLE: f64 = 5000.0;

/// Two VMs on a switch; what vm1 sends is heard by vm2, and now and then spoofed.
struct Stage {
    daemon: Daemon,
    vm1: Namespace,
    vm2: Namespace,
    _host: Namespace,
}

impl Stage {
    fn new() -> Result<Stage> {
        let (host, vm1, vm2) = (Namespace::new("host")?, Namespace::new("vm1")?, Namespace::new("vm2")?);
        let daemon = Daemon::start(&host)?;
        daemon.cli_ok(&["switch", "add", "lan", "--private"])?;
        let stage = Stage { daemon, vm1, vm2, _host: host };
        stage.add("vm1", &stage.vm1, VM1_MAC)?;
        stage.add("vm2", &stage.vm2, VM2_MAC)?;
        Ok(stage)
    }

    fn add(&self, port: &str, namespace: &Namespace, mac: &str) -> Result<()> {
        self.daemon.cli_ok(&["port", "add", "lan", port, "--netns", namespace.name(), "--mac", mac])?;
        namespace.ip("link set eth0 up").map(drop)
    }

    /// Has traffic pass while something is looked at: some hundred frames a second, a tenth of them spoofed.
    fn while_frames_pass<T>(&self, look: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = AtomicBool::new(false);
        let mut sender = RawSender::open(&self.vm1, "eth0")?;
        std::thread::scope(|scope| {
            let traffic = scope.spawn(|| -> Result<()> {
                let good = of_length(mac(VM2_MAC), mac(VM1_MAC), EXPERIMENT, 1000);
                let spoofed = of_length(mac(VM2_MAC), mac("02:00:00:00:00:99"), EXPERIMENT, 60);
                for number in 0.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    sender.send(if number % 10 == 0 { &spoofed } else { &good })?;
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(())
            });
            let seen = look();
            done.store(true, Ordering::Relaxed);
            traffic.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
            seen
        })
    }

    fn top(&self, arguments: &[&str]) -> Result<Terminal> {
        let argv = self.daemon.cli_argv(&[&["top", "--interval", "250ms"], arguments].concat());
        Terminal::start(&argv.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Nothing of it is left on the screen, and the terminal is as before.
fn expect_clean(left: &Left) -> Result<()> {
    ensure!(left.status == 0 && left.restored && left.modes.is_empty(), "{left:?}");
    ensure!(!left.screen.contains("vmswitch top"), "{}", left.screen);
    Ok(())
}

#[test]
fn root_top_shows_ports_drops_and_workers_at_work_and_gives_the_terminal_back() -> Result<()> {
    let stage = Stage::new()?;
    stage.while_frames_pass(|| {
        let mut terminal = stage.top(&[])?;
        terminal.wait(r"^vmswitch top  all switches, by name, every 250ms$", PATIENCE)?;
        // Received with a rate, and some dropped of it; a vm2 that says nothing gets what remains.
        terminal.wait(r"^lan/vm1 +up +[1-9]\d* +[\d.]+[kM] +0 +0 +[1-9][\d.]*$", PATIENCE)?;
        terminal.wait(r"^lan/vm2 +up +0 +0 +[1-9]\d* +[\d.]+[kM] +0$", PATIENCE)?;
        let screen = terminal.wait(r"^lan/vm1 +[1-9][\d.]* +\d+ spoofed_mac$", PATIENCE)?;
        println!("{screen}");
        terminal.wait(r"^0 +any +[\d.]+ % [█░]{20} +[1-9]\d* +[1-9]\d* +\d\.\d$", PATIENCE)?;
        terminal.wait(r"^q quit", PATIENCE)?;
        terminal.type_in("t")?;
        terminal.wait(r"by tx[\s\S]*^PORT[^\n]*\nlan/vm2 ", PATIENCE)?;
        terminal.type_in("f")?;
        terminal.wait("switch lan, by tx", PATIENCE)?;
        terminal.type_in("q")?;
        expect_clean(&terminal.left(PATIENCE)?)
    })
}

#[test]
fn root_top_gives_the_terminal_back_however_it_is_ended() -> Result<()> {
    let stage = Stage::new()?;
    let ends: [fn(&mut Terminal) -> Result<()>; 4] = [
        |terminal| terminal.type_in("\x03"),
        |terminal| terminal.signal(1),
        |terminal| terminal.signal(2),
        |terminal| terminal.signal(15),
    ];
    for end in ends {
        let mut terminal = stage.top(&["lan"])?;
        terminal.wait(r"^lan/vm1 +up", PATIENCE)?;
        end(&mut terminal)?;
        expect_clean(&terminal.left(PATIENCE)?)?;
    }
    let mut terminal = stage.top(&["wan"])?;
    let left = terminal.left(PATIENCE)?;
    ensure!(
        (left.status, left.restored) == (1, true) && left.screen.contains("there is no switch 'wan'"),
        "{left:?}"
    );
    let piped = stage.daemon.cli_refused(1, &["top"])?;
    ensure!(piped.contains("top needs a terminal"), "{piped}");
    Ok(())
}

#[test]
fn root_no_rate_is_negative_or_huge_while_ports_and_the_daemon_come_and_go() -> Result<()> {
    let mut stage = Stage::new()?;
    let log = stage.daemon.scratch().join("rates");
    let argv = stage.daemon.cli_argv(&["stats", "--watch", "--json", "--interval", "150ms"]);
    let mut watching = Process::spawn(Command::new(&argv[0]).args(&argv[1..]), &log)?;
    let mut terminal = stage.top(&[])?;
    stage.while_frames_pass(|| {
        terminal.wait(r"^lan/vm1 +up +[1-9]", PATIENCE)?;
        for _ in 0..3 {
            stage.daemon.cli_ok(&["port", "remove", "lan/vm2"])?;
            terminal.wait(r"^1 port, 0 down", PATIENCE)?;
            stage.add("vm2", &stage.vm2, VM2_MAC)?;
            plausible(&terminal.wait(r"^lan/vm2 +up +\d+ +\S+ +[1-9]", PATIENCE)?)?;
        }
        Ok(())
    })?;
    stage.daemon.kill9()?;
    terminal.wait("^Not now: vmswitchd does not answer", PATIENCE)?;
    watching.wait_for_log("does not answer", PATIENCE)?;
    stage.daemon.launch()?;
    stage.while_frames_pass(|| plausible(&terminal.wait(r"^lan/vm1 +up +[1-9]", PATIENCE)?))?;
    terminal.type_in("q")?;
    expect_clean(&terminal.left(PATIENCE)?)?;
    ensure!(watching.ended()?.is_none(), "{}", watching.log());
    watching.kill()?;
    let said = watching.log();
    // What is written when it is killed may be half a line.
    let whole = said.rsplit_once('\n').context("nothing was said")?.0;
    let documents: Vec<Value> = whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    ensure!(documents.len() > 10, "{} documents:\n{said}", documents.len());
    documents.iter().try_for_each(rates_are_plausible)
}

/// Frames a second, as somebody reads them off the screen.
fn plausible(screen: &str) -> Result<()> {
    let ports = screen.lines().filter(|line| line.starts_with("lan/vm") && line.contains(" up "));
    for line in ports {
        let columns: Vec<_> = line.split_whitespace().collect();
        for rate in [columns[2], columns[4], columns[6]] {
            let thousands = rate.strip_suffix('k').map(|number| number.parse::<f64>().map(|n| n * 1000.0));
            let rate = thousands.unwrap_or_else(|| rate.parse()).with_context(|| screen.to_owned())?;
            ensure!((0.0..PLAUSIBLE).contains(&rate), "{screen}");
        }
    }
    Ok(())
}

fn rates_are_plausible(document: &Value) -> Result<()> {
    let is_plausible = |of: &Value| {
        let rates = of.as_object().into_iter().flatten().filter(|(key, _)| key.ends_with("frames_per_s"));
        rates.into_iter().all(|(_, rate)| rate.as_f64().is_some_and(|rate| (0.0..PLAUSIBLE).contains(&rate)))
    };
    let all = ["ports", "workers"].iter().flat_map(|key| document[key].as_array().into_iter().flatten());
    ensure!(all.into_iter().all(is_plausible), "{document}");
    let busy = document["workers"][0]["busy_percent"].as_f64().context("no load")?;
    ensure!((0.0..=100.0).contains(&busy), "{document}");
    Ok(())
}

#[test]
fn root_stats_are_watched_in_place_until_interrupted() -> Result<()> {
    let stage = Stage::new()?;
    let argv = stage.daemon.cli_argv(&["stats", "lan", "--watch", "--interval", "150ms"]);
    let mut terminal = Terminal::start(&argv.iter().map(String::as_str).collect::<Vec<_>>())?;
    stage.while_frames_pass(|| {
        terminal.wait(r"^lan/vm1 +[1-9]\d* +\S+ +0 +0 +[1-9]", PATIENCE)?;
        terminal.wait(r"^lan/vm1 +[1-9][\d.]* +[1-9]\d\d* +spoofed_mac$", PATIENCE)?;
        let screen = terminal.wait(r"^0 +any +\d+ +[1-9]", PATIENCE)?;
        for heading in ["PORT ", "DROPPED AT ", "WORKER "] {
            ensure!(screen.matches(heading).count() == 1, "{screen}");
        }
        // A shorter block leaves nothing of the one before.
        stage.daemon.cli_ok(&["port", "remove", "lan/vm2"])?;
        terminal.wait(r"\A(?![\s\S]*vm2)[\s\S]*^lan/vm1", PATIENCE).map(drop)
    })?;
    terminal.type_in("\x03")?;
    let left = terminal.left(PATIENCE)?;
    ensure!((left.status, left.restored, left.modes.len()) == (-2, true, 0), "{left:?}");
    Ok(())
}

#[test]
fn root_workers_tell_how_busy_they_are() -> Result<()> {
    let stage = Stage::new()?;
    let read = || -> Result<Value> { Ok(stage.daemon.cli_json(&["workers"])?[0].take()) };
    let before = read()?;
    stage.while_frames_pass(|| {
        lab::wait_until("a hundred frames", PATIENCE, || {
            Ok(read()?["frames"].as_u64() >= before["frames"].as_u64().map(|frames| frames + 100))
        })
    })?;
    let after = read()?;
    let more = |key: &str| after[key].as_u64().zip(before[key].as_u64()).map_or(0, |(now, then)| now - then);
    let (frames, batches) = (more("frames"), more("batches"));
    ensure!(batches > 0 && batches <= frames, "{before} {after}");
    ensure!(more("busy_ns") > 0 && more("busy_ns") < more("uptime_ns"), "{before} {after}");
    Ok(())
}
