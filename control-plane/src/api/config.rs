//! The document: show, apply, roll back, list revisions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_config::ConfigError;
use weir_config::units::parse_duration;
use weir_protocol::RevisionNumber;

use crate::nodes::Convergence;
use crate::problem::Problem;
use crate::revisions::{Applied, ApplyError};
use crate::state::State;
use crate::store::RevisionInfo;

/// Longest `wait`.
const WAIT_MAX: Duration = Duration::from_secs(120);

#[derive(Debug, Deserialize)]
pub(super) struct Show {
    revision: Option<RevisionNumber>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Write {
    /// `5s`: answer when every connected proxy has answered, or after this time.
    wait: Option<String>,
    /// Who writes.
    author: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Rollback {
    /// The revision to go back to; the one before the head unless told.
    to: Option<RevisionNumber>,
}

/// Answer to a write.
#[derive(Debug, Serialize)]
struct Written {
    revision: RevisionInfo,
    /// False when the text is the head's already.
    changed: bool,
    warnings: Vec<ConfigError>,
    /// Present when `wait` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    convergence: Option<Convergence>,
}

/// `GET /v1/config`: the document in force as YAML; `?revision=N` an earlier one.
pub(super) async fn show(
    Shared(state): Shared<Arc<State>>,
    Query(show): Query<Show>,
) -> Result<Response, Problem> {
    let stored = match show.revision {
        None => state.revisions.head().borrow().as_deref().cloned(),
        Some(number) => state
            .revisions
            .store()
            .revision(number)
            .await
            .map_err(|error| Problem::from(ApplyError::from(error)))?,
    };
    let Some(stored) = stored else {
        let detail = match show.revision {
            Some(number) => format!("there is no revision {number}"),
            None => "nothing was applied yet; PUT /v1/config or `weir apply FILE`".to_owned(),
        };
        let title = "No such revision";
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no-revision",
            title,
            detail,
        ));
    };
    let mut response = stored.text.to_string().into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/yaml"),
    );
    headers.insert(header::ETAG, etag(stored.info.number));
    headers.insert("weir-revision", HeaderValue::from(stored.info.number));
    Ok(response)
}

/// `PUT /v1/config`: the body is the YAML document.
pub(super) async fn apply(
    Shared(state): Shared<Arc<State>>,
    Query(write): Query<Write>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let expected = if_match(&headers)?;
    let wait = wait(write.wait.as_deref())?;
    let text = std::str::from_utf8(&body)
        .map_err(|error| Problem::bad_request(format!("the document is not UTF-8: {error}")))?;
    let began = Instant::now();
    let applied = state
        .revisions
        .apply(Arc::from(text), expected, write.author, crate::unix_now())
        .await;
    written(&state, applied, wait, began).await
}

/// `POST /v1/config/rollback`: `{"to": N}` or nothing.
pub(super) async fn rollback(
    Shared(state): Shared<Arc<State>>,
    Query(write): Query<Write>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let expected = if_match(&headers)?;
    let wait = wait(write.wait.as_deref())?;
    let Rollback { to } = if body.is_empty() {
        Rollback::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            Problem::bad_request(format!(
                "the body is {{\"to\": NUMBER}} or nothing: {error}"
            ))
        })?
    };
    let began = Instant::now();
    let applied = state
        .revisions
        .rollback(to, expected, write.author, crate::unix_now())
        .await;
    written(&state, applied, wait, began).await
}

async fn written(
    state: &State,
    applied: Result<Applied, ApplyError>,
    wait: Option<Duration>,
    began: Instant,
) -> Result<Response, Problem> {
    let applied = applied.map_err(|error| {
        state.metrics.refused();
        Problem::from(error)
    })?;
    let info = applied.stored.info.clone();
    if applied.changed {
        state.metrics.accepted();
        let author = info.author.as_deref().unwrap_or("unknown");
        tracing::info!(revision = info.number, author, "revision accepted");
    }
    let convergence = match wait {
        None => None,
        Some(wait) => {
            let convergence = state.nodes.converge(info.number, wait).await;
            if applied.changed && convergence.converged {
                state.metrics.converged(began.elapsed());
            }
            Some(convergence)
        }
    };
    let tag = etag(info.number);
    let written = Written {
        revision: info,
        changed: applied.changed,
        warnings: applied.warnings,
        convergence,
    };
    Ok(([(header::ETAG, tag)], Json(written)).into_response())
}

/// `GET /v1/config/revisions`: newest first.
pub(super) async fn revisions(Shared(state): Shared<Arc<State>>) -> Result<Json<Value>, Problem> {
    let list = state.revisions.store().revisions().await;
    let list = list.map_err(|error| Problem::from(ApplyError::from(error)))?;
    Ok(Json(json!({ "revisions": list })))
}

fn etag(number: RevisionNumber) -> HeaderValue {
    // Digits in quotes are a valid value.
    HeaderValue::try_from(format!("\"{number}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

fn if_match(headers: &HeaderMap) -> Result<Option<RevisionNumber>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    text.trim_matches('"').parse().map(Some).map_err(|_| {
        Problem::bad_request(format!(
            "If-Match must be a revision number in quotes, not {text:?}"
        ))
    })
}

fn wait(text: Option<&str>) -> Result<Option<Duration>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let wait = parse_duration(text).map_err(|error| {
        Problem::bad_request(format!("wait must be a duration such as 5s: {error}"))
    })?;
    Ok(Some(wait.min(WAIT_MAX)))
}

impl From<ApplyError> for Problem {
    fn from(error: ApplyError) -> Self {
        let detail = error.to_string();
        match error {
            ApplyError::Invalid(errors) => {
                let count = errors.0.len();
                let detail = format!("the document has {count} errors; nothing was changed");
                let title = "The document is not valid";
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                let mut problem = Problem::new(status, "invalid", title, detail);
                problem.errors = errors.0;
                problem
            }
            ApplyError::Conflict { head, .. } => {
                let detail = format!("{detail}; read revision {head} and decide anew");
                let status = StatusCode::PRECONDITION_FAILED;
                let title = "The configuration has changed meanwhile";
                let mut problem = Problem::new(status, "conflict", title, detail);
                problem.more.insert("head".to_owned(), json!(head));
                problem
            }
            ApplyError::NoRevision { .. } => Problem::new(
                StatusCode::NOT_FOUND,
                "no-revision",
                "No such revision",
                detail,
            ),
            ApplyError::Store(_) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Problem::new(
                    status,
                    "store-unavailable",
                    "The store does not answer",
                    detail,
                )
            }
            ApplyError::Unchecked => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Problem::new(status, "internal", "The check broke", detail)
            }
        }
    }
}
