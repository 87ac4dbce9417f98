use super::*;
use crate::rates::sampled;
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, crossterm::event::KeyEvent};

fn view() -> View {
    let mut view = View::new(None, Sort::Name, Duration::from_secs(1), Colours::COLOURED);
    view.see(sampled::rates());
    view
}

fn drawn(view: &mut View, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.render(frame)).unwrap();
    terminal.backend().buffer().clone()
}

/// As people see it.
fn text(buffer: &Buffer) -> String {
    let lines = buffer.content.chunks(usize::from(buffer.area.width));
    let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect::<String>();
    lines.map(|cells| line(cells).trim_end().to_owned() + "\n").collect()
}

fn press(view: &mut View, code: KeyCode) -> bool {
    view.obey(&Event::Key(KeyEvent::from(code)))
}

/// The names of the ports that are shown.
fn shown(view: &mut View, height: u16) -> Vec<String> {
    let text = text(&drawn(view, 80, height));
    let ports = text.lines().skip_while(|line| !line.starts_with("PORT")).skip(1);
    ports.take_while(|line| !line.is_empty() && !line.starts_with("DROPPED")).map(first_word).collect()
}

fn first_word(line: &str) -> String {
    line.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_terminal_of_80_by_24_shows_ports_drops_workers_and_keys() {
    let expected = "\
vmswitch top  all switches, by name, every 1s
3 ports, 1 down   rx 2.0M frames/s, 2.0 Gbit/s   tx 15 frames/s, 0 bit/s

PORT                 STATE   RX FRAMES/S RX BIT/S TX FRAMES/S TX BIT/S DROPPED/S
lan/eth0             up             2.0M     2.0G           0        0         0
lan/host             down              0        0           0        0         0
lan/vm1              up                0        0          15        0        50









DROPPED AT                          FRAMES/S   FRAMES REASON
lan/vm1                                   50      102 spoofed_mac

WORKER  CPU   BUSY                       FRAMES/S  BATCHES/S  FRAMES/BATCH
0         2   25 % █████░░░░░░░░░░░░░░░      3.2k        100          32.0
1       any    0 % ░░░░░░░░░░░░░░░░░░░░         0          0           0.0

q quit  s sort (n r t d)  f next switch  a all
";
    assert_eq!(text(&drawn(&mut view(), 80, 24)), expected);
}

#[test]
fn a_wide_screen_has_room_for_what_reasons_mean() {
    let seen = text(&drawn(&mut view(), 140, 24));
    assert!(
        seen.contains("spoofed_mac          The port is guarded and the source MAC is not the port's."),
        "{seen}"
    );
}

#[test]
fn what_is_being_dropped_is_red_and_bold_and_bold_where_there_are_no_colours() {
    let styles = |colours| {
        let mut view = View { colours, ..view() };
        let buffer = drawn(&mut view, 80, 24);
        let lines = buffer.content.chunks(80);
        let line = lines.skip_while(|cells| cells[0].symbol() != "D").nth(1).unwrap();
        (line[0].symbol().to_owned(), line[0].fg, line[0].modifier)
    };
    assert_eq!(styles(Colours::COLOURED), ("l".into(), Color::Red, Modifier::BOLD));
    assert_eq!(styles(Colours::PLAIN), ("l".into(), Color::Reset, Modifier::BOLD));
}

#[test]
fn keys_choose_the_order() {
    let mut view = view();
    assert_eq!(shown(&mut view, 24), ["lan/eth0", "lan/host", "lan/vm1"]);
    let orders = [
        ('d', Sort::Drops, ["lan/vm1", "lan/eth0", "lan/host"]),
        ('t', Sort::Tx, ["lan/vm1", "lan/eth0", "lan/host"]),
        ('r', Sort::Rx, ["lan/eth0", "lan/host", "lan/vm1"]),
        ('n', Sort::Name, ["lan/eth0", "lan/host", "lan/vm1"]),
    ];
    for (key, sort, expected) in orders {
        assert!(press(&mut view, KeyCode::Char(key)));
        assert_eq!((view.sort, shown(&mut view, 24)), (sort, expected.map(str::to_owned).into()));
    }
    let cycle: Vec<_> = (0..4).map(|_| (press(&mut view, KeyCode::Char('s')), view.sort).1).collect();
    assert_eq!(cycle, [Sort::Rx, Sort::Tx, Sort::Drops, Sort::Name]);
    assert!(!press(&mut view, KeyCode::Char('q')));
}

/// Ports of two switches, twelve each.
fn many() -> View {
    let mut rates = sampled::rates();
    let port = |switch: &str, number| PortRates {
        switch: switch.parse().unwrap(),
        port: format!("vm{number:02}").parse().unwrap(),
        ..rates.ports[0].clone()
    };
    let ports = ["lab", "lan"].map(|switch| (0..12).map(move |number| (switch, number)));
    rates.ports = ports.into_iter().flatten().map(|(switch, number)| port(switch, number)).collect();
    let mut view = view();
    view.see(rates);
    view
}

#[test]
fn a_key_shows_one_switch_after_the_other_and_then_all() {
    let mut view = many();
    let mut counts = Vec::new();
    for _ in 0..4 {
        press(&mut view, KeyCode::Char('f'));
        counts.push((view.switch.as_ref().map(ToString::to_string), view.ports().len()));
    }
    let [lab, lan] = ["lab", "lan"].map(|name| (Some(name.to_owned()), 12));
    assert_eq!(counts, [lab.clone(), lan, (None, 24), lab]);
    press(&mut view, KeyCode::Esc);
    assert_eq!(view.ports().len(), 24);
}

#[test]
fn what_does_not_fit_is_scrolled_to_and_said() {
    let mut view = many();
    let first = shown(&mut view, 24);
    assert_eq!(first[0], "lab/vm00");
    let more = |view: &mut View| text(&drawn(view, 80, 24)).lines().last().unwrap().to_owned();
    let hidden = 24 - first.len();
    assert!(more(&mut view).ends_with(&format!("↑ 0 more, ↓ {hidden} more")), "{}", more(&mut view));
    press(&mut view, KeyCode::PageDown);
    assert_eq!(
        shown(&mut view, 24)[0],
        format!("lab/vm{:02}", first.len().min(12)).replace("lab/vm12", "lan/vm00")
    );
    press(&mut view, KeyCode::End);
    assert_eq!(shown(&mut view, 24).last().unwrap(), "lan/vm11");
    press(&mut view, KeyCode::Up);
    assert!(more(&mut view).ends_with("↓ 1 more"), "{}", more(&mut view));
    press(&mut view, KeyCode::Home);
    assert_eq!(shown(&mut view, 24), first);
}

#[test]
fn a_daemon_that_does_not_answer_is_said_and_the_rest_stays() {
    let mut view = view();
    view.miss("vmswitchd does not answer at /run/x.\nStart it.");
    let seen = text(&drawn(&mut view, 80, 24));
    assert!(
        seen.contains("\nNot now: vmswitchd does not answer at /run/x.\n") && seen.contains("lan/vm1"),
        "{seen}"
    );
    view.see(sampled::rates());
    assert!(!text(&drawn(&mut view, 80, 24)).contains("Not now"));
}

#[test]
fn counts_are_exact_as_long_as_there_is_room() {
    let counts = [0, 2, 9_999_999, 10_000_000, u64::MAX].map(count);
    assert_eq!(counts, ["0", "2", "9999999", "10.0M", "18446744T"]);
}

#[test]
fn any_size_of_screen_is_drawn() {
    let sizes = (1..=40).flat_map(|width| (1..=12).map(move |height| (3 * width, height)));
    for (width, height) in sizes {
        let mut view = many();
        drawn(&mut view, width, height);
        press(&mut view, KeyCode::End);
        drawn(&mut view, width, height);
    }
    let mut empty = View::new(None, Sort::Name, Duration::from_secs(1), Colours::PLAIN);
    assert!(text(&drawn(&mut empty, 80, 24)).contains("Looking…"));
}
