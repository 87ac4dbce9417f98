//! The policies of all ports in a row, and how each switch is told of them.

use super::bed::{MAC_TABLE, openflow_port, vnic_mac};
use super::rows::Row;
use super::rules::{Place, Rules};
use crate::bench::ovs::Ovs;
use anyhow::Result;

/// The VLAN of access ports.
const VLAN: &str = "10";
/// Rules of a list.
const LONG: usize = 1000;
const SHORT: usize = 50;
/// More flows than those rows have in which all are to be remembered.
const ALL_FLOWS: &str = "131072";

/// What each port has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policies {
    /// Those of a new port: the guard is on. With several source MACs it has to be off.
    Default,
    /// Nothing: the guard is off.
    None,
    /// An access VLAN, the guard, DHCP guard and router guard. Of OVS the VLAN only.
    Guards,
    /// 1,000 basic and 1,000 extended rules. Of the traffic that is of one flow, the rules that let it pass are here.
    Lists(Place),
    /// 50 and 50.
    ShortLists,
    /// The guard, a stateful rule in each direction, and a last one that denies.
    Stateful,
    /// The same at clients only; servers have the guard.
    StatefulClients,
    /// A maximum bandwidth of clients.
    Limited(&'static str),
}

impl Policies {
    /// Options of `vmswitch port add` for the port of vNIC `n`.
    pub fn of_vmswitch(self, n: usize, row: &Row) -> Vec<String> {
        let options: &[&str] = match self {
            // With the guard of a new port, lists that remember flows are asked about many frames at once.
            Policies::Stateful | Policies::StatefulClients => &["--guard", "on"],
            Policies::Default if row.macs == 1 => &["--guard", "on"],
            Policies::Default => &["--guard", "off", "--learn-limit", MAC_TABLE],
            Policies::Guards => {
                let vlan = ["--vlan", &format!("access={VLAN}")].map(str::to_owned);
                let guards = ["--guard", "--dhcp-guard", "--router-guard"];
                let guards = guards.into_iter().flat_map(|guard| [guard.to_owned(), "on".to_owned()]);
                return vlan.into_iter().chain(guards).collect();
            }
            Policies::Limited(rate) if n.is_multiple_of(2) => &["--max-bandwidth", rate],
            Policies::Limited(_) => &[],
            Policies::None | Policies::Lists(_) | Policies::ShortLists => &["--guard", "off"],
        };
        let options = options.iter().copied().map(str::to_owned);
        options.chain(self.access_lists(n, row)).collect()
    }

    /// The rules of the access lists of vNIC `n`.
    pub fn rules(self, n: usize) -> Vec<String> {
        match self {
            Policies::Lists(place) => Rules::new(LONG, place, n).of_vmswitch(),
            Policies::ShortLists => Rules::new(SHORT, Place::Middle, n).of_vmswitch(),
            Policies::StatefulClients if n % 2 == 1 => Vec::new(),
            Policies::Stateful | Policies::StatefulClients => {
                ["both allow ip weight 9 stateful", "both deny ip weight 1"].map(str::to_owned).into()
            }
            _ => Vec::new(),
        }
    }

    fn access_lists(self, n: usize, row: &Row) -> Vec<String> {
        // A table that is full all the time is what new flows are to find.
        let is_stateful = matches!(self, Policies::Stateful | Policies::StatefulClients);
        let flows = (is_stateful && !row.fresh).then_some(["--acl-flows", ALL_FLOWS]);
        let rules = self.rules(n).into_iter().flat_map(|rule| ["--acl".to_owned(), rule]);
        rules.chain(flows.into_iter().flatten().map(str::to_owned)).collect()
    }

    /// Tells OVS, whose ports are there already. Its answer to access lists is OpenFlow: by the port that a frame comes in
    /// on, then by the MAC that it is for, then `NORMAL`.
    pub fn give_to_ovs(self, ovs: &Ovs, bridge: &str, vnics: usize) -> Result<()> {
        match self {
            Policies::Guards => {
                (0..vnics).try_for_each(|n| ovs.control(&format!("set port v{n} tag={VLAN}")))
            }
            Policies::Lists(place) => {
                let of_port = |n| Rules::new(LONG, place, n).of_ovs(openflow_port(n), &vnic_mac(n));
                ovs.add_flows(bridge, &(0..vnics).map(of_port).collect::<String>())
            }
            _ => Ok(()),
        }
    }
}
