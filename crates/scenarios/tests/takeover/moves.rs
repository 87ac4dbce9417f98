//! What the host has on its NIC goes to the host vNIC and back, and its connections live on.

use crate::state::{Site, expect_hostless, settings};
use crate::stream::Stream;
use anyhow::{Result, ensure};
use lab::{Daemon, FAR_IPV4, HOST_IPV6, NIC, Snapshot, World};
use std::time::Instant;

const ADDRESSES: &[&str] = &[
    "192.0.2.10/24 brd +",
    "192.0.2.11/24 brd + label nic0:1",
    "10.1.0.1 peer 10.1.0.2/32",
    "198.51.100.7/24 valid_lft 5000 preferred_lft 3000 metric 77",
    "2001:db8:1::10/64 nodad",
    "2001:db8:2::10/64 valid_lft 5000 preferred_lft 3000 noprefixroute nodad",
];

const ROUTES: &[&str] = &[
    "default via 10.9.0.3 dev nic0 metric 100 proto dhcp src 10.9.0.1",
    "default via 192.0.2.254 dev nic0 metric 200",
    "203.0.113.0/24 via 192.0.2.1 dev nic0 table 100",
    "203.0.113.0/25 via 192.0.2.2 dev nic0 table 1000 src 192.0.2.11",
    "10.20.0.0/16 dev nic0 mtu 1400 advmss 1300 initcwnd 20",
    "10.10.0.0/16 via 10.99.99.1 dev nic0 onlink",
    "10.12.0.0/16 via inet6 2001:db8:1::1 dev nic0",
];

const ROUTES_6: &[&str] = &[
    "default via fd00:9::3 dev nic0 metric 512 proto static",
    "2001:db8:9::/48 via 2001:db8:1::1 dev nic0 table 200 metric 42",
    "2001:db8:a::/48 via 2001:db8:1::1 dev nic0 expires 5000",
    "2001:db8:b::/48 dev nic0 mtu 1400 pref high",
    "2001:db8:d::/48 via fd00:9::3 dev nic0 src fd00:9::1",
];

const NEIGHBOURS: &[&str] = &[
    "10.9.0.77 lladdr 02:00:00:00:00:77 nud permanent",
    "fd00:9::77 lladdr 02:00:00:00:00:78 nud permanent router",
    "proxy 192.0.2.99",
];

fn busy_world() -> Result<World> {
    let world = World::new()?;
    let each = |args: &[&str], make: &dyn Fn(&str) -> String| {
        args.iter().try_for_each(|arg| world.host.ip(&make(arg)).map(drop))
    };
    each(ADDRESSES, &|a| format!("addr add {a} dev {NIC}"))?;
    each(NEIGHBOURS, &|n| format!("neigh add {n} dev {NIC}"))?;
    each(ROUTES, &|r| format!("route add {r}"))?;
    each(ROUTES_6, &|r| format!("-6 route add {r}"))?;
    for (key, value) in [("ipv4/conf/nic0/rp_filter", "2"), ("ipv4/conf/nic0/arp_ignore", "1")] {
        world.host.set_sysctl(&format!("net/{key}"), value)?;
    }
    Ok(world)
}

#[test]
fn root_everything_the_host_has_on_its_nic_is_on_the_host_vnic_and_comes_back() -> Result<()> {
    let mut site = Site::of(busy_world()?)?;
    ensure!(settings(&site.world.host, NIC)?.len() > 25);
    site.add_switch(&[])?;
    site.expect_bound()?;
    ensure!(site.world.host.mac("lan")? == lab::NIC_MAC, "the host vNIC has the NIC's MAC");
    ensure!(site.world.host.sysctl("net/ipv4/conf/lan/rp_filter")? == "2");
    Snapshot::take(&site.daemon, "lan")?;
    site.remove_switch()?;
    site.daemon.stop()
}

#[test]
fn root_a_host_vnic_that_is_made_again_has_what_was_on_it_and_else_the_nic_gets_it() -> Result<()> {
    let site = Site::of(busy_world()?)?;
    let set_host = |on| site.daemon.cli_ok(&["switch", "set", "lan", "--host", on]).map(drop);
    site.add_switch(&[])?;
    for _ in 0..2 {
        set_host("off")?;
        expect_hostless(&site.world, &site.daemon)?;
        set_host("on")?;
        site.expect_bound()?;
    }
    site.world.host.ip("addr add 10.9.0.200/24 dev lan")?;
    let then = settings(&site.world.host, "lan")?;
    set_host("off")?;
    set_host("on")?;
    ensure!(
        settings(&site.world.host, "lan")? == then,
        "{:#?}\nbut was\n{then:#?}",
        settings(&site.world.host, "lan")?
    );
    site.world.host.ip("addr del 10.9.0.200/24 dev lan")?;
    set_host("off")?;
    site.remove_switch()
}

#[test]
fn root_removing_the_switch_puts_back_what_is_on_the_host_vnic_then() -> Result<()> {
    let (world, added) =
        (busy_world()?, ["addr add 10.9.0.200/24 dev lan", "addr add fd00:9::200/64 dev lan nodad"]);
    let daemon = Daemon::start(&world.host)?;
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC])?;
    added.iter().try_for_each(|args| world.host.ip(args).map(drop))?;
    world.host.ip("route add 10.88.0.0/16 via 10.9.0.3 dev lan table 300 metric 7")?;
    world.host.ip("addr del 198.51.100.7/24 dev lan")?;
    world.host.ip("-6 route del default dev lan")?;
    world.host.ip("neigh del 10.9.0.77 dev lan")?;
    world.host.set_sysctl("net/ipv4/conf/lan/arp_ignore", "2")?;
    let then = settings(&world.host, "lan")?;
    Snapshot::take(&daemon, "lan")?;
    daemon.cli_ok(&["switch", "remove", "lan"])?;
    ensure!(settings(&world.host, NIC)? == then, "{:#?}\nbut was\n{then:#?}", settings(&world.host, NIC)?);
    ensure!(
        then.iter().any(|l| l.contains("10.88.0.0/16")) && !then.iter().any(|l| l.contains("198.51.100.7"))
    );
    ensure!(world.host.sysctl("net/ipv4/conf/nic0/arp_ignore")? == "2");
    ensure!(world.host.interfaces()? == [NIC]);
    world.host.ping(FAR_IPV4)
}

/// One stream each way and of each family: the host's end sends in the one and receives in the other.
#[test]
fn root_open_connections_lose_no_byte_through_bind_and_give_back() -> Result<()> {
    let world = World::new()?;
    let daemon = Daemon::start(&world.host)?;
    let mut streams = [
        Stream::start(&world.host, &world.far, FAR_IPV4, 7000)?,
        Stream::start(&world.far, &world.host, HOST_IPV6, 7001)?,
    ];
    for (command, more) in [
        (&["switch", "add", "lan", "--external", NIC][..], 20_000_000),
        (&["switch", "remove", "lan"][..], 10_000_000),
        (&["switch", "add", "lan", "--external", NIC][..], 20_000_000),
    ] {
        streams.iter_mut().try_for_each(|stream| stream.wait_for_more(2_000_000))?;
        let begun = Instant::now();
        daemon.cli_ok(command)?;
        println!("{command:?} took {:?}", begun.elapsed());
        streams.iter_mut().try_for_each(|stream| stream.wait_for_more(more))?;
    }
    for stream in streams {
        let bytes = stream.finish()?;
        ensure!(bytes > 50_000_000, "only {bytes} bytes");
    }
    Snapshot::take(&daemon, "lan")?;
    daemon.cli_ok(&["switch", "remove", "lan"]).map(drop)
}
