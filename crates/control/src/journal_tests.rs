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
    assert_eq!(steps[0], "keep frames that come in by eth0 from the host's stack", "the NIC comes first");
    let made = ["make the host vNIC lan with MAC 02:00:00:00:00:01 and MTU 1500", "set lan up"];
    assert_eq!(steps[steps.len() - 2..], made);
    let (steps, _) = recovered(&bound, "boot 1", 5000, &facts(&["eth0", "lan"]));
    assert!(!steps.iter().any(|s| s.contains("lan")), "{steps:?}");
}

fn adding() -> Phase {
    Phase::AddingHost { vnic: HostVnic { ifname: name("lan"), mac: MacAddr::default(), mtu: 1500 } }
}

#[test]
fn a_host_vnic_that_was_being_added_is_taken_away() {
    let mut journal = journal(adding());
    journal.request.host_vnic = None;
    let at = |links| recovered(&journal, "boot 1", 5000, &facts(links));
    assert_eq!(at(&["eth0", "lan"]), (vec!["remove the host vNIC lan".into()], Outcome::Bound));
    assert_eq!(at(&["eth0"]), (vec![], Outcome::Bound));
}

#[test]
fn what_is_on_a_host_vnic_is_kept_and_made_again_with_the_time_that_is_left() {
    let mut journal = journal(Phase::Bound);
    let settings = crate::facts::Settings { addresses: vec![lease(1000)], ..Default::default() };
    let mut facts = facts(&["eth0", "lan"]);
    facts.settings.insert(name("lan"), settings);
    journal.keep(&facts, 6000);
    facts.links.pop();
    let (steps, _) = recovered(&journal, "boot 1", 6100, &facts);
    assert!(steps.contains(&"give lan the address 192.0.2.1/24 (valid for 900 s)".into()), "{steps:?}");
    journal.request.host_vnic = None;
    let steps: Vec<_> = journal.give_back(&facts, 6200).iter().map(ToString::to_string).collect();
    assert!(steps.contains(&"give eth0 the address 192.0.2.1/24 (valid for 800 s)".into()), "{steps:?}");
}

#[test]
fn a_journal_survives_the_disk() {
    let actions = journal(Phase::Binding).bind;
    for phase in [Phase::Binding, Phase::Bound, adding(), Phase::GivingBack { actions, since_s: 7 }] {
        let journal = journal(phase);
        let text = serde_json::to_string(&journal).unwrap();
        assert_eq!(serde_json::from_str::<Journal>(&text).unwrap(), journal);
    }
}
