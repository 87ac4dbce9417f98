//! Copies for ports that others are mirrored to, put on their lists behind what is for them anyway.

use super::{Fabric, Slot};
use crate::forms::Forms;
use engine::{PortIndex, Verdict};
use io::Batch;
use model::DropReason;

/// Room to work out who gets copies of a frame.
#[derive(Debug, Default)]
pub(super) struct Room {
    left_on: Vec<PortIndex>,
    copies: Vec<PortIndex>,
}

impl Fabric {
    /// Makes the copies of the batch at hand, whose frames are sorted.
    #[cold]
    pub(super) fn mirror(&mut self, ingress: PortIndex, batch: &mut Batch) {
        let Self { desk, ports, touched, copies, wire_lens, forms, observer, room, .. } = self;
        let snapshot = desk.snapshot();
        for (frame, verdict) in (0..).zip(desk.verdicts().iter()) {
            let leaves = |to: &PortIndex| leaves(&ports[usize::from(to.0)], frame, batch, forms);
            room.left_on.clear();
            let vlan = match *verdict {
                Verdict::Forward(to, vlan) => {
                    room.left_on.extend(Some(to).filter(leaves));
                    vlan
                }
                Verdict::Flood(which, vlan) => {
                    room.left_on.extend(snapshot.flood(ingress, which, vlan).filter(leaves));
                    vlan
                }
                Verdict::List(list, vlan) => {
                    room.left_on.extend(desk.listed(list).iter().copied().filter(leaves));
                    vlan
                }
                Verdict::Drop(_) | Verdict::DropAt(..) => continue,
            };
            snapshot.copies(ingress, &room.left_on, &mut room.copies);
            for to in room.copies.iter().copied() {
                *copies += 1;
                let slot = &mut ports[usize::from(to.0)];
                let form = snapshot.retag_copy(vlan, batch.head(frame));
                let fits = snapshot.fits(to, wire_lens[usize::from(frame)].get(), batch.head(frame));
                let made = match fits {
                    true => forms.of(batch, frame, form).ok_or(DropReason::Runt),
                    false => Err(DropReason::Oversize),
                };
                match made {
                    Ok(copy) => {
                        if slot.leaving.is_empty() {
                            touched.push(to);
                        }
                        slot.leaving.push(copy);
                    }
                    Err(reason) => {
                        slot.counters.drops.add(reason, 1);
                        observer.dropped(frame..frame + 1, to, reason);
                    }
                }
            }
        }
    }
}

/// True where the frame, in whichever form, is on the port's list.
fn leaves(slot: &Slot, frame: u16, batch: &Batch, forms: &Forms) -> bool {
    slot.leaving.iter().any(|index| forms.origin(batch, *index).0 == frame)
}
