//! vhost-user ports: the device side of virtio-net, for VMMs that share their guest's memory and rings.
//!
//! A *control thread* for each port speaks the vhost-user protocol (`link`, `socket`, `message`) and keeps a `Session` for
//! each connection, which starts, stops and changes rings. The *worker* moves frames between rings. What they share is
//! `device::Device`, each queue behind a lock of its own.

mod features;
