//! `cargo xtask bench policies`: what policies of ports cost, on vhost-user ports with one switching core.
//!
//! Bed, generator, alternation, distances and verification are those of `bench vhost`; all rows have frames of 64 bytes in split rings, from
//! an even vNIC (the client) to the next (the server), in IPv4, so that all have the same to be parsed. What a policy costs is the rate
//! beside that of the row `none…` with the same flows. Both ports have the policies, so a frame is judged twice: as it comes in and as
//! it goes out; but in `flows-100k-tcp-clients` only the client has, as where a VM talks to an uplink, which has no lists.
//!
//! **Flows.** `peers/flows.h` says which: one, 500 (one for each service that the lists allow), or 100,000, in no order. In rows of
//! stateful rules they are open before the first frame that counts; in `flows-new…` each frame begins one, UDP or a SYN, and
//! the tables of both ports are full, so each takes the place of another.
//!
//! **OVS-DPDK** has the same access VLANs (`tag`) and the same rules as OpenFlow in four tables: basic and extended ones by the port that a frame
//! comes from, the same by the MAC that it is for, then `NORMAL` with learning. It decides with its caches where it can: one flow
//! and 500 flows lie in its exact match cache (8,192 entries), whatever the rules, which is the best it can be given. Of 100,000 flows
//! nearly all miss that, and are found in its megaflows: there it has one for each service and subtable, since the rules look at
//! one port only.

use super::vhost::{self, Measuring, PLAIN, Place, Policies, Row, Suite, Switch};
use crate::{packages, steps};
use anyhow::Result;
use clap::Args;

/// How to measure.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    measuring: Measuring,
}

const FEW: u32 = 500;
const MANY: u32 = 100_000;
/// More than are sent in a sample.
const FRESH: u32 = 20_000_000;

const LISTS: Policies = Policies::Lists(Place::Middle);
const BARE: Row = Row { policies: Policies::None, ..PLAIN };

const NEW: Row = Row { flows: FRESH, fresh: true, policies: Policies::Stateful, ..BARE };
/// A thousand ports with the two that have traffic.
const THOUSAND: Row =
    Row { name: "1000-ports", flows: 2, policies: Policies::ShortLists, bystanders: 998, ..BARE };
/// Their traffic while it is watched.
const CHANGE: Row = Row { name: "change", rate: Some(5_000), burst: 1, ..THOUSAND };

/// Rows and targets.
pub const SUITE: Suite = Suite {
    rows: &[
        Row { name: "none", ..BARE },
        Row { name: "guards", policies: Policies::Guards, ..BARE },
        Row { name: "acl-first", policies: Policies::Lists(Place::First), ..BARE },
        Row { name: "acl-middle", policies: Policies::Lists(Place::Middle), ..BARE },
        Row { name: "acl-last", policies: Policies::Lists(Place::Last), ..BARE },
        Row { name: "none-500", flows: FEW, ..BARE },
        Row { name: "acl-500", flows: FEW, policies: LISTS, ..BARE },
        Row { name: "none-100k", flows: MANY, ..BARE },
        Row { name: "acl-100k", flows: MANY, policies: LISTS, ..BARE },
        Row { name: "flows-100k", flows: MANY, policies: Policies::Stateful, ..BARE },
        Row { name: "none-100k-tcp", flows: MANY, tcp: true, ..BARE },
        Row { name: "flows-100k-tcp", flows: MANY, tcp: true, policies: Policies::Stateful, ..BARE },
        Row {
            name: "flows-100k-tcp-clients",
            flows: MANY,
            tcp: true,
            policies: Policies::StatefulClients,
            ..BARE
        },
        Row { name: "limit-40g", size: 1518, policies: Policies::Limited("40G"), ..BARE },
        Row { name: "flows-new", ..NEW },
        Row { name: "flows-new-tcp", tcp: true, ..NEW },
        THOUSAND,
        Row { name: "1000-changing", changes: true, ..THOUSAND },
    ],
    switches: &[Switch::Ovs, Switch::Vmswitch],
    against_peers: &[
        ("guards", Switch::Ovs, 1.5),
        ("acl-first", Switch::Ovs, 1.5),
        ("acl-middle", Switch::Ovs, 1.5),
        ("acl-last", Switch::Ovs, 1.5),
        ("acl-500", Switch::Ovs, 1.5),
        ("acl-100k", Switch::Ovs, 1.5),
    ],
    against_itself: &[
        ("guards", "none", 0.9),
        ("acl-first", "none", 0.6),
        ("acl-middle", "none", 0.6),
        ("acl-last", "none", 0.6),
        ("acl-last", "acl-first", 0.95),
        ("acl-500", "none-500", 0.6),
        ("acl-100k", "none-100k", 0.6),
        ("flows-100k", "none-100k", 0.5),
        ("flows-100k-tcp", "none-100k-tcp", 0.5),
        ("flows-100k-tcp-clients", "none-100k-tcp", 0.5),
        ("1000-changing", "1000-ports", 0.97),
    ],
    rates: &[("flows-new", 0.5), ("flows-new-tcp", 0.5)],
    maxima: &[("limit-40g", 40.0)],
    change: Some(&CHANGE),
    latency: &[],
    loss: None,
};

/// Measures and prints. An error if a measurement failed; a missed target is a result, not an error.
pub fn run(options: &Options) -> Result<()> {
    steps::demand_root("bench policies")?;
    packages::for_bench_vhost()?;
    vhost::measure_suite(&SUITE, &options.measuring, false)
}
