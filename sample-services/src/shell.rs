//! What every service has around its own routes: health, OpenAPI, logging, limits, 404 and 405.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::faults;
use crate::problem::Problem;
use crate::trace::trace;

/// Whether the service takes requests; not any more once it drains.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on `/readyz` fails.
    pub fn end(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Puts a service's own routes into the shell.
pub fn around(
    routes: Router,
    openapi: &'static str,
    with_faults: bool,
    readiness: &Readiness,
) -> Router {
    let routes = if with_faults {
        faults::add(routes)
    } else {
        routes
    };
    let document = ([(header::CONTENT_TYPE, "application/json")], openapi);
    routes
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(readiness.clone()))
        .route("/openapi.json", get(async move || document))
        .fallback(async |uri: Uri| Problem::not_found(format!("nothing is at {}", uri.path())))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn(trace))
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    if readiness.has_ended() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else {
        "ready\n".into_response()
    }
}

async fn method_not_allowed() -> Problem {
    let detail = "the resource does not take this method; see allow";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

/// No request of the shop is larger.
const BODY_BYTES_MAX: usize = 64 * 1024;
