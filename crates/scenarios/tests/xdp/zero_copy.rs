//! AF_XDP with zero-copy, on a driver that has it: the NIC writes frames into the switch's memory and reads them there.

use crate::machine::{Kind, Machine, UPLINK, USUAL, VM_MAC};
use crate::state::PATIENCE;
use crate::stream::Stream;
use anyhow::{Context, Result, ensure};
use lab::frames::of_every_kind;
use lab::{Capture, FAR_IPV4, FAR_MAC, HOST_IPV4, Namespace, RawSender, Snapshot, wait_until};
use serde_json::{Value, json};

const ADD_UPLINK: &str = "switch add lan --external eth0 --io af-xdp";
const ADD_VM: &str =
    "port add lan vm --netdev eth1 --guard off --io af-xdp --vlan trunk=all --trust-priority on";
const VM_IPV4: &str = "10.9.0.51";
const MODE: &str = "af-xdp-zero-copy";
const CUTS_SEGMENTS: &str = "it cuts segments itself, where AF_XDP is faster with zero-copy only";
const CUTS_NONE: &str =
    "it does not cut segments itself, where AF_XDP is faster with zero-copy and native copy";
const NATIVE: &str = "af-xdp-native-copy";
const NOT_BESIDE: &str = "two programs do not fit on one interface, which had another mode of AF_XDP; tried when it is opened next";
const STRAYS: &str = "its driver, virtio_net as a module, has the NIC read the headers of such frames from a wrong place in memory: \
     they can be lost or changed on their way";
const WITHOUT_DMA_API: &str = "its driver refuses zero-copy with the NIC's present settings (binding to queue 0: Invalid argument (os error 22))";
const WITH_SPARE_QUEUES: &str =
    "with a program its driver has 4 channels in place of 2; give it as many as it can have (ethtool -L)";
const WITH_LONG_FRAMES: &str = "its driver has no zero-copy, or none for frames of its MTU";
/// So many that none of four queues is without one.
const FLOWS: u64 = 64;
const DATAGRAMS: u64 = 50;
/// Ethernet, IPv4, UDP, and what `flows.py` sends.
const DATAGRAM: u64 = 14 + 20 + 8 + 32;

/// The far end of a port.
struct End {
    port: &'static str,
    sender: RawSender,
    capture: Capture,
}

impl End {
    fn open(port: &'static str, namespace: &Namespace, interface: &str) -> Result<End> {
        let capture = Capture::start(namespace, interface)?;
        Ok(End { port, sender: RawSender::open(namespace, interface)?, capture })
    }

    /// What has come, in no order: frames of several flows leave on several queues.
    fn arrived(&self) -> Vec<Vec<u8>> {
        let frames = self.capture.frames().into_iter().filter(|frame| !frame.outgoing);
        let mut frames: Vec<_> = frames.map(|frame| frame.bytes).collect();
        frames.sort();
        frames
    }
}

/// Counters that move when so many frames pass from one port to another.
fn moved<'a>(from: &'a str, to: &'a str, frames: u64, bytes: u64) -> [(&'a str, &'a str, u64); 8] {
    [
        (from, "rx_frames", frames),
        (from, "rx_bytes", bytes),
        (to, "tx_frames", frames),
        (to, "tx_bytes", bytes),
        ("*", "rx_frames", frames),
        ("*", "rx_bytes", bytes),
        ("*", "tx_frames", frames),
        ("*", "tx_bytes", bytes),
    ]
}

/// These frames, and no other, pass from one end to the other as they are.
fn pass(machine: &Machine, from: &mut End, to: &End, frames: &[Vec<u8>]) -> Result<()> {
    let before = Snapshot::take(machine, "lan")?;
    from.sender.send_all(frames)?;
    let bytes: usize = frames.iter().map(Vec::len).sum();
    before.expect_delta(machine, &moved(from.port, to.port, frames.len() as u64, bytes as u64))?;
    wait_until("frames", PATIENCE, || Ok(to.arrived().len() >= frames.len()))?;
    let mut sent = frames.to_vec();
    sent.sort();
    ensure!(to.arrived() == sent, "arrived {:02x?}\nsent {sent:02x?}", to.arrived());
    Ok(())
}

/// Numbered datagrams of many flows: each comes once and in order, and all queues of a NIC that they pass have a part.
fn datagrams(
    machine: &Machine,
    [from, to]: [(&str, &Namespace); 2],
    address: &str,
    nic: &Queues,
) -> Result<()> {
    let (before, queues) = (Snapshot::take(machine, "lan")?, nic.passed(machine)?);
    let dir = lab::temp_dir()?;
    let run = |at: &Namespace, arguments: &[&str]| {
        let argv = [&["python3", "-c", include_str!("../workers/flows.py")], arguments].concat();
        at.spawn(&argv, &dir.path().join(arguments[0]))
    };
    let frames = FLOWS * DATAGRAMS;
    let mut sink = run(to.1, &["sink", &frames.to_string()])?;
    sink.wait_for_log("listening", PATIENCE)?;
    run(from.1, &["source", address, &FLOWS.to_string(), &DATAGRAMS.to_string()])?.wait(PATIENCE)?;
    sink.wait_for_log(&format!("flows {FLOWS} datagrams {frames}\n"), PATIENCE)?;
    before.expect_delta(machine, &moved(from.0, to.0, frames, frames * DATAGRAM))?;
    let passed: Vec<_> = nic.passed(machine)?.iter().zip(&queues).map(|(now, before)| now - before).collect();
    ensure!(passed.iter().all(|frames| *frames > 0) && passed.iter().sum::<u64>() == frames, "{passed:?}");
    Ok(())
}

/// Queues of a NIC in one direction.
struct Queues {
    nic: &'static str,
    way: &'static str,
    count: u16,
}

impl Queues {
    /// Frames that its driver has given to the switch (`rx`) or sent for it without a copy (`tx`), by queue.
    fn passed(&self, machine: &Machine) -> Result<Vec<u64>> {
        let counters = machine.run(&format!("ethtool -S {}", self.nic))?;
        let what = if self.way == "rx" { "xdp_redirects" } else { "xdp_tx" };
        let count = |queue| {
            let name = format!("{}{queue}_{what}: ", self.way);
            let count = counters.lines().find_map(|line| line.trim().strip_prefix(&name));
            count.with_context(|| format!("no {name}in {counters}"))?.parse().context("no number")
        };
        (0..self.count).map(count).collect()
    }
}

#[test]
fn root_a_nic_with_zero_copy_passes_every_frame_unmodified_and_counted_on_all_queues() -> Result<()> {
    let machine = Machine::boot([USUAL; 2])?;
    machine.vmswitch(ADD_UPLINK)?;
    machine.vmswitch(ADD_VM)?;
    machine.expect_zero_copy()?;
    for port in [UPLINK, "vm"] {
        assert_eq!(machine.io(port)?, json!({ "mode": MODE, "why": format!("asked for, but {STRAYS}") }));
    }

    let mut far = End::open(UPLINK, &machine.far, "tap0")?;
    let mut vm = End::open("vm", &machine.vm, "tap1")?;
    pass(&machine, &mut vm, &far, &of_every_kind(FAR_MAC, VM_MAC))?;
    pass(&machine, &mut far, &vm, &of_every_kind(VM_MAC, FAR_MAC))?;
    drop((far, vm));

    machine.introduce("lan")?;
    let ends = [(UPLINK, &machine.far), ("vm", &machine.vm)];
    datagrams(&machine, ends, VM_IPV4, &Queues { nic: "eth0", way: "rx", count: 2 })?;
    datagrams(&machine, [ends[1], ends[0]], FAR_IPV4, &Queues { nic: "eth0", way: "tx", count: 2 })?;

    machine.far.ping(HOST_IPV4)?;
    machine.run(&format!("ping -c 1 -W 5 {FAR_IPV4}"))?;
    for (from, to, address) in [(&machine.vm, &machine.far, FAR_IPV4), (&machine.far, &machine.vm, VM_IPV4)] {
        let mut stream = Stream::start(from, to, address, 7000)?;
        stream.wait_for_more(5_000_000)?;
        stream.finish()?;
    }
    Snapshot::take(&machine, "lan")?;

    machine.vmswitch("switch set lan --io auto")?;
    let refused = json!([{ "mode": MODE, "why": STRAYS }]);
    assert_eq!(machine.io(UPLINK)?, json!({ "mode": "af-packet", "why": CUTS_SEGMENTS, "refused": refused }));
    machine.far.wait_ping(HOST_IPV4, PATIENCE)?;
    native_copy_where_it_cuts_no_segments(&machine)?;
    machine.expect_content_kernel()
}

/// By itself it is not taken beside zero-copy, which is left, but when the port is opened next.
fn native_copy_where_it_cuts_no_segments(machine: &Machine) -> Result<()> {
    machine.run("ethtool -K eth1 tso off")?;
    machine.vmswitch("port set lan/vm --io auto")?;
    let strays = json!({ "mode": MODE, "why": STRAYS });
    let refused = json!([strays, { "mode": NATIVE, "why": NOT_BESIDE }]);
    assert_eq!(machine.io("vm")?, json!({ "mode": "af-packet", "why": CUTS_NONE, "refused": refused }));
    machine.kill_daemon()?;
    machine.launch_daemon()?;
    assert_eq!(machine.io("vm")?, json!({ "mode": NATIVE, "why": CUTS_NONE, "refused": [strays] }));
    machine.vm.wait_ping(FAR_IPV4, PATIENCE)
}

/// Everything that the machine has on its NIC.
fn state(machine: &Machine) -> Result<String> {
    machine.run("/bin/ip -d addr show dev eth0; /bin/ip route; /bin/ip neigh | sort; ethtool -k eth0; ethtool -l eth0")
}

/// Frames pass again, and none is copied.
fn goes_on(machine: &Machine, stream: &mut Stream) -> Result<()> {
    wait_until("zero-copy", PATIENCE, || Ok(machine.expect_zero_copy().is_ok()))?;
    machine.far.wait_ping(HOST_IPV4, PATIENCE)?;
    stream.wait_for_more(400_000)
}

#[test]
fn root_a_zero_copy_nic_outlives_links_channels_and_daemons_and_is_given_back_as_it_was() -> Result<()> {
    let machine = Machine::boot([USUAL; 2])?;
    machine.introduce(UPLINK)?;
    let before = state(&machine)?;
    machine.vmswitch(ADD_UPLINK)?;
    machine.vmswitch(ADD_VM)?;
    let stream = Stream::start(&machine.vm, &machine.far, FAR_IPV4, 7000);
    let mut stream = stream.with_context(|| machine.told())?;
    for _ in 0..2 {
        machine.run("ip link set eth0 down")?;
        machine.wait_down("switched off")?;
        machine.run("ip link set eth0 up")?;
        goes_on(&machine, &mut stream)?;
    }
    machine.set_carrier(false)?;
    machine.wait_down("no carrier")?;
    machine.set_carrier(true)?;
    goes_on(&machine, &mut stream)?;

    // The driver changes no channels under a program.
    ensure!(machine.run("ethtool -L eth0 combined 1").is_err(), "the driver changes channels meanwhile");
    goes_on(&machine, &mut stream)?;
    for channels in [1, 2] {
        machine.vmswitch("switch set lan --io af-packet")?;
        machine.run(&format!("ethtool -L eth0 combined {channels}"))?;
        machine.vmswitch("switch set lan --io af-xdp")?;
        goes_on(&machine, &mut stream)?;
    }
    for _ in 0..2 {
        machine.kill_daemon()?;
        machine.launch_daemon()?;
        goes_on(&machine, &mut stream)?;
    }
    stream.finish()?;
    Snapshot::take(&machine, "lan")?;
    machine.vmswitch("switch remove lan")?;
    assert_eq!(state(&machine)?, before);
    machine.far.wait_ping(HOST_IPV4, PATIENCE)?;
    machine.expect_content_kernel()
}

fn by_copy(why_not_better: &str) -> Value {
    let refused = json!([{ "mode": MODE, "why": why_not_better }]);
    json!({ "mode": NATIVE, "why": "asked for", "refused": refused })
}

#[test]
fn root_where_zero_copy_is_not_to_be_had_it_is_told_why_and_frames_are_copied() -> Result<()> {
    let spare = Kind { queues: 4, ..USUAL };
    let machine = Machine::boot([Kind { dma_api: false, ..USUAL }, spare])?;
    machine.vmswitch(ADD_UPLINK)?;
    machine.vmswitch(ADD_VM)?;
    assert_eq!(machine.io(UPLINK)?, by_copy(WITHOUT_DMA_API));
    assert_eq!(machine.io("vm")?, by_copy(WITH_SPARE_QUEUES));
    machine.introduce("lan")?;
    let (forth, back) =
        ([("vm", &machine.vm), (UPLINK, &machine.far)], [(UPLINK, &machine.far), ("vm", &machine.vm)]);
    // The driver receives on all four, and sends on two of them.
    let four = Queues { nic: "eth1", way: "rx", count: spare.queues };
    datagrams(&machine, forth, FAR_IPV4, &four)?;
    datagrams(&machine, back, VM_IPV4, &Queues { nic: "eth0", way: "rx", count: 2 })?;

    // What it says helps.
    machine.vmswitch("port set lan/vm --io af-packet")?;
    machine.run("ethtool -L eth1 combined 4")?;
    machine.vmswitch("port set lan/vm --io af-xdp")?;
    assert_eq!(machine.io("vm")?["mode"], MODE);
    datagrams(&machine, forth, FAR_IPV4, &four)?;

    machine.run("ip link set eth1 mtu 9000")?;
    wait_until("larger buffers", PATIENCE, || Ok(machine.io("vm")? == by_copy(WITH_LONG_FRAMES)))?;
    datagrams(&machine, forth, FAR_IPV4, &four)?;
    machine.expect_content_kernel()
}
