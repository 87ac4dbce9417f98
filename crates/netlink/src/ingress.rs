//! Keeping what comes in by an interface from the host's stack.
//!
//! A filter on the interface's ingress drops every frame. The kernel runs packet sockets before it runs ingress filters
//! (`__netif_receive_skb_core`), so the data path still sees each frame, and the host's stack, bridges, VLAN interfaces
//! and netfilter see none. The filter is `cls_bpf` in direct-action mode with a program of one classic instruction,
//! "return drop", which every kernel since 4.4 takes without BPF privileges.

use crate::attribute::{Attributes, Message, attribute, emitted, u32_at};
use crate::error::{NetlinkError, errno, unless};
use crate::socket::Netlink;
use model::IfName;
use netlink_packet_core::{NLA_F_NESTED, NLM_F_CREATE, NLM_F_EXCL};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const TCMSG_LEN: usize = 20;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

/// `ffff:`, the handle of a clsact qdisc.
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// `TC_H_CLSACT`.
const CLSACT_PARENT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// Before every other filter.
const PRIORITY: u32 = 1;
/// "vs" and 1: by this the filter is known as ours.
const HANDLE: u32 = 0x7673_0001;
/// `ETH_P_ALL` in network byte order.
const ALL_PROTOCOLS: u32 = 0x0003_u16.to_be() as u32;
/// One `struct sock_filter`: `BPF_RET | BPF_K` with `TC_ACT_SHOT`.
const RETURN_DROP: [u8; 8] = {
    let (code, k) = (6_u16.to_ne_bytes(), 2_u32.to_ne_bytes());
    [code[0], code[1], 0, 0, k[0], k[1], k[2], k[3]]
};

impl Netlink {
    /// Drops every frame that comes in by the interface before the host's stack sees it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn detach_ingress(&mut self, dev: &IfName) -> Result<(), NetlinkError> {
        let index = self.index_of(dev)?;
        let what = format!("keep frames that come in by {dev} from the host's stack");
        let qdisc =
            tc_message(RTM_NEWQDISC, index, CLSACT_HANDLE, CLSACT_PARENT, 0).put(TCA_KIND, b"clsact\0");
        unless(self.request(&what, qdisc, NLM_F_CREATE | NLM_F_EXCL), &[errno::EEXIST])?;
        let filter = our_filter(RTM_NEWTFILTER, index).put(TCA_OPTIONS | NLA_F_NESTED, &program());
        self.request(&what, filter, NLM_F_CREATE)
    }

    /// Removes our filter, and the qdisc if nobody else uses it; it is no error if there is none.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach_ingress(&mut self, dev: &IfName) -> Result<(), NetlinkError> {
        let index = self.index_of(dev)?;
        if !self.has_clsact(index)? {
            return Ok(());
        }
        let what = format!("let frames that come in by {dev} reach the host's stack");
        let removed = self.request(&what, our_filter(RTM_DELTFILTER, index), 0);
        unless(removed, &[errno::ENOENT, errno::EINVAL])?;
        if self.has_filters(index, INGRESS)? || self.has_filters(index, EGRESS)? {
            return Ok(());
        }
        let qdisc = tc_message(RTM_DELQDISC, index, CLSACT_HANDLE, CLSACT_PARENT, 0);
        unless(self.request(&what, qdisc, 0), &[errno::ENOENT, errno::EINVAL])
    }

    /// True where our filter is in place.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn is_ingress_detached(&mut self, dev: &IfName) -> Result<bool, NetlinkError> {
        let index = self.index_of(dev)?;
        Ok(self.filters(index, INGRESS)?.iter().any(|m| u32_at(&m.body, 8) == Some(HANDLE)))
    }

    fn has_clsact(&mut self, index: u32) -> Result<bool, NetlinkError> {
        let messages =
            self.dump("list the queueing disciplines", &tc_message(RTM_GETQDISC, index, 0, 0, 0))?;
        let is_it = |m: &Message| {
            u32_at(&m.body, 4) == Some(index)
                && Attributes::read(&m.body, TCMSG_LEN).text(TCA_KIND).as_deref() == Some("clsact")
        };
        Ok(messages.iter().any(is_it))
    }

    /// The filters themselves: the kernel also lists a filter's head, which has handle 0.
    fn filters(&mut self, index: u32, parent: u32) -> Result<Vec<Message>, NetlinkError> {
        let request = tc_message(RTM_GETTFILTER, index, 0, parent, 0);
        let messages = self.dump("list the traffic filters", &request)?;
        Ok(messages.into_iter().filter(|m| u32_at(&m.body, 8).is_some_and(|handle| handle != 0)).collect())
    }

    fn has_filters(&mut self, index: u32, parent: u32) -> Result<bool, NetlinkError> {
        Ok(!self.filters(index, parent)?.is_empty())
    }
}

fn our_filter(kind: u16, index: u32) -> Message {
    tc_message(kind, index, HANDLE, INGRESS, (PRIORITY << 16) | ALL_PROTOCOLS).put(TCA_KIND, b"bpf\0")
}

fn program() -> Vec<u8> {
    emitted(&[
        attribute(TCA_BPF_OPS_LEN, &1_u16.to_ne_bytes()),
        attribute(TCA_BPF_OPS, &RETURN_DROP),
        attribute(TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes()),
    ])
}

/// `struct tcmsg`.
fn tc_message(kind: u16, index: u32, handle: u32, parent: u32, info: u32) -> Message {
    let mut fixed = [0; TCMSG_LEN];
    for (at, word) in [(4, index), (8, handle), (12, parent), (16, info)] {
        fixed[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    Message::new(kind, &fixed)
}
