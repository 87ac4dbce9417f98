//! `/v1/version`

use axum::Json;
use model::{STATE_VERSION, Version};

/// Which daemon answers.
#[utoipa::path(get, path = "/v1/version", tag = "daemon", operation_id = "show_version", responses(
    (status = 200, description = "Its versions", body = Version), super::Refusal))]
pub(in crate::api) async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").into(), state_version: STATE_VERSION })
}
