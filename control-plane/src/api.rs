//! The control-plane API.
//!
//! Routes and OpenAPI document are made from one table, so neither can lack what the other has.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use weir_config::bounds::DOCUMENT_BYTES_MAX;

use crate::problem::Problem;
use crate::state::State;

mod check;
mod config;
mod openapi;
mod status;

/// A path of the API and what serves it.
struct Endpoint {
    path: &'static str,
    serve: fn() -> MethodRouter<Arc<State>>,
    /// Answers without a token: what probes and scrapers ask for.
    open: bool,
}

const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/v1/config",
        serve: || get(config::show).put(config::apply),
        open: false,
    },
    Endpoint {
        path: "/v1/config/revisions",
        serve: || get(config::revisions),
        open: false,
    },
    Endpoint {
        path: "/v1/config/rollback",
        serve: || post(config::rollback),
        open: false,
    },
    Endpoint {
        path: "/v1/check",
        serve: || post(check::check),
        open: false,
    },
    Endpoint {
        path: "/v1/explain",
        serve: || post(check::explain),
        open: false,
    },
    Endpoint {
        path: "/v1/nodes",
        serve: || get(status::nodes),
        open: false,
    },
    Endpoint {
        path: "/v1/services",
        serve: || get(status::services),
        open: false,
    },
    Endpoint {
        path: "/v1/trust",
        serve: || get(status::trust),
        open: false,
    },
    Endpoint {
        path: "/openapi.json",
        serve: || get(openapi::document),
        open: true,
    },
    Endpoint {
        path: "/healthz",
        serve: || get(status::health),
        open: true,
    },
    Endpoint {
        path: "/readyz",
        serve: || get(status::ready),
        open: true,
    },
    Endpoint {
        path: "/metrics",
        serve: || get(status::metrics),
        open: true,
    },
];

/// The API as a service.
pub fn router(state: Arc<State>) -> Router {
    let mut guarded = Router::new();
    let mut open = Router::new();
    for endpoint in ENDPOINTS {
        let target = if endpoint.open {
            &mut open
        } else {
            &mut guarded
        };
        *target = std::mem::take(target).route(endpoint.path, (endpoint.serve)());
    }
    guarded
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&state),
            authorize,
        ))
        .merge(open)
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(DOCUMENT_BYTES_MAX + 64 * 1024))
        .layer(middleware::from_fn(same_origin))
        .with_state(state)
}

async fn authorize(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if let Some(token) = &state.api_token {
        let given = bearer(request.headers());
        if !given.is_some_and(|given| token.accepts(given)) {
            let detail = "send the API token as `Authorization: Bearer …`";
            let title = "The API wants its token";
            return Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                title,
                detail,
            ));
        }
    }
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

/// Refuses what a foreign web page makes a browser send: on loopback there may be no token.
async fn same_origin(request: Request, next: Next) -> Result<Response, Problem> {
    let foreign = request
        .headers()
        .get("sec-fetch-site")
        .is_some_and(|site| site != "same-origin" && site != "none");
    if foreign {
        let detail = "requests from pages of other origins are not served";
        let title = "Cross-site request";
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "cross-site",
            title,
            detail,
        ));
    }
    Ok(next.run(request).await)
}

async fn unknown(request: Request) -> Problem {
    let detail = format!("there is no {}; see /openapi.json", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, "not-found", "No such path", detail)
}

async fn wrong_method(request: Request) -> Problem {
    let detail = format!(
        "{} does not serve {}",
        request.uri().path(),
        request.method()
    );
    let title = "Method not allowed";
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        title,
        detail,
    )
}
