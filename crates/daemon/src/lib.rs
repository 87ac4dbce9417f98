//! vmswitchd: REST, take-over, persistence.

pub mod api;
