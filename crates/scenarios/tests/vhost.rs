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

/// For tests that look at times, and those that take the CPU from others.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
