//! HTTP by hand: a test must be able to send what no proper client would.

use model::Problem;
use serde_json::Value;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

pub struct Connection(UnixStream);

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Connection {
    pub fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(crate::PATIENCE)).unwrap();
        Self(stream)
    }

    pub fn ask(mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: vmswitch\r\nconnection: close\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("content-length: {}\r\n\r\n{body}", body.len());
        self.write(&text);
        self.answer()
    }

    pub fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// The same where the server may have ended the connection meanwhile.
    pub fn write_to_the_end(&mut self, text: &str) {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
        if let Err(error) = self.0.write_all(text.as_bytes()) {
            assert!(matches!(error.kind(), BrokenPipe | ConnectionReset), "{error}");
        }
    }

    /// Everything until the server closes the connection.
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Everything until the server closes the connection, whether or not it had read all requests.
    pub fn rest_until_reset(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads until `part` has come.
    pub fn until(&mut self, part: &str) -> String {
        let mut bytes = Vec::new();
        while !String::from_utf8_lossy(&bytes).contains(part) {
            let mut byte = [0];
            let read = self.0.read(&mut byte).unwrap();
            assert_eq!(read, 1, "closed before '{part}': {}", String::from_utf8_lossy(&bytes));
            bytes.push(byte[0]);
        }
        String::from_utf8(bytes).unwrap()
    }

    pub fn answer(&mut self) -> Answer {
        let text = self.rest();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: '{text}'"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.into() }
    }
}

impl Answer {
    /// The body of an answer that succeeded.
    pub fn json(&self) -> Value {
        assert!(self.status < 300, "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// The problem document, checked to be one, of that status and type.
    pub fn problem(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem: Problem = serde_json::from_str(&self.body).unwrap();
        assert_eq!((problem.status, problem.kind), (status, format!("/problems/{kind}")), "{self:?}");
        assert!(!problem.title.is_empty());
        problem.detail
    }
}
