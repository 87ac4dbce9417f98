//! Interfaces that vmswitch did not make, opened by AF_XDP or AF_PACKET.
//!
//! AF_XDP has the driver leave VLAN tags in frames for as long as the port is open. That it did not before is written
//! down, for a daemon that is killed cannot put it back: the next one does.

use super::Core;
use crate::{api::Refused, store::Kind};
use control::{facts::Link, reconcile::Binding};
use dataplane::Detached;
use io::Port;
use model::{IfName, IoChoice, Name};

impl Core {
    /// Opens the interface of a port as the port's configuration asks for.
    pub fn open_interface(
        &mut self,
        switch: &Name,
        port: &Name,
        link: &Link,
    ) -> Result<Box<dyn Port>, Refused> {
        let ifname = &link.name;
        let found = self.port(switch, port)?;
        let (choice, index) = (found.config.io, found.index);
        // Two programs do not fit on one interface, and the data path may hold a port whose predecessor's end was told late.
        drop(self.take_out(switch, index));
        let noted = self.note_vlan_tags(ifname, choice)?;
        let opened = io::open_interface(ifname.as_str(), choice);
        if noted && !opened.as_ref().is_ok_and(|(_, status)| status.mode.is_xdp()) {
            self.forget_vlan_tags(ifname);
        }
        let (io, status) = opened?;
        let found = self.port(switch, port)?;
        (found.io, found.link) = (Some(status), Some(link.index));
        Ok(io)
    }

    /// Opens the NIC of a take-over before its first step, where AF_XDP was asked for and nobody waits for the answer:
    /// what shows only when it is tried would else have the host vNIC made and removed each time. Meanwhile frames wait in its rings.
    pub fn open_early(
        &mut self,
        switch: &Name,
        binding: &Binding,
        nic: Option<&Link>,
    ) -> Result<(), Refused> {
        let uplink = &binding.uplink;
        let tried = self.lenient || self.port(switch, &uplink.name)?.retry.has_failed();
        if let (true, IoChoice::AfXdp, Some(link)) = (tried, uplink.io, nic) {
            let io = self.open_interface(switch, &uplink.name, link)?;
            self.port(switch, &uplink.name)?.opened = Some(io);
        }
        Ok(())
    }

    /// Closes what was opened for a take-over that failed.
    pub fn close_early(&mut self, switch: &Name, binding: &Binding) -> Result<(), Refused> {
        if self.port(switch, &binding.uplink.name)?.opened.take().is_some() {
            self.forget_vlan_tags(&binding.nic);
        }
        Ok(())
    }

    /// Has frames pass a port's interface as its configuration asks for by now. What takes the place is opened first: so
    /// a choice that cannot be had disturbs nothing. An interface that is away is opened so when it is back.
    pub fn choose_io(&mut self, switch: &Name, port: &Name) -> Result<(), Refused> {
        let found = self.port(switch, port)?;
        let (choice, index) = (found.config.io, found.index);
        let (Some(now), Some(ifname)) = (found.io.clone(), found.config.attach.host_interface().cloned())
        else {
            return Ok(());
        };
        if !found.attached {
            return Ok(());
        }
        self.note_vlan_tags(&ifname, choice)?;
        let opened = io::open_beside(ifname.as_str(), choice, &now);
        let stays_xdp = match &opened {
            Ok((_, status)) => status.mode.is_xdp(),
            Err(_) => now.mode.is_xdp(),
        };
        let outcome = opened.map_err(Refused::from).and_then(|(another, status)| {
            let former = another.is_some().then(|| self.take_out(switch, index)).flatten();
            another.map_or(Ok(()), |io| self.attach(switch, port, io))?;
            self.port(switch, port)?.io = Some(status);
            // Closed here and last: that takes a NIC's driver its time, which the data path has not.
            drop(former);
            Ok(())
        });
        if !stays_xdp {
            self.forget_vlan_tags(&ifname);
        }
        outcome
    }

    fn take_out(&mut self, switch: &Name, index: engine::PortIndex) -> Option<Detached> {
        let id = self.live.get(switch)?.id;
        Some(self.dataplane.detach(id, index))
    }

    /// True where there was something to note.
    fn note_vlan_tags(&self, ifname: &IfName, choice: IoChoice) -> Result<bool, Refused> {
        let name = ifname.as_str();
        let changes = io::may_use_xdp(name, choice) && io::takes_vlan_tags_out(name);
        if changes {
            self.store.save(Kind::VlanTags, name, &true)?;
        }
        Ok(changes)
    }

    /// What was noted is put back by now, or was never changed.
    pub fn forget_vlan_tags(&self, ifname: &IfName) {
        if let Err(error) = self.store.remove(Kind::VlanTags, ifname.as_str()) {
            tracing::warn!(%ifname, %error, "that its driver takes VLAN tags out of frames is still noted");
        }
    }

    /// Puts back what a daemon that was killed could not.
    pub fn put_vlan_tags_back(&self) -> Result<(), Refused> {
        for ifname in self.store.names(Kind::VlanTags)? {
            if let Err(error) = io::take_vlan_tags_out(&ifname) {
                tracing::warn!(%ifname, %error, "its driver cannot be told to take VLAN tags out of frames again");
            }
            self.store.remove(Kind::VlanTags, &ifname)?;
        }
        Ok(())
    }
}
