//! Policy rules that name an interface: they are told of, not moved.

use crate::attribute::{AF_INET, AF_INET6, Attributes, Message};
use crate::error::NetlinkError;
use crate::socket::Netlink;
use model::IfName;

const RTM_GETRULE: u16 = 34;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_OIFNAME: u16 = 17;
const FIB_RULE_HDR_LEN: usize = 12;

impl Netlink {
    /// Sentences like `1000: from packets that come in by eth0`.
    pub(crate) fn rules(&mut self, dev: &IfName) -> Result<Vec<String>, NetlinkError> {
        let mut rules = Vec::new();
        for af in [AF_INET, AF_INET6] {
            let mut fixed = [0; FIB_RULE_HDR_LEN];
            fixed[0] = af;
            let messages = self.dump("list the policy rules", &Message::new(RTM_GETRULE, &fixed))?;
            rules.extend(messages.iter().filter_map(|m| sentence(m, dev)));
        }
        Ok(rules)
    }
}

fn sentence(message: &Message, dev: &IfName) -> Option<String> {
    let attributes = Attributes::read(&message.body, FIB_RULE_HDR_LEN);
    let names = |kind| attributes.text(kind).is_some_and(|name| name == dev.as_str());
    let priority = attributes.u32(FRA_PRIORITY).unwrap_or_default();
    let word = match (names(FRA_IIFNAME), names(FRA_OIFNAME)) {
        (true, _) => "iif",
        (_, true) => "oif",
        _ => return None,
    };
    Some(format!("{priority}: {word} {dev}"))
}
