//! `/v1/switches/{switch}/ports`

use super::{At, Created, Failure, Json, Refusal, Shared, created};
use axum::{extract::State, http::StatusCode};
use model::{ChangePort, ExplainFrame, Explanation, Name, PortConfig, PortStatus};

/// All ports of a switch.
#[utoipa::path(get, path = "/v1/switches/{switch}/ports", tag = "ports", operation_id = "list_ports",
    params(("switch" = Name, Path, description = "Name of the switch")),
    responses((status = 200, description = "The ports as they are", body = [PortStatus]), Refusal))]
pub(in crate::api) async fn list(
    State(shared): State<Shared>,
    At(switch): At<Name>,
) -> Result<axum::Json<Vec<PortStatus>>, Failure> {
    shared.ask(move |backend| backend.ports(switch.as_str())).await.map(axum::Json)
}

/// Makes a port.
#[utoipa::path(post, path = "/v1/switches/{switch}/ports", tag = "ports", operation_id = "add_port", request_body = PortConfig,
    params(("switch" = Name, Path, description = "Name of the switch")),
    responses((status = 201, description = "The new port", body = PortStatus), Refusal))]
pub(in crate::api) async fn add(
    State(shared): State<Shared>,
    At(switch): At<Name>,
    Json(port): Json<PortConfig>,
) -> Result<Created<PortStatus>, Failure> {
    let port = shared.ask(move |backend| backend.add_port(switch.as_str(), port)).await?;
    Ok(created(format!("/v1/switches/{}/ports/{}", port.switch, port.name), port))
}

/// One port.
#[utoipa::path(get, path = "/v1/switches/{switch}/ports/{port}", tag = "ports", operation_id = "show_port",
    params(("switch" = Name, Path, description = "Name of the switch"),
        ("port" = Name, Path, description = "Name of the port")),
    responses((status = 200, description = "The port as it is", body = PortStatus), Refusal))]
pub(in crate::api) async fn show(
    State(shared): State<Shared>,
    At((switch, port)): At<(Name, Name)>,
) -> Result<axum::Json<PortStatus>, Failure> {
    shared.ask(move |backend| backend.port(switch.as_str(), port.as_str())).await.map(axum::Json)
}

/// Changes a port in place.
#[utoipa::path(patch, path = "/v1/switches/{switch}/ports/{port}", tag = "ports", operation_id = "change_port", request_body = ChangePort,
    params(("switch" = Name, Path, description = "Name of the switch"),
        ("port" = Name, Path, description = "Name of the port")),
    responses((status = 200, description = "The port as it is now", body = PortStatus), Refusal))]
pub(in crate::api) async fn change(
    State(shared): State<Shared>,
    At((switch, port)): At<(Name, Name)>,
    Json(change): Json<ChangePort>,
) -> Result<axum::Json<PortStatus>, Failure> {
    let changed = move |backend: &dyn super::super::Backend| {
        backend.change_port(switch.as_str(), port.as_str(), change)
    };
    shared.ask(changed).await.map(axum::Json)
}

/// Says what would become of a frame, if the port's vNIC sent it now.
#[utoipa::path(post, path = "/v1/switches/{switch}/ports/{port}/explain", tag = "ports", operation_id = "explain_frame",
    request_body = ExplainFrame,
    params(("switch" = Name, Path, description = "Name of the switch"),
        ("port" = Name, Path, description = "Name of the port")),
    responses((status = 200, description = "What each stage would find, and the outcome", body = Explanation), Refusal))]
pub(in crate::api) async fn explain(
    State(shared): State<Shared>,
    At((switch, port)): At<(Name, Name)>,
    Json(asked): Json<ExplainFrame>,
) -> Result<axum::Json<Explanation>, Failure> {
    let explained =
        move |backend: &dyn super::super::Backend| backend.explain(switch.as_str(), port.as_str(), &asked);
    shared.ask(explained).await.map(axum::Json)
}

/// Removes a port.
#[utoipa::path(delete, path = "/v1/switches/{switch}/ports/{port}", tag = "ports", operation_id = "remove_port",
    params(("switch" = Name, Path, description = "Name of the switch"),
        ("port" = Name, Path, description = "Name of the port")),
    responses((status = 204, description = "The port is removed"), Refusal))]
pub(in crate::api) async fn remove(
    State(shared): State<Shared>,
    At((switch, port)): At<(Name, Name)>,
) -> Result<StatusCode, Failure> {
    let removed = shared.ask(move |backend| backend.remove_port(switch.as_str(), port.as_str())).await;
    removed.map(|()| StatusCode::NO_CONTENT)
}
