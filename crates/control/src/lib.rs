//! Pure reconciliation: desired state and facts in, named actions out.

pub mod action;
pub mod attach;
pub mod diff;
pub mod edit;
pub mod facts;
pub mod journal;
pub mod mac_pool;
mod move_settings;
pub mod reconcile;
mod refusal;
pub mod takeover;

pub use move_settings::STAND_IN;
pub use refusal::Refusal;
