//! vhost-user ports: their sockets, and what is seen of them.

use super::{
    Core,
    live::LivePort,
    ports::{SOCKET_MODE, open_to_group},
};
use crate::api::{Refused, RefusedKind};
use io::{Port, VhostConfig, VhostPort};
use model::{Attachment, Name, PortConfig, VhostRole, VhostStatus, VhostUser};
use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// `sockaddr_un` holds 108 bytes with the closing zero.
const LONGEST_PATH: usize = 107;
const DIR_MODE: u32 = 0o775;
/// Of the directories in which is noted how far rings are, which is for nobody else to touch.
const PLACES_MODE: u32 = 0o700;

impl Core {
    /// Listens for the VMM, or begins to connect to it.
    pub fn open_vhost(
        &mut self,
        switch: &Name,
        config: &PortConfig,
        vhost: &VhostUser,
        mtu: u32,
    ) -> Result<Box<dyn Port>, Refused> {
        let path = self.vhost_socket(switch, &config.name, vhost);
        if vhost.socket.is_none() {
            make_place_for(&path)?;
        }
        let role = match vhost.role {
            VhostRole::Server => io::VhostRole::Server,
            VhostRole::Client => io::VhostRole::Client,
        };
        let (name, queue_pairs_max) = (config.name.to_string(), config.queues());
        let places = self.places(switch, &config.name);
        places.parent().map_or(Ok(()), make_places_dir)?;
        let io = VhostPort::open(&VhostConfig {
            name,
            path: path.clone(),
            role,
            mtu: limit(mtu),
            queue_pairs_max,
            workers: self.dataplane.workers(),
            places: Some(places),
        })?;
        if vhost.role == VhostRole::Server {
            open_to_group(&path, SOCKET_MODE)?;
        }
        let view = Some(io.view());
        self.live(switch)?.ports.entry(config.name.clone()).and_modify(|port| port.vhost = view);
        Ok(Box::new(io))
    }

    /// Removes how far the port's rings are, and the directories that were made for the switch, where this was the last.
    pub fn forget_vhost(&self, switch: &Name, port: &Name, vhost: &VhostUser) {
        let places = self.places(switch, port);
        let _ = fs::remove_file(&places);
        let _ = places.parent().map(fs::remove_dir);
        if let (None, Some(dir)) = (&vhost.socket, self.vhost_socket(switch, port, vhost).parent()) {
            let _ = fs::remove_dir(dir);
        }
    }

    pub fn vhost_status(&self, switch: &Name, port: &LivePort) -> Option<VhostStatus> {
        let Attachment::VhostUser(vhost) = &port.config.attach else { return None };
        let driver =
            port.vhost.as_ref().filter(|_| port.attached).map(io::VhostView::driver).unwrap_or_default();
        Some(VhostStatus {
            socket: self.vhost_socket(switch, &port.config.name, vhost).display().to_string(),
            role: vhost.role,
            queue_pairs: driver.queue_pairs,
            features: driver.features.into_iter().map(Into::into).collect(),
        })
    }

    /// Names hold no `/`, so that no two ports have the same.
    fn vhost_socket(&self, switch: &Name, port: &Name, vhost: &VhostUser) -> PathBuf {
        let default = || self.vhost_dir.join(switch.as_str()).join(format!("{port}.sock"));
        vhost.socket.as_ref().map_or_else(default, PathBuf::from)
    }

    /// Beside the sockets, where a restart of the host empties both.
    fn places(&self, switch: &Name, port: &Name) -> PathBuf {
        self.vhost_dir.with_file_name("rings").join(switch.as_str()).join(port.as_str())
    }
}

impl LivePort {
    /// Lets the VMM know of the MTU when it connects anew: one that is connected goes on with what it was told.
    pub fn limit_vhost_mtu(&self) {
        self.vhost.iter().for_each(|vhost| vhost.limit_mtu(limit(self.mtu)));
    }
}

fn limit(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}

fn make_place_for(path: &Path) -> Result<(), Refused> {
    if path.as_os_str().len() > LONGEST_PATH {
        let detail = format!(
            "socket path {} is longer than {LONGEST_PATH} bytes: give the port another with --vhost-user SOCKET",
            path.display()
        );
        return Err(Refused::new(RefusedKind::Invalid, detail));
    }
    path.parent().map_or(Ok(()), make_socket_dir)
}

fn make_places_dir(dir: &Path) -> Result<(), Refused> {
    fs::DirBuilder::new().recursive(true).mode(PLACES_MODE).create(dir).map_err(|error| {
        let detail =
            format!("{} cannot be made: {error}; start vmswitchd with another --run-dir", dir.display());
        Refused::new(RefusedKind::HostRefused, detail)
    })
}

/// A VMM that listens makes its socket itself: that of a user in the group that may use the API must be able to.
pub fn make_socket_dir(dir: &Path) -> Result<(), Refused> {
    fs::create_dir_all(dir).map_err(|error| {
        let detail = format!(
            "{} cannot be made: {error}; give the port another socket with --vhost-user SOCKET",
            dir.display()
        );
        Refused::new(RefusedKind::HostRefused, detail)
    })?;
    open_to_group(dir, DIR_MODE)
}
