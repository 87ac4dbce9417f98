//! `vmswitch mac …`

use crate::{answer::Answer, client::Client, failure::Failure, style::Style, switch, table::Table};
use clap::Subcommand;
use hyper::Method;
use model::{FlushMacs, Flushed, MacEntry, MacKind, Name};

/// Commands on MAC tables.
#[derive(Debug, Subcommand)]
pub enum MacCommand {
    /// List the entries: which address is behind which port
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  vmswitch mac list lan
  vmswitch mac list lan --json

Kinds: pinned (a guarded port's own MAC, which never moves), static (its allow list), learned (seen as a source; \
AGE is the time since)."
    )]
    List {
        /// The switch
        #[arg(value_name = "SWITCH")]
        switch: Name,
    },
    /// Forget learned entries
    #[command(after_help = "\
Examples:
  vmswitch mac flush lan
  vmswitch mac flush lan --port eth0")]
    Flush {
        /// The switch
        #[arg(value_name = "SWITCH")]
        switch: Name,
        /// Only those of this port
        #[arg(long, value_name = "PORT")]
        port: Option<Name>,
    },
}

pub async fn run(command: MacCommand, client: &Client) -> Result<Answer, Failure> {
    match command {
        MacCommand::List { switch } => {
            let entries: Vec<MacEntry> = client.get(&format!("{}/macs", switch::path(&switch))).await?;
            Answer::new(&entries, list_text(&entries, Style::of_stdout()))
        }
        MacCommand::Flush { switch, port } => {
            let path = format!("{}/macs/flush", switch::path(&switch));
            let flushed: Flushed = client.send(Method::POST, &path, &FlushMacs { port }).await?;
            Answer::new(&flushed, flushed_text(flushed))
        }
    }
}

fn flushed_text(Flushed { flushed }: Flushed) -> String {
    let entries = if flushed == 1 { "entry is" } else { "entries are" };
    format!("{flushed} learned {entries} forgotten.")
}

fn list_text(entries: &[MacEntry], style: Style) -> String {
    let mut table = Table::new(&["MAC", ">VLAN", "PORT", "KIND", ">AGE"]);
    for entry in entries {
        let age = if entry.kind == MacKind::Learned { format!("{} s", entry.age_s) } else { "-".into() };
        let (mac, port) = (entry.mac.into(), (&entry.port).into());
        let vlan = entry.vlan.map_or_else(|| "all".into(), |vlan| vlan.to_string());
        table.row([mac, vlan.into(), port, entry.kind.as_str().into(), age.into()]);
    }
    if table.is_empty() { "The MAC table is empty.".into() } else { table.render(style) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_says_how_much_it_forgot() {
        assert_eq!(flushed_text(Flushed { flushed: 1 }), "1 learned entry is forgotten.");
        assert_eq!(flushed_text(Flushed { flushed: 0 }), "0 learned entries are forgotten.");
    }

    #[test]
    fn a_mac_table_is_a_table() {
        let entry = |mac: &str, port: &str, kind, age_s| MacEntry {
            mac: mac.parse().unwrap(),
            vlan: Some(0),
            port: port.parse().unwrap(),
            kind,
            age_s,
        };
        let entries = [
            entry("02:00:00:00:00:01", "vm1", MacKind::Pinned, 0),
            entry("aa:aa:aa:aa:aa:aa", "eth0", MacKind::Learned, 17),
        ];
        let expected = "\
MAC                VLAN  PORT  KIND      AGE
02:00:00:00:00:01     0  vm1   pinned      -
aa:aa:aa:aa:aa:aa     0  eth0  learned  17 s
";
        assert_eq!(list_text(&entries, Style::PLAIN), expected);
        assert_eq!(list_text(&[], Style::PLAIN), "The MAC table is empty.");
    }
}
