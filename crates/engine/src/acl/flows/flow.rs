//! One flow: how far it is, and until when it is remembered.

use super::tcp::{Connection, Phase};
use crate::{Millis, acl::AclWay};

/// How long a connection is remembered that is not open yet, or no longer, and a datagram in fragments (RFC 8200 section 4.5), at the most.
const SHORT: Millis = Millis(60_000);

/// What is remembered of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// When it is forgotten unless another frame comes.
    expires: Millis,
    /// By which state of the rules it is there.
    pub(super) generation: u32,
    /// For how many seconds it is remembered without frames.
    pub(super) idle: u16,
    /// Which way its first frame went.
    pub(super) opened: AclWay,
    pub(super) kind: Kind,
}

/// What is known of it besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A connection.
    Tcp(Connection),
    /// Nothing has come from the other end.
    Unanswered,
    /// Frames went both ways.
    Answered,
    /// The first part of a datagram passed.
    Fragments {
        /// It is a TCP segment.
        of_tcp: bool,
    },
}

impl Flow {
    pub(super) fn new(kind: Kind, opened: AclWay, idle: u16, generation: u32, now: Millis) -> Self {
        let mut flow = Self { expires: now, generation, idle, opened, kind };
        flow.refresh(now);
        flow
    }

    /// Begins its time anew.
    #[inline]
    pub(super) const fn refresh(&mut self, now: Millis) {
        let idle = self.idle as u64 * 1000;
        let is_short = match &self.kind {
            Kind::Tcp(connection) => !matches!(connection.phase(), Phase::Open),
            Kind::Fragments { .. } => true,
            Kind::Unanswered | Kind::Answered => false,
        };
        let idle = if is_short && idle > SHORT.0 { SHORT.0 } else { idle };
        self.expires = Millis(now.0.saturating_add(idle));
    }

    #[inline]
    pub(super) const fn has_expired(&self, now: Millis) -> bool {
        self.expires.0 <= now.0
    }
}
