//! Mirrors to collectors follow the ports.

use super::Core;
use crate::mirror::Session;
use model::{MirrorStatus, Name};

impl Core {
    /// Ends what is not asked for any more, and starts what is.
    pub fn follow_mirrors(&mut self, switch: &Name) {
        let Some(live) = self.live.get_mut(switch) else { return };
        live.sessions.retain(|name, session| {
            live.ports.get(name).is_some_and(|port| session.is_for(port.index, &port.config.mirror))
        });
        for (name, port) in &live.ports {
            let Some(erspan) = port.config.mirror.erspan else { continue };
            if live.sessions.contains_key(name) {
                continue;
            }
            let place = format!("{switch}/{name}");
            match Session::start(place, port.index, &port.config.mirror, erspan) {
                Ok(session) => {
                    if self.dataplane.listen(live.id, session.tap()).is_ok() {
                        live.sessions.insert(name.clone(), session);
                    }
                }
                Err(error) => tracing::error!(%switch, port = %name, %error, "a mirror cannot be started"),
            }
        }
    }

    /// What became of the copies of a port's frames.
    pub fn mirror_status(&self, switch: &Name, port: &Name) -> Option<MirrorStatus> {
        Some(self.live.get(switch)?.sessions.get(port)?.status())
    }
}
