use super::*;
use crate::action::{Flag, HostVnic};
use crate::facts::{Address, LEAST_LEFT_S, Lifetime, Link};
use model::{IfName, MacAddr};

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

fn link(index: u32, text: &str) -> Link {
    let mac = Some(MacAddr([2, 0, 0, 0, 0, 1]));
    let (kind, master, parent) = (None, None, None);
    let (up, carrier, arp, promisc, loopback, wireless) = (true, true, true, false, false, false);
    let name = name(text);
    Link { index, name, kind, mac, mtu: 1500, up, carrier, arp, promisc, loopback, wireless, master, parent }
}

fn lease(valid_s: u32) -> Address {
    Address {
        ip: [192, 0, 2, 1].into(),
        prefix_len: 24,
        peer: None,
        broadcast: None,
        scope: 0,
        label: None,
        flags: 0,
        lifetime: Some(Lifetime { valid_s, preferred_s: valid_s }),
        metric: None,
        protocol: None,
    }
}

fn journal(phase: Phase) -> Journal {
    let request = BindRequest {
        switch: "lan".parse().unwrap(),
        nic: name("eth0"),
        host_vnic: Some(name("lan")),
        mtu: None,
        taken: Default::default(),
    };
    let vnic = HostVnic { ifname: name("lan"), mac: MacAddr::default(), mtu: 1500 };
    let bind = vec![
        Action::CreateHostVnic(vnic),
        Action::SetFlag { dev: name("lan"), flag: Flag::Up, on: true, was: None },
        Action::RemoveAddress { dev: name("eth0"), address: lease(1000) },
    ];
    Journal { phase, ..Journal::begin(request, Facts::default(), bind, "boot 1".into(), 5000) }
}

fn facts(links: &[&str]) -> Facts {
    let links = links.iter().zip(1..).map(|(text, index)| link(index, text)).collect();
    Facts { links, ..Facts::default() }
}

fn recovered(journal: &Journal, boot_id: &str, time_s: u64, facts: &Facts) -> (Vec<String>, Outcome) {
    let recovery = recover(journal, &Now { boot_id, time_s, facts });
    (recovery.actions.iter().map(ToString::to_string).collect(), recovery.outcome)
}

#[test]
fn an_interrupted_bind_is_undone_with_the_lease_time_that_is_left() {
    let facts = facts(&["eth0", "lan"]);
    let at = |time_s| recovered(&journal(Phase::Binding), "boot 1", time_s, &facts);
    let steps = |left: u32| {
        let address = format!("give eth0 the address 192.0.2.1/24 (valid for {left} s)");
        (vec![address, "remove the host vNIC lan".into()], Outcome::Free)
    };
    assert_eq!(at(5100), steps(900));
    assert_eq!(at(50_000), steps(LEAST_LEFT_S));
}

#[test]
fn what_does_not_exist_is_not_touched() {
    let facts = facts(&["eth1"]);
    assert_eq!(recovered(&journal(Phase::Binding), "boot 1", 5000, &facts), (vec![], Outcome::Free));
}

#[test]
fn a_reboot_voids_the_journal() {
    let facts = facts(&["eth0"]);
    let bound = journal(Phase::Bound);
    assert_eq!(recovered(&bound, "boot 2", 5000, &facts), (vec![], Outcome::Free));
}

#[test]
fn a_host_vnic_that_is_gone_is_made_again() {
    let bound = journal(Phase::Bound);
    let (steps, outcome) = recovered(&bound, "boot 1", 5000, &facts(&["eth0"]));
    assert_eq!(outcome, Outcome::Bound);
    assert_eq!(steps.len(), bound.bind.len(), "{steps:?}");
    let (steps, _) = recovered(&bound, "boot 1", 5000, &facts(&["eth0", "lan"]));
    assert!(!steps.iter().any(|s| s.contains("lan")), "{steps:?}");
}

#[test]
fn a_journal_survives_the_disk() {
    let actions = journal(Phase::Binding).bind;
    for phase in [Phase::Binding, Phase::Bound, Phase::GivingBack { actions, since_s: 7 }] {
        let journal = journal(phase);
        let text = serde_json::to_string(&journal).unwrap();
        assert_eq!(serde_json::from_str::<Journal>(&text).unwrap(), journal);
    }
}
