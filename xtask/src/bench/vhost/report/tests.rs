use super::*;
use crate::bench::vhost::rows::VHOST;

const SETTING: Setting =
    Setting { switch_cpu: 0, generator_cpu: 1, seconds: 2.0, verify: 0.5, dpdk_vnics: false };

const NEAR: [f64; 2] = [50.0, 60.0];

fn sample(mpps: f64, p50_us: f64, c2c_ns: [f64; 2]) -> Sample {
    let figures = Figures {
        rx_mpps: mpps,
        rx_gbps: mpps / 2.0,
        loss: 0.002,
        p50_us,
        p99_us: 40.0,
        idle: 0.25,
        ceiling_mpps: 14.0,
        waited: 0.0,
        kernel: 0.0,
        verified: 1_000_000,
        corrupt: 0,
        misdelivered: 0,
        reordered: 0,
        duplicated: 0,
        foreign: 0,
    };
    Sample { figures, c2c_ns, disturbed: 0.01 }
}

fn row(name: &str) -> &'static Row {
    VHOST.rows.iter().find(|r| r.name == name).unwrap()
}

/// Two rounds of each: medians are the middle.
fn report(measured: &[(&str, Switch, f64, f64)]) -> Report {
    let mut report = Report::new(&VHOST, SETTING, "a machine".to_owned());
    for &(name, switch, mpps, p50) in measured {
        for factor in [0.9, 1.1] {
            report.keep(row(name), switch, Ok(sample(mpps * factor, p50, NEAR)));
        }
    }
    report
}

fn verdicts(report: &Report) -> Vec<(String, String, bool)> {
    report.verdicts().into_iter().map(|v| (v.what, v.measured, v.met)).collect()
}

fn verdict(what: &str, measured: &str, met: bool) -> (String, String, bool) {
    (what.to_owned(), measured.to_owned(), met)
}

#[test]
fn rates_are_judged_against_peers_and_against_other_rows() {
    let report = report(&[
        ("64-split", Switch::Testpmd, 12.0, 0.0),
        ("64-split", Switch::Ovs, 8.0, 0.0),
        ("64-split", Switch::Vmswitch, 12.6, 0.0),
        ("1024-macs", Switch::Vmswitch, 10.0, 0.0),
    ]);
    let expected = [
        verdict("64-split, near", "1.58 x ovs", true),
        verdict("64-split, near", "1.05 x testpmd", true),
        verdict("1024-macs, near", "0.79 x 64-split", false),
        verdict("wrong frames, all bytes checked", "0 of 4.0 M", true),
    ];
    assert_eq!(verdicts(&report), expected);
}

#[test]
fn latency_is_judged_against_ovs_and_loss_against_what_vpp_was_seen_to_lose() {
    let report = report(&[
        ("latency", Switch::Ovs, 1.0, 8.0),
        ("latency", Switch::Vmswitch, 1.0, 10.0),
        ("four-vnics", Switch::Vmswitch, 9.0, 0.0),
    ]);
    let expected = [
        verdict("latency p50, near", "1.25 x ovs", false),
        verdict("latency p99, near", "1.00 x ovs", true),
        verdict("four-vnics loss, near", "0.20 %", false),
        verdict("wrong frames, all bytes checked", "0 of 4.0 M", true),
    ];
    assert_eq!(verdicts(&report), expected);
}

#[test]
fn near_and_far_are_never_compared_and_samples_that_saw_both_are_left_out() {
    let mut report = report(&[("64-split", Switch::Ovs, 8.0, 0.0)]);
    report.keep(row("64-split"), Switch::Vmswitch, Ok(sample(99.0, 0.0, [150.0, 160.0])));
    report.keep(row("64-split"), Switch::Vmswitch, Ok(sample(99.0, 0.0, [50.0, 160.0])));
    assert_eq!(verdicts(&report), [verdict("wrong frames, all bytes checked", "0 of 2.0 M", true)]);
    let table = report.tables();
    assert!(table.contains("\nsamples left out: 1, for the CPUs moved\n"), "{table}");
}

#[test]
fn wrong_frames_count_even_while_the_cpus_have_other_work() {
    let mut report = report(&[]);
    let mut bad = sample(9.0, 0.0, NEAR);
    (bad.figures.corrupt, bad.figures.duplicated, bad.disturbed) = (1, 2, 0.5);
    report.keep(row("64-split"), Switch::Vmswitch, Ok(bad));
    assert_eq!(verdicts(&report), [verdict("wrong frames, all bytes checked", "3 of 1.0 M", false)]);
    let table = report.tables();
    assert!(table.contains("\nsamples left out: 1, for the CPUs had other work\n"), "{table}");
}

#[test]
fn the_table_has_a_line_for_each_switch_in_the_order_of_the_rows() {
    let report = report(&[
        ("latency", Switch::Vmswitch, 1.0, 7.0),
        ("64-split", Switch::Vmswitch, 12.0, 7.0),
        ("64-split", Switch::Ovs, 8.0, 7.0),
    ]);
    let table = report.tables();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> =
        table.lines().filter(|l| l.contains(" near  ") && !l.contains(", near")).map(words).collect();
    let expected = [
        "64-split near ovs 2 8.000 8.800 4.0 1.50 x 0.200 % 25 % 0 % 14.00 0",
        "64-split near vmswitch 2 12.000 13.200 6.0 0.200 % 25 % 0 % 14.00 0",
        "latency near vmswitch 2 1.000 1.100 0.5 0.200 % 7.0 40.0 25 % 0 % 14.00 0",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_failed_measurement_is_kept_for_the_end() {
    let mut report = report(&[("64-split", Switch::Ovs, 8.0, 7.0)]);
    report.keep(row("64-split"), Switch::Vpp, Err(anyhow::anyhow!("no such program")));
    let json = report.json();
    assert_eq!(json["failures"], json!(["64-split vpp: no such program"]));
    assert_eq!(json["rows"][0]["median_mpps"], json!(8.0));
}

#[test]
fn policies_are_judged_by_what_is_left_and_by_rates_of_their_own() {
    let mut report = Report::new(&crate::bench::policies::SUITE, SETTING, "a machine".to_owned());
    let row = |name: &str| report.suite.rows.iter().find(|row| row.name == name).unwrap();
    let measured = [
        (row("none"), Switch::Vmswitch, 20.0),
        (row("acl-last"), Switch::Vmswitch, 11.0),
        (row("acl-last"), Switch::Ovs, 10.0),
        (row("flows-new"), Switch::Vmswitch, 0.6),
    ];
    for (row, switch, mpps) in measured {
        report.keep(row, switch, Ok(sample(mpps, 0.0, NEAR)));
    }
    let change = |(live, held)| Change { live, held, answered: 20.0 };
    report.keep_changes(Ok([(2.0, 0.0), (3.0, 0.0), (6.0, 0.5), (9.0, 5.0)].map(change).into()));
    let expected = [
        verdict("acl-last, near", "1.10 x ovs", false),
        verdict("acl-last, near", "0.55 x none", false),
        verdict("flows-new, near", "0.60 Mpps", true),
        verdict("a rule among 1,000 ports is live, median", "4.50 ms", true),
        verdict("a rule among 1,000 ports is live, slowest, CPU not held up", "5.50 ms", false),
        verdict("wrong frames, all bytes checked", "0 of 3.0 M", true),
    ];
    assert_eq!(verdicts(&report), expected);
}
