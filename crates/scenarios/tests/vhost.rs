//! vhost-user ports as they are managed: sockets, roles, states, and real guests on them.

#[path = "vhost/guests.rs"]
mod guests;
#[path = "vhost/sockets.rs"]
mod sockets;
