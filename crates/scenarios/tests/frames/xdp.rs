//! Frames pass an AF_XDP uplink byte for byte, all counted, and past the host's stack.

use crate::lan::{Lan, NOBODY, OUTSIDE, TRUNK, VM1, VM2, frame};
use crate::round::Round;
use crate::unmodified::{jumbo_frames_pass, one_way};
use anyhow::Result;
use lab::frames::{self, EXPERIMENT, of_every_kind};
use lab::{Capture, NIC, NIC_MAC};

const BY_XDP: [&str; 2] = ["--io", "af-xdp"];
const ALL: &str = "ff:ff:ff:ff:ff:ff";

#[test]
fn root_frames_pass_an_af_xdp_uplink_unmodified_and_are_all_counted() -> Result<()> {
    let mut lan = Lan::external(&BY_XDP)?;
    lan.vm("vm1", VM1, TRUNK)?;
    lan.vm("vm2", VM2, &[])?;
    lan.watch_host("host", "lan")?;
    lan.daemon.cli_ok(&[&["port", "set", "lan/host"], TRUNK].concat())?;
    lan.run(one_way("vm1", NIC, &of_every_kind(NOBODY, VM1)))?;
    lan.run(one_way(NIC, "vm1", &of_every_kind(VM1, OUTSIDE)))?;
    lan.run(one_way("host", NIC, &of_every_kind(NOBODY, NIC_MAC)))?;
    lan.run(one_way(NIC, "host", &of_every_kind(NIC_MAC, OUTSIDE)))?;
    lan.run(
        Round::default()
            .sends(NIC, &frame(ALL, OUTSIDE))
            .reaches(&["vm1", "vm2", "host"])
            .sends("vm2", &frame(ALL, VM2))
            .reaches(&["vm1", NIC, "host"])
            .sends("vm2", &frame(NOBODY, VM1))
            .drops("vm2", "spoofed_mac"),
    )?;
    lan.finish()
}

#[test]
fn root_jumbo_frames_pass_an_af_xdp_uplink_unmodified() -> Result<()> {
    jumbo_frames_pass(&BY_XDP)
}

#[test]
fn root_a_thousand_frames_each_way_are_all_accounted_for() -> Result<()> {
    let mut lan = Lan::external(&BY_XDP)?;
    lan.vm("vm1", VM1, TRUNK)?;
    let many = |to, from| -> Vec<Vec<u8>> {
        let length = |n: usize| 60 + n % 1455;
        (0..1000)
            .map(|n| frames::of_length(frames::mac(to), frames::mac(from), EXPERIMENT, length(n * 7)))
            .collect()
    };
    lan.run(one_way(NIC, "vm1", &many(VM1, OUTSIDE)))?;
    lan.run(one_way("vm1", NIC, &many(OUTSIDE, VM1)))?;
    lan.finish()
}

#[test]
fn root_the_hosts_stack_sees_no_frame_of_an_af_xdp_uplink() -> Result<()> {
    let mut lan = Lan::external(&[&["--no-host"], &BY_XDP[..]].concat())?;
    lan.vm("vm1", VM1, TRUNK)?;
    // Where even packet sockets, which tap before all filters, see nothing, nobody does.
    let tap = Capture::start(&lan.world.host, NIC)?;
    lan.run(one_way(NIC, "vm1", &of_every_kind(VM1, OUTSIDE)))?;
    lan.run(Round::default().sends(NIC, &frame(ALL, OUTSIDE)).reaches(&["vm1"]))?;
    let seen: Vec<_> = tap.stop()?.into_iter().filter(|frame| !frame.outgoing).collect();
    assert!(seen.is_empty(), "{seen:?}");
    lan.finish()
}
