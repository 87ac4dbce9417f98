//! How fast frames may pass: maximum and minimum bandwidth, storm limit.

use clap::{Args, ValueEnum};
use model::{
    SwitchStatus,
    policy::rate::{BandwidthMode, RateConfig},
};

/// Limits and minimums of a port.
#[derive(Clone, Debug, Default, Args)]
pub struct RateArgs {
    /// The most bits a second in each direction, like 100M or 1.5G; none takes the limit away
    #[arg(long, value_name = "BITS", value_parser = bits)]
    max_bandwidth: Option<u64>,
    /// Bytes that may pass at once after a time of idleness [default: what the maximum lets pass in 10 ms]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    burst: Option<u64>,
    /// The most frames a second to groups and to addresses that nobody has; none takes the limit away
    #[arg(long, value_name = "FRAMES", value_parser = count)]
    storm_limit: Option<u32>,
    /// The port's part of a congested uplink in relation to others', 1 to 100; none takes it away
    #[arg(long, value_name = "WEIGHT", value_parser = count, conflicts_with = "min_bandwidth")]
    min_bandwidth_weight: Option<u32>,
    /// Bits a second of a congested uplink that the port can count on; none takes them away
    #[arg(long, value_name = "BITS", value_parser = bits)]
    min_bandwidth: Option<u64>,
}

impl RateArgs {
    /// What is to be changed, with 0 for what is to be taken away.
    pub fn change(&self) -> RateConfig {
        RateConfig {
            max_bandwidth: self.max_bandwidth,
            burst: self.burst,
            storm_limit: self.storm_limit,
            min_bandwidth_weight: self.min_bandwidth_weight,
            min_bandwidth: self.min_bandwidth,
        }
    }

    /// What a new port is to have.
    pub fn config(&self) -> RateConfig {
        let mut config = RateConfig::default();
        config.change(&self.change());
        config
    }
}

/// How the uplink of a switch is shared.
#[derive(Clone, Debug, Default, Args)]
pub struct SharingArgs {
    /// What minimum bandwidths of ports are measured in [default: absolute]
    #[arg(long, value_name = "MODE")]
    bandwidth_mode: Option<Mode>,
    /// Bits a second that the uplink carries, like 1G; none: its NIC's speed
    #[arg(long, value_name = "BITS", value_parser = bits)]
    uplink_bandwidth: Option<u64>,
}

impl SharingArgs {
    pub fn mode(&self) -> Option<BandwidthMode> {
        self.bandwidth_mode.map(Into::into)
    }

    pub const fn uplink(&self) -> Option<u64> {
        self.uplink_bandwidth
    }

    pub const fn is_empty(&self) -> bool {
        self.bandwidth_mode.is_none() && self.uplink_bandwidth.is_none()
    }
}

/// What minimum bandwidths are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// There are none
    None,
    /// Bits a second
    Absolute,
    /// Weights, in relation to each other
    Weight,
}

impl From<Mode> for BandwidthMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::None => Self::None,
            Mode::Absolute => Self::Absolute,
            Mode::Weight => Self::Weight,
        }
    }
}

/// Rows of `port show`, of what is set.
pub fn rows(rate: &RateConfig) -> Vec<(&'static str, String)> {
    let maximum = rate.maximum().map(|(bits, burst)| format!("{}, bursts of {burst} bytes", bits_text(bits)));
    let storm = rate.storm_limit.map(|frames| format!("{frames} frames/s"));
    let weight = rate.min_bandwidth_weight.map(|weight| format!("weight {weight}"));
    let minimum = weight.or_else(|| rate.min_bandwidth.map(bits_text));
    let rows = [("Maximum", maximum), ("Storm limit", storm), ("Minimum", minimum)];
    rows.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
}

/// The row of `switch show`, where the switch has an uplink.
pub fn sharing_row(switch: &SwitchStatus) -> Option<(&'static str, String)> {
    let sharing = switch.sharing.as_ref()?;
    let capacity = sharing.capacity.map_or_else(|| "unknown".into(), bits_text);
    Some(("Bandwidth", format!("{capacity} ({}), mode {}", sharing.source, sharing.mode.as_str())))
}

/// Bits a second, as people write them.
fn bits_text(bits: u64) -> String {
    let units = [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1000, "kbit/s")];
    let (size, unit) = units.into_iter().find(|(size, _)| bits >= *size).unwrap_or((1, "bit/s"));
    let (whole, part) = (bits / size, bits % size);
    if part == 0 {
        return format!("{whole} {unit}");
    }
    let digits = size.ilog10() as usize;
    format!("{whole}.{} {unit}", format!("{part:0digits$}").trim_end_matches('0'))
}

const ADVICE_BITS: &str = "write bits a second with a unit, like 100M, 1.5G or 10gbit, or none";
const ADVICE_BYTES: &str = "write bytes, with a unit or without, like 65536, 64KiB or 1M";

/// Bits a second: a number, and k, M, G or T for powers of a thousand.
fn bits(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    if is_none(&lower) {
        return Ok(0);
    }
    let number = ["bit/s", "bits/s", "bits", "bit", "bps"].iter().find_map(|unit| lower.strip_suffix(unit));
    scaled(number.unwrap_or(&lower), 1000).ok_or_else(|| ADVICE_BITS.into())
}

/// Bytes: a number, and k, M or G for powers of a thousand, KiB, MiB or GiB for powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    if is_none(&lower) {
        return Ok(0);
    }
    let number = match lower.strip_suffix("ib") {
        Some(number) => scaled(number, 1024),
        None => scaled(lower.strip_suffix('b').unwrap_or(&lower), 1000),
    };
    number.ok_or_else(|| ADVICE_BYTES.into())
}

/// A whole number.
fn count(text: &str) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    if is_none(&lower) { Ok(0) } else { lower.parse().map_err(|_| "write a whole number, or none".into()) }
}

fn is_none(text: &str) -> bool {
    matches!(text, "none" | "off" | "0")
}

/// A decimal number that may have a fraction and ends in k, m, g or t for powers of `thousand`; it has to come out whole, and
/// above zero.
fn scaled(text: &str, thousand: u64) -> Option<u64> {
    let exponent = text.chars().last().and_then(|unit| "kmgt".find(unit));
    let (number, scale) = match exponent {
        Some(place) => (&text[..text.len() - 1], thousand.pow(place as u32 + 1)),
        None => (text, 1),
    };
    let (whole, fraction) = number.trim_end().split_once('.').unwrap_or((number.trim_end(), ""));
    let is_number = |digits: &str| digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let parts = u128::from(10_u64.pow(fraction.len() as u32));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = digits.checked_mul(u128::from(scale))?;
    let value = u64::try_from(scaled / parts).ok()?;
    (scaled % parts == 0 && value != 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_units_of_a_thousand() {
        let good = [
            ("100M", 100_000_000),
            ("1.5G", 1_500_000_000),
            ("10gbit", 10_000_000_000),
            ("64kbit/s", 64_000),
            ("1 Gbit/s", 1_000_000_000),
            ("2.048Mbps", 2_048_000),
            ("1T", 1_000_000_000_000),
            ("1000000", 1_000_000),
            ("none", 0),
            ("off", 0),
            ("0", 0),
        ];
        for (text, value) in good {
            assert_eq!(bits(text), Ok(value), "{text}");
        }
        for text in
            ["", "M", "fast", "-1M", "1.5", "1,5G", "100MB", "100MiB", "1e9", "1.2.3G", "99999999999999T"]
        {
            assert_eq!(bits(text), Err(ADVICE_BITS.into()), "{text}");
        }
    }

    #[test]
    fn bytes_have_units_of_a_thousand_or_of_1024() {
        let good = [
            ("65536", 65_536),
            ("64KiB", 65_536),
            ("1M", 1_000_000),
            ("1.5kB", 1500),
            ("1MiB", 1 << 20),
            ("none", 0),
        ];
        for (text, value) in good {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
        for text in ["", "b", "1bit", "0.1", "-5"] {
            assert_eq!(bytes(text), Err(ADVICE_BYTES.into()), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_shown_as_it_was_written() {
        let shown = [
            (100_000_000, "100 Mbit/s"),
            (1_500_000_000, "1.5 Gbit/s"),
            (64_000, "64 kbit/s"),
            (1_000_003, "1.000003 Mbit/s"),
            (999, "999 bit/s"),
        ];
        for (value, text) in shown {
            assert_eq!((bits_text(value).as_str(), bits(text)), (text, Ok(value)));
        }
    }

    #[test]
    fn a_port_shows_what_it_is_limited_to() {
        let rate =
            RateConfig { max_bandwidth: Some(100_000_000), storm_limit: Some(1000), ..RateConfig::default() };
        let expected = [
            ("Maximum", "100 Mbit/s, bursts of 125000 bytes".into()),
            ("Storm limit", "1000 frames/s".into()),
        ];
        assert_eq!(rows(&rate), expected);
        let minimum = |rate| rows(&rate).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(
            minimum(RateConfig { min_bandwidth_weight: Some(5), ..RateConfig::default() }),
            ["weight 5"]
        );
        assert_eq!(
            minimum(RateConfig { min_bandwidth: Some(10_000_000), ..RateConfig::default() }),
            ["10 Mbit/s"]
        );
        assert!(rows(&RateConfig::default()).is_empty());
    }
}
