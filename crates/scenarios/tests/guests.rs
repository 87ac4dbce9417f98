//! Behaviours 11 and 12: DHCP and real guests, with offloads on, and what each receiver gets of a frame whose checksum
//! or segmentation its sender left to somebody else.

#[path = "guests/checksums.rs"]
mod checksums;
#[path = "guests/dhcp.rs"]
mod dhcp;
#[path = "guests/gso.rs"]
mod gso;
#[path = "guests/ledger.rs"]
mod ledger;
#[path = "guests/offloads.rs"]
mod offloads;
#[path = "guests/peers.rs"]
mod peers;
#[path = "guests/qemu.rs"]
mod qemu;
#[path = "guests/site.rs"]
mod site;
#[path = "guests/streams.rs"]
mod streams;
#[path = "guests/unprivileged.rs"]
mod unprivileged;
#[path = "guests/vlans.rs"]
mod vlans;
