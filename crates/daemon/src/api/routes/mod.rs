//! One file for each kind of thing.

pub(super) mod events;
pub(super) mod macs;
pub(super) mod multicast;
pub(super) mod observe;
pub(super) mod ports;
pub(super) mod state;
pub(super) mod switches;
pub(super) mod version;

use super::{
    input::{Asked, At, Json},
    problem::Failure,
    router::Shared,
};
use axum::http::{HeaderName, StatusCode, header::LOCATION};
use model::Problem;

/// The answer to every request that is not carried out.
#[derive(utoipa::IntoResponses)]
#[response(
    status = "default",
    content_type = "application/problem+json",
    description = "Why it was not done"
)]
#[allow(dead_code, reason = "describes the answer that Failure gives")]
struct Refusal(Problem);

/// 201, and where the new thing is.
type Created<T> = (StatusCode, [(HeaderName, String); 1], axum::Json<T>);

fn created<T>(place: String, thing: T) -> Created<T> {
    (StatusCode::CREATED, [(LOCATION, place)], axum::Json(thing))
}
