//! `/flaky`, which fails as long as `/faults` says so: a circuit breaker to watch with curl.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::problem::{FieldError, JsonBody, Problem};

/// The fault in force, if any.
#[derive(Clone, Debug, Default)]
pub(super) struct Flaky(Arc<Mutex<Option<Fault>>>);

/// What `/flaky` does instead of answering 200.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    /// The status to answer.
    #[serde(default = "unavailable")]
    status: u16,
    /// How long to wait first.
    #[serde(default)]
    delay_ms: u64,
    /// How many requests it is still for; without it, until `DELETE /faults`.
    #[serde(default)]
    remaining: Option<u64>,
}

/// `/flaky`.
pub(super) fn victim(state: Flaky) -> Router {
    Router::new().route("/flaky", get(flaky)).with_state(state)
}

/// `/faults`.
pub(super) fn switch(state: Flaky) -> Router {
    Router::new()
        .route("/faults", get(show).post(set).delete(clear))
        .with_state(state)
}

async fn flaky(State(state): State<Flaky>) -> Response {
    let Some(fault) = state.take_one() else {
        return Json(serde_json::json!({ "flaky": false })).into_response();
    };
    tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    // The range was checked when the fault was set.
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    if status.is_success() {
        return (status, Json(serde_json::json!({ "flaky": true }))).into_response();
    }
    Problem::new(status, "flaky", "failing as POST /faults asked").into_response()
}

async fn show(State(state): State<Flaky>) -> Json<Option<Fault>> {
    Json(*state.lock())
}

async fn set(
    State(state): State<Flaky>,
    JsonBody(fault): JsonBody<Fault>,
) -> Result<Json<Fault>, Problem> {
    let mut errors = Vec::new();
    if !(200..=599).contains(&fault.status) {
        errors.push(FieldError {
            field: "status",
            detail: "must be from 200 to 599",
        });
    }
    if fault.delay_ms > DELAY_MS_MAX {
        errors.push(FieldError {
            field: "delay_ms",
            detail: "must be at most 60000",
        });
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    *state.lock() = Some(fault);
    Ok(Json(fault))
}

async fn clear(State(state): State<Flaky>) -> StatusCode {
    *state.lock() = None;
    StatusCode::NO_CONTENT
}

impl Flaky {
    /// The fault for one request.
    fn take_one(&self) -> Option<Fault> {
        let mut current = self.lock();
        let fault = (*current)?;
        match fault.remaining {
            None => {}
            Some(0) => *current = None,
            Some(left) => {
                *current = Some(Fault {
                    remaining: Some(left - 1),
                    ..fault
                })
            }
        }
        (fault.remaining != Some(0)).then_some(fault)
    }

    /// A panic while it is held cannot leave it half written.
    fn lock(&self) -> MutexGuard<'_, Option<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable() -> u16 {
    StatusCode::SERVICE_UNAVAILABLE.as_u16()
}

const DELAY_MS_MAX: u64 = 60_000;
