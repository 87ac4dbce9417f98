//! A port's MTU is that of the TAP which it is attached to.

use crate::lan::{Lan, OUTSIDE, VM2, frame_from};
use crate::round::Round;
use anyhow::Result;
use lab::frames::mac;
use lab::{NIC, Namespace, Process, WorldOptions};
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

/// Opens a TAP as a VMM does; reads a frame for each line of standard input, and prints its length.
const VMM: &str = "import fcntl, os, struct, sys
tap = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tap, 0x400454ca, struct.pack('16sH22x', sys.argv[1].encode(), 0x2 | 0x1000 | 0x4000))
print('open', file=sys.stderr, flush=True)
for line in sys.stdin:
    print(len(os.read(tap, 1 << 17)) - 10, flush=True)";

#[test]
fn root_a_tap_has_the_mtu_of_its_port_and_gets_its_own_back() -> Result<()> {
    let jumbo = WorldOptions { host_addresses: false, mtu: 9000, ..WorldOptions::default() };
    let mut lan = Lan::in_world(&jumbo, &["--external", NIC])?;
    lan.watch_uplink()?;
    lan.world.host.ip("tuntap add dev tap0 mode tap vnet_hdr")?;
    lan.world.host.ip("link set tap0 mtu 1300")?;
    let mut command = lan.world.host.command("python3");
    command.args(["-c", VMM, "tap0"]);
    let log = lan.daemon.scratch().join("vmm");
    let (mut vmm, mut stdin, stdout) = Process::spawn_piped(&mut command, &log)?;
    vmm.wait_for_log("open", Duration::from_secs(10))?;
    let mut read = BufReader::new(stdout).lines();
    let of = |length| frame_from(mac(VM2), mac(OUTSIDE), length);
    let mtu = |host: &Namespace| -> Result<_> { Ok(host.ip_json("link show dev tap0")?[0]["mtu"].as_u64()) };

    lan.daemon.cli_ok(&["port", "add", "lan", "tap", "--tap", "tap0", "--mac", VM2])?;
    for (set, mtu_now) in [(&[][..], 9000), (&["1400"], 1400), (&["9000"], 9000), (&["1000"], 1000)] {
        set.iter().try_for_each(|n| lan.daemon.cli_ok(&["port", "set", "lan/tap", "--mtu", n]).map(drop))?;
        assert_eq!(mtu(&lan.world.host)?, Some(mtu_now));
        let longest = mtu_now as usize + 14;
        lan.run(Round::default().sends(NIC, &of(longest)).reaches(&["tap"]))?;
        writeln!(stdin)?;
        assert_eq!(read.next().transpose()?, Some(longest.to_string()));
        if mtu_now < 9000 {
            lan.run(Round::default().sends(NIC, &of(longest + 1)).drops("tap", "oversize"))?;
        }
    }
    lan.daemon.cli_refused(1, &["port", "set", "lan/tap", "--mtu", "9001"])?;
    lan.daemon.restart()?;
    assert_eq!(mtu(&lan.world.host)?, Some(1000));
    lan.daemon.cli_ok(&["port", "remove", "lan/tap"])?;
    assert_eq!(mtu(&lan.world.host)?, Some(1300));
    vmm.kill()?;
    lan.world.host.ip("link del tap0")?;
    lan.finish()
}
