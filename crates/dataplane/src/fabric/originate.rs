//! Frames that the switch sends by itself: queries of hosts for their multicast groups.
//!
//! One worker of a switch sends them. They are counted as `originated`, and each further destination as a copy, so that frames in
//! + copies + originated = frames out + Σ drops.

use super::{Fabric, Stopped, in_form};
use engine::{Millis, PortIndex, Question, Vlan};
use io::Batch;
use model::DropReason;
use wire::{VNET_HDR_LEN, multicast::MAX_QUERY_LEN};

impl Fabric {
    /// True where the switch may have something to send.
    pub(crate) fn may_originate(&self) -> bool {
        self.tables.snoops()
    }

    /// Sends what is due.
    pub(crate) fn originate(&mut self, batch: &mut Batch, now: Millis, stopped: &mut Vec<Stopped>) {
        while let Some(question) = self.tables.next_question(now, &mut self.desk) {
            self.make_places();
            self.observer.begin(batch);
            self.ask(&question, batch);
            self.deliver(None, batch, stopped);
            self.observer.end(None, batch);
        }
        batch.clear();
    }

    /// Puts a query on the lists of the ports that it is for. Where there are none it is not sent.
    fn ask(&mut self, question: &Question, batch: &mut Batch) {
        let mut frame = [0; MAX_QUERY_LEN];
        let len = question.ask.write(&mut frame);
        put(&frame[..len], batch);
        self.forms.clear();
        let (snapshot, vlan) = (self.desk.snapshot().clone(), Vlan::new(question.vlan, false));
        let everybody = snapshot.flood_from_switch(vlan);
        let asked = everybody.filter(|port| question.to.is_none_or(|only| only == *port));
        let asked = asked.map(|port| self.leave_on(port, vlan, len as u32, batch)).count() as u64;
        self.originated += asked.min(1);
        self.copies += asked.saturating_sub(1);
    }

    /// Has the batch's only frame leave on a port.
    fn leave_on(&mut self, to: PortIndex, vlan: Vlan, len: u32, batch: &mut Batch) {
        let Self { desk, ports, touched, forms, observer, .. } = self;
        let (snapshot, slot) = (desk.snapshot(), &mut ports[usize::from(to.0)]);
        let departure = match snapshot.fits(to, len, batch.head(0)) {
            false => Err(DropReason::Oversize),
            true if vlan.is_none() => Ok(0),
            true => in_form(snapshot, (to, to), vlan, 0, batch, forms),
        };
        match departure {
            Ok(frame) => {
                slot.leaving.push(frame);
                touched.push(to);
            }
            Err(reason) => {
                slot.counters.drops.add(reason, 1);
                observer.dropped(0..1, to, reason);
            }
        }
    }
}

/// Makes `frame` the only one of the batch.
fn put(frame: &[u8], batch: &mut Batch) {
    batch.clear();
    if let Some(slot) = batch.vacant().next() {
        slot[..VNET_HDR_LEN].fill(0);
        slot[VNET_HDR_LEN..VNET_HDR_LEN + frame.len()].copy_from_slice(frame);
    }
    batch.push(VNET_HDR_LEN + frame.len());
}
