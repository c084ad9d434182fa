//! What runs: nodes, services, trust, health, metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use weir_config::Document;
use weir_config::service::Source;
use weir_telemetry::registry::TEXT_CONTENT_TYPE;

use crate::state::State;

/// `GET /v1/nodes`: every proxy, what it runs, and whether all run the newest revision.
pub(super) async fn nodes(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    let head = state
        .revisions
        .head()
        .borrow()
        .as_ref()
        .map_or(0, |stored| stored.info.number);
    let convergence = state.nodes.convergence(head);
    Json(json!({
        "revision": head,
        "converged": convergence.converged,
        "nodes": state.nodes.all(),
    }))
}

/// `GET /v1/services`: every service of the newest revision, where its endpoints come from, and
/// those that are known here. Endpoints of `dns:` and `file:` are found by each proxy for itself.
pub(super) async fn services(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    let head = state.revisions.head().borrow().clone();
    let document = head.and_then(|stored| Document::from_yaml(&stored.text).ok());
    let followed = state.board.all();
    let services: Vec<Value> = document
        .iter()
        .flat_map(|document| &document.services)
        .map(|(name, service)| {
            let (source, endpoints) = match &service.source {
                Source::Consul { .. } => ("consul", followed.get(&name.value).cloned()),
                Source::Dns(_) => ("dns", None),
                Source::Endpoints(list) => {
                    let listed = list.iter().map(|endpoint| endpoint.value.clone());
                    ("endpoints", Some(listed.collect()))
                }
                Source::File(_) => ("file", None),
                Source::Mesh(_) => ("mesh", followed.get(&name.value).cloned()),
            };
            let endpoints = endpoints.as_deref().unwrap_or_default();
            json!({ "service": name.value, "source": source, "endpoints": endpoints })
        })
        .collect();
    Json(json!({ "services": services }))
}

/// `GET /v1/trust`: trust domain and roots (the `caBundle` of the webhook).
pub(super) async fn trust(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    Json(json!({
        "trust_domain": state.trust.trust_domain().as_str(),
        "bundle_pem": state.trust.root_pem(),
    }))
}

/// `GET /healthz`: the process runs.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: ready unless it is ending.
pub(super) async fn ready(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    let ending = *state.ending.borrow();
    let (status, word) = if ending {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "ready")
    };
    (
        status,
        Json(json!({ "status": word, "store": state.revisions.store().kind() })),
    )
}

/// `GET /metrics`.
pub(super) async fn metrics(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, TEXT_CONTENT_TYPE)],
        state.metrics.registry.encode(),
    )
}
