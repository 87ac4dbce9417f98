//! What comes in: bodies, path parameters and queries, each checked and refused with a problem document.

use super::{limits::Limits, problem::Failure};
use axum::{
    body::{self, Bytes},
    extract::{FromRef, FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts},
};
use model::DesiredState;
use serde::de::DeserializeOwned;

const JSON: &str = "application/json";
pub(super) const TOML: &str = "application/toml";

/// A JSON body.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T>
where
    Limits: FromRef<S>,
{
    type Rejection = Failure;
    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        if media_type(request.headers()) != JSON {
            return Err(unsupported(JSON));
        }
        let limits = Limits::from_ref(state);
        from_json(&read(request, limits.body_bytes, &limits).await?).map(Self)
    }
}

/// A desired state, as TOML or as JSON.
pub(super) struct State(pub DesiredState);

impl<S: Send + Sync> FromRequest<S> for State
where
    Limits: FromRef<S>,
{
    type Rejection = Failure;
    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let parse = match media_type(request.headers()) {
            JSON => from_json,
            TOML => from_toml,
            _ => return Err(unsupported("application/toml or application/json")),
        };
        let limits = Limits::from_ref(state);
        parse(&read(request, limits.state_bytes, &limits).await?).map(Self)
    }
}

/// Names in the path.
pub(super) struct At<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let at = Path::from_request_parts(parts, state).await;
        at.map(|Path(at)| Self(at)).map_err(|error| bad_request(error.body_text()))
    }
}

/// What follows the '?'.
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let asked = Query::from_request_parts(parts, state).await;
        asked.map(|Query(asked)| Self(asked)).map_err(|error| bad_request(error.body_text()))
    }
}

async fn read(request: Request, most: usize, limits: &Limits) -> Result<Bytes, Failure> {
    match tokio::time::timeout(limits.body_time, body::to_bytes(request.into_body(), most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(too_large(most)),
        Ok(Err(error)) => Err(bad_request(format!("the body broke off: {error}"))),
        Err(_) => Err(too_slow(limits)),
    }
}

/// axum hides which error it was in the chain of sources.
fn is_too_long(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let what = text.strip_suffix(&place).unwrap_or(&text);
        malformed(error.is_data(), "JSON", (error.line(), error.column()), what)
    })
}

fn from_toml<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        malformed(false, "TOML", line_and_column(&valid, valid.len()), "this is no UTF-8")
    })?;
    let refused = |is_data| {
        move |error: toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            malformed(is_data, "TOML", line_and_column(text, offset), error.message())
        }
    };
    T::deserialize(toml::Deserializer::parse(text).map_err(refused(false))?).map_err(refused(true))
}

/// Both count from one; a column is a character.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn malformed(is_data: bool, format: &str, (line, column): (usize, usize), what: &str) -> Failure {
    let detail = format!("line {line}, column {column}: {}", what.trim().replace('\n', ", "));
    if is_data {
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Not valid", detail)
    } else {
        Failure::new(StatusCode::BAD_REQUEST, "malformed", &format!("Malformed {format}"), detail)
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn bad_request(detail: String) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request", detail)
}

fn unsupported(wanted: &str) -> Failure {
    let detail = format!("the body's Content-Type must be {wanted}");
    Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        "Unsupported media type",
        detail,
    )
}

fn too_large(most: usize) -> Failure {
    let detail = format!("the body is longer than {most} bytes, the most that is read");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail)
}

fn too_slow(limits: &Limits) -> Failure {
    let detail = format!("the body did not come within {:?}: send it faster", limits.body_time);
    Failure::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "Too slow", detail)
}
