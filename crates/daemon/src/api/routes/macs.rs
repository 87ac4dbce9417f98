//! `/v1/switches/{switch}/macs`

use super::{At, Failure, Json, Refusal, Shared};
use axum::extract::State;
use model::{FlushMacs, Flushed, MacEntry, Name};

/// The MAC table of a switch.
#[utoipa::path(get, path = "/v1/switches/{switch}/macs", tag = "macs", operation_id = "list_macs",
    params(("switch" = Name, Path, description = "Name of the switch")),
    responses((status = 200, description = "Its entries", body = [MacEntry]), Refusal))]
pub(in crate::api) async fn list(
    State(shared): State<Shared>,
    At(switch): At<Name>,
) -> Result<axum::Json<Vec<MacEntry>>, Failure> {
    shared.ask(move |backend| backend.macs(switch.as_str())).await.map(axum::Json)
}

/// Forgets learned entries.
#[utoipa::path(post, path = "/v1/switches/{switch}/macs/flush", tag = "macs", operation_id = "flush_macs", request_body = FlushMacs,
    params(("switch" = Name, Path, description = "Name of the switch")),
    responses((status = 200, description = "How many were forgotten", body = Flushed), Refusal))]
pub(in crate::api) async fn flush(
    State(shared): State<Shared>,
    At(switch): At<Name>,
    Json(which): Json<FlushMacs>,
) -> Result<axum::Json<Flushed>, Failure> {
    let flushed = shared.ask(move |backend| backend.flush_macs(switch.as_str(), which)).await?;
    Ok(axum::Json(Flushed { flushed }))
}
