use super::*;
use clap::error::ErrorKind;

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().map(|word| if word == "''" { "" } else { word }).collect()
}

fn refused(line: &str) -> clap::Error {
    match parse(words(line)) {
        Ok(cli) => panic!("'{line}' is accepted: {cli:?}"),
        Err(error) => error,
    }
}

/// Bad usage: exit status 2, and a message that names what is wrong.
fn bad(line: &str, part: &str) {
    let error = refused(line);
    assert_eq!(error.exit_code(), 2, "{line}");
    let message = error.to_string();
    assert!(message.contains(part), "{line}: {message}");
}

fn good(line: &str) -> Cli {
    parse(words(line)).unwrap_or_else(|error| panic!("'{line}': {error}"))
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_switch_has_one_kind() {
    good("vmswitch switch add lan --external eth0 --no-host --confirm 60s");
    good("vmswitch switch add lan --internal --host-ifname lan0 --mac-table-size 1024 --ageing 5m");
    bad("vmswitch switch add lan", "--external");
    bad("vmswitch switch add lan --internal --private", "cannot be used with");
    bad("vmswitch switch add lan --external eth0 --private", "cannot be used with");
    bad("vmswitch switch add lan --external", "a value is required");
    bad("vmswitch switch set lan --internal --private", "cannot be used with");
}

#[test]
fn a_port_is_attached_to_one_thing() {
    for attach in [
        "--tap tap1",
        "--netns blue",
        "--netns blue --ifname net0",
        "--host",
        "--host lan1",
        "--netdev eth1",
        "--unix-stream /run/a.sock",
        "--unix-dgram /run/a.sock",
        "--vhost-user",
        "--vhost-user /run/a.sock",
        "--vhost-user --vhost-role client --queues 4",
    ] {
        good(&format!("vmswitch port add lan vm1 {attach}"));
    }
    bad("vmswitch port add lan vm1", "--tap");
    bad("vmswitch port add lan vm1 --tap a --netdev b", "cannot be used with");
    bad("vmswitch port add lan vm1 --tap a --ifname b", "cannot be used with");
    bad("vmswitch port add lan vm1 --unix-stream a.sock", "use an absolute path");
    bad("vmswitch port add lan a-name-of-many-letters --host", "give the interface another name");
    bad("vmswitch port add lan vm1 --vhost-user a.sock", "use an absolute path");
    bad("vmswitch port add lan vm1 --vhost-user --vhost-role master", "server, client");
    bad("vmswitch port add lan vm1 --tap a --vhost-role client", "cannot be used with");
    bad("vmswitch port add lan vm1 --vhost-user --ifname b", "cannot be used with");
}

#[test]
fn malformed_names_and_addresses_are_bad_usage() {
    bad("vmswitch switch show a/b", "'a/b' is no name of a switch");
    bad("vmswitch switch add lan --external interface-with-long-name", "Linux allows 1 to 15 bytes");
    bad("vmswitch port show lan", "write SWITCH/PORT, like lan/vm1");
    bad("vmswitch port add lan vm1 --tap t --mac 02:00", "six bytes in hexadecimal");
    bad("vmswitch port add lan vm1 --tap t --mac 01:00:00:00:00:00", "a multicast address");
    bad("vmswitch port set lan/vm1 --allow-reserved 02:00:00:00:00:01", "is not reserved");
    bad("vmswitch switch add lan --internal --confirm 60", "like 90s or 5m");
    bad("vmswitch port set lan/vm1 --guard maybe", "on, off");
    good("vmswitch port set lan/vm1 --dhcp-guard on --router-guard off");
    bad("vmswitch port add lan vm1 --tap tap1 --router-guard", "on, off");
}

#[test]
fn a_change_says_what_to_change() {
    bad("vmswitch switch set lan", "say what to change");
    bad("vmswitch switch set lan --confirm 60s", "say what to change");
    bad("vmswitch port set lan/vm1", "say what to change");
    good("vmswitch switch set lan --host off --confirm 60s");
}

#[test]
fn watching_does_not_end_in_one_document() {
    bad("vmswitch stats --watch --json", "use one of them");
    bad("vmswitch --json stats lan --watch", "use one of them");
    good("vmswitch stats lan/vm1 --watch");
}

#[test]
fn the_socket_and_json_can_be_given_anywhere() {
    for line in ["vmswitch --json --socket /a switch list", "vmswitch switch list --socket /a --json"] {
        let cli = good(line);
        assert!(cli.json && cli.socket.as_os_str() == "/a", "{line}");
    }
}

#[test]
fn help_is_no_error() {
    for line in ["vmswitch --help", "vmswitch port add --help", "vmswitch --version"] {
        assert_eq!(refused(line).exit_code(), 0, "{line}");
    }
    assert_eq!(refused("vmswitch").exit_code(), 2);
    assert_eq!(refused("vmswitch nonsense").kind(), ErrorKind::InvalidSubcommand);
}

fn each_command(command: &clap::Command, visit: &mut impl FnMut(&clap::Command)) {
    visit(command);
    command.get_subcommands().for_each(|below| each_command(below, visit));
}

/// The words of an example's command: no comment, no redirection, no pipe.
fn command_of(example: &str) -> &str {
    let end = [" #", " >", " |"].iter().filter_map(|mark| example.find(mark)).min().unwrap_or(example.len());
    example[..end].trim()
}

#[test]
fn every_command_has_examples_that_are_accepted() {
    let mut seen = 0;
    each_command(&Cli::command(), &mut |command| {
        let name = command.get_name();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<_> = help.lines().filter_map(|line| line.strip_prefix("  vmswitch ")).collect();
        assert!(help.starts_with("Examples:\n") && !examples.is_empty(), "{name}");
        for example in examples {
            good(command_of(&format!("vmswitch {example}")));
            seen += 1;
        }
    });
    assert!(seen > 40, "{seen}");
}

#[test]
fn every_argument_is_explained() {
    each_command(&Cli::command(), &mut |command| {
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} of {}", argument.get_id(), command.get_name());
        }
    });
}

#[test]
fn io_is_chosen_where_there_is_a_choice() {
    for io in ["auto", "af-xdp", "af-packet"] {
        good(&format!("vmswitch switch add lan --external eth0 --io {io}"));
        good(&format!("vmswitch switch set lan --io {io}"));
        good(&format!("vmswitch port add lan wan --netdev eth1 --io {io}"));
        good(&format!("vmswitch port set lan/wan --io {io}"));
    }
    bad("vmswitch switch add lan --external eth0 --io dpdk", "af-packet");
    bad("vmswitch switch add lan --internal --io af-xdp", "cannot be used with");
    bad("vmswitch port add lan vm1 --tap tap1 --io af-xdp", "cannot be used with");
    bad("vmswitch port add lan vm1 --vhost-user --io af-xdp", "cannot be used with");
}

#[test]
fn a_frame_to_explain_is_given_or_made() {
    for frame in [
        "--frame 0200",
        "--to 02:00:00:00:00:02",
        "--to vm2 --from 02:00:00:00:00:01 --vlan 7",
        "--to vm2 --tcp 10.0.0.1:1 10.0.0.2:2",
        "--to vm2 --udp [fd00::1]:1 [fd00::2]:2 --length 1500",
        "--dst-mac 02:00:00:00:00:02 --icmp 10.0.0.1 10.0.0.2",
        "--arp 10.0.0.1 10.0.0.2",
    ] {
        good(&format!("vmswitch explain lan/vm1 {frame}"));
    }
    bad("vmswitch explain lan/vm1", "--frame");
    bad("vmswitch explain lan/vm1 --frame 0200 --to vm2", "cannot be used with");
    bad("vmswitch explain lan/vm1 --tcp 10.0.0.1:1 10.0.0.2:2", "with --to");
    bad("vmswitch explain lan/vm1 --to vm2 --tcp 10.0.0.1 10.0.0.2:2", "no address with a port");
    bad("vmswitch explain lan/vm1 --to vm2 --tcp 10.0.0.1:1", "2 values");
    bad("vmswitch explain lan/vm1 --arp 10.0.0.1 10.0.0.2 --icmp 10.0.0.1 10.0.0.2", "cannot be used with");
    bad("vmswitch explain lan/vm1 --from 02:00:00:00:00:01", "--to");
}

#[test]
fn captures_and_traces_end_after_a_count_or_a_time() {
    good("vmswitch trace lan arp or udp port 67 --sample 10 -c 5 --duration 1m");
    good("vmswitch trace lan/vm1 --dropped --json");
    good("vmswitch capture lan/vm1 -w - tcp port 80 and host 10.0.0.1 -s 96");
    bad("vmswitch capture lan", "--write");
    bad("vmswitch capture lan -w - --json", "standard output");
    bad("vmswitch capture lan -w x -c 0", "0");
    bad("vmswitch trace lan --sample 0", "0");
}
