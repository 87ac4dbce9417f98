//! Behaviours 1, 2, 3, 7, 8, 9, 10 and 14: what leaves and reaches which port, and that every frame is accounted for.

#[path = "frames/delivery.rs"]
mod delivery;
#[path = "frames/events.rs"]
mod events;
#[path = "frames/explain.rs"]
mod explain;
#[path = "frames/guard.rs"]
mod guard;
#[path = "frames/host.rs"]
mod host;
#[path = "frames/invalid.rs"]
mod invalid;
#[path = "frames/kinds.rs"]
mod kinds;
#[path = "frames/lan.rs"]
mod lan;
#[path = "frames/mtu.rs"]
mod mtu;
#[path = "frames/round.rs"]
mod round;
#[path = "frames/table.rs"]
mod table;
#[path = "frames/unmodified.rs"]
mod unmodified;
#[path = "frames/xdp.rs"]
mod xdp;
