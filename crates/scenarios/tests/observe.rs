//! Captures, traces and mirrors: what is told of frames is what became of them, and telling it changes nothing.

#[path = "observe/capture.rs"]
mod capture;
#[path = "observe/erspan.rs"]
mod erspan;
#[path = "frames/lan.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod lan;
#[path = "observe/mirror.rs"]
mod mirror;
#[path = "frames/round.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod round;
#[path = "observe/slow.rs"]
mod slow;
#[path = "observe/tap.rs"]
mod tap;
#[path = "observe/trace.rs"]
mod trace;
