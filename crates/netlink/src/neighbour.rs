//! Permanent neighbours and proxied addresses.

use crate::attribute::{AF_INET, AF_INET6, Attributes, Message, af, family_of, u16_at, u32_at};
use crate::error::{NetlinkError, errno, unless};
use crate::socket::Netlink;
use control::facts::{Family, Neighbour};
use model::{IfName, MacAddr};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};

const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDMSG_LEN: usize = 12;
const NUD_PERMANENT: u16 = 0x80;
const NTF_PROXY: u8 = 0x08;

impl Netlink {
    pub(crate) fn neighbours(&mut self, index: u32) -> Result<Vec<Neighbour>, NetlinkError> {
        let mut neighbours = Vec::new();
        for af in [AF_INET, AF_INET6] {
            // Proxied addresses are a table of their own, listed only when asked for by this flag.
            for flags in [0, NTF_PROXY] {
                let message = neighbour_message(RTM_GETNEIGH, af, 0, 0, flags);
                let messages = self.dump("list the neighbours", &message)?;
                let own = messages.iter().filter(|m| u32_at(&m.body, 4) == Some(index));
                neighbours.extend(own.filter_map(read_neighbour));
            }
        }
        Ok(neighbours)
    }

    /// Gives an interface a permanent neighbour.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_neighbour(&mut self, dev: &IfName, neighbour: &Neighbour) -> Result<(), NetlinkError> {
        let message = message_of(RTM_NEWNEIGH, self.index_of(dev)?, neighbour);
        let what = format!("give {dev} the neighbour {neighbour}");
        self.request(&what, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Takes a permanent neighbour from an interface; it is no error if it is not there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_neighbour(&mut self, dev: &IfName, neighbour: &Neighbour) -> Result<(), NetlinkError> {
        let message = message_of(RTM_DELNEIGH, self.index_of(dev)?, neighbour);
        let result = self.request(&format!("take the neighbour {neighbour} from {dev}"), message, 0);
        unless(result, &[errno::ENOENT])
    }
}

fn neighbour_message(kind: u16, af: u8, index: u32, state: u16, flags: u8) -> Message {
    let mut fixed = [0; NDMSG_LEN];
    fixed[0] = af;
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..10].copy_from_slice(&state.to_ne_bytes());
    fixed[10] = flags;
    Message::new(kind, &fixed)
}

fn message_of(kind: u16, index: u32, neighbour: &Neighbour) -> Message {
    let flags = neighbour.flags | if neighbour.proxy { NTF_PROXY } else { 0 };
    neighbour_message(kind, af(Family::of(&neighbour.ip)), index, NUD_PERMANENT, flags)
        .put_ip(NDA_DST, neighbour.ip)
        .put_some(NDA_LLADDR, neighbour.mac.as_ref().map(|mac| mac.0.as_slice()))
}

fn read_neighbour(message: &Message) -> Option<Neighbour> {
    let body = &message.body;
    family_of(*body.first()?)?;
    let (state, flags) = (u16_at(body, 8)?, *body.get(10)?);
    let proxy = flags & NTF_PROXY != 0;
    if !proxy && state & NUD_PERMANENT == 0 {
        return None;
    }
    let attributes = Attributes::read(body, NDMSG_LEN);
    let mac = attributes.get(NDA_LLADDR).filter(|a| a.len() == 6).and_then(MacAddr::from_prefix);
    Some(Neighbour { ip: attributes.ip(NDA_DST)?, mac, proxy, flags: flags & !NTF_PROXY })
}
