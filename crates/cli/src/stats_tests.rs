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
fn the_documents_have_the_promised_keys() {
    let json = serde_json::to_value(lan()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["ports", "stats", "switch"]);
    assert_eq!(keys(&json["ports"][2]), ["name", "stats"]);
    assert_eq!(json["ports"][2]["stats"]["drops"], serde_json::json!({"spoofed_mac": 2}));
}
