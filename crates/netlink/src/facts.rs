//! Gathering the facts that plans are made of.

use crate::error::NetlinkError;
use crate::link::LinkTable;
use crate::socket::Netlink;
use crate::sysctl;
use control::facts::{Facts, Settings};
use model::IfName;

impl Netlink {
    /// All interfaces, and the settings of those named that exist.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn facts(&mut self, names: &[&IfName]) -> Result<Facts, NetlinkError> {
        let links = self.links()?;
        let mut facts = Facts { links: links.0.clone(), ..Facts::default() };
        for name in names {
            if let Ok(index) = links.index(name) {
                facts.settings.insert((*name).clone(), self.settings(index, name, &links)?);
            }
        }
        Ok(facts)
    }

    fn settings(&mut self, index: u32, name: &IfName, links: &LinkTable) -> Result<Settings, NetlinkError> {
        Ok(Settings {
            addresses: self.addresses(index, name)?,
            routes: self.routes(index, links)?,
            neighbours: self.neighbours(index)?,
            sysctls: sysctl::all(name),
            rules: self.rules(name)?,
        })
    }
}
