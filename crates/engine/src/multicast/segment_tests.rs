use super::*;
use crate::PortIndex;

const PORT: PortIndex = PortIndex(3);

fn config(querier: Querier) -> MulticastConfig {
    MulticastConfig { snooping: true, querier, ..MulticastConfig::default() }
}

fn query(source: &str) -> Query {
    let source = source.parse().unwrap();
    Query { source, group: None, max_response_ms: 10_000, interval_ms: None, suppressed: false }
}

fn v4(config: &MulticastConfig) -> Segment {
    Segment::new(0, IpVersion::V4, config, Millis(0))
}

const ZERO: IpAddr = Segment::every_group(IpVersion::V4);

#[test]
fn nothing_is_filtered_before_the_first_query_could_be_answered() {
    let config = config(Querier::On);
    let mut segment = v4(&config);
    assert!(!segment.filters(Millis(0)));
    assert!(segment.is_due(&config, Millis(100)));
    assert!(!segment.filters(Millis(11_099)));
    assert!(segment.filters(Millis(11_100)));
}

#[test]
fn a_querier_of_ones_own_asks_twice_at_the_beginning_and_then_at_the_interval() {
    let config = config(Querier::On);
    let mut segment = v4(&config);
    let asked = (0..=300).filter(|second| segment.is_due(&config, Millis(second * 1000)));
    assert_eq!(asked.collect::<alloc::vec::Vec<_>>(), [0, 32, 157, 282]);
}

#[test]
fn a_querier_that_is_to_wait_does_so_until_nobody_else_can_be_there() {
    let config = config(Querier::Auto);
    let mut segment = v4(&config);
    assert!(!segment.is_due(&config, Millis(254_999)));
    assert!(segment.is_due(&config, Millis(255_000)));
    let mut off = v4(&super::tests::config(Querier::Off));
    assert!(!off.is_due(&super::tests::config(Querier::Off), Millis(1_000_000)));
}

#[test]
fn the_switch_yields_to_any_router_and_takes_over_when_that_is_gone() {
    let config = config(Querier::On);
    let mut segment = v4(&config);
    assert!(segment.is_due(&config, Millis(0)));
    let (until, _) = segment.hear(&query("192.0.2.1"), PORT, ZERO, &config, Millis(20_000));
    assert_eq!(until, Millis(275_000));
    assert!(segment.filters(Millis(20_000)), "what hosts answered to the switch stays true");
    assert!(!segment.is_due(&config, Millis(274_999)) && !segment.is_own(Millis(274_999)));
    assert!(segment.filters(Millis(274_999)));
    assert!(!segment.filters(Millis(275_000)), "nobody asks");
    assert!(segment.is_due(&config, Millis(275_000)));
    assert!(!segment.filters(Millis(285_999)), "hosts had no time to answer");
    assert!(segment.filters(Millis(286_000)));
}

#[test]
fn of_two_routers_the_lower_address_is_the_querier() {
    let config = config(Querier::Off);
    let mut segment = v4(&config);
    let mut elected = |source: &str, now| {
        segment.hear(&query(source), PORT, ZERO, &config, Millis(now));
        segment.other(Millis(now)).unwrap().address
    };
    assert_eq!(elected("192.0.2.5", 0), query("192.0.2.5").source);
    assert_eq!(elected("192.0.2.9", 1), query("192.0.2.5").source);
    assert_eq!(elected("192.0.2.4", 2), query("192.0.2.4").source);
    assert_eq!(elected("192.0.2.9", 256_000), query("192.0.2.9").source);
}

#[test]
fn by_mld_a_switch_that_is_to_ask_yields_to_lower_addresses_only() {
    let config = config(Querier::On);
    let mut segment = Segment::new(0, IpVersion::V6, &config, Millis(0));
    let own = "fe80::5".parse().unwrap();
    assert!(segment.is_due(&config, Millis(0)));
    segment.hear(&query("fe80::6"), PORT, own, &config, Millis(1));
    assert!(segment.is_own(Millis(1)));
    segment.hear(&query("fe80::4"), PORT, own, &config, Millis(2));
    assert!(!segment.is_own(Millis(2)));
}

#[test]
fn what_a_query_says_of_times_makes_nothing_be_forgotten_sooner() {
    let config = config(Querier::Off);
    let mut segment = v4(&config);
    let hasty = Query { interval_ms: Some(1000), max_response_ms: 100, ..query("192.0.2.1") };
    segment.hear(&hasty, PORT, ZERO, &config, Millis(0));
    assert_eq!(segment.believed_until(Millis(0)), Millis(266_000));
    let slow = Query { interval_ms: Some(31_744_000), ..query("192.0.2.1") };
    let (until, longer) = segment.hear(&slow, PORT, ZERO, &config, Millis(0));
    assert_eq!(segment.believed_until(Millis(0)), Millis(266_000 + longer));
    assert!(
        segment.believed_until(Millis(0)) > until,
        "who asks is gone before what was answered is forgotten"
    );
    assert_eq!(until, Millis(7_205_000));
}

/// One after the other: the first asks rarely, the second lets hosts take their time.
#[test]
fn what_was_answered_to_one_querier_is_believed_until_an_answer_to_the_next_one_is_due() {
    let config = config(Querier::Off);
    let mut segment = v4(&config);
    let rare = Query { interval_ms: Some(300_000), max_response_ms: 1000, ..query("192.0.2.2") };
    let (gone, _) = segment.hear(&rare, PORT, ZERO, &config, Millis(0));
    let believed = segment.believed_until(Millis(0));
    let slow = Query { interval_ms: Some(100_000), max_response_ms: 60_000, ..query("192.0.2.1") };
    let asked = Millis(gone.0 - 1);
    let (_, longer) = segment.hear(&slow, PORT, ZERO, &config, asked);
    assert!(segment.filters(asked) && believed.0 + longer > asked.0 + 60_000, "{believed:?} and {longer}");
}
