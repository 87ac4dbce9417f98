//! One switch at work on one worker: its ports, its counters, and the way of a batch through it.

mod mirror;
mod originate;

use crate::{
    forms::Forms,
    limiter::{Allowance, Limiter},
    lists::Lists,
    observer::Observer,
    share::Share,
    tables::{Desk, Tables},
    tap::Tap,
    uplink::{SharedUplink, cable_bytes},
};
use engine::{EngineEvent, Findings, FrameIn, Millis, Passage, PortIndex, Snapshot, Verdict, Vlan};
use io::{BATCH_FRAMES, Batch, HEAD_BYTES, Link, Port, PortError, Sent};
use model::{DropReason, PortCounters, SwitchCounters};
use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};
use wire::checksum;

/// What passed a switch, read between two batches.
#[derive(Clone, Debug, Default)]
pub struct SwitchReport {
    /// The switch as a whole, ports that were removed included.
    pub switch: SwitchCounters,
    /// Its ports, in the order of their numbers.
    pub ports: Vec<(PortIndex, PortCounters)>,
    /// Entries in its MAC table.
    pub mac_entries: usize,
}

impl SwitchReport {
    /// Adds what passed another worker.
    pub(crate) fn add(&mut self, part: &Self) {
        self.switch += &part.switch;
        for (index, counters) in &part.ports {
            match self.ports.binary_search_by_key(index, |(index, _)| *index) {
                Ok(at) => self.ports[at].1 += counters,
                Err(at) => self.ports.insert(at, (*index, *counters)),
            }
        }
    }
}

/// What one worker has of a switch: its shares of the ports, and what passed them.
///
/// What the workers of a switch have in common is in [`Tables`]. A frame is counted by the worker that received it, where it came
/// from and where it goes to, so the counters of each worker add up on their own.
#[derive(Debug)]
pub struct Fabric {
    tables: Arc<Tables>,
    desk: Desk,
    ports: Vec<Slot>,
    copies: u64,
    /// Frames that the switch sent by itself.
    originated: u64,
    /// What passed ports that are no more.
    retired: SwitchCounters,
    /// How long each frame of the batch at hand is on the wire: where it will be cut, its largest segment.
    wire_lens: [Cell<u32>; BATCH_FRAMES],
    /// Frames of the batch at hand with other tags.
    forms: Forms,
    /// What access lists found of frames that were to leave.
    findings: Findings,
    /// A frame that lay in pieces.
    gathered: Vec<u8>,
    /// Ports that got frames of the batch at hand, each once.
    touched: Vec<PortIndex>,
    link_changes: Vec<(PortIndex, Link)>,
    observer: Observer,
    /// For finding out who gets copies.
    room: mirror::Room,
    /// The uplink, where its ports share it by what they can count on.
    uplink: Option<Arc<SharedUplink>>,
    /// How long the port whose turn was last is to be left alone.
    hold: Option<Duration>,
}

/// The place of a port: it stays while the port is away, and so do its counters.
#[derive(Debug, Default)]
struct Slot {
    share: Option<Share>,
    counters: PortCounters,
    /// Whether frames could pass when the port was last asked.
    link: Link,
    /// Frames of the batch at hand that leave here.
    leaving: Vec<u16>,
    /// How fast frames may pass, where there are limits.
    limiter: Option<Limiter>,
    /// Whether it has been held back since it last could have sent a burst.
    throttled: bool,
}

/// A port that stopped while a batch passed.
pub type Stopped = (PortIndex, PortError);

impl Fabric {
    /// Without ports.
    #[must_use]
    pub fn new(tables: Arc<Tables>) -> Self {
        Self {
            tables,
            desk: Desk::default(),
            ports: Vec::new(),
            copies: 0,
            originated: 0,
            retired: SwitchCounters::default(),
            wire_lens: [const { Cell::new(0) }; BATCH_FRAMES],
            forms: Forms::default(),
            findings: Findings::default(),
            gathered: Vec::new(),
            touched: Vec::with_capacity(BATCH_FRAMES),
            link_changes: Vec::new(),
            observer: Observer::default(),
            room: mirror::Room::default(),
            uplink: None,
            hold: None,
        }
    }

    /// Makes places for the ports of the snapshot that is in force. Ports that it does not name are gone: their counters go
    /// into the switch's, their places are free again. Control waits for this before it gives a place to another port.
    pub fn follow(&mut self) {
        self.tables.show(&mut self.desk);
        self.make_places();
        self.uplink = self.tables.uplink();
        for (slot, index) in self.ports.iter_mut().zip(0..) {
            if self.desk.snapshot().policy(PortIndex(index)).is_none() {
                self.retired.add_port(&std::mem::take(slot).counters);
            }
            slot.limiter = self.tables.limiter(PortIndex(index));
        }
    }

    fn make_places(&mut self) {
        let places = self.desk.snapshot().port_slots();
        if self.ports.len() < places {
            self.ports.resize_with(places, Slot::default);
        }
    }

    /// Puts a port into its place, of which this worker is the only one; gives it back where the snapshot has none for it.
    pub fn attach(&mut self, port: PortIndex, io: Box<dyn Port>) -> Option<Box<dyn Port>> {
        let share = Share { io, tells_link: true, stopped: Arc::default() };
        self.attach_share(port, share).map(|former| former.io)
    }

    /// Puts a share of a port into the port's place; gives it back where the snapshot has none for it.
    pub(crate) fn attach_share(&mut self, port: PortIndex, share: Share) -> Option<Share> {
        self.follow();
        match self.ports.get_mut(usize::from(port.0)) {
            Some(slot) if self.desk.snapshot().policy(port).is_some() => {
                slot.link = Link::Up;
                let former = slot.share.replace(share);
                self.note_link(port);
                former
            }
            _ => Some(share),
        }
    }

    pub(crate) fn detach(&mut self, port: PortIndex) -> Option<Share> {
        self.ports.get_mut(usize::from(port.0)).and_then(|slot| slot.share.take())
    }

    /// Ports that have lost their peer or got it back.
    pub(crate) fn link_changes(&mut self) -> impl Iterator<Item = (PortIndex, Link)> + '_ {
        self.link_changes.drain(..)
    }

    fn note_link(&mut self, port: PortIndex) {
        let Some(slot) = self.ports.get_mut(usize::from(port.0)) else { return };
        let Some(share) = slot.share.as_ref().filter(|share| share.tells_link) else { return };
        let now = share.io.link();
        if slot.link != now {
            slot.link = now.clone();
            self.link_changes.push((port, now));
        }
    }

    /// Shows `tap` every frame from now on.
    pub fn listen(&mut self, tap: Arc<Tap>) {
        self.observer.add(tap);
    }

    /// Takes out every port.
    pub(crate) fn detach_all(&mut self) -> Vec<Share> {
        self.ports.iter_mut().filter_map(|slot| slot.share.take()).collect()
    }

    /// True where the table holds anything that may run out.
    pub(crate) fn ages(&self) -> bool {
        self.tables.len() != 0
    }

    pub(crate) fn report(&mut self) -> SwitchReport {
        for slot in &mut self.ports {
            slot.counters.rx_missed += slot.share.as_mut().map_or(0, |share| share.io.kernel_drops());
        }
        let mut switch = self.retired;
        switch.copies = self.copies;
        switch.originated = self.originated;
        let named = |index: &PortIndex| self.desk.snapshot().policy(*index).is_some();
        let ports = (0..).map(PortIndex).zip(&self.ports).filter(|(index, _)| named(index));
        let ports: Vec<_> = ports.map(|(index, slot)| (index, slot.counters)).collect();
        ports.iter().for_each(|(_, counters)| switch.add_port(counters));
        SwitchReport { switch, ports, mac_entries: 0 }
    }

    pub(crate) fn age(&self, now: Millis, budget: usize) -> usize {
        self.tables.age(now, budget)
    }

    pub(crate) fn events(&mut self) -> impl Iterator<Item = EngineEvent> + '_ {
        self.desk.events()
    }

    /// Takes one batch from `ingress` through the switch; true where there was one.
    ///
    /// Four steps, each over the whole batch:
    ///
    /// 1. receive: frames land in `batch` (one copy, by the kernel), or stay in the guest's memory and only their heads are
    ///    copied; there they stay until the last step;
    /// 2. decide: the engine looks at headers only and gives a verdict for each frame, in order;
    /// 3. sort: verdicts become a list of frame numbers for each destination, in order, so the order between two
    ///    ports is kept whatever the batch size;
    /// 4. deliver: each destination gets its whole list in one call, and says what became of it. What lies in a guest's
    ///    memory is copied here, from there to where it goes (one copy), and then the guest gets its memory back.
    ///
    /// Nothing is allocated once the lists have grown to their size; the counters are this worker's own, and the tables are
    /// locked once.
    pub fn turn(
        &mut self,
        ingress: PortIndex,
        batch: &mut Batch,
        now: Millis,
        stopped: &mut Vec<Stopped>,
    ) -> bool {
        batch.clear();
        let Some(slot) = self.ports.get_mut(usize::from(ingress.0)) else { return false };
        if slot.limiter.is_some() {
            self.hold = slot.limit(batch);
        }
        let Some(share) = &mut slot.share else { return false };
        if let Err(error) = share.io.receive(batch) {
            stopped.push((ingress, error));
        }
        if let Some(limiter) = &slot.limiter {
            limiter.sent(batch);
        }
        self.note_link(ingress);
        if batch.is_empty() {
            return false;
        }
        self.observer.begin(batch);
        settle_checksums(batch);
        self.decide(ingress, batch, now);
        self.sort(ingress, batch, now);
        if self.desk.snapshot().learns_leases() {
            self.hear_leases(ingress, batch, now);
        }
        if !self.desk.verdicts().unheard().is_empty() {
            self.hear_reports(ingress, batch, now);
        }
        if self.desk.snapshot().has_mirrors() {
            self.mirror(ingress, batch);
        }
        self.deliver(Some(ingress), batch, stopped);
        self.observer.end(Some(ingress), batch);
        if let Some(port) = self.port(ingress) {
            port.complete();
        }
        true
    }

    /// Until when the port whose turn was last is to be left alone, since it has sent as much as it may.
    pub(crate) fn take_hold(&mut self) -> Option<Instant> {
        self.hold.take().map(|hold| Instant::now() + hold)
    }

    /// True for a port that is kept from sending as fast as it would, now or a moment ago.
    pub(crate) fn is_throttled(&self, port: PortIndex) -> bool {
        self.ports.get(usize::from(port.0)).is_some_and(|slot| slot.throttled)
    }

    /// The descriptors that tell of a port's frames.
    pub(crate) fn share(&self, port: PortIndex) -> Option<&Share> {
        self.ports.get(usize::from(port.0))?.share.as_ref()
    }

    /// True for a port that is looked at without a system call.
    pub(crate) fn is_polled(&mut self, port: PortIndex) -> bool {
        self.port(port).is_some_and(|io| io.is_polled())
    }

    /// Has the port's descriptors tell of the next frame; false where there is one already.
    pub(crate) fn arm(&mut self, port: PortIndex) -> bool {
        self.port(port).is_none_or(|io| io.arm())
    }

    fn port(&mut self, index: PortIndex) -> Option<&mut Box<dyn Port>> {
        self.ports.get_mut(usize::from(index.0)).and_then(|slot| Some(&mut slot.share.as_mut()?.io))
    }

    fn decide(&mut self, ingress: PortIndex, batch: &Batch, now: Millis) {
        let Self { tables, desk, wire_lens, .. } = self;
        let frames = (0..batch.len() as u16).zip(&*wire_lens).map(|(index, wire_len)| {
            let (head, len) = (batch.head(index), batch.frame_len(index));
            let on_the_wire = match batch.is_plain(index) {
                true => len as u32,
                false => wire::segment::largest_segment_len(head, len, &batch.vnet(index)) as u32,
            };
            wire_len.set(on_the_wire);
            FrameIn { header: &head[..head.len().min(HEAD_BYTES)], len: on_the_wire }
        });
        let not_learned = tables.decide(ingress, frames, now, desk);
        // The snapshot may name ports that this worker has not heard of yet.
        self.make_places();
        let counters = &mut self.ports[usize::from(ingress.0)].counters;
        counters.not_learned += u64::from(not_learned);
        counters.rx_frames += batch.len() as u64;
        counters.rx_bytes += batch.frame_bytes() as u64;
    }

    fn sort(&mut self, ingress: PortIndex, batch: &mut Batch, now: Millis) {
        let Self { tables, desk, ports, touched, copies, wire_lens, forms, findings, observer, .. } = self;
        forms.clear();
        let (snapshot, passages) = (desk.snapshot(), desk.verdicts().passages());
        let mut first = 0;
        for (verdict, len) in desk.verdicts().by_run() {
            let frames = first..first + len as u16;
            first = frames.end;
            let mut send = |to: PortIndex, vlan: Vlan, passages: &[Passage]| {
                let slot = &mut ports[usize::from(to.0)];
                let before = slot.leaving.len();
                let fits =
                    |frame: u16| snapshot.fits(to, wire_lens[usize::from(frame)].get(), batch.head(frame));
                // Frames put on the list one by one took eight instructions each.
                if frames.clone().all(fits) {
                    slot.leaving.extend(frames.clone());
                } else {
                    slot.leaving.extend(frames.clone().filter(|frame| fits(*frame)));
                    for frame in frames.clone().filter(|frame| !fits(*frame)) {
                        slot.counters.drops.add(DropReason::Oversize, 1);
                        observer.dropped(frame..frame + 1, to, DropReason::Oversize);
                    }
                }
                let keeps = snapshot.keeps(to, vlan);
                if let Some(mut lists) = Lists::of(tables, snapshot, findings, to, now) {
                    // Of what its tag keeps from leaving nothing is counted, and no flow begins.
                    let leaves =
                        |frame: &u16| keeps || snapshot.retag(ingress, to, vlan, batch.head(*frame)).is_ok();
                    let mut refused = [None; BATCH_FRAMES];
                    let leaving = slot.leaving[before..].iter().copied().filter(leaves);
                    lists.judge(batch, (ingress, passages), leaving, vlan, &mut refused);
                    slot.retag(before, |frame| match refused[usize::from(frame)] {
                        None => Ok(frame),
                        Some(reason) => {
                            observer.dropped(frame..frame + 1, to, reason);
                            Err(reason)
                        }
                    });
                }
                if !keeps {
                    slot.retag(before, |frame| {
                        let form = in_form(snapshot, (ingress, to), vlan, frame, batch, forms);
                        if let Err(reason) = form {
                            observer.dropped(frame..frame + 1, to, reason);
                        }
                        form
                    });
                }
                if before == 0 && !slot.leaving.is_empty() {
                    touched.push(to);
                }
            };
            let count = u64::from(len);
            match verdict {
                Verdict::Forward(to, vlan) => send(to, vlan, passages),
                Verdict::Flood(which, vlan) => {
                    let destinations = snapshot.flood(ingress, which, vlan);
                    let destinations = destinations.map(|to| send(to, vlan, &[])).count() as u64;
                    *copies += count * (u64::max(destinations, 1) - 1);
                }
                Verdict::List(list, vlan) => {
                    let destinations = desk.listed(list);
                    destinations.iter().for_each(|to| send(*to, vlan, &[]));
                    *copies += count * (u64::max(destinations.len() as u64, 1) - 1);
                }
                Verdict::Drop(reason) => {
                    ports[usize::from(ingress.0)].counters.drops.add(reason, count);
                    observer.refused(frames, reason);
                }
                Verdict::DropAt(port, reason) => {
                    ports[usize::from(port.0)].counters.drops.add(reason, count);
                    observer.dropped(frames, port, reason);
                }
            }
        }
    }

    /// Has the tables hear what passes between clients and servers of DHCP, for ports whose IP guard learns from it: what such a
    /// port sent, and what is about to be delivered to one. Judged by whole frames, of which the rest may lie in a guest's
    /// memory: each is copied once.
    #[inline(never)]
    fn hear_leases(&mut self, ingress: PortIndex, batch: &Batch, now: Millis) {
        let Self { tables, desk, ports, touched, gathered, .. } = self;
        let snapshot = desk.snapshot();
        if snapshot.learns_leases_of(ingress) {
            let passed = (0..).zip(desk.verdicts().iter()).filter(|(_, verdict)| verdict.passes());
            for (frame, _) in passed.filter(|(frame, _)| may_be_dhcp(batch, *frame)) {
                tables.hear_sent(ingress, batch.whole(frame, gathered), now);
            }
        }
        for to in touched.iter().copied().filter(|to| snapshot.learns_leases_of(*to)) {
            let leaving = ports[usize::from(to.0)].leaving.iter().copied();
            for frame in leaving.filter(|frame| may_be_dhcp(batch, *frame)) {
                tables.hear_delivered(ingress, to, batch.whole(frame, gathered), now);
            }
        }
    }

    /// Has the tables hear reports of multicast groups that are longer than what was decided on. Of one that is longer than usual
    /// only that: others wait while it is read.
    #[inline(never)]
    fn hear_reports(&mut self, ingress: PortIndex, batch: &Batch, now: Millis) {
        let Self { tables, desk, gathered, .. } = self;
        for report in desk.verdicts().unheard() {
            let len = batch.frame_len(report.frame);
            let header = match len <= LONGEST_REPORT {
                true => batch.whole(report.frame, gathered),
                false => &batch.head(report.frame)[..HEAD_BYTES],
            };
            tables.hear_report(ingress, report.vlan, FrameIn { header, len: len as u32 }, now);
        }
    }

    fn deliver(&mut self, ingress: Option<PortIndex>, batch: &Batch, stopped: &mut Vec<Stopped>) {
        while let Some(to) = self.touched.pop() {
            let slot = &mut self.ports[usize::from(to.0)];
            if slot.limiter.is_some() {
                slot.police(to, batch, &self.forms, &mut self.observer);
            }
            let shared = self.uplink.as_ref().filter(|uplink| uplink.port() == to);
            let given = shared.map(|_| (cable_bytes(batch, &slot.leaving), slot.leaving.len() as u64));
            let sent = slot.deliver(batch).unwrap_or_else(|error| {
                stopped.push((to, error));
                None
            });
            self.copies += sent.map_or(0, |sent| sent.copies);
            if let (Some(uplink), Some(given), Some(from)) = (shared, given, ingress) {
                uplink.carried(from, given, sent.map_or(0, |sent| sent.full), Instant::now());
            }
            if self.observer.watches() {
                let origin = |index| self.forms.origin(batch, index);
                self.observer.given(batch, &slot.leaving, to, sent.is_some(), origin);
            }
            slot.leaving.clear();
            self.note_link(to);
        }
    }
}

/// True for what is worth being read as a message of DHCP: it fits an Ethernet frame with two tags.
fn may_be_dhcp(batch: &Batch, frame: u16) -> bool {
    let head = batch.head(frame);
    batch.frame_len(frame) <= LONGEST_DHCP && wire::dhcp::is_likely(&head[..head.len().min(HEAD_BYTES)])
}

/// The longest frame of usual jumbo Ethernet, with a tag.
const LONGEST_REPORT: usize = 9000 + 14 + 4;

/// The longest frame on Ethernet, with two tags.
const LONGEST_DHCP: usize = 1500 + 14 + 8;

/// A frame of a VLAN, with the tag that it leaves with.
fn in_form(
    snapshot: &Snapshot,
    (from, to): (PortIndex, PortIndex),
    vlan: Vlan,
    frame: u16,
    batch: &mut Batch,
    forms: &mut Forms,
) -> Result<u16, DropReason> {
    let form = snapshot.retag(from, to, vlan, batch.head(frame))?;
    forms.of(batch, frame, form).ok_or(DropReason::Runt)
}

impl Slot {
    /// Has no more be received than the port may send. One that may send nothing is asked all the same, for what else it may
    /// have to tell, and left alone for as long as this says.
    #[cold]
    fn limit(&mut self, batch: &mut Batch) -> Option<Duration> {
        match self.limiter.as_mut()?.limit(batch, Instant::now()) {
            Allowance::Bytes { rested, .. } => {
                self.throttled &= !rested;
                None
            }
            Allowance::Wait(wait) => {
                self.throttled = true;
                Some(wait)
            }
        }
    }

    /// Gives the frames that leave here, from one place of the list on, their form; drops those that have none.
    #[inline(never)]
    fn retag(&mut self, first: usize, mut form: impl FnMut(u16) -> Result<u16, DropReason>) {
        let mut kept = first;
        for at in first..self.leaving.len() {
            match form(self.leaving[at]) {
                Ok(frame) => {
                    self.leaving[kept] = frame;
                    kept += 1;
                }
                Err(reason) => self.counters.drops.add(reason, 1),
            }
        }
        self.leaving.truncate(kept);
    }

    /// Drops what is more than the vNIC may get.
    #[cold]
    fn police(&mut self, port: PortIndex, batch: &Batch, forms: &Forms, observer: &mut Observer) {
        let Self { counters, leaving, limiter, .. } = self;
        let Some(limiter) = limiter else { return };
        let all = if observer.watches() { leaving.clone() } else { Vec::new() };
        counters.drops.add(DropReason::RateLimited, limiter.police(batch, leaving, Instant::now()));
        for index in all.iter().filter(|index| !leaving.contains(index)) {
            let frame = forms.origin(batch, *index).0;
            observer.dropped(frame..frame + 1, port, DropReason::RateLimited);
        }
    }

    /// Sends what is on the list, counts what became of it, and says so; `None` where nobody is there to take it.
    fn deliver(&mut self, batch: &Batch) -> Result<Option<Sent>, PortError> {
        let Self { share, counters, leaving, .. } = self;
        let outcome = share.as_mut().map(|share| share.io.transmit(batch, leaving));
        let Some(Ok(sent)) = outcome else {
            counters.drops.add(DropReason::PortDown, leaving.len() as u64);
            return outcome.transpose();
        };
        counters.tx_frames += sent.frames;
        counters.tx_bytes += sent.bytes;
        sent.drops().into_iter().for_each(|(reason, frames)| counters.drops.add(reason, frames));
        Ok(Some(sent))
    }
}

/// Settles what cannot be left to the destination of a frame with a partial checksum.
///
/// Datagrams get theirs, whatever the destination takes. DHCP clients and servers read datagrams from raw sockets, below
/// the stack that knows that a checksum is still partial, and drop them as damaged. They did not ask for the offload, their
/// stack did. A datagram that is not segmented is small, so its sum costs little; TCP, where the offload pays, is left alone.
///
/// Where the offload header names a field that is none for a checksum, the frame passes as it is: some kernel or guest further
/// on might put a sum there, and so change what the frame was judged by.
fn settle_checksums(batch: &mut Batch) {
    for index in 0..batch.len() as u16 {
        if batch.is_plain(index) {
            continue;
        }
        let vnet = batch.vnet(index);
        if !vnet.needs_checksum() {
            continue;
        }
        if checksum::is_misplaced(batch.head(index), vnet.csum_start, vnet.csum_offset) {
            batch.decline_offload(index);
        } else if vnet.gso_type == 0 && vnet.csum_offset == UDP_CHECKSUM {
            // One that does not fit its frame is found out and counted where it is to leave.
            let _ = batch.complete_checksum(index);
        }
    }
}

/// Where the checksum lies in a UDP header (RFC 768).
const UDP_CHECKSUM: u16 = 6;
