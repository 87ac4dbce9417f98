use super::*;
use crate::{DesiredState, IfName};
use alloc::{string::ToString, sync::Arc, vec, vec::Vec};

fn vm(name: &str, rate: RateConfig) -> PortConfig {
    let attach = Attachment::Tap(name.parse::<IfName>().unwrap());
    PortConfig { rate, ..PortConfig::new(name.parse().unwrap(), attach) }
}

fn lan(kind: SwitchKind, bandwidth: BandwidthConfig, vms: Vec<PortConfig>) -> DesiredState {
    let uplink = PortConfig::new("eth0".parse().unwrap(), Attachment::Uplink("eth0".parse().unwrap()));
    let uplink = (kind == SwitchKind::External).then_some(uplink);
    let ports = uplink.into_iter().chain(vms).map(Into::into).collect();
    let switch = SwitchConfig { bandwidth, ports, ..SwitchConfig::new("lan".parse().unwrap(), kind) };
    DesiredState { switches: vec![switch], ..DesiredState::default() }
}

fn external(
    mode: BandwidthMode,
    uplink: Option<u64>,
    vms: Vec<PortConfig>,
) -> Result<(), alloc::string::String> {
    let bandwidth = BandwidthConfig { mode, uplink };
    lan(SwitchKind::External, bandwidth, vms).validate().map(drop).map_err(|e| e.to_string())
}

fn maximum(max_bandwidth: u64, burst: Option<u64>) -> Result<(), alloc::string::String> {
    let rate = RateConfig { max_bandwidth: Some(max_bandwidth), burst, ..RateConfig::default() };
    external(BandwidthMode::default(), None, vec![vm("vm1", rate)])
}

fn weight(weight: u32) -> RateConfig {
    RateConfig { min_bandwidth_weight: Some(weight), ..RateConfig::default() }
}

fn absolute(bits: u64) -> RateConfig {
    RateConfig { min_bandwidth: Some(bits), ..RateConfig::default() }
}

#[test]
fn a_maximum_has_a_range_and_so_has_its_burst() {
    assert_eq!(maximum(64_000, None), Ok(()));
    assert_eq!(maximum(1_000_000_000_000, None), Ok(()));
    assert!(
        maximum(63_999, None)
            .unwrap_err()
            .starts_with("maximum bandwidth 63999 on 'vm1' is out of range: 64000")
    );
    assert!(maximum(1_000_000_000_001, None).is_err());
    assert_eq!(maximum(1_000_000_000, Some(125_000)), Ok(()));
    assert!(maximum(1_000_000_000, Some(124_999)).unwrap_err().contains("burst 124999 on 'vm1'"));
    assert!(maximum(1_000_000, Some((1 << 30) + 1)).is_err());
}

#[test]
fn a_burst_is_ten_milliseconds_unless_told_otherwise_and_zero_is_no_limit() {
    let rate = |max, burst| RateConfig { max_bandwidth: Some(max), burst, ..RateConfig::default() };
    assert_eq!(rate(1_000_000_000, None).maximum(), Some((1_000_000_000, 1_250_000)));
    assert_eq!(rate(64_000, None).maximum(), Some((64_000, 1522)));
    assert_eq!(rate(1_000_000_000, Some(500_000)).maximum(), Some((1_000_000_000, 500_000)));
    assert_eq!(rate(0, None).maximum(), None);
}

#[test]
fn a_change_keeps_what_it_does_not_name_and_zero_takes_away() {
    let mut rate =
        RateConfig { max_bandwidth: Some(1_000_000), storm_limit: Some(100), ..RateConfig::default() };
    rate.change(&RateConfig { storm_limit: Some(0), burst: Some(5000), ..RateConfig::default() });
    let expected = RateConfig { max_bandwidth: Some(1_000_000), burst: Some(5000), ..RateConfig::default() };
    assert_eq!(rate, expected);
    rate.change(&RateConfig { max_bandwidth: Some(0), burst: Some(0), ..RateConfig::default() });
    assert!(rate.is_default());
}

#[test]
fn a_burst_without_a_maximum_is_refused() {
    let rate = RateConfig { burst: Some(5000), ..RateConfig::default() };
    let refused = external(BandwidthMode::default(), None, vec![vm("vm1", rate)]).unwrap_err();
    assert!(refused.contains("no maximum bandwidth"), "{refused}");
}

#[test]
fn an_uplink_has_no_limits() {
    let mut state = lan(SwitchKind::External, BandwidthConfig::default(), vec![]);
    let uplink = Arc::make_mut(&mut state.switches[0].ports[0]);
    uplink.guard = false;
    uplink.rate.storm_limit = Some(1);
    let refused = state.validate().unwrap_err().to_string();
    assert!(refused.contains("'eth0' is an uplink and has no bandwidth or storm limit"), "{refused}");
}

#[test]
fn minimums_are_in_the_measure_of_the_switchs_mode() {
    use BandwidthMode::{Absolute, None as Off, Weight};
    assert_eq!(external(Weight, None, vec![vm("vm1", weight(1)), vm("vm2", weight(100))]), Ok(()));
    assert_eq!(external(Absolute, None, vec![vm("vm1", absolute(1_000_000))]), Ok(()));
    for mode in [Absolute, Off] {
        let refused = external(mode, None, vec![vm("vm1", weight(5))]).unwrap_err();
        assert!(refused.contains("--bandwidth-mode weight"), "{refused}");
    }
    let refused = external(Weight, None, vec![vm("vm1", absolute(1_000_000))]).unwrap_err();
    assert!(refused.contains("--min-bandwidth none") && refused.contains("mode weight"), "{refused}");
    assert!(external(Weight, None, vec![vm("vm1", weight(101))]).unwrap_err().contains("1 to 100"));
}

#[test]
fn without_an_uplink_there_is_nothing_to_be_sure_of() {
    let internal =
        lan(SwitchKind::Internal, BandwidthConfig::default(), vec![vm("vm1", absolute(1_000_000))]);
    assert!(internal.validate().unwrap_err().to_string().contains("only on an external switch"));
    let bandwidth = BandwidthConfig { uplink: Some(1_000_000_000), ..BandwidthConfig::default() };
    assert!(lan(SwitchKind::Private, bandwidth, vec![]).validate().is_err());
}

#[test]
fn no_more_is_reserved_than_the_uplink_has_and_a_tenth_is_for_the_others() {
    let vms = |second| vec![vm("vm1", absolute(600_000_000)), vm("vm2", absolute(second))];
    let reserve = |second| external(BandwidthMode::Absolute, Some(1_000_000_000), vms(second));
    assert_eq!(reserve(300_000_000), Ok(()));
    let refused = reserve(300_000_001).unwrap_err();
    assert!(
        refused.contains("900000001 bit/s at least") && refused.contains("900000000 to give"),
        "{refused}"
    );
    assert_eq!(external(BandwidthMode::Absolute, None, vms(500_000_000)), Ok(()));
    let both = RateConfig { max_bandwidth: Some(1_000_000), ..absolute(2_000_000) };
    let refused = external(BandwidthMode::Absolute, None, vec![vm("vm1", both)]).unwrap_err();
    assert!(refused.contains("at least 2000000 bit/s and at most 1000000"), "{refused}");
}
