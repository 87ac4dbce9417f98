//! The queue of a listener, beside a model of it that has no limits and no tricks.
#![allow(clippy::unwrap_used, clippy::panic)]

use dataplane::tap::{Direction, Event, Fate, Form, Listener, Outcome, Selection, Tap, TapReader, View};
use engine::PortIndex;
use model::DropReason;
use proptest::{collection::vec, option, prelude::*};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const CAPACITY: usize = 4096;

#[derive(Clone, Debug)]
enum Step {
    Put { ingress: Option<u16>, refused: Option<DropReason>, outcomes: Vec<Outcome>, len: usize },
    Name(u16),
    Take,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Passed),
        1 => Just(Fate::Dropped(DropReason::Oversize)),
        1 => Just(Fate::PartlyDropped(DropReason::ReceiverFull)),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let form = prop_oneof![Just(Form::AsItCame), Just(Form::Untagged), Just(Form::Tagged(7))];
    (0..4u16, fate(), form).prop_map(|(port, fate, form)| Outcome { port: PortIndex(port), fate, form })
}

fn step() -> impl Strategy<Value = Step> {
    let refused = option::weighted(0.2, Just(DropReason::SpoofedMac));
    let put = (option::weighted(0.9, 0..4u16), refused, vec(outcome(), 0..4), 60..1500usize);
    let put = put.prop_map(|(ingress, refused, outcomes, len)| {
        let outcomes = if refused.is_some() { vec![] } else { outcomes };
        Step::Put { ingress, refused, outcomes, len }
    });
    prop_oneof![8 => put, 1 => (0..4u16).prop_map(Step::Name), 2 => Just(Step::Take)]
}

fn selection() -> impl Strategy<Value = Selection> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (option::of(0..4u16), flags).prop_map(|(port, (inbound, outbound, dropped_only))| Selection {
        port: port.map(PortIndex),
        inbound,
        outbound,
        dropped_only,
    })
}

/// What a listener would be shown if nothing was ever lost.
#[derive(Clone, Debug, PartialEq)]
enum Shown {
    Name(u16),
    Frame { number: u64, ingress: Option<PortIndex>, len: usize, bytes: Vec<u8>, views: Vec<View> },
}

fn frame(number: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u64 * 7 + number) as u8).collect()
}

fn views(ingress: Option<u16>, refused: Option<DropReason>, outcomes: &[Outcome]) -> Vec<View> {
    let fate = refused.map_or(Fate::Passed, Fate::Dropped);
    let inbound = |port| View { port, direction: Direction::Inbound, fate, form: Form::AsItCame };
    let mut views: Vec<_> = ingress.map(PortIndex).map(inbound).into_iter().collect();
    for Outcome { port, fate, form } in outcomes.iter().copied() {
        views.push(View { port, direction: Direction::Outbound, fate, form });
    }
    views
}

fn is_shown(selection: Selection, view: &View) -> bool {
    let inbound = view.direction == Direction::Inbound;
    let in_direction = if inbound { selection.inbound } else { selection.outbound };
    let at_port = selection.port.is_none() || selection.port == Some(view.port);
    in_direction && at_port && !(selection.dropped_only && view.fate == Fate::Passed)
}

fn take(reader: &mut TapReader) -> Vec<Shown> {
    let shown = |event: Event<'_>| match event {
        Event::Named(port, name) => {
            assert_eq!(**name, format!("port{}", port.0));
            Shown::Name(port.0)
        }
        Event::Frame(frame) => Shown::Frame {
            number: frame.time_ns(),
            ingress: frame.ingress(),
            len: frame.len,
            bytes: frame.bytes.to_vec(),
            views: frame.views().collect(),
        },
    };
    reader.take().iter().map(shown).collect()
}

proptest! {
    #[test]
    fn what_a_listener_wants_comes_whole_and_in_order_or_is_counted_as_lost(
        selection in selection(), sample in 1..4u64, snaplen in 20..2000usize, steps in vec(step(), 1..120),
    ) {
        let woken = Arc::new(AtomicU64::new(0));
        let wake = Arc::clone(&woken);
        let wake = Box::new(move || {
            wake.fetch_add(1, Ordering::Relaxed);
        });
        let (tap, mut reader) = Tap::new(Listener { selection, sample, snaplen, capacity: CAPACITY, wake }, None);
        let (mut expected, mut got, mut wanted) = (Vec::new(), Vec::new(), 0);
        for (number, step) in (0..).zip(steps.iter().chain([&Step::Take])) {
            match step {
                Step::Name(port) => {
                    tap.name(PortIndex(*port), format!("port{port}").into());
                    expected.push(Shown::Name(*port));
                }
                Step::Put { ingress, refused, outcomes, len } => {
                    let bytes = frame(number, *len);
                    tap.put_frame_of(number, ingress.map(PortIndex), *refused, outcomes, &bytes);
                    let views = views(*ingress, *refused, outcomes);
                    if views.iter().any(|view| is_shown(selection, view)) {
                        wanted += 1;
                        if (wanted - 1) % sample == 0 {
                            let (ingress, bytes) = (ingress.map(PortIndex), bytes[..snaplen.min(*len)].to_vec());
                            expected.push(Shown::Frame { number, ingress, len: *len, bytes, views });
                        }
                    }
                }
                Step::Take => {
                    let taken = take(&mut reader);
                    prop_assert_eq!(woken.swap(0, Ordering::Relaxed), u64::from(!taken.is_empty()));
                    got.extend(taken);
                }
            }
            prop_assert!(reader.taken().size() <= CAPACITY + 2048, "{}", reader.taken().size());
        }
        // What came is what was expected, but for what was lost.
        let (mut lost, mut lost_views): (u64, BTreeMap<u16, u64>) = (0, BTreeMap::new());
        let mut came = got.iter().peekable();
        for shown in &expected {
            if came.next_if_eq(&shown).is_some() {
                continue;
            }
            let Shown::Frame { views, .. } = shown else { panic!("a name was lost") };
            lost += 1;
            for view in views.iter().filter(|view| is_shown(selection, view)) {
                *lost_views.entry(view.port.0).or_default() += 1;
            }
        }
        prop_assert_eq!(came.next(), None);
        prop_assert_eq!((reader.lost(), reader.lost_views()), (lost, &lost_views));
        if steps.iter().filter(|step| matches!(step, Step::Put { .. })).count() < 2 {
            prop_assert_eq!(lost, 0);
        }
    }
}

fn listener(snaplen: usize) -> Listener {
    let selection = Selection::default();
    Listener { selection, sample: 1, snaplen, capacity: CAPACITY, wake: Box::new(|| {}) }
}

#[test]
fn a_listener_that_is_gone_is_known_to_be() {
    let (tap, reader) = Tap::new(listener(64), None);
    assert!(!tap.is_closed());
    drop(reader);
    assert!(tap.is_closed());
}

#[test]
fn a_filter_sees_the_whole_frame_and_what_it_lets_not_pass_is_neither_shown_nor_lost() {
    let (tap, mut reader) = Tap::new(listener(4), Some(Box::new(|frame| frame[59] == 1)));
    for last in [0, 1, 2, 1] {
        tap.put_frame_of(last.into(), Some(PortIndex(0)), None, &[], &[vec![0; 59], vec![last]].concat());
    }
    let passed = |shown: &Shown| matches!(shown, Shown::Frame { number: 1, bytes, .. } if bytes.len() == 4);
    let taken: Vec<_> = take(&mut reader).iter().map(passed).collect();
    assert_eq!((taken, reader.lost()), (vec![true, true], 0));
}
