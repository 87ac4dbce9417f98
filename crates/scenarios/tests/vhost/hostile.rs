//! Hostile guests and front ends: each kind of wrong stops its own port, with the reason, and nobody else's.

use anyhow::{Context, Result, ensure};
use lab::hostile::{Case, Neighbours, cases};
use lab::{DaemonOptions, wait_until};
use std::thread;
use std::time::Duration;

const ROUNDS: u32 = 3;
/// Of the worker's time.
const STRETCH: Duration = Duration::from_millis(150);
/// For what does not end by itself.
const A_WHILE: Duration = Duration::from_millis(100);
/// What neighbours keep of their throughput. A build without optimisation is another program, to which a change of a port
/// costs ten times as much.
const LEFT: f64 = if cfg!(debug_assertions) { 0.75 } else { 0.95 };
const PATIENCE: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(120);

fn neighbours() -> Result<Neighbours> {
    let neighbours = Neighbours::start(DaemonOptions::default(), 0, 1)?;
    neighbours.works_again()?;
    Ok(neighbours)
}

/// Does it twice, or for a while. Afterwards nothing is left of it but the reason, and the port works.
fn suffer(neighbours: &Neighbours, case: &'static Case, descriptors: usize) -> Result<()> {
    let attack = neighbours.attack().start(case, 1);
    match case.endless {
        true => thread::sleep(A_WHILE),
        // A front end that keeps its port busy is slowed.
        false => wait_until("the second time", LONG, || Ok(attack.times() >= 2 || attack.is_over()))?,
    }
    attack.stop()?;
    if !case.reason.is_empty() {
        neighbours.wait_state("faulted", case.reason)?;
    }
    neighbours.works_again()?;
    wait_until("no descriptor left open", PATIENCE, || Ok(neighbours.descriptors()? == descriptors))
}

#[test]
fn root_each_wrong_stops_its_own_port_with_the_reason_and_leaves_nothing_behind() -> Result<()> {
    let mut neighbours = neighbours()?;
    let descriptors = neighbours.descriptors()?;
    for case in cases() {
        suffer(&neighbours, case, descriptors).with_context(|| format!("a front end that {}", case.name))?;
        let received = neighbours.received();
        wait_until("frames between the neighbours", PATIENCE, || Ok(neighbours.received() > received))?;
    }
    neighbours.stop()
}

/// `cargo xtask bench hostile` measures all kinds of wrong; these take the most.
#[test]
fn root_neighbours_of_a_hostile_port_keep_their_throughput() -> Result<()> {
    let mut neighbours = neighbours()?;
    let costly =
        |case: &&Case| case.endless || case.name.contains("running rings") || case.name.contains("truncates");
    for case in cases().into_iter().filter(costly) {
        let share = neighbours.share(case, ROUNDS, STRETCH)?;
        eprintln!("{}: {share:?}", case.name);
        ensure!(share.left >= LEFT, "beside a front end that {}: {share:?}", case.name);
    }
    neighbours.stop()
}
