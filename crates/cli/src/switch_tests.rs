use super::*;
use crate::port::samples;

#[test]
fn switches_are_a_table() {
    let waiting = SwitchStatus { confirm_within_s: Some(42), ..samples::lan() };
    let lab = SwitchStatus {
        name: "lab".parse().unwrap(),
        kind: SwitchKind::Private,
        uplinks: vec![],
        ports: vec![],
        mac_entries: 0,
        ..samples::lan()
    };
    let expected = "\
NAME  KIND      UPLINK  PORTS  MACS  NOTE
lan   external  eth0        3     2  confirm within 42 s
lab   private   -           0     0
";
    assert_eq!(list_text(&[waiting, lab], Style::PLAIN), expected);
    assert!(list_text(&[], Style::PLAIN).contains("vmswitch switch add"));
}

#[test]
fn a_switch_is_shown_whole() {
    let expected = "\
Name:       lan
Kind:       external
Uplink:     eth0
Ports:      eth0, host, vm1
MAC table:  2 of 65536 entries, forgotten after 300 s
Multicast:  goes to all ports
Received:   15 frames, 1500 bytes
Copied:     0 frames
Delivered:  13 frames, 1300 bytes
Dropped:    2 frames
  2 spoofed_mac: The port is guarded and the source MAC is not the port's.
";
    assert_eq!(show_text(&samples::lan()), expected);
}

#[test]
fn a_switch_says_how_frames_pass_its_uplink() {
    let text = show_text(&SwitchStatus { io: samples::eth0_by_xdp().io, ..samples::lan() });
    let expected = "\
Uplink:     eth0
Frames by:  AF_XDP, native copy: asked for
            not AF_XDP, zero-copy: its driver has no zero-copy
Ports:      eth0, host, vm1
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_new_external_switch_says_what_happened_to_the_host() {
    let ports = [samples::eth0(), samples::host(), samples::vm1()];
    let waiting = SwitchStatus { confirm_within_s: Some(60), ..samples::lan() };
    let expected = "\
Switch 'lan' is made: it joins VMs to the network at eth0.
The host's vNIC on it is the interface 'lan' (MAC 52:54:00:00:00:01), and has taken the addresses and routes of eth0.
All is put back in 60 s unless you confirm:
  vmswitch switch confirm lan
";
    assert_eq!(added_text(&waiting, &ports), expected);
    let without = added_text(&samples::lan(), &ports[..1]);
    assert!(without.ends_with("The host has no vNIC on it.\n"), "{without}");
}

#[test]
fn other_new_switches_say_what_they_join() {
    let of = |kind, ports: &[PortStatus]| added_text(&SwitchStatus { kind, ..samples::lan() }, ports);
    let internal = of(SwitchKind::Internal, &[samples::host()]);
    let expected = "\
Switch 'lan' is made: it joins VMs and the host.
The host's vNIC on it is the interface 'lan' (MAC 52:54:00:00:00:01).
";
    assert_eq!(internal, expected);
    assert_eq!(of(SwitchKind::Private, &[]), "Switch 'lan' is made: it joins VMs only.\n");
}
