//! What ports are attached to goes away and comes back: the port goes down with a reason and comes back by itself, and
//! nothing else is disturbed.

#[path = "failures/nic.rs"]
mod nic;
#[path = "failures/stage.rs"]
mod stage;
#[path = "failures/vm.rs"]
mod vm;
