//! Single changes, the ingress filter beside others', refusals in words, and the link monitor.

mod host;

use control::action::Flag;
use control::attach::{plan_attach, plan_detach};
use control::facts::Link;
use host::{Host, in_namespace, name};
use netlink::{LinkChange, LinkMonitor};

fn link(host: &mut Host, dev: &str) -> Link {
    host.netlink.links().expect("links").0.into_iter().find(|l| l.name.as_str() == dev).expect(dev)
}

#[test]
fn root_links_are_seen_as_they_are() {
    in_namespace(|host| {
        host.ip("link add br0 type bridge");
        host.ip("link add v0 address 02:00:00:00:00:07 mtu 1400 type veth peer name v1");
        host.ip("link set v0 master br0 promisc on arp off up");
        host.ip("link add link v1 name mv1 type macvlan");
        let (bridge, port) = (link(host, "br0"), link(host, "v0"));
        assert_eq!(bridge.kind.as_deref(), Some("bridge"));
        assert_eq!((port.kind.as_deref(), port.master, port.mtu), (Some("veth"), Some(bridge.index), 1400));
        assert_eq!(port.mac, "02:00:00:00:00:07".parse().ok());
        assert!(port.up && port.promisc && !port.arp && !port.carrier && !port.wireless && !port.loopback);
        assert!(link(host, "lo").loopback);
        let upper = link(host, "mv1");
        assert_eq!((upper.kind.as_deref(), upper.parent), (Some("macvlan"), Some(link(host, "v1").index)));
    });
}

#[test]
fn root_changes_of_a_link() {
    in_namespace(|host| {
        host.ip("tuntap add dev t0 mode tap");
        let dev = name("t0");
        host.netlink.set_mtu(&dev, 1300).expect("mtu");
        host.netlink.set_flag(&dev, Flag::Up, true).expect("up");
        let now = link(host, "t0");
        assert_eq!((now.mtu, now.up), (1300, true));
        host.netlink.delete_link(&dev).expect("deleted");
        host.netlink.delete_link(&dev).expect("deleted already");
        assert!(host.netlink.links().expect("links").index(&dev).is_err());
    });
}

#[test]
fn root_refusals_are_sentences() {
    in_namespace(|host| {
        let missing = host.netlink.set_flag(&name("nope"), Flag::Up, true).unwrap_err();
        assert_eq!(missing.to_string(), "there is no interface 'nope'");
        host.ip("tuntap add dev t0 mode tap");
        let mtu = host.netlink.set_mtu(&name("t0"), 10).unwrap_err();
        let wanted = "the kernel refused to set the MTU of t0 to 10: Invalid argument (os error 22): ";
        assert!(mtu.to_string().starts_with(wanted) && mtu.to_string().contains("mtu"), "{mtu}");
    });
}

#[test]
fn root_the_ingress_filter_drops_everything_and_leaves_other_filters_alone() {
    in_namespace(|host| {
        host.ip("link add v0 type veth peer name v1");
        host.ip("link set v0 up");
        host.ip("link set v1 up");
        let dev = name("v0");
        let tc = |host: &Host, text: &str| host.run("tc", &text.split(' ').collect::<Vec<_>>());
        let foreign = "filter add dev v0 egress pref 5 bpf da bytecode 1,6\u{20}0\u{20}0\u{20}0";
        for foreigner in [false, true] {
            if foreigner {
                tc(host, "qdisc add dev v0 clsact");
                let (head, program) = foreign.split_at(foreign.find("1,6").expect("a program"));
                let words: Vec<_> = head.trim_end().split(' ').chain([program]).collect();
                host.run("tc", &words);
            }
            host.netlink.detach_ingress(&dev).expect("detached");
            host.netlink.detach_ingress(&dev).expect("detached already");
            assert!(host.netlink.is_ingress_detached(&dev).expect("filters"));
            let shown = tc(host, "filter show dev v0 ingress");
            assert_eq!(shown.matches("bytecode '1,6 0 0 2'").count(), 1, "{shown}");
            host.netlink.attach_ingress(&dev).expect("attached");
            host.netlink.attach_ingress(&dev).expect("attached already");
            assert!(!host.netlink.is_ingress_detached(&dev).expect("filters"));
            assert_eq!(tc(host, "qdisc show dev v0 clsact").is_empty(), !foreigner);
            assert_eq!(tc(host, "filter show dev v0 egress").contains("bpf"), foreigner);
        }
    });
}

#[test]
fn root_a_netdev_port_is_kept_off_the_hosts_stack_and_given_back() {
    in_namespace(|host| {
        host.ip("link add v0 type veth peer name v1");
        host.ip("link set v1 up");
        let (before, flags) = (host.state("v0"), host.flags("v0"));
        let facts = host.facts(&["v0"]);
        let attached = plan_attach(&name("v0"), None, None, &facts).expect("it can be a port");
        host.apply(&attached);
        assert!(host.netlink.is_ingress_detached(&name("v0")).expect("filters"));
        assert_eq!(host.state("v0"), Vec::<String>::new());
        assert!(link(host, "v0").up);
        host.apply(&plan_detach(&attached));
        assert_eq!((host.state("v0"), host.flags("v0")), (before, flags));
    });
}

#[test]
fn root_the_monitor_tells_of_links_that_come_change_and_go() {
    in_namespace(|host| {
        let monitor = LinkMonitor::open().expect("a socket");
        host.ip("link add v0 type veth peer name v1");
        host.ip("link set v0 up");
        let elsewhere = format!("{}-2", host.name());
        host.ip(&format!("netns add {elsewhere}"));
        host.ip(&format!("link set v1 netns {elsewhere}"));
        host.ip(&format!("netns del {elsewhere}"));
        let mut seen = Vec::new();
        for change in monitor {
            let change = change.expect("told");
            let end = matches!(&change, LinkChange::Gone(l) if l.name.as_str() == "v0");
            seen.push(change);
            if end {
                break;
            }
        }
        let at = |wanted: &dyn Fn(&LinkChange) -> bool| seen.iter().position(wanted).expect("it was told");
        let new = at(&|c| matches!(c, LinkChange::Present(l) if l.name.as_str() == "v0" && !l.up));
        let up = at(&|c| matches!(c, LinkChange::Present(l) if l.name.as_str() == "v0" && l.up));
        let moved = at(&|c| matches!(c, LinkChange::Gone(l) if l.name.as_str() == "v1"));
        assert!(new < up && up < moved && moved < seen.len() - 1, "{seen:?}");
    });
}
