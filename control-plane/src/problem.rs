//! Errors of the API as problem documents (RFC 9457), with every error of a refused document.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use weir_config::ConfigError;

/// An answer other than success.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// A stable word for programs.
    pub code: &'static str,
    /// What kind of problem.
    pub title: &'static str,
    /// The status.
    #[serde(serialize_with = "status_number")]
    pub status: StatusCode,
    /// What exactly, and what to do.
    pub detail: String,
    /// Every error of the document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ConfigError>,
    /// Further members.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Problem {
    /// A problem without further members.
    #[must_use]
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let (errors, more) = (Vec::new(), Map::new());
        Problem {
            code,
            title,
            status,
            detail: detail.into(),
            errors,
            more,
        }
    }

    /// A request that is not as the API wants it.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request is malformed",
            detail,
        )
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn status_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Strings and numbers only: this cannot fail.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
