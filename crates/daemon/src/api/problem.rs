//! Every error of the API is a problem document (RFC 9457).

use super::backend::{Refused, RefusedKind};
use axum::{
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use model::Problem;

/// Media type of a problem document (RFC 9457, section 3).
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct Failure(Problem);

impl Failure {
    /// `kind` names the problem type: a word of the API, stable for programs.
    pub(super) fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self(Problem {
            kind: format!("/problems/{kind}"),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
        })
    }

    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Refused::new(RefusedKind::Internal, detail).into()
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let (status, kind, title) = match refused.kind {
            RefusedKind::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            RefusedKind::Conflict => (StatusCode::CONFLICT, "conflict", "In conflict with what is there"),
            RefusedKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Not valid"),
            RefusedKind::HostRefused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "host-refused", "The host refused it")
            }
            RefusedKind::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            RefusedKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The daemon failed"),
        };
        Self::new(status, kind, title, refused.detail)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.0)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}
