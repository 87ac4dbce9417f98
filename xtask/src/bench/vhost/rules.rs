//! As many basic as extended rules for the port of a vNIC, in the words of vmswitch and of OpenFlow.
//!
//! Basic rules are at prefixes of the other end. One is for the network of the vNICs, 10.9.0.0/24, and allows; the shortest is for all
//! of 10.0.0.0/8 and denies; the others are for networks where nobody is.
//!
//! Of the extended rules, which differ in their weights, half allow one service each (`peers/flows.h` has 500), the others
//! what nobody sends: other protocols, other ends, ranges of ports. A last one besides denies IP.

use std::fmt::Write;
use std::net::Ipv4Addr;

/// As in `peers/flows.h`.
const FIRST_SERVICE: u16 = 2000;
/// Prefixes that the vNICs are in.
const NEAR: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 9, 0, 0), 24),
    (Ipv4Addr::new(10, 9, 0, 0), 20),
    (Ipv4Addr::new(10, 9, 0, 0), 16),
    (Ipv4Addr::new(10, 0, 0, 0), 12),
];

/// Where in the lists the rules are that a single flow needs: the one for its network and the one for the first service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    First,
    Middle,
    Last,
}

impl Place {
    fn of(self, rules: usize) -> usize {
        match self {
            Place::First => 0,
            Place::Middle => rules / 2,
            Place::Last => rules - 1,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Prefix(Ipv4Addr, u8);

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0, self.1)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Basic {
    allows: bool,
    remote: Prefix,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Extended {
    allows: bool,
    tcp: bool,
    remote: Prefix,
    /// The first of its ports at the server's end, and how many there are: a power of two, as OpenFlow has no ranges.
    port: u16,
    ports: u16,
}

/// The lists of one port.
#[derive(Debug)]
pub struct Rules {
    /// Services are at the vNIC's end, not at the other one.
    is_server: bool,
    basic: Vec<Basic>,
    extended: Vec<Extended>,
}

impl Rules {
    /// `each` basic and `each` extended ones for the port of vNIC `n`: clients are even.
    pub fn new(each: usize, place: Place, n: usize) -> Rules {
        Rules { is_server: n % 2 == 1, basic: basic(each, place), extended: extended(each, place) }
    }

    /// As `vmswitch` takes them.
    pub fn of_vmswitch(&self) -> Vec<String> {
        let basic =
            self.basic.iter().map(|rule| format!("both {} remote {}", verb(rule.allows), rule.remote));
        let extended =
            self.extended.iter().enumerate().map(|(n, rule)| self.extended_of_vmswitch(rule, self.weight(n)));
        basic.chain(extended).chain(["both deny ip weight 1".to_owned()]).collect()
    }

    fn extended_of_vmswitch(&self, rule: &Extended, weight: usize) -> String {
        let (verb, protocol, remote) = (verb(rule.allows), protocol(rule), rule.remote);
        let end = if self.is_server { " local any" } else { "" };
        let ports = match rule.ports {
            1 => rule.port.to_string(),
            ports => format!("{}-{}", rule.port, rule.port + ports - 1),
        };
        format!("both {verb} {protocol} remote {remote}{end} port {ports} weight {weight}")
    }

    /// As OpenFlow: what comes from the port in tables 0 and 1, what goes to it in tables 2 and 3.
    pub fn of_ovs(&self, port: usize, mac: &str) -> String {
        let sent = format!("in_port={port}");
        let delivered = format!("dl_dst={mac}");
        let (far, near) = if self.is_server { ("tp_src", "tp_dst") } else { ("tp_dst", "tp_src") };
        let mut text = String::new();
        for (table, end, remote, service, pass) in
            [(0, &sent, "nw_dst", far, "goto_table:2"), (2, &delivered, "nw_src", near, "NORMAL")]
        {
            self.one_way_of_ovs(&mut text, table, end, remote, service, pass);
        }
        text
    }

    fn one_way_of_ovs(
        &self,
        text: &mut String,
        table: usize,
        end: &str,
        remote: &str,
        service: &str,
        pass: &str,
    ) {
        let next = table + 1;
        let basic_pass = format!("goto_table:{next}");
        let action = |allows, pass: &str| if allows { pass.to_owned() } else { "drop".to_owned() };
        // Writing to a string cannot fail.
        for rule in &self.basic {
            let (prefix, action) = (rule.remote, action(rule.allows, &basic_pass));
            let _ = writeln!(
                text,
                "table={table},priority={},{end},ip,{remote}={prefix},actions={action}",
                100 + prefix.1
            );
        }
        for (n, rule) in self.extended.iter().enumerate() {
            let (protocol, prefix, weight) = (protocol(rule), rule.remote, self.weight(n));
            let (port, mask, action) = (rule.port, !(rule.ports - 1), action(rule.allows, pass));
            let _ = writeln!(
                text,
                "table={next},priority={weight},{end},{protocol},{remote}={prefix},{service}={port:#x}/{mask:#x},actions={action}"
            );
        }
        let _ = writeln!(text, "table={next},priority=1,{end},ip,actions=drop");
        let _ = writeln!(
            text,
            "table={table},priority=0,actions={basic_pass}\ntable={next},priority=0,actions={pass}"
        );
    }

    /// The first extended rule has the highest.
    fn weight(&self, n: usize) -> usize {
        self.extended.len() + 1 - n
    }
}

fn verb(allows: bool) -> &'static str {
    if allows { "allow" } else { "deny" }
}

fn protocol(rule: &Extended) -> &'static str {
    if rule.tcp { "tcp" } else { "udp" }
}

fn basic(rules: usize, place: Place) -> Vec<Basic> {
    let far = |n: usize| Prefix(Ipv4Addr::new(10, 64 + (n / 250) as u8, (n % 250) as u8, 0), 24);
    let mut all: Vec<_> = (0..rules - 2).map(|n| Basic { allows: n % 2 == 0, remote: far(n) }).collect();
    all.insert(rules / 4, Basic { allows: false, remote: Prefix(Ipv4Addr::new(10, 0, 0, 0), 8) });
    all.insert(place.of(rules), Basic { allows: true, remote: Prefix(NEAR[0].0, NEAR[0].1) });
    all
}

fn extended(rules: usize, place: Place) -> Vec<Extended> {
    let mut all: Vec<_> = (0..rules / 2).flat_map(|n| [service(n), unused(n)]).collect();
    let first = all.remove(0);
    all.insert(place.of(rules), first);
    all
}

fn service(n: usize) -> Extended {
    let (address, len) = NEAR[n % NEAR.len()];
    Extended {
        allows: true,
        tcp: false,
        remote: Prefix(address, len),
        port: FIRST_SERVICE + n as u16,
        ports: 1,
    }
}

/// A rule that no frame matches.
fn unused(n: usize) -> Extended {
    let port = FIRST_SERVICE + 8 * n as u16;
    match n % 3 {
        0 => Extended { allows: false, tcp: true, remote: Prefix(NEAR[0].0, NEAR[0].1), port, ports: 8 },
        1 => Extended { allows: true, tcp: true, remote: Prefix(NEAR[2].0, NEAR[2].1), port, ports: 1 },
        _ => {
            let network = Ipv4Addr::new(10, 9, 1 + (n % 250) as u8, 0);
            Extended { allows: false, tcp: false, remote: Prefix(network, 24), port, ports: 8 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_a_thousand_of_each_and_a_last_one_and_the_first_service_is_at_its_place() {
        for (place, at) in [(Place::First, 0), (Place::Middle, 500), (Place::Last, 999)] {
            let rules = Rules::new(1000, place, 0).of_vmswitch();
            assert_eq!(rules.len(), 2001);
            assert_eq!(rules[at], "both allow remote 10.9.0.0/24");
            let weight = 1001 - at;
            assert_eq!(
                rules[1000 + at],
                format!("both allow udp remote 10.9.0.0/24 port 2000 weight {weight}")
            );
            assert_eq!(rules[2000], "both deny ip weight 1");
        }
    }

    #[test]
    fn the_server_has_the_services_at_its_own_end() {
        let rules = Rules::new(1000, Place::First, 1);
        assert_eq!(
            rules.of_vmswitch()[1000],
            "both allow udp remote 10.9.0.0/24 local any port 2000 weight 1001"
        );
        let openflow = rules.of_ovs(2, "02:00:00:00:00:11");
        let lines: Vec<_> = openflow.lines().collect();
        let sent =
            "table=1,priority=1001,in_port=2,udp,nw_dst=10.9.0.0/24,tp_src=0x7d0/0xffff,actions=goto_table:2";
        let delivered = "table=3,priority=1001,dl_dst=02:00:00:00:00:11,udp,nw_src=10.9.0.0/24,tp_dst=0x7d0/0xffff,actions=NORMAL";
        assert_eq!((lines[1000], lines[2003 + 1000]), (sent, delivered));
        assert_eq!(lines.len(), 2 * 2003);
    }
}
