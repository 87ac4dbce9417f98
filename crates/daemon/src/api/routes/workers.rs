//! `/v1/workers`

use super::{Failure, Refusal, Shared};
use axum::{Json, extract::State};
use model::WorkerStatus;

/// The workers: how much of their time they moved frames, how many, and in how many batches.
#[utoipa::path(get, path = "/v1/workers", tag = "daemon", operation_id = "list_workers",
    responses((status = 200, description = "Every worker", body = [WorkerStatus]), Refusal))]
pub(in crate::api) async fn list(State(shared): State<Shared>) -> Result<Json<Vec<WorkerStatus>>, Failure> {
    shared.ask(|backend| backend.workers()).await.map(Json)
}
