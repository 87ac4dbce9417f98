//! Interfaces: what they are, and changes to them.

use crate::attribute::{Attributes, Message, u32_at};
use crate::error::{NetlinkError, errno, unless};
use crate::socket::Netlink;
use control::action::Flag;
use control::facts::Link;
use model::{IfName, MacAddr};
use std::path::Path;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_NOARP: u32 = 0x80;
const IFF_PROMISC: u32 = 0x100;
const IFF_LOWER_UP: u32 = 0x1_0000;
const IFINFOMSG_LEN: usize = 16;

/// All interfaces of the namespace, by number and by name.
#[derive(Clone, Debug, Default)]
pub struct LinkTable(pub Vec<Link>);

impl LinkTable {
    /// The interface's number.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn index(&self, name: &IfName) -> Result<u32, NetlinkError> {
        let link = self.0.iter().find(|l| &l.name == name);
        link.map(|l| l.index).ok_or_else(|| NetlinkError::NoInterface(name.to_string()))
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self, index: u32) -> Option<&IfName> {
        self.0.iter().find(|l| l.index == index).map(|l| &l.name)
    }
}

impl Netlink {
    /// All interfaces.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn links(&mut self) -> Result<LinkTable, NetlinkError> {
        let messages = self.dump("list the interfaces", &link_message(RTM_GETLINK, 0, 0, 0))?;
        Ok(LinkTable(messages.iter().filter_map(read_link).collect()))
    }

    /// Sets or clears a flag.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_flag(&mut self, dev: &IfName, flag: Flag, on: bool) -> Result<(), NetlinkError> {
        let (bit, set) = match flag {
            Flag::Up => (IFF_UP, on),
            Flag::Arp => (IFF_NOARP, !on),
            Flag::Promisc => (IFF_PROMISC, on),
        };
        let index = self.index_of(dev)?;
        let message = link_message(RTM_NEWLINK, index, if set { bit } else { 0 }, bit);
        self.request(&format!("change a flag of {dev}"), message, 0)
    }

    /// Sets the MTU.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_mtu(&mut self, dev: &IfName, mtu: u32) -> Result<(), NetlinkError> {
        let message = link_message(RTM_NEWLINK, self.index_of(dev)?, 0, 0).put_u32(IFLA_MTU, mtu);
        self.request(&format!("set the MTU of {dev} to {mtu}"), message, 0)
    }

    /// Removes an interface; it is no error if there is none.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn delete_link(&mut self, dev: &IfName) -> Result<(), NetlinkError> {
        let index = match self.index_of(dev) {
            Err(NetlinkError::NoInterface(_)) => return Ok(()),
            index => index?,
        };
        let message = link_message(RTM_DELLINK, index, 0, 0);
        unless(self.request(&format!("remove {dev}"), message, 0), &[errno::ENODEV])
    }

    /// The number of an interface, as it is at this moment.
    pub(crate) fn index_of(&mut self, dev: &IfName) -> Result<u32, NetlinkError> {
        let name = [dev.as_str().as_bytes(), &[0]].concat();
        let message = link_message(RTM_GETLINK, 0, 0, 0).put(IFLA_IFNAME, &name);
        let missing = || NetlinkError::NoInterface(dev.to_string());
        match self.get(&format!("find {dev}"), message) {
            Ok(answer) => u32_at(&answer.body, 4).ok_or_else(missing),
            Err(e) if e.errno() == Some(errno::ENODEV) => Err(missing()),
            Err(e) => Err(e),
        }
    }
}

fn link_message(kind: u16, index: u32, flags: u32, mask: u32) -> Message {
    let mut fixed = [0; IFINFOMSG_LEN];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..].copy_from_slice(&mask.to_ne_bytes());
    Message::new(kind, &fixed)
}

/// An interface whose name is no text we can hold is left out: nobody can ask for it.
pub(crate) fn read_link(message: &Message) -> Option<Link> {
    let attributes = Attributes::read(&message.body, IFINFOMSG_LEN);
    let name: IfName = attributes.text(IFLA_IFNAME)?.parse().ok()?;
    let flags = u32_at(&message.body, 8)?;
    let elsewhere = attributes.get(IFLA_LINK_NETNSID).is_some();
    Some(Link {
        index: u32_at(&message.body, 4)?,
        kind: attributes.nested(IFLA_LINKINFO).text(IFLA_INFO_KIND),
        mac: attributes.get(IFLA_ADDRESS).filter(|a| a.len() == 6).and_then(MacAddr::from_prefix),
        mtu: attributes.u32(IFLA_MTU).unwrap_or_default(),
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        arp: flags & IFF_NOARP == 0,
        promisc: flags & IFF_PROMISC != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        wireless: is_wireless(&name),
        master: attributes.u32(IFLA_MASTER),
        parent: attributes.u32(IFLA_LINK).filter(|index| *index != 0 && !elsewhere),
        name,
    })
}

fn is_wireless(name: &IfName) -> bool {
    let device = Path::new("/sys/class/net").join(name.as_str());
    device.join("wireless").exists() || device.join("phy80211").exists()
}
