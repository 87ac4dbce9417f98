//! vhost-user ports as they are managed: sockets, roles, states, and real guests on them, which may move.

#[path = "vhost/guests.rs"]
mod guests;
#[path = "vhost/hostile.rs"]
mod hostile;
#[path = "vhost/migration.rs"]
mod migration;
#[path = "vhost/printed.rs"]
mod printed;
#[path = "vhost/sockets.rs"]
mod sockets;
#[path = "vhost/waking.rs"]
mod waking;
