use super::*;
use model::{IoMode, IoStatus};

#[test]
fn ports_are_a_table() {
    let expected = "\
PORT      ATTACHED TO    MAC                STATE  GUARD   MTU  WHY
lan/eth0  NIC eth0       52:54:00:00:00:01  up     -      1500
lan/host  host vNIC lan  52:54:00:00:00:01  down   on     1500  set down
lan/vm1   TAP tap1       02:00:00:00:00:01  up     on     1500
";
    let ports = [samples::eth0(), samples::host(), samples::vm1()];
    assert_eq!(list_text(&ports, Style::PLAIN), expected);
    assert!(list_text(&ports, Style::COLOURED).contains("\x1b[33mdown\x1b[0m"));
    assert!(list_text(&[], Style::PLAIN).contains("vmswitch port add"));
}

#[test]
fn a_port_is_shown_whole() {
    let expected = "\
Port:              lan/vm1
Attached to:       TAP tap1
State:             up
MAC:               02:00:00:00:00:01
MTU:               1500
Guard:             on
Allowed MACs:      -
Also let in:       -
Allowed reserved:  -
DHCP guard:        off
Router guard:      off
Access lists:      -
IP guard:          off
VLAN:              untagged
Mirror:            off
Learn limit:       4096
Received:          12 frames, 1200 bytes
Delivered:         3 frames, 300 bytes
Not learned:       0 frames
Missed:            0 frames
Dropped:           2 frames
  2 spoofed_mac: The port is guarded and the source MAC is not the port's.
";
    assert_eq!(show_text(&samples::vm1(), Style::PLAIN), expected);
    assert!(show_text(&samples::host(), Style::PLAIN).contains("State:             down (set down)\n"));
    assert!(
        show_text(&samples::eth0(), Style::PLAIN).contains("DHCP guard:        -\nRouter guard:      -\n")
    );
}

#[test]
fn a_vhost_user_port_says_what_its_driver_uses() {
    let text = show_text(&samples::vm3(), Style::PLAIN);
    for line in [
        "Attached to:       vhost-user socket /run/vmswitch/vhost/lan/vm3.sock (server)\n",
        "Queue pairs:       2 in use, of 16\n",
        "Driver uses:       CSUM, VERSION_1\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn an_uplink_says_how_frames_pass_its_nic_and_why_not_better() {
    let text = show_text(&samples::eth0_by_xdp(), Style::PLAIN);
    let expected = "\
Frames by:         AF_XDP, native copy: asked for
                   not AF_XDP, zero-copy: its driver has no zero-copy
";
    assert!(text.contains(expected), "{text}");
    let by_packet = IoStatus { mode: IoMode::AfPacket, why: "asked for".into(), refused: vec![] };
    let text = show_text(&PortStatus { io: Some(by_packet), ..samples::eth0() }, Style::PLAIN);
    assert!(text.contains("Frames by:         AF_PACKET: asked for\n"), "{text}");
}

#[test]
fn a_new_port_says_how_to_attach_the_vm() {
    let expected = "\
Port 'lan/vm1' is made: TAP tap1.
MAC: 02:00:00:00:00:01

QEMU options:
-netdev tap,id=net-vm1,ifname=tap1,script=no,downscript=no \\
-device virtio-net-pci,netdev=net-vm1,mac=02:00:00:00:00:01
";
    assert_eq!(added_text(&samples::vm1()), expected);
}
