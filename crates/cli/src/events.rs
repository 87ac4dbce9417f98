//! `vmswitch events`

use crate::{answer, client::Client, failure::Failure};
use http_body_util::BodyExt;
use model::{Event, EventKind};
use std::time::{Duration, UNIX_EPOCH};

/// Prints events as they come, until the daemon stops.
pub async fn follow(client: &Client, json: bool) -> Result<(), Failure> {
    let mut body = client.stream("/v1/events").await?;
    let mut messages = Messages::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Failure::broken)?;
        let Some(bytes) = frame.data_ref() else { continue };
        for message in messages.feed(bytes) {
            print(&message, json)?;
        }
    }
    Err(Failure::StreamEnded)
}

fn print(message: &Message, json: bool) -> Result<(), Failure> {
    if message.name == "missed" {
        eprintln!("vmswitch: {} events were missed, since they were not read fast enough", message.data);
        return Ok(());
    }
    if json {
        return answer::print(&message.data);
    }
    let event: Event = serde_json::from_str(&message.data).map_err(Failure::answer)?;
    answer::print(&line(&event))
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    name: String,
    data: String,
}

/// Puts server-sent events together from whatever pieces they arrive in (WHATWG HTML, section 9.2.6).
#[derive(Default)]
struct Messages {
    line: Vec<u8>,
    message: Message,
}

impl Messages {
    fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut whole = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => whole.extend(self.end_of_line()),
                byte => self.line.push(*byte),
            }
        }
        whole
    }

    fn end_of_line(&mut self) -> Option<Message> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        match line.split_once(':') {
            None if line.is_empty() => {
                return Some(std::mem::take(&mut self.message)).filter(|m| !m.data.is_empty());
            }
            Some(("event", name)) => self.message.name = name.trim_start().into(),
            Some(("data", data)) => self.message.data += data.trim_start(),
            _ => {}
        }
        None
    }
}

fn line(event: &Event) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(event.time_ms);
    format!("{}  {}", humantime::format_rfc3339_millis(time), what(&event.kind))
}

fn what(kind: &EventKind) -> String {
    match kind {
        EventKind::SwitchAdded { switch } => format!("switch {switch} was added"),
        EventKind::SwitchChanged { switch } => format!("switch {switch} was changed"),
        EventKind::SwitchRemoved { switch } => format!("switch {switch} was removed"),
        EventKind::SwitchRolledBack { switch } => {
            format!("switch {switch} was not confirmed in time: all was put back")
        }
        EventKind::PortAdded { switch, port } => format!("port {switch}/{port} was added"),
        EventKind::PortChanged { switch, port } => format!("port {switch}/{port} was changed"),
        EventKind::PortRemoved { switch, port } => format!("port {switch}/{port} was removed"),
        EventKind::PortState { switch, port, state, reason } => {
            let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("port {switch}/{port} is {}{why}", state.as_str())
        }
        EventKind::MacConflict { switch, mac, pinned_to, claimed_by } => {
            format!(
                "MAC {mac} of port {switch}/{pinned_to} was claimed by port {switch}/{claimed_by}: dropped"
            )
        }
        EventKind::MacMoved { switch, mac, from, to } => {
            format!("MAC {mac} moved from port {switch}/{from} to port {switch}/{to}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_put_together_from_pieces() {
        let text = ": following\n\nid: 7\ndata: {\"a\":\"b: ü\"}\n\nevent: missed\ndata: 3\n\n";
        let message = |name: &str, data: &str| Message { name: name.into(), data: data.into() };
        let expected = [message("", "{\"a\":\"b: ü\"}"), message("missed", "3")];
        for size in [1, 2, 7, 1000] {
            let mut messages = Messages::default();
            let got: Vec<_> = text.as_bytes().chunks(size).flat_map(|piece| messages.feed(piece)).collect();
            assert_eq!(got, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_is_a_line() {
        let json = r#"{"id":1,"time_ms":1790000000123,"event":"port-state","switch":"lan","port":"vm1",
            "state":"down","reason":"no VMM has opened the TAP"}"#;
        let event: Event = serde_json::from_str(json).unwrap();
        let expected = "2026-09-21T14:13:20.123Z  port lan/vm1 is down: no VMM has opened the TAP";
        assert_eq!(line(&event), expected);
    }
}
