//! The host's vNIC is taken away and given again, and the NIC stays the switch's: VMs do not notice.

use crate::stage::{Stage, VM1};
use crate::state::{expect_hostless, expect_silent, settings};
use anyhow::{Context, Result, ensure};
use lab::frames::{EXPERIMENT, ethernet, mac, of_length};
use lab::{Capture, Captured, FAR_IPV4, FAR_MAC, NIC, NIC_MAC, Namespace, RawSender, Snapshot};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes of every frame here.
const LENGTH: u64 = 60;
/// Frames for the host while it has no vNIC.
const IN_VAIN: u64 = 5;
const ROUNDS: u64 = 3;

#[test]
fn root_frames_of_vms_go_on_while_the_host_leaves_and_comes_back() -> Result<()> {
    goes_on(&Stage::new()?)
}

#[test]
fn root_frames_of_vms_go_on_by_af_xdp_while_the_host_leaves_and_comes_back() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "set", "lan", "--io", "af-xdp"])?;
    goes_on(&stage)
}

/// Numbered streams through the uplink, one each way.
fn goes_on(stage: &Stage) -> Result<()> {
    // So the uplink's counters have something to lose; the host must not speak: its port's counters go with the port.
    stage.vm1.wait_ping(FAR_IPV4, crate::stage::PATIENCE)?;
    let on_vnic = settings(&stage.world.host, "lan")?;
    let before = Snapshot::take(&stage.daemon, "lan")?;
    let over = AtomicBool::new(false);
    let (sent, received) = std::thread::scope(|scope| {
        let up = scope.spawn(|| stream((&stage.vm1, VM1.1), (&stage.world.far, FAR_MAC), &over));
        let down = scope.spawn(|| stream((&stage.world.far, FAR_MAC), (&stage.vm1, VM1.1), &over));
        let left = (0..ROUNDS).try_for_each(|_| leave_and_come_back(stage, &on_vnic));
        over.store(true, Ordering::Relaxed);
        let count = |thread: std::thread::ScopedJoinHandle<Result<u64>>| {
            thread.join().map_err(|_| anyhow::anyhow!("a stream's thread panicked"))?
        };
        let counts = (count(up), count(down));
        left.and(Ok((counts.0?, counts.1?)))
    })
    .with_context(|| stage.daemon.log())?;
    println!("{sent} frames there and {received} back");
    let in_vain = ROUNDS * IN_VAIN;
    let frames = [
        ("vm1", ["rx_frames", "rx_bytes"], sent),
        (NIC, ["tx_frames", "tx_bytes"], sent),
        (NIC, ["rx_frames", "rx_bytes"], received + in_vain),
        ("vm1", ["tx_frames", "tx_bytes"], received),
        ("*", ["rx_frames", "rx_bytes"], sent + received + in_vain),
        ("*", ["tx_frames", "tx_bytes"], sent + received),
    ];
    let mut moved: Vec<_> = frames
        .iter()
        .flat_map(|&(port, [count, bytes], n)| [(port, count, n), (port, bytes, n * LENGTH)])
        .collect();
    moved.extend([(NIC, "drops.no_destination", in_vain), ("*", "drops.no_destination", in_vain)]);
    before.expect_delta(&stage.daemon, &moved)?;
    stage.expect_reach()
}

fn leave_and_come_back(stage: &Stage, on_vnic: &[String]) -> Result<()> {
    let (host, far) = (&stage.world.host, &stage.world.far);
    let pause = || std::thread::sleep(Duration::from_millis(100));
    pause();
    stage.daemon.cli_ok(&["switch", "set", "lan", "--host", "off"])?;
    expect_hostless(&stage.world, &stage.daemon)?;
    let mut sender = RawSender::open(far, "eth0")?;
    let frame = of_length(mac(NIC_MAC), mac(FAR_MAC), EXPERIMENT, LENGTH as usize);
    (0..IN_VAIN).try_for_each(|_| sender.send(&frame))?;
    pause();
    stage.daemon.cli_ok(&["switch", "set", "lan", "--host", "on"])?;
    ensure!(settings(host, "lan")? == on_vnic, "{:#?}\nbut was\n{on_vnic:#?}", settings(host, "lan")?);
    expect_silent(&stage.world)
}

/// Sends frames with the numbers 0, 1, 2, … until it is over, and fails unless each of them arrives, once and in its turn.
fn stream(from: (&Namespace, &str), to: (&Namespace, &str), over: &AtomicBool) -> Result<u64> {
    let (capture, mut sender) = (Capture::start(to.0, "eth0")?, RawSender::open(from.0, "eth0")?);
    let mut sent = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let payload = [&sent.to_be_bytes()[..], &[0; LENGTH as usize - 14 - 8]].concat();
        sender.send(&ethernet(mac(to.1), mac(from.1), EXPERIMENT, &payload))?;
        sent += 1;
        // No more than queues take while others have the CPU.
        std::thread::sleep(Duration::from_millis(1));
    }
    let is_ours = |frame: &Captured| !frame.outgoing && frame.bytes[..12] == addresses(to.1, from.1);
    let waited = capture.wait_for(sent as usize, is_ours).is_ok();
    let arrived: Vec<_> = capture.stop()?.into_iter().filter(is_ours).collect();
    let numbers: Vec<_> = arrived
        .iter()
        .map(|frame| u64::from_be_bytes(std::array::from_fn(|i| frame.bytes[14 + i])))
        .collect();
    let lost: Vec<_> = (0..sent).filter(|number| !numbers.contains(number)).collect();
    ensure!(waited && numbers == (0..sent).collect::<Vec<_>>(), "{sent} were sent; lost: {lost:?}");
    Ok(sent)
}

fn addresses(to: &str, from: &str) -> [u8; 12] {
    let both = [mac(to), mac(from)];
    std::array::from_fn(|i| both.as_flattened()[i])
}
