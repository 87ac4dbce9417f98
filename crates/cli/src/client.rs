//! HTTP over vmswitchd's socket.

use crate::failure::Failure;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use model::Problem;
use serde::{Serialize, de::DeserializeOwned};
use std::{io, path::PathBuf, time::Duration};
use tokio::{net::UnixStream, time};

/// Longer than the daemon takes at most, so that its own word on what happened arrives.
const PATIENCE: Duration = Duration::from_secs(90);
const JSON: &str = "application/json";
pub const TOML: &str = "application/toml";

/// Where vmswitchd answers.
pub struct Client {
    socket: PathBuf,
}

impl Client {
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        parse(&whole(self.ask(Method::GET, path, JSON, Bytes::new()).await?).await?)
    }

    /// A text as it is.
    pub async fn get_text(&self, path: &str, kind: &str) -> Result<String, Failure> {
        let bytes = whole(self.ask(Method::GET, path, kind, Bytes::new()).await?).await?;
        String::from_utf8(bytes.into()).map_err(Failure::answer)
    }

    /// An answer that goes on.
    pub async fn stream(&self, path: &str) -> Result<Incoming, Failure> {
        Ok(self.ask(Method::GET, path, "text/event-stream", Bytes::new()).await?.into_body())
    }

    /// An answer that goes on, to a request with a body.
    pub async fn listen(&self, path: &str, body: &impl Serialize) -> Result<Incoming, Failure> {
        let body = serde_json::to_vec(body).map_err(Failure::answer)?;
        Ok(self.ask(Method::POST, path, JSON, body.into()).await?.into_body())
    }

    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(Failure::answer)?;
        self.send_text(method, path, JSON, body).await
    }

    pub async fn send_text<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        parse(&whole(self.ask(method, path, kind, body.into()).await?).await?)
    }

    pub async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.ask(Method::DELETE, path, JSON, Bytes::new()).await.map(drop)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let request =
            Request::builder().method(method).uri(path).header(HOST, "vmswitch").header(ACCEPT, kind);
        let request = request.header(CONTENT_TYPE, kind).body(Full::new(body)).map_err(Failure::broken)?;
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(error))?;
        let answer = time::timeout(PATIENCE, exchange(stream, request)).await;
        accepted(answer.map_err(|_| Failure::Broken(format!("no answer within {PATIENCE:?}")))??).await
    }

    fn unreachable(&self, error: io::Error) -> Failure {
        let socket = self.socket.clone();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::Denied(socket),
            _ => Failure::NotRunning { socket, error },
        }
    }
}

async fn exchange(stream: UnixStream, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::broken)?;
    // Its error reaches the request, too.
    tokio::spawn(async { drop(connection.await) });
    sender.send_request(request).await.map_err(Failure::broken)
}

async fn accepted(response: Response<Incoming>) -> Result<Response<Incoming>, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let bytes = whole(response).await?;
    Err(serde_json::from_slice::<Problem>(&bytes).map_or_else(|_| unexplained(status), Failure::Refused))
}

fn unexplained(status: StatusCode) -> Failure {
    Failure::Answer(format!("HTTP status {status} without an explanation"))
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = time::timeout(PATIENCE, response.into_body().collect()).await;
    let body = body.map_err(|_| Failure::Broken(format!("no whole answer within {PATIENCE:?}")))?;
    Ok(body.map_err(Failure::broken)?.to_bytes())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(Failure::answer)
}
