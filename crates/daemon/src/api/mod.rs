//! The REST API: a unix socket, who may use it, how much they may ask, and the routes. Decisions are the
//! [`Backend`]'s.

mod access;
mod backend;
mod input;
mod limits;
mod problem;
mod router;
mod routes;
mod serve;
mod socket;
mod stall;

pub use access::{GROUP, group_id};
pub use backend::{Backend, Refused, RefusedKind};
pub use limits::Limits;
pub use serve::{Options, serve};
pub use socket::{BindError, Listener};
