//! Hostile guests and front ends: each kind of wrong stops its own port, with the reason, and nobody else's. What it costs
//! the others' throughput is for a release build on a quiet machine to tell: `cargo xtask bench hostile`.

use anyhow::{Context, Result};
use lab::hostile::{Case, Neighbours, cases};
use lab::{DaemonOptions, wait_until};
use std::thread;
use std::time::Duration;

/// For what does not end by itself.
const A_WHILE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(120);

fn neighbours() -> Result<Neighbours> {
    let neighbours = Neighbours::start(DaemonOptions::default(), 0, 1)?;
    neighbours.works_again()?;
    Ok(neighbours)
}

/// How many descriptors are open once the last connection of `vmswitch` has been closed, too.
fn settled_descriptors(neighbours: &Neighbours) -> Result<usize> {
    let mut counted = neighbours.descriptors()?;
    wait_until("as many descriptors as a second ago", PATIENCE, || {
        thread::sleep(Duration::from_secs(1));
        Ok(std::mem::replace(&mut counted, neighbours.descriptors()?) == counted)
    })?;
    Ok(counted)
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
    let _alone = crate::alone();
    let mut neighbours = neighbours()?;
    let descriptors = settled_descriptors(&neighbours)?;
    for case in cases() {
        suffer(&neighbours, case, descriptors).with_context(|| format!("a front end that {}", case.name))?;
        let received = neighbours.received();
        wait_until("frames between the neighbours", PATIENCE, || Ok(neighbours.received() > received))?;
    }
    neighbours.stop()
}
