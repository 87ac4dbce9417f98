//! Addresses of an interface.

use crate::attribute::{AF_INET, Attributes, Message, af, family_of, u32_at};
use crate::error::{NetlinkError, errno, unless};
use crate::socket::Netlink;
use control::facts::{Address, FOREVER, Family, Lifetime};
use model::IfName;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use std::net::IpAddr;

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_PROTO: u16 = 11;
const IFADDRMSG_LEN: usize = 8;

const IFA_F_NODAD: u32 = 0x02;
const IFA_F_DADFAILED: u32 = 0x08;
/// Flags that may be set from outside: home address, no DAD, temporary addresses, no prefix route, multicast join.
const SETTABLE: u32 = 0x10 | IFA_F_NODAD | 0x100 | 0x200 | 0x400;

impl Netlink {
    pub(crate) fn addresses(&mut self, index: u32, name: &IfName) -> Result<Vec<Address>, NetlinkError> {
        let message = Message::new(RTM_GETADDR, &[0; IFADDRMSG_LEN]);
        let messages = self.dump("list the addresses", &message)?;
        let own = messages.iter().filter(|m| u32_at(&m.body, 4) == Some(index));
        Ok(own.filter_map(|m| read_address(m, name)).collect())
    }

    /// Gives an interface an address, or sets its lifetimes if it is there.
    ///
    /// IPv6: without duplicate address detection, during which the address could not be used. That detection is skipped
    /// is a flag of the address, which is then cleared again unless it was set before.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_address(&mut self, dev: &IfName, address: &Address) -> Result<(), NetlinkError> {
        let index = self.index_of(dev)?;
        let what = format!("give {dev} the address {address}");
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        if address.ip.is_ipv6() {
            let at_once = Address { flags: address.flags | IFA_F_NODAD, ..address.clone() };
            self.request(&what, address_message(RTM_NEWADDR, index, &at_once), flags)?;
        }
        self.request(&what, address_message(RTM_NEWADDR, index, address), flags)
    }

    /// Takes an address from an interface; it is no error if it is not there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_address(&mut self, dev: &IfName, address: &Address) -> Result<(), NetlinkError> {
        let index = self.index_of(dev)?;
        let message = address_message(RTM_DELADDR, index, address);
        let result = self.request(&format!("take the address {address} from {dev}"), message, 0);
        unless(result, &[errno::EADDRNOTAVAIL])
    }
}

fn address_message(kind: u16, index: u32, address: &Address) -> Message {
    let mut fixed = [af(Family::of(&address.ip)), address.prefix_len, 0, address.scope, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    let label = address.label.as_ref().map(|l| [l.as_bytes(), &[0]].concat());
    let broadcast = address.broadcast.map(|b| b.octets());
    Message::new(kind, &fixed)
        .put_ip(IFA_LOCAL, address.ip)
        .put_ip(IFA_ADDRESS, address.peer.unwrap_or(address.ip))
        .put_some(IFA_LABEL, label.as_deref())
        .put_some(IFA_BROADCAST, broadcast.as_ref().map(<[u8; 4]>::as_slice))
        .put_some(IFA_RT_PRIORITY, address.metric.map(u32::to_ne_bytes).as_ref().map(<[u8; 4]>::as_slice))
        .put_some(IFA_PROTO, address.protocol.as_ref().map(std::slice::from_ref))
        .put(IFA_CACHEINFO, &cache_info(address.lifetime))
        .put_u32(IFA_FLAGS, address.flags)
}

/// `struct ifa_cacheinfo`: preferred, valid, and two stamps that only the kernel writes.
fn cache_info(lifetime: Option<Lifetime>) -> [u8; 16] {
    let lifetime = lifetime.unwrap_or(Lifetime { valid_s: FOREVER, preferred_s: FOREVER });
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&lifetime.preferred_s.to_ne_bytes());
    bytes[4..8].copy_from_slice(&lifetime.valid_s.to_ne_bytes());
    bytes
}

/// An address whose duplicate detection failed is not in use and is left out.
fn read_address(message: &Message, name: &IfName) -> Option<Address> {
    let body = &message.body;
    let [af, prefix_len, flags, scope] = *body.first_chunk()?;
    family_of(af)?;
    let attributes = Attributes::read(body, IFADDRMSG_LEN);
    let flags = attributes.u32(IFA_FLAGS).unwrap_or(u32::from(flags));
    if flags & IFA_F_DADFAILED != 0 {
        return None;
    }
    let far = attributes.ip(IFA_ADDRESS);
    let ip = attributes.ip(IFA_LOCAL).or(far)?;
    Some(Address {
        ip,
        prefix_len,
        peer: far.filter(|peer| *peer != ip),
        broadcast: match attributes.ip(IFA_BROADCAST) {
            Some(IpAddr::V4(broadcast)) => Some(broadcast),
            _ => None,
        },
        scope,
        label: attributes.text(IFA_LABEL).filter(|l| af == AF_INET && l != name.as_str()),
        flags: flags & SETTABLE,
        lifetime: attributes.get(IFA_CACHEINFO).and_then(read_lifetime),
        metric: attributes.u32(IFA_RT_PRIORITY).filter(|m| *m != 0),
        protocol: attributes.u8(IFA_PROTO),
    })
}

fn read_lifetime(info: &[u8]) -> Option<Lifetime> {
    let lifetime = Lifetime { preferred_s: u32_at(info, 0)?, valid_s: u32_at(info, 4)? };
    (lifetime.valid_s != FOREVER || lifetime.preferred_s != FOREVER).then_some(lifetime)
}
