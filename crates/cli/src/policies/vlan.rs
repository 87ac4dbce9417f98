//! VLANs of a port.

use crate::args::OnOff;
use clap::Args;
use model::{
    ChangePort, PortConfig,
    policy::vlan::{Trunk, VlanMode, VlanSet},
};

/// VLANs of a port.
#[derive(Debug, Args)]
pub struct VlanArgs {
    /// VLANs of the port: untagged, access=10, trunk=10,20-29, trunk=all, isolated=PRIMARY,SECONDARY,
    /// community=PRIMARY,SECONDARY or promiscuous=PRIMARY,SECONDARIES [default: untagged]
    #[arg(long, value_name = "MODE")]
    vlan: Option<VlanMode>,
    /// Of a trunk: the VLAN of frames without tag [default: none]
    #[arg(long, value_name = "VLAN", requires = "vlan")]
    native_vlan: Option<u16>,
    /// Of a trunk: VLANs that do not pass, whatever else is said
    #[arg(long, value_name = "VLANS", requires = "vlan")]
    prune_vlans: Option<VlanSet>,
    /// Keep the priority in tags from and to this vNIC, else it is reset to 0 [default: off]
    #[arg(long)]
    trust_priority: Option<OnOff>,
}

impl VlanArgs {
    fn mode(&self) -> Result<Option<VlanMode>, String> {
        match (&self.vlan, self.native_vlan, &self.prune_vlans) {
            (mode, None, None) => Ok(mode.clone()),
            (Some(VlanMode::Trunk(trunk)), native, prune) => Ok(Some(VlanMode::Trunk(Trunk {
                allowed: trunk.allowed.clone(),
                native: native.unwrap_or_default(),
                prune: prune.clone().unwrap_or_default(),
            }))),
            _ => Err("only a trunk has a native VLAN and pruned ones: give --vlan trunk=VLANS".into()),
        }
    }

    pub fn add_to(&self, port: &mut PortConfig) -> Result<(), String> {
        port.vlan = self.mode()?;
        port.trust_priority = self.trust_priority.is_some_and(bool::from);
        Ok(())
    }

    pub fn add_to_change(&self, change: &mut ChangePort) -> Result<(), String> {
        change.vlan = self.mode()?;
        change.trust_priority = self.trust_priority.map(bool::from);
        Ok(())
    }
}

pub fn rows(port: &PortConfig) -> Vec<(&'static str, String)> {
    let mode = port.vlan();
    let mut text = mode.to_string();
    if let VlanMode::Trunk(trunk) = &mode {
        if trunk.native != 0 {
            text += &format!(", native {}", trunk.native);
        }
        if !trunk.prune.is_empty() {
            text += &format!(", pruned {}", trunk.prune);
        }
    }
    if port.trust_priority {
        text += ", priority trusted";
    }
    vec![("VLAN", text)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Attachment;

    fn port(mode: &str, native: Option<u16>, prune: Option<&str>) -> Result<PortConfig, String> {
        let attach = Attachment::Tap("tap1".parse().unwrap());
        let mut port = PortConfig::new("vm1".parse().unwrap(), attach);
        let args = VlanArgs {
            vlan: Some(mode.parse().unwrap()),
            native_vlan: native,
            prune_vlans: prune.map(|vlans| vlans.parse().unwrap()),
            trust_priority: None,
        };
        args.add_to(&mut port)?;
        Ok(port)
    }

    #[test]
    fn the_vlans_of_a_port_are_shown_as_they_are_given() {
        let shown = |port: Result<PortConfig, String>| rows(&port.unwrap())[0].1.clone();
        assert_eq!(shown(port("access=10", None, None)), "access=10");
        let trunk = port("trunk=10,20-29", Some(5), Some("25"));
        assert_eq!(shown(trunk), "trunk=10,20-29, native 5, pruned 25");
        let uplink = PortConfig::new("eth0".parse().unwrap(), Attachment::Uplink("eth0".parse().unwrap()));
        assert_eq!(rows(&uplink)[0].1, "trunk=all");
        let trusted = PortConfig { trust_priority: true, ..port("untagged", None, None).unwrap() };
        assert_eq!(rows(&trusted)[0].1, "untagged, priority trusted");
    }

    #[test]
    fn only_a_trunk_has_a_native_vlan() {
        assert!(port("access=10", Some(5), None).unwrap_err().contains("--vlan trunk="));
        assert!(port("untagged", None, Some("5")).unwrap_err().contains("--vlan trunk="));
    }
}
