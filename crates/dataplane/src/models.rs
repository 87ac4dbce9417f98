//! What workers share, in the orders in which threads can come: shuttle runs each test many times, each with another
//! schedule, and names the schedule of one that fails.

use crate::tap::{Event, Fate, Form, Listener, Outcome, Selection, Tap};
use crate::{
    fabric::Fabric,
    share::{self, Share},
    tables::{Desk, Tables},
};
use engine::{
    FrameIn, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Verdict, Verdicts, Vlan,
};
use io::{Batch, Port, PortError, Sent};
use shuttle::{Config, Runner, scheduler::RandomScheduler, sync::Mutex, thread};
use std::{
    collections::VecDeque,
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use wire::{MacAddr, VNET_HDR_LEN};

/// Schedules that each test goes through.
const SCHEDULES: usize = 1000;
/// What a thread of a model has: a worker's buffers are made on it.
const STACK: usize = 1 << 20;
const SEED: [u64; 2] = [1, 2];
const TABLE: TableConfig = TableConfig { capacity: 64, ageing_ms: 300_000 };
const NOW: Millis = Millis(0);

fn in_any_order(test: impl Fn() + Send + Sync + 'static) {
    in_orders(SCHEDULES, test);
}

/// For what takes the locks in one thread only: there is one order.
pub(crate) fn alone(test: impl Fn() + Send + Sync + 'static) {
    in_orders(1, test);
}

fn in_orders(schedules: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK;
    Runner::new(RandomScheduler::new(schedules), config).run(test);
}

const fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn frame(dst: MacAddr, src: MacAddr, number: u8) -> Vec<u8> {
    [&dst.0[..], &src.0, &[0x88, 0xb5, number]].concat()
}

fn frame_in(bytes: &[u8]) -> FrameIn<'_> {
    FrameIn { header: bytes, len: 60 }
}

fn guarded(mac: MacAddr) -> PortPolicy {
    PortPolicy { mac: Some(mac), ..PortPolicy::new(Role::Vnic) }
}

fn open() -> PortPolicy {
    PortPolicy { guard: false, ..PortPolicy::new(Role::Vnic) }
}

/// Ports 0, 1, 2, ... with these policies.
fn snapshot(policies: Vec<PortPolicy>) -> Arc<Snapshot> {
    Arc::new(Snapshot::new((0..).map(PortIndex).zip(policies).collect()))
}

fn tables(snapshot: &Arc<Snapshot>) -> Arc<Tables> {
    let tables = Arc::new(Tables::new(TABLE, SEED));
    tables.install(Arc::clone(snapshot), NOW);
    tables
}

fn decide(tables: &Tables, ingress: PortIndex, frames: &[Vec<u8>], desk: &mut Desk) -> Vec<Verdict> {
    tables.decide(ingress, frames.iter().map(|frame| frame_in(frame)), NOW, desk);
    desk.verdicts().to_vec()
}

#[test]
fn no_batch_is_judged_by_half_of_a_change_and_none_that_begins_after_it_by_what_was() {
    in_any_order(|| {
        // The two guarded ports change their MACs with each other.
        let policies = |a, b| vec![guarded(mac(a)), guarded(mac(b)), open()];
        let (before, after) = (snapshot(policies(1, 2)), snapshot(policies(2, 1)));
        let (tables, done) = (tables(&before), Arc::new(AtomicBool::new(false)));
        let batch = [frame(mac(1), mac(9), 0), frame(mac(2), mac(9), 1), frame(mac(1), mac(8), 2)];
        let expected = |snapshot: &Arc<Snapshot>| {
            let (mut alone, mut out) = (Switch::new(TABLE, SEED), Verdicts::default());
            alone.install(Arc::clone(snapshot), NOW);
            alone.process(PortIndex(2), batch.iter().map(|f| frame_in(f)), NOW, &mut out);
            out.to_vec()
        };
        let (old, new) = (expected(&before), expected(&after));
        assert_ne!(old, new);
        let workers = [0, 1].map(|_| {
            let (tables, batch, done) = (Arc::clone(&tables), batch.clone(), Arc::clone(&done));
            let (after, old, new) = (Arc::clone(&after), old.clone(), new.clone());
            thread::spawn(move || {
                let mut desk = Desk::default();
                for _ in 0..3 {
                    let was_done = done.load(Ordering::Relaxed);
                    let verdicts = decide(&tables, PortIndex(2), &batch, &mut desk);
                    let is_new = Arc::ptr_eq(desk.snapshot(), &after);
                    assert_eq!(verdicts, if is_new { &new[..] } else { &old[..] });
                    assert!(is_new || !was_done, "a change that was done is not in force");
                }
            })
        });
        tables.install(after, NOW);
        done.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

#[test]
fn what_one_worker_learned_all_know_and_nothing_is_learned_twice_or_lost() {
    in_any_order(|| {
        let tables = tables(&snapshot(vec![open(), open(), open()]));
        // Both hear of address 7, each on its port, and of one of their own.
        let workers = [0_u8, 1].map(|n| {
            let tables = Arc::clone(&tables);
            thread::spawn(move || {
                let port = PortIndex(n.into());
                let batch = [frame(MacAddr::BROADCAST, mac(n + 1), 0), frame(mac(2 - n), mac(7), 1)];
                let mut desk = Desk::default();
                (0..2).for_each(|_| drop(decide(&tables, port, &batch, &mut desk)));
                desk.events().count()
            })
        });
        let moves: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        let mut entries = tables.entries(NOW);
        entries.sort();
        let ports: Vec<_> = entries.iter().map(|entry| (entry.mac, entry.port.0)).collect();
        let seven = ports.last().copied().unwrap();
        assert_eq!(seven.0, mac(7));
        assert_eq!(ports[..ports.len() - 1], [(mac(1), 0), (mac(2), 1)]);
        assert!((1..=2).contains(&moves), "moved {moves} times");
        // Whoever looks it up finds what is in the table.
        let mut desk = Desk::default();
        let verdicts = decide(&tables, PortIndex(2), &[frame(mac(7), mac(3), 0)], &mut desk);
        assert_eq!(verdicts, [Verdict::Forward(PortIndex(seven.1), Vlan::NONE)]);
    });
}

/// What a port was given, in that order.
type Output = Arc<Mutex<Vec<Vec<u8>>>>;

/// A port of one queue: what it receives is there from the beginning.
#[derive(Debug)]
struct Scripted {
    inbox: VecDeque<Vec<u8>>,
    sent: Output,
}

impl Port for Scripted {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortError> {
        // Two at a time, so that batches of several workers alternate.
        for frame in self.inbox.drain(..self.inbox.len().min(2)) {
            let with_vnet = [&[0; VNET_HDR_LEN][..], &frame].concat();
            batch.vacant().next().unwrap()[..with_vnet.len()].copy_from_slice(&with_vnet);
            batch.push(with_vnet.len());
        }
        Ok(())
    }

    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> Result<Sent, PortError> {
        let mut sent = Sent::default();
        for &index in which {
            self.sent.lock().unwrap().push(batch.frame(index).to_vec());
            sent.frames += 1;
            sent.bytes += batch.frame_len(index) as u64;
            thread::yield_now();
        }
        Ok(sent)
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}

/// Three ports, each of which sends to the two others, dealt to two workers: what each sent, and the workers.
fn site() -> (Vec<Output>, [Fabric; 2]) {
    let tables = tables(&snapshot((0..3).map(|n| guarded(mac(n + 1))).collect()));
    let mut fabrics = [0, 1].map(|_| Fabric::new(Arc::clone(&tables)));
    let mut outputs = Vec::new();
    for port in 0..3_u8 {
        let to = |number: u8| mac((port + 1 + number % 2) % 3 + 1);
        let inbox = (0..6).map(|number| frame(to(number), mac(port + 1), number)).collect();
        let sent = Output::default();
        let shares = share::deal(Box::new(Scripted { inbox, sent: Arc::clone(&sent) }), 2).unwrap();
        for (number, share) in shares.into_iter().enumerate() {
            let at = (usize::from(port) + number) % 2;
            assert!(fabrics[at].attach_share(PortIndex(port.into()), share).is_none());
        }
        outputs.push(sent);
    }
    (outputs, fabrics)
}

/// Takes batches from every port until there are none.
fn work(mut fabric: Fabric) -> Fabric {
    let (mut batch, mut stopped) = (Batch::default(), Vec::new());
    while (0..3).any(|port| fabric.turn(PortIndex(port), &mut batch, NOW, &mut stopped)) {}
    assert!(stopped.is_empty());
    fabric
}

#[test]
fn workers_that_send_on_each_others_ports_keep_flows_in_order_and_count_every_frame() {
    in_any_order(|| {
        let (outputs, fabrics) = site();
        let workers = fabrics.map(|fabric| thread::spawn(move || work(fabric)));
        let mut total = crate::SwitchReport::default();
        for worker in workers {
            let report = worker.join().unwrap().report();
            assert!(report.switch.is_conserved(), "each worker's counters add up on their own");
            total.add(&report);
        }
        assert_eq!((total.switch.rx_frames, total.switch.tx_frames, total.switch.copies), (18, 18, 0));
        for sent in outputs {
            let sent = sent.lock().unwrap();
            assert_eq!(sent.len(), 6);
            for src in 1..=3 {
                let numbers: Vec<_> = sent.iter().filter(|f| f[11] == src).map(|f| f[14]).collect();
                assert!(numbers.is_sorted(), "a flow was reordered: {numbers:?}");
            }
        }
    });
}

#[test]
fn a_port_that_is_taken_away_while_workers_send_on_it_loses_only_what_is_counted() {
    in_any_order(|| {
        let (outputs, fabrics) = site();
        let fabrics = fabrics.map(|fabric| Arc::new(Mutex::new(fabric)));
        let workers = fabrics.clone().map(|fabric| {
            thread::spawn(move || {
                let (mut batch, mut stopped) = (Batch::default(), Vec::new());
                for port in (0..3).cycle().take(18).map(PortIndex) {
                    // As a worker obeys control: between two batches.
                    fabric.lock().unwrap().turn(port, &mut batch, NOW, &mut stopped);
                }
            })
        });
        let taken: Vec<Option<Share>> =
            fabrics.iter().map(|fabric| fabric.lock().unwrap().detach(PortIndex(2))).collect();
        drop(taken);
        let sent_by_then = outputs[2].lock().unwrap().len();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(outputs[2].lock().unwrap().len(), sent_by_then, "sent on a port that was taken away");
        let mut total = crate::SwitchReport::default();
        fabrics.iter().for_each(|fabric| total.add(&fabric.lock().unwrap().report()));
        assert!(total.switch.is_conserved());
        let delivered: usize = outputs.iter().map(|sent| sent.lock().unwrap().len()).sum();
        assert_eq!(total.switch.tx_frames, delivered as u64);
    });
}

/// Numbers of the frames in the queue, and the names.
fn taken(reader: &mut crate::tap::TapReader) -> Vec<u8> {
    let number = |event: Event<'_>| match event {
        Event::Frame(frame) => frame.bytes[14],
        Event::Named(..) => 0,
    };
    reader.take().iter().map(number).collect()
}

#[test]
fn a_listener_gets_or_is_told_the_loss_of_every_frame_in_order_and_is_woken_for_it() {
    in_any_order(|| {
        let woken = Arc::new(AtomicBool::new(false));
        let wake = Arc::clone(&woken);
        let listener = Listener {
            selection: Selection::default(),
            sample: 1,
            snaplen: 64,
            // Two frames, or three.
            capacity: 300,
            wake: Box::new(move || wake.store(true, Ordering::SeqCst)),
        };
        let (tap, mut reader) = Tap::new(listener, None);
        let workers: Vec<_> = (0..2u8)
            .map(|worker| {
                let tap = Arc::clone(&tap);
                thread::spawn(move || {
                    let outcome = Outcome { port: PortIndex(9), fate: Fate::Passed, form: Form::AsItCame };
                    for number in 1..4 {
                        let frame = frame(mac(1), mac(2), 10 * worker + number);
                        tap.put_frame_of(0, Some(PortIndex(worker.into())), None, &[outcome], &frame);
                    }
                })
            })
            .collect();
        let mut all = Vec::new();
        for _ in 0..4 {
            if woken.swap(false, Ordering::SeqCst) {
                all.extend(taken(&mut reader));
            }
            thread::yield_now();
        }
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        let rest_is_told = woken.load(Ordering::SeqCst);
        let rest = taken(&mut reader);
        assert!(rest_is_told || rest.is_empty(), "{rest:?} would lie there unread");
        all.extend(rest);
        assert_eq!(all.len() as u64 + reader.lost(), 6, "{all:?}");
        assert_eq!(reader.lost_views().get(&9).copied().unwrap_or_default(), reader.lost());
        for worker in 0..2 {
            let of_one: Vec<_> = all.iter().filter(|number| **number / 10 == worker).collect();
            assert!(of_one.is_sorted(), "{all:?}");
        }
    });
}
