//! Where a segment has to be to belong to its connection.
//!
//! The switch sees what both ends say, and so knows bounds within which a segment must lie (van Rooij, "Real stateful TCP packet
//! filtering in IP Filter", 2001):
//!
//! * it does not begin behind what the receiver has said it takes (*upper*);
//! * it does not end more than a window before what was sent already;
//! * it acknowledges nothing that was not sent, and nothing older than a window.
//!
//! A reset ends a connection only where it stands exactly where the receiver expects the next byte, or behind all that was sent
//! (RFC 5961 section 3.2); one elsewhere in the window passes, for the receiver to challenge, and ends nothing. The same holds for a
//! SYN in a connection that stands (section 4.2). Windows are scaled as both SYNs agreed (RFC 7323).

use wire::{TcpView, packet::Segment};

/// How far behind an acknowledgement may be at least: some receivers acknowledge late.
const LATE: u32 = 66_000;
/// Both ends of a connection: who opened it first.
pub(super) const OPENER: usize = 0;
/// The other one.
pub(super) const RESPONDER: usize = 1;

/// What one end has said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Half {
    /// The number behind the last byte it sent.
    end: u32,
    /// What it expects next. Of an opener that has not heard from the other end: its own first number.
    acked: u32,
    /// The largest window that it offered.
    window: u32,
    /// The number up to which it takes bytes.
    upper: u32,
}

impl Half {
    /// In two words.
    #[inline]
    pub(super) fn words(&self) -> [u64; 2] {
        let word = |high: u32, low: u32| (high as u64) << 32 | low as u64;
        [word(self.end, self.acked), word(self.window, self.upper)]
    }

    #[inline]
    pub(super) const fn of_words([first, second]: [u64; 2]) -> Self {
        let (end, acked) = ((first >> 32) as u32, first as u32);
        Self { end, acked, window: (second >> 32) as u32, upper: second as u32 }
    }

    /// True where a segment of this end lies within what is on its way.
    #[inline]
    fn is_in_window(&self, other: &Self, segment: &Segment<'_>) -> bool {
        !before(other.upper, segment.seq)
            && before(self.end.wrapping_sub(other.window).wrapping_sub(1), end(segment))
    }

    #[inline]
    fn acknowledges(&self, other: &Self, segment: &Segment<'_>) -> bool {
        let least = other.end.wrapping_sub(self.window.max(LATE));
        !before(other.end, segment.ack) && !before(segment.ack, least)
    }

    /// What this end has said once it has sent a segment, whose window is to be shifted so far; `None` where that is not at its place.
    #[inline]
    pub(super) fn with(&self, other: &Self, segment: &Segment<'_>, scale: u8) -> Option<Self> {
        if !self.is_in_window(other, segment) || !self.acknowledges(other, segment) {
            return None;
        }
        let window = u32::from(segment.window) << scale;
        Some(Self {
            end: later(end(segment), self.end),
            acked: later(segment.ack, self.acked),
            window: self.window.max(window),
            upper: later(segment.ack.wrapping_add(window.max(1)), self.upper),
        })
    }
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its opener sent a SYN.
    SynSent,
    /// The other end took it.
    SynReceived,
    /// The opener has acknowledged that.
    Open,
    /// Both ends have said that they send no more.
    Closing,
}

impl Phase {
    #[inline]
    pub(super) const fn of_number(number: u8) -> Self {
        match number {
            0 => Self::SynSent,
            1 => Self::SynReceived,
            2 => Self::Open,
            _ => Self::Closing,
        }
    }
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    halves: [Half; 2],
    /// Shifts of the windows of both, in four bits each; meanwhile 15 of one that said nothing.
    scales: u8,
    /// Which ends have said that they send no more.
    finished: [bool; 2],
    phase: Phase,
}

/// What a segment is to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A part of it.
    Within,
    /// Its end.
    Last,
    /// It passes, and not even the flow's time begins anew: with it the ends find out which of them has forgotten a connection.
    Beside,
    /// No part of it, or not where it should be.
    Foreign,
}

/// Numbers wrap around: `a` is before `b` if it takes less than half a turn to get there.
const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

const fn later(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

/// The number behind a segment's last byte; SYN and FIN count as one each.
const fn end(segment: &Segment<'_>) -> u32 {
    let marks = has(segment, TcpView::SYN) as u32 + has(segment, TcpView::FIN) as u32;
    segment.seq.wrapping_add(segment.payload).wrapping_add(marks)
}

const fn has(segment: &Segment<'_>, flag: u8) -> bool {
    segment.flags & flag != 0
}

/// The flags that make a segment what it is.
const fn kind(segment: &Segment<'_>) -> u8 {
    segment.flags & (TcpView::SYN | TcpView::ACK | TcpView::RST | TcpView::FIN)
}

/// True for one that is neither the beginning nor the end of anything.
#[inline]
pub(super) const fn is_of_the_midst(segment: &Segment<'_>) -> bool {
    kind(segment) == TcpView::ACK
}

/// True for a reset that is neither the beginning nor the end of anything else.
const fn is_lone_reset(segment: &Segment<'_>) -> bool {
    kind(segment) & !TcpView::ACK == TcpView::RST
}

/// How far the windows of one end are shifted.
#[inline]
pub(super) const fn scale_of(scales: u8, end: usize) -> u8 {
    if end == OPENER { scales & 0xf } else { scales >> 4 }
}

const SYN_ACK: u8 = TcpView::SYN | TcpView::ACK;
/// No window scale option.
const NO_SCALE: u8 = 15;

impl Connection {
    /// What a segment opens: a SYN and nothing else, all of whose options are known.
    pub(super) fn opened_by(segment: &Segment<'_>) -> Option<Self> {
        if kind(segment) != TcpView::SYN || !segment.whole {
            return None;
        }
        let end = end(segment);
        let opener = Half { end, acked: segment.seq, window: u32::from(segment.window).max(1), upper: 0 };
        let responder = Half { upper: end, ..Half::default() };
        let scales = NO_SCALE << 4 | segment.window_scale().unwrap_or(NO_SCALE);
        Some(Self { halves: [opener, responder], scales, finished: [false; 2], phase: Phase::SynSent })
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) const fn scales(&self) -> u8 {
        self.scales
    }

    /// Which ends have said that they send no more: a bit each.
    pub(super) const fn finished(&self) -> u8 {
        self.finished[OPENER] as u8 | (self.finished[RESPONDER] as u8) << 1
    }

    /// What both ends have said, the opener first.
    #[inline]
    pub(super) const fn said(&self) -> &[Half; 2] {
        &self.halves
    }

    /// The connection of which both ends have said that.
    #[inline]
    pub(super) const fn new(halves: [Half; 2], scales: u8, finished: u8, phase: Phase) -> Self {
        Self { halves, scales, finished: [finished & 1 != 0, finished & 2 != 0], phase }
    }

    /// True for a segment of an open connection that changes no more than the bounds of who sent it.
    #[inline]
    pub(super) const fn is_in_the_midst(&self, segment: &Segment<'_>) -> bool {
        matches!(self.phase, Phase::Open) && is_of_the_midst(segment)
    }

    /// Where a segment is that `from` sent, and what changes by it.
    #[inline]
    pub(super) fn take(&mut self, from: usize, segment: &Segment<'_>) -> Place {
        match (kind(segment), self.phase) {
            (TcpView::ACK, Phase::Open) => self.stream(from, segment),
            (TcpView::SYN, _) => self.again(from, segment),
            (_, Phase::SynSent) => self.answer(from, segment),
            (SYN_ACK, _) if from == OPENER => Place::Foreign,
            (flags, _) if flags & TcpView::RST != 0 => self.reset(from, segment),
            (flags, _) if flags & TcpView::ACK != 0 && (flags & TcpView::SYN == 0 || flags == SYN_ACK) => {
                self.stream(from, segment)
            }
            _ => Place::Foreign,
        }
    }

    /// A SYN for a connection that there is. Of its opener it may be sent again, and to one that was answered it is a question. That does
    /// not prolong it: it is the other end's word that it still stands, and where both have forgotten it the SYNs get through once its
    /// time has come.
    fn again(&mut self, from: usize, segment: &Segment<'_>) -> Place {
        match (from, self.phase) {
            (RESPONDER, _) | (_, Phase::Closing) => Place::Foreign,
            (_, Phase::SynReceived | Phase::Open) => Place::Beside,
            (_, Phase::SynSent) => match Self::opened_by(segment) {
                Some(connection) => {
                    *self = connection.repeating(self);
                    Place::Within
                }
                None => Place::Foreign,
            },
        }
    }

    /// The same where what was opened before may be answered yet: a SYN sent again need not bring the data of the first one (RFC 7413),
    /// which the other end may have taken all the same.
    fn repeating(mut self, former: &Self) -> Self {
        let ([opener, _], [before, _]) = (&mut self.halves, &former.halves);
        if opener.acked == before.acked {
            opener.end = later(before.end, opener.end);
        }
        self
    }

    /// The first word of the other end. It has to acknowledge the SYN, or some of what came with it.
    ///
    /// Or it remembers an older connection of the same ends, which the switch does not. Then it says so by an ACK of that (RFC 9293 section
    /// 3.5.1, RFC 5961 section 4.2), at which the opener resets that and sends its SYN again. An ACK alone tells a stranger who sends it
    /// nothing and opens nothing: who has sent a SYN takes no byte by it, and drops it or answers with a reset (RFC 9293 section 3.10.7.3).
    fn answer(&mut self, from: usize, segment: &Segment<'_>) -> Place {
        let [opener, _] = self.halves;
        if from == OPENER {
            return match is_lone_reset(segment) {
                true if segment.seq == opener.end => Place::Last,
                true => Place::Beside,
                false => Place::Foreign,
            };
        }
        if is_of_the_midst(segment) && segment.payload == 0 {
            return Place::Beside;
        }
        if !before(opener.acked, segment.ack) || before(opener.end, segment.ack) {
            return Place::Foreign;
        }
        match kind(segment) {
            SYN_ACK if segment.whole => self.accept(segment),
            flags if flags == TcpView::RST | TcpView::ACK => Place::Last,
            _ => Place::Foreign,
        }
    }

    fn accept(&mut self, segment: &Segment<'_>) -> Place {
        let (end, window) = (end(segment), u32::from(segment.window).max(1));
        let [opener, responder] = &mut self.halves;
        opener.upper = end.wrapping_add(opener.window);
        *responder = Half { end, acked: segment.ack, window, upper: segment.ack.wrapping_add(window) };
        opener.acked = segment.seq;
        // One that does not scale keeps the other from it.
        self.scales = match (self.scales & 0xf, segment.window_scale()) {
            (NO_SCALE, _) | (_, None) => 0,
            (opener, Some(responder)) => responder << 4 | opener,
        };
        self.phase = Phase::SynReceived;
        Place::Within
    }

    #[inline]
    const fn sides(&self, from: usize) -> (&Half, &Half) {
        let [opener, responder] = &self.halves;
        if from == OPENER { (opener, responder) } else { (responder, opener) }
    }

    fn reset(&self, from: usize, segment: &Segment<'_>) -> Place {
        let (sender, receiver) = self.sides(from);
        let acknowledges = !has(segment, TcpView::ACK) || sender.acknowledges(receiver, segment);
        if !is_lone_reset(segment) || !acknowledges {
            return Place::Foreign;
        }
        if segment.seq == sender.end || segment.seq == receiver.acked {
            return Place::Last;
        }
        if sender.is_in_window(receiver, segment) { Place::Within } else { Place::Foreign }
    }

    /// Bytes, acknowledgements, ends of them.
    fn stream(&mut self, from: usize, segment: &Segment<'_>) -> Place {
        let (sender, receiver) = self.sides(from);
        let scale = if has(segment, TcpView::SYN) { 0 } else { scale_of(self.scales, from) };
        let Some(said) = sender.with(receiver, segment, scale) else { return Place::Foreign };
        let completes = self.phase == Phase::SynReceived && from == OPENER;
        // It has to take the other end's SYN; before that its place is known but by guess.
        if completes && !before(sender.acked, segment.ack) {
            return Place::Foreign;
        }
        self.halves[from] = said;
        self.advance(from, completes, has(segment, TcpView::FIN));
        Place::Within
    }

    #[inline]
    const fn advance(&mut self, from: usize, completes: bool, finishes: bool) {
        if completes {
            self.phase = Phase::Open;
        }
        if finishes {
            self.finished[from] = true;
            if self.finished[OPENER] && self.finished[RESPONDER] {
                self.phase = Phase::Closing;
            }
        }
    }

    /// True where a segment of this number, which an ICMP error quotes, may be on its way (RFC 5927 section 4.1).
    pub(super) fn is_on_its_way(&self, from: usize, number: u32) -> bool {
        let (sender, receiver) = self.sides(from);
        let window = receiver.window.max(LATE);
        !before(sender.end, number) && before(sender.end.wrapping_sub(window), number)
    }
}
