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
    /// The number up to which the other end takes bytes.
    upper: u32,
    /// The largest window that it offered.
    window: u32,
    /// What it expects next. Of an opener that has not heard from the other end: its own first number.
    acked: u32,
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
        let opener = Half { end, upper: end, window: u32::from(segment.window).max(1), acked: segment.seq };
        let scales = NO_SCALE << 4 | segment.window_scale().unwrap_or(NO_SCALE);
        Some(Self { halves: [opener, Half::default()], scales, finished: [false; 2], phase: Phase::SynSent })
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

    /// What follows from segments of one end, in two words.
    #[inline]
    pub(super) const fn words_of(&self, end: usize) -> [u64; 2] {
        let (of, other) = self.sides(end);
        [(of.end as u64) << 32 | of.acked as u64, (of.window as u64) << 32 | other.upper as u64]
    }

    /// The connection of such words of both ends.
    #[inline]
    pub(super) fn of_words(said: [[u64; 2]; 2], scales: u8, finished: u8, phase: Phase) -> Self {
        let half = |[first, second]: [u64; 2], [_, of_other]: [u64; 2]| Half {
            end: (first >> 32) as u32,
            acked: first as u32,
            window: (second >> 32) as u32,
            upper: of_other as u32,
        };
        let [opener, responder] = said;
        let halves = [half(opener, responder), half(responder, opener)];
        Self { halves, scales, finished: [finished & 1 != 0, finished & 2 != 0], phase }
    }

    /// True for a segment of an open connection that changes no more than the bounds of who sent it.
    #[inline]
    pub(super) const fn is_in_the_midst(&self, segment: &Segment<'_>) -> bool {
        matches!(self.phase, Phase::Open) && kind(segment) == TcpView::ACK
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

    /// A SYN for a connection that there is. Of its opener it may be sent again, and to one that stands it is a question.
    fn again(&mut self, from: usize, segment: &Segment<'_>) -> Place {
        if from != OPENER || self.phase == Phase::Closing {
            return Place::Foreign;
        }
        if self.phase == Phase::SynSent {
            match Self::opened_by(segment) {
                Some(connection) => *self = connection,
                None => return Place::Foreign,
            }
        }
        Place::Within
    }

    /// The first word of the other end. It has to acknowledge the SYN, or some of what came with it.
    fn answer(&mut self, from: usize, segment: &Segment<'_>) -> Place {
        let [opener, _] = self.halves;
        if from == OPENER {
            let is_reset = kind(segment) & !TcpView::ACK == TcpView::RST && segment.seq == opener.end;
            return if is_reset { Place::Last } else { Place::Foreign };
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
        let upper = end.wrapping_add(opener.window);
        *responder = Half { end, upper, window, acked: segment.ack };
        opener.upper = segment.ack.wrapping_add(window);
        opener.acked = segment.seq;
        // One that does not scale keeps the other from it.
        self.scales = match (self.scales & 0xf, segment.window_scale()) {
            (NO_SCALE, _) | (_, None) => 0,
            (opener, Some(responder)) => responder << 4 | opener,
        };
        self.phase = Phase::SynReceived;
        Place::Within
    }

    /// True where a segment lies within what is on its way.
    #[inline]
    fn is_in_window(&self, from: usize, segment: &Segment<'_>) -> bool {
        let (sender, receiver) = self.sides(from);
        !before(sender.upper, segment.seq)
            && before(sender.end.wrapping_sub(receiver.window).wrapping_sub(1), end(segment))
    }

    #[inline]
    fn acknowledges(&self, from: usize, segment: &Segment<'_>) -> bool {
        let (sender, receiver) = self.sides(from);
        let least = receiver.end.wrapping_sub(sender.window.max(LATE));
        !before(receiver.end, segment.ack) && !before(segment.ack, least)
    }

    #[inline]
    const fn sides(&self, from: usize) -> (&Half, &Half) {
        let [opener, responder] = &self.halves;
        if from == OPENER { (opener, responder) } else { (responder, opener) }
    }

    fn reset(&self, from: usize, segment: &Segment<'_>) -> Place {
        let (sender, receiver) = self.sides(from);
        let is_alone = kind(segment) & !TcpView::ACK == TcpView::RST;
        let acknowledges = !has(segment, TcpView::ACK) || self.acknowledges(from, segment);
        if !is_alone || !acknowledges {
            return Place::Foreign;
        }
        if segment.seq == sender.end || segment.seq == receiver.acked {
            return Place::Last;
        }
        if self.is_in_window(from, segment) { Place::Within } else { Place::Foreign }
    }

    /// Bytes, acknowledgements, ends of them.
    #[inline]
    fn stream(&mut self, from: usize, segment: &Segment<'_>) -> Place {
        if !self.is_in_window(from, segment) || !self.acknowledges(from, segment) {
            return Place::Foreign;
        }
        let completes = self.phase == Phase::SynReceived && from == OPENER;
        // It has to take the other end's SYN; before that its place is known but by guess.
        if completes && !before(self.halves[OPENER].acked, segment.ack) {
            return Place::Foreign;
        }
        let scale = if from == OPENER { self.scales & 0xf } else { self.scales >> 4 };
        let scale = if has(segment, TcpView::SYN) { 0 } else { scale };
        let window = u32::from(segment.window) << scale;
        let upper = segment.ack.wrapping_add(window.max(1));
        let [opener, responder] = &mut self.halves;
        let (sender, receiver) = if from == OPENER { (opener, responder) } else { (responder, opener) };
        sender.window = sender.window.max(window);
        sender.end = later(end(segment), sender.end);
        sender.acked = later(segment.ack, sender.acked);
        receiver.upper = later(upper, receiver.upper);
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
