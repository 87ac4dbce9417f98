//! How fast frames may pass a port, and how much of the uplink it can count on.

use crate::{Attachment, Invalid, Name, PortConfig, SwitchConfig, SwitchKind};
use core::ops::RangeInclusive;
use serde::{Deserialize, Serialize};

/// Bits a second: what a limit can be.
const BITS: RangeInclusive<u64> = 64_000..=1_000_000_000_000;
/// The most bytes of a burst: a gibibyte.
const LARGEST_BURST: u64 = 1 << 30;
/// The least is a frame of a full MTU with two tags.
const SMALLEST_BURST: u64 = 1522;
const WEIGHTS: RangeInclusive<u64> = 1..=100;
/// In absolute mode: a hundredth part of the uplink that ports without a minimum share, as in Hyper-V.
const DEFAULT_PER_CENT: u64 = 10;
/// In weight mode: the weight of all ports without a minimum together, as in Hyper-V.
const DEFAULT_WEIGHT: u64 = 1;

/// Limits and minimums of a port. What is unset or 0 is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RateConfig {
    /// The most bits a second in each direction: the vNIC is made to wait beyond, and what is too much for it is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bandwidth: Option<u64>,
    /// Bytes that may pass at once after a time of idleness. Unset: what the maximum lets pass in 10 ms, and 1522 at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// The most frames a second that the vNIC may send to groups and to addresses that nobody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm_limit: Option<u32>,
    /// In weight mode: the port's part of a congested uplink in relation to others', 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_bandwidth_weight: Option<u32>,
    /// In absolute mode: bits a second of a congested uplink that the port can count on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_bandwidth: Option<u64>,
}

impl RateConfig {
    /// True where nothing is limited and nothing guaranteed.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Takes over what `change` sets; 0 there takes a setting away.
    pub fn change(&mut self, change: &Self) {
        fn set<T: Copy + Default + PartialEq>(value: &mut Option<T>, change: Option<T>) {
            *value = change.or(*value).filter(|value| *value != T::default());
        }
        set(&mut self.max_bandwidth, change.max_bandwidth);
        set(&mut self.burst, change.burst);
        set(&mut self.storm_limit, change.storm_limit);
        set(&mut self.min_bandwidth_weight, change.min_bandwidth_weight);
        set(&mut self.min_bandwidth, change.min_bandwidth);
    }

    /// Bits a second and bytes of a burst.
    #[must_use]
    pub fn maximum(&self) -> Option<(u64, u64)> {
        let bits = self.max_bandwidth.filter(|bits| *bits != 0)?;
        let usual = (bits / 8 / 100).clamp(SMALLEST_BURST, LARGEST_BURST);
        Some((bits, self.burst.filter(|burst| *burst != 0).unwrap_or(usual)))
    }

    /// What the port can count on, in the mode's own measure.
    #[must_use]
    pub fn minimum(&self, mode: BandwidthMode) -> Option<u64> {
        let minimum = match mode {
            BandwidthMode::None => None,
            BandwidthMode::Absolute => self.min_bandwidth,
            BandwidthMode::Weight => self.min_bandwidth_weight.map(u64::from),
        };
        minimum.filter(|minimum| *minimum != 0)
    }
}

/// What the minimum bandwidths of a switch's ports are measured in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum BandwidthMode {
    /// Ports have none: on a congested uplink each takes what it can get.
    None,
    /// Bits a second.
    #[default]
    Absolute,
    /// Weights, in relation to each other.
    Weight,
}

impl BandwidthMode {
    /// The word used in the API, the state file and the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Absolute => "absolute",
            Self::Weight => "weight",
        }
    }

    /// The option that sets a port's minimum in this measure.
    const fn option(self) -> &'static str {
        match self {
            Self::Weight => "--min-bandwidth-weight",
            Self::None | Self::Absolute => "--min-bandwidth",
        }
    }
}

/// How a congested uplink is shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BandwidthConfig {
    /// What minimum bandwidths are measured in.
    #[serde(default)]
    pub mode: BandwidthMode,
    /// Bits a second that the uplink carries. Unset: its NIC's speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<u64>,
}

impl BandwidthConfig {
    /// True where nothing was asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Takes over what is set; an uplink of 0 has its NIC's speed again.
    pub fn change(&mut self, mode: Option<BandwidthMode>, uplink: Option<u64>) {
        self.mode = mode.unwrap_or(self.mode);
        self.uplink = uplink.or(self.uplink).filter(|bits| *bits != 0);
    }

    /// What ports without a minimum have together, in the mode's own measure, on an uplink of so many bits a second.
    #[must_use]
    pub const fn default_share(&self, capacity: u64) -> u64 {
        match self.mode {
            BandwidthMode::None => 0,
            BandwidthMode::Absolute => capacity / 100 * DEFAULT_PER_CENT,
            BandwidthMode::Weight => DEFAULT_WEIGHT,
        }
    }
}

/// Why bandwidths cannot be so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message is the documentation")]
pub enum InvalidRate {
    #[error(
        "port '{0}' has a burst and no maximum bandwidth that it belongs to: give it one with --max-bandwidth, or leave the burst out"
    )]
    BurstAlone(Name),
    #[error(
        "port '{port}' is to have at least {minimum} bit/s and at most {maximum}: make the maximum the larger one"
    )]
    MinimumAboveMaximum { port: Name, minimum: u64, maximum: u64 },
    #[error(
        "switch '{switch}' has no uplink to be sure of a part of, so port '{port}' can have no minimum bandwidth: only on an external switch it can"
    )]
    NoUplinkToShare { switch: Name, port: Name },
    #[error(
        "port '{port}' has a minimum bandwidth in the measure of mode {}, and switch '{switch}' has mode {}: take it away with {} none, or set the mode with `vmswitch switch set {switch} --bandwidth-mode {}`",
        needed.as_str(), mode.as_str(), needed.option(), needed.as_str()
    )]
    OtherMode { switch: Name, port: Name, mode: BandwidthMode, needed: BandwidthMode },
    #[error(
        "the ports of switch '{switch}' are to have {sum} bit/s at least, and an uplink of {capacity} bit/s has {most} to give: {DEFAULT_PER_CENT} % are for ports without a minimum; lower one, or name another speed with `vmswitch switch set {switch} --uplink-bandwidth`"
    )]
    TooMuchReserved { switch: Name, sum: u64, capacity: u64, most: u64 },
    #[error("switch '{0}' has no uplink, and so none that has a bandwidth: leave --uplink-bandwidth out")]
    NoUplinkBandwidth(Name),
}

/// Checks what does not depend on the NIC.
pub(crate) fn check(switch: &SwitchConfig) -> Result<(), Invalid> {
    if let Some(uplink) = switch.bandwidth.uplink {
        if switch.kind != SwitchKind::External {
            return Err(InvalidRate::NoUplinkBandwidth(switch.name.clone()).into());
        }
        in_range("bandwidth of the uplink", &switch.name, uplink, &BITS)?;
    }
    switch.ports.iter().try_for_each(|port| check_port(switch, port))?;
    switch.bandwidth.uplink.map_or(Ok(()), |capacity| Ok(switch.check_reservations(capacity)?))
}

fn check_port(switch: &SwitchConfig, port: &PortConfig) -> Result<(), Invalid> {
    let rate = &port.rate;
    if rate.is_default() {
        return Ok(());
    }
    if matches!(port.attach, Attachment::Uplink(_)) {
        return Err(Invalid::NotOnUplink { port: port.name.clone(), what: "bandwidth or storm limit" });
    }
    if let Some(bits) = rate.max_bandwidth.filter(|bits| *bits != 0) {
        in_range("maximum bandwidth", &port.name, bits, &BITS)?;
        // With less a rate could not be kept: nobody wakes up for every frame.
        let least = u64::max(SMALLEST_BURST, bits / 8 / 1000).min(LARGEST_BURST);
        let burst = rate.maximum().map_or(least, |(_, burst)| burst);
        in_range("burst", &port.name, burst, &(least..=LARGEST_BURST))?;
    } else if rate.burst.is_some() {
        return Err(InvalidRate::BurstAlone(port.name.clone()).into());
    }
    check_minimum(switch, port)
}

fn check_minimum(switch: &SwitchConfig, port: &PortConfig) -> Result<(), Invalid> {
    let (weight, absolute) = (port.rate.min_bandwidth_weight, port.rate.min_bandwidth);
    if weight.is_none() && absolute.is_none() {
        return Ok(());
    }
    let (switch_name, name, mode) = (switch.name.clone(), port.name.clone(), switch.bandwidth.mode);
    if switch.kind != SwitchKind::External {
        return Err(InvalidRate::NoUplinkToShare { switch: switch_name, port: name }.into());
    }
    let needed = if weight.is_some() { BandwidthMode::Weight } else { BandwidthMode::Absolute };
    let both = weight.is_some() && absolute.is_some();
    if mode != needed || both {
        let needed = if both && mode == needed { BandwidthMode::Absolute } else { needed };
        return Err(InvalidRate::OtherMode { switch: switch_name, port: name, mode, needed }.into());
    }
    if let Some(weight) = weight {
        in_range("weight of the minimum bandwidth", &port.name, weight.into(), &WEIGHTS)?;
    }
    let Some(minimum) = absolute else { return Ok(()) };
    in_range("minimum bandwidth", &port.name, minimum, &BITS)?;
    match port.rate.maximum() {
        Some((maximum, _)) if maximum < minimum => {
            Err(InvalidRate::MinimumAboveMaximum { port: port.name.clone(), minimum, maximum }.into())
        }
        _ => Ok(()),
    }
}

fn in_range(
    what: &'static str,
    place: &Name,
    value: u64,
    range: &RangeInclusive<u64>,
) -> Result<(), Invalid> {
    let (least, most) = (*range.start(), *range.end());
    let refused = || Invalid::OutOfRange { what, place: place.clone(), value, least, most };
    range.contains(&value).then_some(()).ok_or_else(refused)
}

impl SwitchConfig {
    /// Checks that an uplink of so many bits a second has as much as ports can count on, and what is for all others.
    ///
    /// # Errors
    /// [`InvalidRate::TooMuchReserved`].
    pub fn check_reservations(&self, capacity: u64) -> Result<(), InvalidRate> {
        if self.bandwidth.mode != BandwidthMode::Absolute {
            return Ok(());
        }
        let reserved = self.ports.iter().filter_map(|port| port.rate.minimum(BandwidthMode::Absolute));
        let sum = reserved.fold(0, u64::saturating_add);
        let most = capacity - self.bandwidth.default_share(capacity);
        if sum <= most {
            return Ok(());
        }
        Err(InvalidRate::TooMuchReserved { switch: self.name.clone(), sum, capacity, most })
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
