//! The terminal of the lab shows what a program writes, and tells how it was left.

use anyhow::{Result, ensure};
use lab::Terminal;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_terminal_shows_what_is_written_where_it_is_written() -> Result<()> {
    let script =
        r"printf 'one\r\ntwo\033[5;10Hhere\033[1;1Hn\033[K\033[24;80H.\033[3;1H'; read line; stty -echo";
    let mut terminal = Terminal::start(&["sh", "-c", script])?;
    let screen = terminal.wait(r"here", PATIENCE)?;
    let lines: Vec<_> = screen.split('\n').collect();
    ensure!(lines.len() == 24 && lines[..5] == ["n", "two", "", "", "         here"], "{screen}");
    ensure!(lines[23].len() == 80 && lines[23].ends_with('.'), "{screen}");
    terminal.type_in("typed\n")?;
    let left = terminal.left(PATIENCE)?;
    ensure!((left.status, left.restored) == (0, false), "{left:?}");
    ensure!(left.screen.contains("typed"), "{left:?}");
    Ok(())
}

#[test]
fn a_terminal_tells_of_modes_that_are_left_and_of_signals() -> Result<()> {
    let mut terminal = Terminal::start(&["sh", "-c", r"printf 'x\033[?1049h\033[?25lready'; exec sleep 60"])?;
    terminal.wait("^ready$", PATIENCE)?;
    terminal.signal(15)?;
    let left = terminal.left(PATIENCE)?;
    ensure!((left.status, left.restored, &left.modes[..]) == (-15, true, &[1049][..]), "{left:?}");
    Ok(())
}
