//! Which part of a list is asked for: `?after=ID&limit=N`.

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;

use crate::problem::Problem;

/// A part of a list in order of its ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only ids above this one.
    pub after: u64,
    /// So many at most.
    pub limit: usize,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Asked {
            #[serde(default)]
            after: u64,
            limit: Option<usize>,
        }
        let asked = Query::<Asked>::try_from_uri(&parts.uri).map_err(|rejection| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid-page",
                rejection.body_text(),
            )
        })?;
        let limit = asked.limit.unwrap_or(LIMIT_MAX).clamp(1, LIMIT_MAX);
        Ok(Self {
            after: asked.after,
            limit,
        })
    }
}

const LIMIT_MAX: usize = 100;
