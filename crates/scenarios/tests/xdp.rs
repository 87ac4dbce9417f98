//! Uplinks and netdevs by AF_XDP: which way frames pass an interface is chosen, told, changed while frames pass, and outlives what
//! happens to NIC, daemon and host vNIC. That frames pass unmodified is in `frames/xdp.rs`, real stacks on it in `guests/`.

#[path = "xdp/choice.rs"]
mod choice;
#[path = "xdp/crash.rs"]
mod crash;
#[path = "xdp/host.rs"]
mod host;
#[path = "xdp/machine.rs"]
mod machine;
#[path = "xdp/recovery.rs"]
mod recovery;
#[path = "failures/stage.rs"]
mod stage;
#[path = "takeover/state.rs"]
mod state;
#[path = "takeover/stream.rs"]
mod stream;
#[path = "xdp/zero_copy.rs"]
mod zero_copy;
