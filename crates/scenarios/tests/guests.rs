//! Behaviours 11 and 12: DHCP and real guests, with offloads on, and what each receiver gets of a frame whose checksum
//! or segmentation its sender left to somebody else.

#[path = "guests/checksums.rs"]
mod checksums;
#[path = "guests/dhcp.rs"]
mod dhcp;
#[path = "guests/ledger.rs"]
mod ledger;
#[path = "guests/qemu.rs"]
mod qemu;
#[path = "guests/site.rs"]
mod site;
