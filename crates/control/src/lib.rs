//! Pure reconciliation: desired state and facts in, named actions out.

pub mod mac_pool;
