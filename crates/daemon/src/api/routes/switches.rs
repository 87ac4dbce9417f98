//! `/v1/switches`

use super::{At, Created, Failure, Json, Refusal, Shared, created};
use axum::{extract::State, http::StatusCode};
use model::{ChangeSwitch, Name, NewSwitch, SwitchStatus};

/// All switches.
#[utoipa::path(get, path = "/v1/switches", tag = "switches", operation_id = "list_switches", responses(
    (status = 200, description = "The switches as they are", body = [SwitchStatus]), Refusal))]
pub(in crate::api) async fn list(
    State(shared): State<Shared>,
) -> Result<axum::Json<Vec<SwitchStatus>>, Failure> {
    shared.ask(|backend| Ok(backend.switches())).await.map(axum::Json)
}

/// Makes a switch.
#[utoipa::path(post, path = "/v1/switches", tag = "switches", operation_id = "add_switch", request_body = NewSwitch, responses(
    (status = 201, description = "The new switch", body = SwitchStatus), Refusal))]
pub(in crate::api) async fn add(
    State(shared): State<Shared>,
    Json(new): Json<NewSwitch>,
) -> Result<Created<SwitchStatus>, Failure> {
    let switch = shared.ask(|backend| backend.add_switch(new)).await?;
    Ok(created(format!("/v1/switches/{}", switch.name), switch))
}

/// One switch.
#[utoipa::path(get, path = "/v1/switches/{switch}", tag = "switches", operation_id = "show_switch",
    params(("switch" = Name, Path, description = "Name of the switch")),
    responses((status = 200, description = "The switch as it is", body = SwitchStatus), Refusal))]
pub(in crate::api) async fn show(
    State(shared): State<Shared>,
    At(name): At<Name>,
) -> Result<axum::Json<SwitchStatus>, Failure> {
    shared.ask(move |backend| backend.switch(name.as_str())).await.map(axum::Json)
}

/// Changes a switch in place.
#[utoipa::path(patch, path = "/v1/switches/{switch}", tag = "switches", operation_id = "change_switch", request_body = ChangeSwitch,
    params(("switch" = Name, Path, description = "Name of the switch")),
    responses((status = 200, description = "The switch as it is now", body = SwitchStatus), Refusal))]
pub(in crate::api) async fn change(
    State(shared): State<Shared>,
    At(name): At<Name>,
    Json(change): Json<ChangeSwitch>,
) -> Result<axum::Json<SwitchStatus>, Failure> {
    shared.ask(move |backend| backend.change_switch(name.as_str(), change)).await.map(axum::Json)
}

/// Removes a switch and gives the host back what the switch had taken.
#[utoipa::path(delete, path = "/v1/switches/{switch}", tag = "switches", operation_id = "remove_switch",
    params(("switch" = Name, Path, description = "Name of the switch")),
    responses((status = 204, description = "The switch is removed"), Refusal))]
pub(in crate::api) async fn remove(
    State(shared): State<Shared>,
    At(name): At<Name>,
) -> Result<StatusCode, Failure> {
    shared.ask(move |backend| backend.remove_switch(name.as_str())).await.map(|()| StatusCode::NO_CONTENT)
}

/// Keeps a switch that would be rolled back otherwise.
#[utoipa::path(post, path = "/v1/switches/{switch}/confirm", tag = "switches", operation_id = "confirm_switch",
    params(("switch" = Name, Path, description = "Name of the switch")),
    responses((status = 200, description = "The switch, which stays", body = SwitchStatus), Refusal))]
pub(in crate::api) async fn confirm(
    State(shared): State<Shared>,
    At(name): At<Name>,
) -> Result<axum::Json<SwitchStatus>, Failure> {
    shared.ask(move |backend| backend.confirm_switch(name.as_str())).await.map(axum::Json)
}
