//! What of a port is to be seen while the worker has it: what the driver in the VM uses.

use super::{device::Device, features::Features};
use std::sync::Arc;

/// Features by their names in the specification. Not those of vhost-user, which no driver knows of.
const NAMES: [(Features, &str); 23] = [
    (Features::CSUM, "CSUM"),
    (Features::GUEST_CSUM, "GUEST_CSUM"),
    (Features::MTU, "MTU"),
    (Features::MAC, "MAC"),
    (Features::GUEST_TSO4, "GUEST_TSO4"),
    (Features::GUEST_TSO6, "GUEST_TSO6"),
    (Features::GUEST_ECN, "GUEST_ECN"),
    (Features::HOST_TSO4, "HOST_TSO4"),
    (Features::HOST_TSO6, "HOST_TSO6"),
    (Features::HOST_ECN, "HOST_ECN"),
    (Features::MRG_RXBUF, "MRG_RXBUF"),
    (Features::STATUS, "STATUS"),
    (Features::CTRL_VQ, "CTRL_VQ"),
    (Features::GUEST_ANNOUNCE, "GUEST_ANNOUNCE"),
    (Features::MQ, "MQ"),
    (Features::INDIRECT_DESC, "INDIRECT_DESC"),
    (Features::EVENT_IDX, "EVENT_IDX"),
    (Features::VERSION_1, "VERSION_1"),
    (Features::RING_PACKED, "RING_PACKED"),
    (Features::IN_ORDER, "IN_ORDER"),
    (Features::GUEST_USO4, "GUEST_USO4"),
    (Features::GUEST_USO6, "GUEST_USO6"),
    (Features::HOST_USO, "HOST_USO"),
];

/// A port as seen from beside it.
#[derive(Clone, Debug)]
pub struct VhostView(pub(super) Arc<Device>);

/// What a driver uses of what it is offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VhostDriver {
    /// Queue pairs of which both rings run and may be used.
    pub queue_pairs: u16,
    /// Features of virtio, without `VIRTIO_NET_F_` and the like.
    pub features: Vec<&'static str>,
}

impl VhostView {
    /// Sets the largest MTU that the guest may be told of; a guest that was told of another keeps that.
    pub fn limit_mtu(&self, most: u16) {
        self.0.limit_mtu(most);
    }

    /// What the driver uses now; nothing where none has set the port up.
    ///
    /// Takes the lock of one queue after the other, each for a moment.
    #[must_use]
    pub fn driver(&self) -> VhostDriver {
        let mut driver = VhostDriver::default();
        for pair in self.0.queues().chunks_exact(2) {
            let mut usable = 0;
            for queue in pair {
                let queue = queue.lock();
                if queue.ring.is_some() && queue.enabled {
                    usable += 1;
                    driver.features = names(queue.features);
                }
            }
            driver.queue_pairs += u16::from(usable == 2);
        }
        driver
    }
}

fn names(features: Features) -> Vec<&'static str> {
    NAMES.into_iter().filter(|(feature, _)| features.has(*feature)).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_have_the_specifications_names() {
        assert_eq!(names(Features::VERSION_1.with(Features::CSUM)), ["CSUM", "VERSION_1"]);
        let of_virtio = Features::OFFERED.without(Features::LOG_ALL).without(Features::PROTOCOL_FEATURES);
        assert_eq!(names(of_virtio).len(), of_virtio.bits().count_ones() as usize, "some have no name");
    }

    #[test]
    fn a_port_without_a_vmm_has_no_driver() {
        let view = VhostView(Arc::new(Device::new(2, 1500, 1).unwrap()));
        assert_eq!(view.driver(), VhostDriver::default());
    }
}
