//! `/v1/state`

use super::{Asked, Failure, Refusal, Shared};
use crate::api::input::{self, TOML};
use axum::{
    extract::State,
    http::{
        HeaderMap,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use model::{DesiredState, Plan};
use serde::Deserialize;

/// All switches as they should be: JSON, or TOML where `Accept` asks for it.
#[utoipa::path(get, path = "/v1/state", tag = "state", operation_id = "export_state", responses(
    (status = 200, description = "The desired state", content(
        (DesiredState = "application/json"), (String = "application/toml"))), Refusal))]
pub(in crate::api) async fn export(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let state = shared.ask(|backend| Ok(backend.export())).await?;
    if !wants_toml(&headers) {
        return Ok(axum::Json(state).into_response());
    }
    let text = toml::to_string(&state).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, TOML)], text).into_response())
}

/// The media type that stands first wins; weights are not looked at.
fn wants_toml(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut types = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
    types.find(|kind| [TOML, "application/json", "*/*"].contains(kind)) == Some(TOML)
}

/// How to apply.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct How {
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// Makes this the desired state, and the host follow it.
#[utoipa::path(put, path = "/v1/state", tag = "state", operation_id = "apply_state", params(How),
    request_body(content((DesiredState = "application/json"), (String = "application/toml"))),
    responses((status = 200, description = "What was done, or would be", body = Plan), Refusal))]
pub(in crate::api) async fn apply(
    State(shared): State<Shared>,
    Asked(how): Asked<How>,
    input::State(state): input::State,
) -> Result<axum::Json<Plan>, Failure> {
    shared.ask(move |backend| backend.apply(state, how.dry_run)).await.map(axum::Json)
}
