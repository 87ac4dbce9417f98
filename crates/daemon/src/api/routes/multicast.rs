//! `/v1/switches/{switch}/multicast`

use super::{At, Failure, Refusal, Shared};
use axum::extract::State;
use model::{Name, policy::multicast::MulticastStatus};

/// Who wants which multicast group, who asks, and where routers are.
#[utoipa::path(get, path = "/v1/switches/{switch}/multicast", tag = "multicast", operation_id = "list_multicast",
    params(("switch" = Name, Path, description = "Name of the switch")),
    responses((status = 200, description = "What the switch knows; nothing where it does not snoop", body = MulticastStatus), Refusal))]
pub(in crate::api) async fn list(
    State(shared): State<Shared>,
    At(switch): At<Name>,
) -> Result<axum::Json<MulticastStatus>, Failure> {
    shared.ask(move |backend| backend.multicast(switch.as_str())).await.map(axum::Json)
}
