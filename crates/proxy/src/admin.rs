//! What the admin server of a proxy shows and does beside what every process has: the document in
//! force, explanations, refusals by decision id, who serves what, certificates. No secret is shown.

mod cache;
mod json;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json as object};
use tokio::sync::{Notify, watch};
use weir_identity::Identity;
use weir_policy::balance::Members;
use weir_policy::explain::{ExplainRequest, explain};
use weir_policy::snapshot::ServiceId;
use weir_process::admin::{AdminRoutes, json as answer, problem};

use crate::clock;
use crate::engine::Engine;
use crate::feed::control_plane::Connected;
use crate::memberships::Memberships;
use crate::node::enrolment::Who;
use crate::store::{InForce, Store};

/// A node as its admin server sees it.
#[derive(Debug)]
pub struct Shown {
    who: Who,
    engine: Arc<Engine>,
    store: Arc<Store>,
    memberships: Arc<Memberships>,
    identity: Option<Identity>,
    connected: Option<watch::Receiver<Connected>>,
    reload: Arc<Notify>,
}

impl Shown {
    pub(crate) fn new(
        who: Who,
        engine: Arc<Engine>,
        store: Arc<Store>,
        memberships: Arc<Memberships>,
    ) -> Self {
        let reload = Arc::new(Notify::new());
        Self {
            who,
            engine,
            store,
            memberships,
            identity: None,
            connected: None,
            reload,
        }
    }

    pub(crate) fn joined(
        mut self,
        identity: Identity,
        connected: watch::Receiver<Connected>,
    ) -> Self {
        self.identity = Some(identity);
        self.connected = Some(connected);
        self
    }

    pub(crate) fn reload(&self) -> Arc<Notify> {
        Arc::clone(&self.reload)
    }

    /// Reads configuration and certificates again where they are files, and opens the access log
    /// anew: what SIGHUP asks for. Runs on the caller's runtime.
    pub async fn reload_files(&self) {
        self.reload.notify_one();
        self.store.reopen_access_log().await;
        match self.store.refresh_files().await {
            Ok(()) => tracing::info!("certificates and keys read again"),
            Err(errors) => {
                tracing::error!(%errors, "certificate files refused, the old stay in use");
            }
        }
    }
}

/// Where the admin server finds the node; empty while it starts.
pub type Slot = Arc<OnceLock<Shown>>;

/// Adds the routes of a proxy.
#[must_use]
pub fn routes(routes: AdminRoutes, slot: &Slot) -> AdminRoutes {
    let node = |show: OfNode| {
        let slot = Arc::clone(slot);
        move |request| {
            let response = with_node(&slot, |shown| show(shown, &request));
            async { response }
        }
    };
    let document = |show: OfDocument| {
        let slot = Arc::clone(slot);
        move |request| {
            let response = with_document(&slot, |shown, current| show(shown, current, &request));
            async { response }
        }
    };
    let (get, post) = (Method::GET, Method::POST);
    let about = "the document in force, as it was written";
    let routes = routes.route(get.clone(), "/config", about, document(config));
    let about = "who serves what now";
    let routes = routes.route(get.clone(), "/services", about, document(services));
    let about = "certificates in use";
    let routes = routes.route(get.clone(), "/certificates", about, node(certificates));
    let about = "what this proxy is and does";
    let routes = routes.route(get.clone(), "/status", about, node(status));
    let about = "the last refusals";
    let routes = routes.route(get.clone(), "/decisions", about, node(latest_decisions));
    let about = "a refusal by its id";
    let routes = routes.route(get, "/decisions/*", about, node(one_decision));
    let about = "what would happen to a request";
    let routes = routes.route(post.clone(), "/explain", about, document(explained_request));
    let about = "what the response cache holds and did";
    let routes = routes.route(Method::GET, "/cache", about, node(cache::show));
    let about = "take answers out of the response cache, by url, prefix or tag";
    let routes = routes.route(post.clone(), "/cache/purge", about, node(cache::purge));
    let reloaded = Arc::clone(slot);
    routes.route(post, "/reload", "read files again, as SIGHUP", move |_| {
        let slot = Arc::clone(&reloaded);
        async move {
            let Some(shown) = slot.get() else {
                return starting();
            };
            shown.reload_files().await;
            answer(StatusCode::ACCEPTED, &object!({ "reloading": true }))
        }
    })
}

type OfNode = fn(&Shown, &Request<Bytes>) -> Response<Bytes>;
type OfDocument = fn(&Shown, &InForce, &Request<Bytes>) -> Response<Bytes>;

fn with_node(slot: &Slot, show: impl FnOnce(&Shown) -> Response<Bytes>) -> Response<Bytes> {
    slot.get().map_or_else(starting, show)
}

fn with_document(
    slot: &Slot,
    show: impl FnOnce(&Shown, &InForce) -> Response<Bytes>,
) -> Response<Bytes> {
    with_node(slot, |shown| match shown.store.current() {
        Some(current) => show(shown, &current),
        None => starting(),
    })
}

fn starting() -> Response<Bytes> {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "starting",
        "no configuration is in force yet",
    )
}

fn ok(value: &Value) -> Response<Bytes> {
    answer(StatusCode::OK, value)
}

fn config(_shown: &Shown, current: &InForce, _request: &Request<Bytes>) -> Response<Bytes> {
    let text = Bytes::copy_from_slice(current.candidate.text.as_bytes());
    let mut response = Response::new(text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
    if let Ok(label) = HeaderValue::from_str(&current.candidate.label) {
        headers.insert(REVISION_HEADER, label);
    }
    headers.insert(
        SINCE_HEADER,
        HeaderValue::from(json::unix_seconds(current.since)),
    );
    response
}

fn services(shown: &Shown, current: &InForce, _request: &Request<Bytes>) -> Response<Bytes> {
    ok(&json::services(shown, current))
}

fn status(shown: &Shown, _request: &Request<Bytes>) -> Response<Bytes> {
    ok(&json::status(shown))
}

fn certificates(shown: &Shown, _request: &Request<Bytes>) -> Response<Bytes> {
    ok(&json::certificates(shown))
}

fn latest_decisions(shown: &Shown, _request: &Request<Bytes>) -> Response<Bytes> {
    let latest = shown.engine.decisions().latest(DECISIONS_SHOWN);
    ok(&object!({ "decisions": latest.iter().map(json::decision).collect::<Vec<_>>() }))
}

fn one_decision(shown: &Shown, request: &Request<Bytes>) -> Response<Bytes> {
    let id = request.uri().path().rsplit('/').next().unwrap_or_default();
    match shown.engine.decisions().find(id) {
        Some(decision) => ok(&json::decision(&decision)),
        None => problem(
            StatusCode::NOT_FOUND,
            "no such decision",
            "this proxy did not make it, or has made too many since",
        ),
    }
}

fn explained_request(
    shown: &Shown,
    current: &InForce,
    request: &Request<Bytes>,
) -> Response<Bytes> {
    let bad = |detail: &str| problem(StatusCode::BAD_REQUEST, "cannot be explained", detail);
    let question: ExplainRequest = match serde_json::from_slice(request.body()) {
        Ok(question) => question,
        Err(error) => return bad(&error.to_string()),
    };
    let snapshot = &current.snapshot;
    let members = |id: ServiceId| {
        let service = snapshot.service(id);
        let shown = shown.memberships.show_one(service)?;
        Some(Arc::new(Members::compile(service, &shown, clock::now())))
    };
    match explain(snapshot, &question, members, clock::now()) {
        Ok(explanation) => match serde_json::to_value(&explanation) {
            Ok(value) => ok(&value),
            Err(error) => bad(&error.to_string()),
        },
        Err(fault) => bad(&fault.to_string()),
    }
}

const REVISION_HEADER: HeaderName = HeaderName::from_static("weir-revision");
const SINCE_HEADER: HeaderName = HeaderName::from_static("weir-since-unix");
/// Refusals listed at once.
const DECISIONS_SHOWN: usize = 100;
