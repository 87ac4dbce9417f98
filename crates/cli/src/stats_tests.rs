use super::*;
use crate::port::samples;

fn lan() -> SwitchStats {
    let ports = [samples::eth0(), samples::host(), samples::vm1()];
    let ports = ports.map(|port| PortStats { name: port.name, stats: port.stats });
    SwitchStats { switch: "lan".parse().unwrap(), stats: samples::lan().stats, ports: ports.into() }
}

const DROPS: &str = "
DROPPED AT  FRAMES  REASON       WHAT IT MEANS
lan/vm1          2  spoofed_mac  The port is guarded and the source MAC is not the port's.
";

#[test]
fn counters_are_a_table_with_every_drop_explained() {
    let expected = "\
PORT      RX FRAMES  RX BYTES  TX FRAMES  TX BYTES  NOT LEARNED  DROPPED
lan/eth0          3       300         10      1000            0        0
lan/host          0         0          0         0            0        0
lan/vm1          12      1200          3       300            0        2

lan: received 15 + copied 0 = delivered 13 + dropped 2
";
    assert_eq!(text(&[lan()], Style::PLAIN), format!("{expected}{DROPS}"));
    assert_eq!(text(&[], Style::PLAIN), "There are no ports.");
}

#[test]
fn one_port_has_no_sum() {
    let expected = "\
PORT     RX FRAMES  RX BYTES  TX FRAMES  TX BYTES  NOT LEARNED  DROPPED
lan/vm1         12      1200          3       300            0        2
";
    assert_eq!(text(&[of_port(&samples::vm1())], Style::PLAIN), format!("{expected}{DROPS}"));
}

#[test]
fn rates_are_differences_over_time() {
    let start = Instant::now();
    let last = Look { at: start, switches: vec![lan()] };
    let mut switch = lan();
    switch.ports[0].stats.rx_frames += 4_000_000;
    switch.ports[0].stats.rx_bytes += 500_000_000;
    switch.ports[2].stats.tx_frames += 30;
    let now = Look { at: start + Duration::from_secs(2), switches: vec![switch] };
    let expected = "\
PORT      RX FRAMES/S  RX BIT/S  TX FRAMES/S  TX BIT/S  DROPPED/S  DROPPED
lan/eth0         2.0M      2.0G            0         0          0        0
lan/host            0         0            0         0          0        0
lan/vm1             0         0           15         0          0        2
";
    assert_eq!(rates_text(&last, &now, Style::PLAIN), format!("{expected}{DROPS}"));
}

#[test]
fn rates_are_short() {
    let cases = [
        (0.0, "0"),
        (999.4, "999"),
        (1000.0, "1.0k"),
        (123_456.0, "123k"),
        (14.88e6, "14.9M"),
        (1e10, "10.0G"),
    ];
    for (rate, expected) in cases {
        assert_eq!(short(rate), expected);
    }
}

#[test]
fn the_documents_have_the_promised_keys() {
    let json = serde_json::to_value(lan()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["ports", "stats", "switch"]);
    assert_eq!(keys(&json["ports"][2]), ["name", "stats"]);
    assert_eq!(json["ports"][2]["stats"]["drops"], serde_json::json!({"spoofed_mac": 2}));
}
