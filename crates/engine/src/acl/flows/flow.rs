//! One flow: how far it is, and until when it is remembered.
//!
//! 48 bytes, so that with the key of IPv4 it fills one cache line. What frames change all the time (its time, and the bounds of a
//! connection) is atomic: so who only reads may do it, with others that do.

use super::{
    assurance::Assurance,
    places::{NIL, SLOT_BITS, Slot},
    tcp::{self, Connection, Half, OPENER, Phase, RESPONDER},
};
use crate::{Millis, acl::AclWay};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wire::packet::Segment;

/// How long a connection is remembered that is not open yet, or no longer, and a datagram in fragments (RFC 8200 section 4.5), at the most.
const SHORT: Millis = Millis(60_000);

/// What is remembered of a flow.
#[derive(Debug)]
pub(super) struct Flow {
    /// When it is forgotten unless another frame comes, in milliseconds; and in the lowest bits its peer.
    until: AtomicU64,
    /// What both ends of a connection have said. Of a flow of datagrams the first word is an assurance.
    said: [Said; 2],
    /// By which state of the rules it is there.
    pub(super) generation: u32,
    /// For how many seconds it is remembered without frames.
    pub(super) idle: u16,
    scales: u8,
    /// Stage in the high bits, then which ends have finished, then which way it was opened.
    marks: u8,
}

const _: () = assert!(size_of::<Flow>() == 48);

/// The bits of a flow's peer: the place of the flow that the port has of the same packets which they leave on, or come in on. What is above
/// them is enough for 278 years.
const PEER: u64 = NIL as u64;

/// What one end of a connection has said: two halves of a word each. Where two workers have segments of one end at a time, one's may go
/// under: the bounds are then as if it had not been seen, which is never wider.
#[derive(Debug, Default)]
struct Said([AtomicU64; 2]);

/// What is known of it.
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

/// The way that a flow was opened, in its marks.
const OUT: u8 = 1;
const FINISHED_SHIFT: u32 = 1;
const STAGE_SHIFT: u32 = 3;

/// Stages that are no connection's, which has its phase behind them.
const UNANSWERED: u8 = 0;
const ANSWERED: u8 = 1;
const FRAGMENTS: u8 = 2;
const FRAGMENTS_OF_TCP: u8 = 3;
const PHASES: u8 = 4;

impl Flow {
    pub(super) fn new(kind: Kind, opened: AclWay, idle: u16, generation: u32, now: Millis) -> Self {
        let marks = u8::from(opened == AclWay::Out);
        let (until, said) = (AtomicU64::new(PEER), Default::default());
        let mut flow = Self { until, said, generation, idle, scales: 0, marks };
        flow.set_kind(&kind);
        flow.refresh(now);
        flow
    }

    /// Which way its first frame went.
    #[inline]
    pub(super) const fn opened(&self) -> AclWay {
        if self.marks & OUT != 0 { AclWay::Out } else { AclWay::In }
    }

    const fn stage(&self) -> u8 {
        self.marks >> STAGE_SHIFT
    }

    #[inline]
    pub(super) fn kind(&self) -> Kind {
        match self.stage() {
            UNANSWERED => Kind::Unanswered,
            ANSWERED => Kind::Answered,
            stage @ (FRAGMENTS | FRAGMENTS_OF_TCP) => Kind::Fragments { of_tcp: stage == FRAGMENTS_OF_TCP },
            stage => {
                let said = self.said.each_ref().map(Said::load);
                let finished = self.marks >> FINISHED_SHIFT & 3;
                Kind::Tcp(Connection::new(said, self.scales, finished, Phase::of_number(stage - PHASES)))
            }
        }
    }

    pub(super) fn set_kind(&mut self, kind: &Kind) {
        let (stage, finished) = match kind {
            Kind::Unanswered => (UNANSWERED, 0),
            Kind::Answered => (ANSWERED, 0),
            Kind::Fragments { of_tcp } => (FRAGMENTS + u8::from(*of_tcp), 0),
            Kind::Tcp(connection) => {
                self.scales = connection.scales();
                [0, 1].into_iter().for_each(|end| self.note_said(end, connection));
                (PHASES + connection.phase() as u8, connection.finished())
            }
        };
        self.marks = self.marks & OUT | finished << FINISHED_SHIFT | stage << STAGE_SHIFT;
    }

    /// Keeps the bounds that follow from what one end of its connection has said.
    #[inline]
    pub(super) fn note_said(&self, end: usize, connection: &Connection) {
        self.said[end].store(&connection.said()[end]);
    }

    /// Begins its time anew.
    #[inline]
    pub(super) fn refresh(&self, now: Millis) {
        let idle = u64::from(self.idle) * 1000;
        let is_short = self.stage() >= FRAGMENTS && self.stage() != PHASES + Phase::Open as u8;
        let idle = if is_short { idle.min(SHORT.0) } else { idle };
        self.keep_until(now.0.saturating_add(idle));
    }

    /// The same for one that is neither new nor at its end, nor of fragments.
    #[inline]
    pub(super) fn prolong(&self, now: Millis) {
        self.keep_until(now.0.saturating_add(u64::from(self.idle) * 1000));
    }

    /// The same, and so much longer as an assurance may hold.
    pub(super) fn prolong_for_assurance(&self, now: Millis) {
        self.prolong(Millis(now.0.saturating_add(Assurance::LONGEST.0)));
    }

    #[inline]
    fn keep_until(&self, moment: u64) {
        store(&self.until, moment << SLOT_BITS | self.until.load(Relaxed) & PEER);
    }

    /// Where its peer was last, or [`NIL`]. A guess: that flow can be gone.
    #[inline]
    pub(super) fn peer(&self) -> Slot {
        (self.until.load(Relaxed) & PEER) as Slot
    }

    /// Notes where that is. Another worker may prolong the flow at the same time, and one of both goes under: a guess is lost, or a few
    /// milliseconds of its time.
    pub(super) fn note_peer(&self, peer: Slot) {
        store(&self.until, self.until.load(Relaxed) & !PEER | u64::from(peer) & PEER);
    }

    /// What the port that its packets leave on assures, if it still does, where any packet belongs to it. One of long ago is forgotten, so that its
    /// time does not come round.
    #[inline]
    pub(super) fn assurance(&self, now: Millis) -> Assurance {
        let assured = Assurance(self.said[OPENER].0[0].load(Relaxed));
        if assured.lasts(now) {
            return assured;
        }
        self.note_assurance(Assurance::NONE);
        Assurance::NONE
    }

    /// Notes it.
    pub(super) fn note_assurance(&self, assured: Assurance) {
        store(&self.said[OPENER].0[0], assured.0);
    }

    /// True where any packet that goes this way belongs to it and changes nothing.
    #[inline]
    pub(super) fn takes_plain(&self, way: AclWay) -> bool {
        self.stage() == ANSWERED || (self.stage() == UNANSWERED && self.opened() == way)
    }

    /// True for a segment in the midst of an open connection that is at its place there, and has nothing but its sender's bounds change: then
    /// that is done.
    #[inline]
    pub(super) fn takes_segment(&self, way: AclWay, segment: &Segment<'_>) -> bool {
        if self.stage() != PHASES + Phase::Open as u8 || !tcp::is_of_the_midst(segment) {
            return false;
        }
        let from = if self.opened() == way { OPENER } else { RESPONDER };
        let (sender, receiver) = (&self.said[from], &self.said[1 - from]);
        let said = sender.load().with(&receiver.load(), segment, tcp::scale_of(self.scales, from));
        said.is_some_and(|said| {
            sender.store(&said);
            true
        })
    }

    #[inline]
    pub(super) fn has_expired(&self, now: Millis) -> bool {
        self.until.load(Relaxed) >> SLOT_BITS <= now.0
    }

    /// True while a new flow may take its place: nobody has answered it yet, or it is over.
    #[inline]
    pub(super) const fn is_dispensable(&self) -> bool {
        const SYN_SENT: u8 = PHASES + Phase::SynSent as u8;
        const SYN_RECEIVED: u8 = PHASES + Phase::SynReceived as u8;
        const CLOSING: u8 = PHASES + Phase::Closing as u8;
        matches!(self.stage(), UNANSWERED | FRAGMENTS | FRAGMENTS_OF_TCP | SYN_SENT | SYN_RECEIVED | CLOSING)
    }

    /// True where a new flow of the same ends may begin.
    pub(super) const fn is_over(&self) -> bool {
        self.stage() == PHASES + Phase::Closing as u8
    }
}

impl Clone for Flow {
    fn clone(&self) -> Self {
        let until = AtomicU64::new(self.until.load(Relaxed));
        let said = self.said.each_ref().map(|said| Said(said.load().words().map(AtomicU64::new)));
        Self { until, said, ..*self }
    }
}

impl Said {
    #[inline]
    fn load(&self) -> Half {
        Half::of_words(self.0.each_ref().map(|word| word.load(Relaxed)))
    }

    #[inline]
    fn store(&self, half: &Half) {
        self.0.iter().zip(half.words()).for_each(|(place, word)| store(place, word));
    }
}

/// Writes only what is another value: other workers may have the line, too.
#[inline]
fn store(place: &AtomicU64, value: u64) {
    if place.load(Relaxed) != value {
        place.store(value, Relaxed);
    }
}
