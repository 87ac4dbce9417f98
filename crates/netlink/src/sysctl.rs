//! Settings of an interface under `/proc/sys/net/ipv4/conf` and `/proc/sys/net/ipv6/conf`.
//!
//! `/proc/sys/net` shows the network namespace of the *thread* that reads it.

use crate::error::NetlinkError;
use control::facts::{Family, Sysctl};
use model::IfName;
use std::fs;
use std::path::PathBuf;

/// What goes along with the addresses of an interface, in the order in which it is set: `forwarding` first, since it
/// resets others. `disable_ipv6` is among them, because an interface without IPv6 shall stand in for one without.
const COPIED: [(Family, &[&str]); 2] = [
    (
        Family::Ipv4,
        &[
            "forwarding",
            "rp_filter",
            "arp_ignore",
            "arp_announce",
            "arp_filter",
            "arp_accept",
            "arp_notify",
            "proxy_arp",
            "proxy_arp_pvlan",
            "accept_local",
            "accept_redirects",
            "secure_redirects",
            "send_redirects",
            "shared_media",
            "accept_source_route",
            "log_martians",
            "route_localnet",
            "src_valid_mark",
            "promote_secondaries",
            "ignore_routes_with_linkdown",
            "disable_policy",
            "disable_xfrm",
        ],
    ),
    (
        Family::Ipv6,
        &[
            "disable_ipv6",
            "forwarding",
            "accept_ra",
            "autoconf",
            "accept_ra_defrtr",
            "accept_ra_pinfo",
            "accept_ra_rtr_pref",
            "accept_ra_min_hop_limit",
            "accept_ra_mtu",
            "accept_ra_rt_info_max_plen",
            "accept_ra_from_local",
            "accept_dad",
            "dad_transmits",
            "use_tempaddr",
            "temp_valid_lft",
            "temp_prefered_lft",
            "max_addresses",
            "accept_redirects",
            "accept_source_route",
            "router_solicitations",
            "router_solicitation_interval",
            "router_solicitation_delay",
            "hop_limit",
            "keep_addr_on_down",
            "proxy_ndp",
            "ndisc_notify",
            "ignore_routes_with_linkdown",
            "disable_policy",
            "addr_gen_mode",
        ],
    ),
];

fn path(family: Family, dev: &IfName, key: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/{family}/conf/{dev}/{key}"))
}

/// The value, or `None` where this kernel has no such setting.
#[must_use]
pub fn read(family: Family, dev: &IfName, key: &str) -> Option<String> {
    fs::read_to_string(path(family, dev, key)).ok().map(|text| text.trim_end().to_owned())
}

/// Sets the value; writing what is there already is left out, since some settings act on being written.
///
/// # Errors
/// The kernel refuses.
pub fn write(family: Family, dev: &IfName, key: &str, value: &str) -> Result<(), NetlinkError> {
    if read(family, dev, key).as_deref() == Some(value) {
        return Ok(());
    }
    let path = path(family, dev, key);
    fs::write(&path, value).map_err(|source| NetlinkError::Sysctl {
        path: path.display().to_string(),
        value: value.to_owned(),
        source,
    })
}

/// All settings that go along with the addresses.
#[must_use]
pub fn all(dev: &IfName) -> Vec<Sysctl> {
    let read_one =
        |family, key: &&str| Some(Sysctl { family, key: (*key).to_owned(), value: read(family, dev, key)? });
    COPIED
        .iter()
        .flat_map(|(family, keys)| keys.iter().filter_map(move |key| read_one(*family, key)))
        .collect()
}
