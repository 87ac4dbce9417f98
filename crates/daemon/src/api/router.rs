//! Every route, with what all of them share.

use super::{
    backend::{Backend, Refused},
    limits::Limits,
    problem::Failure,
    routes,
};
use axum::{
    Json, Router,
    extract::{FromRef, Request, State},
    http::{Method, StatusCode, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use std::sync::Arc;
use tokio::{sync::watch, task, time};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

/// What handlers are given.
#[derive(Clone)]
pub(super) struct Shared {
    backend: Arc<dyn Backend>,
    limits: Limits,
    /// Turns true when the daemon stops: endless answers end then.
    pub(super) closing: watch::Receiver<bool>,
}

impl FromRef<Shared> for Limits {
    fn from_ref(shared: &Shared) -> Self {
        shared.limits.clone()
    }
}

impl Shared {
    /// Asks the backend on a thread that may block.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Backend) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Failure> {
        let backend = Arc::clone(&self.backend);
        match task::spawn_blocking(move || question(&*backend)).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(error) => {
                tracing::error!(%error, "a request failed inside the daemon");
                Err(Failure::internal("the request failed inside the daemon: its log says where"))
            }
        }
    }

    pub(super) fn events(&self) -> tokio::sync::broadcast::Receiver<model::Event> {
        self.backend.events()
    }
}

pub(super) fn router(backend: Arc<dyn Backend>, limits: Limits, closing: watch::Receiver<bool>) -> Router {
    let shared = Shared { backend, limits, closing };
    let (router, description) = described().split_for_parts();
    let router = router.route("/openapi.json", get(async move || Json(description)));
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(shared.clone(), in_time))
        .with_state(shared)
}

/// The routes that carry their own description, so that none can be missing from it.
fn described() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(About::openapi())
        .routes(routes!(routes::switches::list, routes::switches::add))
        .routes(routes!(routes::switches::show, routes::switches::change, routes::switches::remove))
        .routes(routes!(routes::switches::confirm))
        .routes(routes!(routes::ports::list, routes::ports::add))
        .routes(routes!(routes::ports::show, routes::ports::change, routes::ports::remove))
        .routes(routes!(routes::ports::explain))
        .routes(routes!(routes::macs::list))
        .routes(routes!(routes::macs::flush))
        .routes(routes!(routes::multicast::list))
        .routes(routes!(routes::observe::capture))
        .routes(routes!(routes::observe::trace))
        .routes(routes!(routes::state::export, routes::state::apply))
        .routes(routes!(routes::events::follow))
        .routes(routes!(routes::version::version))
}

/// What is not part of a route. Problem is named here since utoipa does not collect it from `Refusal`.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "vmswitch",
        description = "Switches, ports and MAC tables of this host. Served on a unix socket.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    components(schemas(model::Problem))
)]
struct About;

async fn in_time(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let limit = shared.limits.request_time;
    time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
        let detail =
            format!("no answer within {limit:?}; what was asked may still be done: look before asking again");
        Failure::new(StatusCode::GATEWAY_TIMEOUT, "no-answer", "No answer in time", detail).into_response()
    })
}

async fn no_such_path(uri: Uri) -> Failure {
    let detail = format!("there is no '{}': /openapi.json lists every path", uri.path());
    Failure::new(StatusCode::NOT_FOUND, "no-such-path", "No such path", detail)
}

async fn wrong_method(method: Method, uri: Uri) -> Failure {
    let detail =
        format!("{method} is not for '{}': the Allow header and /openapi.json say what is", uri.path());
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "Method not allowed", detail)
}
