//! Feature bits: what a device offers and what a driver took of it, and the same for the protocol of the socket.
//!
//! Reading list: virtio 1.2, 5.1.3 (network device), 6 (reserved bits); vhost-user, "Protocol features".
//!
//! CTRL_VQ is offered although no control queue ever comes here: front ends that serve that queue themselves (Cloud
//! Hypervisor) give it to the guest only where the back end offers it, and without it a guest has one queue pair. QEMU
//! and DPDK do not look at it. CONFIG is not offered: a network front end keeps the configuration space itself, and
//! QEMU prints a warning at each connection where it is.

/// A set of virtio feature bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features(u64);

impl Features {
    pub(crate) const CSUM: Self = Self::bit(0);
    pub(crate) const GUEST_CSUM: Self = Self::bit(1);
    pub(crate) const MTU: Self = Self::bit(3);
    pub(crate) const MAC: Self = Self::bit(5);
    pub(crate) const GUEST_TSO4: Self = Self::bit(7);
    pub(crate) const GUEST_TSO6: Self = Self::bit(8);
    pub(crate) const GUEST_ECN: Self = Self::bit(9);
    pub(crate) const HOST_TSO4: Self = Self::bit(11);
    pub(crate) const HOST_TSO6: Self = Self::bit(12);
    pub(crate) const HOST_ECN: Self = Self::bit(13);
    pub(crate) const MRG_RXBUF: Self = Self::bit(15);
    pub(crate) const STATUS: Self = Self::bit(16);
    pub(crate) const CTRL_VQ: Self = Self::bit(17);
    pub(crate) const GUEST_ANNOUNCE: Self = Self::bit(21);
    pub(crate) const MQ: Self = Self::bit(22);
    /// Of vhost, not of virtio: writes to guest memory are to be marked in the dirty log.
    pub(crate) const LOG_ALL: Self = Self::bit(26);
    pub(crate) const INDIRECT_DESC: Self = Self::bit(28);
    pub(crate) const EVENT_IDX: Self = Self::bit(29);
    /// Of vhost-user, not of virtio: the front end negotiates [`ProtocolFeatures`].
    pub(crate) const PROTOCOL_FEATURES: Self = Self::bit(30);
    pub(crate) const VERSION_1: Self = Self::bit(32);
    pub(crate) const RING_PACKED: Self = Self::bit(34);
    pub(crate) const IN_ORDER: Self = Self::bit(35);
    pub(crate) const GUEST_USO4: Self = Self::bit(54);
    pub(crate) const GUEST_USO6: Self = Self::bit(55);
    pub(crate) const HOST_USO: Self = Self::bit(56);

    /// What every device of ours offers.
    pub(crate) const OFFERED: Self = Self::CSUM
        .with(Self::GUEST_CSUM)
        .with(Self::MTU)
        .with(Self::MAC)
        .with(Self::GUEST_TSO4)
        .with(Self::GUEST_TSO6)
        .with(Self::GUEST_ECN)
        .with(Self::HOST_TSO4)
        .with(Self::HOST_TSO6)
        .with(Self::HOST_ECN)
        .with(Self::MRG_RXBUF)
        .with(Self::STATUS)
        .with(Self::CTRL_VQ)
        .with(Self::GUEST_ANNOUNCE)
        .with(Self::MQ)
        .with(Self::LOG_ALL)
        .with(Self::INDIRECT_DESC)
        .with(Self::EVENT_IDX)
        .with(Self::PROTOCOL_FEATURES)
        .with(Self::VERSION_1)
        .with(Self::RING_PACKED)
        .with(Self::IN_ORDER)
        .with(Self::GUEST_USO4)
        .with(Self::GUEST_USO6)
        .with(Self::HOST_USO);

    const fn bit(number: u32) -> Self {
        Self(1 << number)
    }

    /// Both sets together.
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True where all of `other` is in this set.
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in this set and not in `other`.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The bits as they are sent.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// From bits as they were sent.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Bytes of the header in front of each frame: virtio 1.2, 5.1.6.1, the field `num_buffers` is there or not.
    pub(crate) const fn header_len(self) -> usize {
        if self.has(Self::VERSION_1) || self.has(Self::MRG_RXBUF) { 12 } else { 10 }
    }
}

/// A set of features of the vhost-user protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProtocolFeatures(u64);

impl ProtocolFeatures {
    pub(super) const MQ: Self = Self(1);
    pub(super) const LOG_SHMFD: Self = Self(1 << 1);
    pub(super) const RARP: Self = Self(1 << 2);
    pub(super) const REPLY_ACK: Self = Self(1 << 3);
    pub(super) const NET_MTU: Self = Self(1 << 4);
    pub(super) const INFLIGHT_SHMFD: Self = Self(1 << 12);
    pub(super) const RESET_DEVICE: Self = Self(1 << 13);
    pub(super) const CONFIGURE_MEM_SLOTS: Self = Self(1 << 15);
    pub(super) const STATUS: Self = Self(1 << 16);

    /// What every device of ours offers.
    pub(super) const OFFERED: Self = Self(
        Self::MQ.0
            | Self::LOG_SHMFD.0
            | Self::RARP.0
            | Self::REPLY_ACK.0
            | Self::NET_MTU.0
            | Self::INFLIGHT_SHMFD.0
            | Self::RESET_DEVICE.0
            | Self::CONFIGURE_MEM_SLOTS.0
            | Self::STATUS.0,
    );

    /// True where all of `other` is in this set.
    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits as they are sent.
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// From bits as they were sent.
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_longer_where_buffers_are_counted() {
        assert_eq!(Features::CSUM.header_len(), 10);
        assert_eq!(Features::VERSION_1.header_len(), 12);
        assert_eq!(Features::MRG_RXBUF.header_len(), 12);
    }

    #[test]
    fn a_set_has_what_was_put_in() {
        let set = Features::CSUM.with(Features::MQ);
        assert!(set.has(Features::CSUM) && set.has(Features::MQ) && !set.has(Features::MTU));
        assert!(!set.has(Features::CSUM.with(Features::MTU)));
        assert_eq!(set.without(Features::MQ), Features::CSUM);
    }
}
