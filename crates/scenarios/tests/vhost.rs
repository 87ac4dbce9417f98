//! vhost-user ports as they are managed: sockets, roles, states. What passes them is tested with real guests.

#[path = "vhost/sockets.rs"]
mod sockets;
