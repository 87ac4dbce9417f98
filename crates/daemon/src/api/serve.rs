//! The accept loop. axum's own has no limits and does not know who the peer is.

use super::{
    access, backend::Backend, limits::Limits, problem::Failure, router, socket::Listener, stall::Stalling,
};
use axum::{Router, extract::Request, http::StatusCode, response::IntoResponse};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::{future::Future, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time,
};

/// A refused peer gets this long to read why.
const REFUSAL_TIME: Duration = Duration::from_secs(2);
/// Refusals at once; beyond them a connection is closed without a word.
const REFUSALS: usize = 16;
/// Pause after a failed accept: out of descriptors, the next one would fail at once as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who may use the API, and how much.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The group whose members may use the API beside root and the daemon's own user.
    pub group: Option<u32>,
    /// Limits.
    pub limits: Limits,
}

/// Serves until `shutdown`, then finishes the requests that are running.
pub async fn serve(
    listener: Listener,
    backend: Arc<dyn Backend>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) {
    let (closing, closed) = watch::channel(false);
    let server = Server {
        router: router::router(backend, options.limits.clone(), closed),
        own_uid: rustix::process::geteuid().as_raw(),
        connections: Arc::new(Semaphore::new(options.limits.connections)),
        refusals: Arc::new(Semaphore::new(REFUSALS)),
        running: GracefulShutdown::new(),
        options,
    };
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.inner.accept() => match accepted {
                Ok((stream, _)) => server.admit(stream),
                Err(error) => {
                    tracing::warn!(%error, "the API could not accept a connection");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    let stop_time = server.options.limits.stop_time;
    closing.send_replace(true);
    if time::timeout(stop_time, server.running.shutdown()).await.is_err() {
        tracing::warn!(?stop_time, "requests were still running when the API stopped");
    }
}

struct Server {
    router: Router,
    own_uid: u32,
    connections: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    running: GracefulShutdown,
    options: Options,
}

impl Server {
    /// A peer that may not come in takes none of the places of those that may.
    fn admit(&self, stream: UnixStream) {
        if let Err(failure) = access::check(&stream, self.own_uid, self.options.group) {
            return self.refuse(stream, failure);
        }
        match Arc::clone(&self.connections).try_acquire_owned() {
            Ok(place) => self.serve(stream, place),
            Err(_) => self.refuse(stream, too_many(self.options.limits.connections)),
        }
    }

    fn serve(&self, stream: UnixStream, place: OwnedSemaphorePermit) {
        let service = TowerToHyperService::new(self.router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.limits.header_time)
            .serve_connection(Stalling::new(stream, self.options.limits.write_time), service);
        let connection = self.running.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the API ended early");
            }
            drop(place);
        });
    }

    fn refuse(&self, stream: UnixStream, failure: Failure) {
        let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        let response = failure.into_response();
        tokio::spawn(async move {
            let (parts, body) = response.into_parts();
            let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return };
            let answer = Router::new().fallback(async move |_: Request| (parts, body).into_response());
            let connection = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(answer));
            // The peer hears no reason where it does not read: nothing is lost.
            let _ = time::timeout(REFUSAL_TIME, connection).await;
            drop(place);
        });
    }
}

fn too_many(most: usize) -> Failure {
    let detail = format!("{most} connections are open, the most that are served at once: try again later");
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too-many", "Too many connections", detail)
}
