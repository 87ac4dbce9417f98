//! A NIC is taken over and given back: the host keeps its connectivity, crashes end in a whole state, and what nobody
//! confirms is put back.

#[path = "takeover/confirm.rs"]
mod confirm;
#[path = "takeover/crash.rs"]
mod crash;
#[path = "takeover/moves.rs"]
mod moves;
#[path = "takeover/restart.rs"]
mod restart;
#[path = "takeover/silence.rs"]
mod silence;
#[path = "takeover/state.rs"]
mod state;
#[path = "takeover/stream.rs"]
mod stream;
