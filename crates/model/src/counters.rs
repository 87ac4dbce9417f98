//! Counters: for each switch, frames in + copies made + frames originated = frames out + Σ drops, exactly, between two batches.

use core::ops::AddAssign;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a frame was not delivered.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of the pipeline.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in counters, logs and traces.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii()),+ }
            }
        }
    };
}

drop_reasons! {
    /// The frame is shorter than an Ethernet header.
    Runt = "runt",
    /// The frame is longer than the MTU of the port it came from, or of the one it was to leave on, allows.
    Oversize = "oversize",
    /// What the sender asked to have done (checksum, segmentation) does not fit the frame.
    BadOffload = "bad_offload",
    /// The source MAC is a multicast address or zero.
    InvalidSource = "invalid_source",
    /// The port is guarded and the source MAC is not the port's.
    SpoofedMac = "spoofed_mac",
    /// The source MAC is pinned to another port.
    MacPinnedElsewhere = "mac_pinned_elsewhere",
    /// The port may not send in the VLAN of the frame's tag, or may not send frames with tags.
    VlanNotAllowed = "vlan_not_allowed",
    /// Without its first tag the frame would get into the VLAN of its second one.
    DoubleTag = "double_tag",
    /// The destination is reserved for the link itself (01-80-C2-00-00-00 to -0F) and the port may not send to it.
    ReservedMulticast = "reserved_multicast",
    /// A basic access list of the port denies whom the frame is from or for.
    AclDenied = "acl_denied",
    /// An extended access list of the port denies the frame.
    ExtAclDenied = "ext_acl_denied",
    /// A stateful access list allows the flow, but the frame neither opens it nor belongs to it where it is.
    OutOfState = "out_of_state",
    /// A stateful access list allows the frame to open a flow, but the port remembers as many as it may.
    FlowTableFull = "flow_table_full",
    /// The port may not serve DHCP and the frame carries a DHCP server's message, or hides what it carries.
    DhcpGuard = "dhcp_guard",
    /// The port may not act as a router and the frame carries a router advertisement or a redirect, or hides what it carries.
    RouterGuard = "router_guard",
    /// The port has an IP guard and the frame speaks for an address that is not the port's, or hides for which.
    SpoofedIp = "spoofed_ip",
    /// The port of the destination is not in the VLAN of the frame, or is kept apart from its sender in a private VLAN.
    VlanFiltered = "vlan_filtered",
    /// More broadcast, multicast and unknown unicast came from the port within a second than its storm limit lets pass.
    StormLimit = "storm_limit",
    /// The destination is on the port that the frame came from.
    Hairpin = "hairpin",
    /// No port could get the frame.
    NoDestination = "no_destination",
    /// No port that could get the frame has joined its multicast group or leads to a router: the switch snoops.
    NoListener = "no_listener",
    /// The destination's port is down.
    PortDown = "port_down",
    /// More came for the vNIC than its maximum bandwidth lets pass.
    RateLimited = "rate_limited",
    /// The destination did not take frames as fast as they came.
    ReceiverFull = "receiver_full",
}

/// Number of drop reasons.
const REASONS: usize = DropReason::ALL.len();

/// Frames dropped, by reason. In JSON: a map that names only the reasons that occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounts([u64; REASONS]);

impl DropCounts {
    /// Counts `frames` more.
    pub const fn add(&mut self, reason: DropReason, frames: u64) {
        self.0[reason as usize] += frames;
    }

    /// Frames dropped for that reason.
    #[must_use]
    pub const fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Frames dropped for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|r| (*r, self.get(*r))).filter(|(_, n)| *n > 0)
    }
}

impl AddAssign<&Self> for DropCounts {
    fn add_assign(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

impl Serialize for DropCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (reason, frames) in self.iter() {
            map.serialize_entry(reason.as_str(), &frames)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for DropCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counts;
        impl<'de> de::Visitor<'de> for Counts {
            type Value = DropCounts;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a map from drop reason to count")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<DropCounts, A::Error> {
                let mut counts = DropCounts::default();
                while let Some((reason, frames)) = map.next_entry()? {
                    counts.add(reason, frames);
                }
                Ok(counts)
            }
        }
        deserializer.deserialize_map(Counts)
    }
}

/// What passed a port. rx is what the switch received from the vNIC, tx what it delivered to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PortCounters {
    /// Frames received from the vNIC; a frame above the MTU that is still to be segmented counts as one.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames delivered to the vNIC.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames forwarded without their source being learned, since the port or the table was at its limit.
    pub not_learned: u64,
    /// Frames that the kernel lost before the switch could receive them: they never were in the switch.
    pub rx_missed: u64,
    /// Frames dropped: at ingress those that came from this port, at egress those that were to leave on it.
    #[cfg_attr(feature = "schema", schema(value_type = alloc::collections::BTreeMap<alloc::string::String, u64>))]
    pub drops: DropCounts,
}

impl AddAssign<&Self> for PortCounters {
    fn add_assign(&mut self, other: &Self) {
        self.rx_frames += other.rx_frames;
        self.rx_bytes += other.rx_bytes;
        self.tx_frames += other.tx_frames;
        self.tx_bytes += other.tx_bytes;
        self.not_learned += other.not_learned;
        self.rx_missed += other.rx_missed;
        self.drops += &other.drops;
    }
}

/// What passed a switch: its ports together, and the copies it made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SwitchCounters {
    /// Frames received from all ports.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames made by the switch: each further destination of a flooded frame, each further segment.
    pub copies: u64,
    /// Frames that the switch sent by itself: queries of hosts for their multicast groups. What came from nobody else.
    #[serde(default)]
    pub originated: u64,
    /// Frames delivered to all ports.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames dropped, at ingress and at egress.
    #[cfg_attr(feature = "schema", schema(value_type = alloc::collections::BTreeMap<alloc::string::String, u64>))]
    pub drops: DropCounts,
}

impl AddAssign<&Self> for SwitchCounters {
    fn add_assign(&mut self, other: &Self) {
        self.rx_frames += other.rx_frames;
        self.rx_bytes += other.rx_bytes;
        self.copies += other.copies;
        self.originated += other.originated;
        self.tx_frames += other.tx_frames;
        self.tx_bytes += other.tx_bytes;
        self.drops += &other.drops;
    }
}

impl SwitchCounters {
    /// Adds a port's share.
    pub fn add_port(&mut self, port: &PortCounters) {
        self.rx_frames += port.rx_frames;
        self.rx_bytes += port.rx_bytes;
        self.tx_frames += port.tx_frames;
        self.tx_bytes += port.tx_bytes;
        self.drops += &port.drops;
    }

    /// True where frames in + copies made + frames originated = frames out + Σ drops.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        self.rx_frames + self.copies + self.originated == self.tx_frames + self.drops.total()
    }
}
