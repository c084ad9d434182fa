//! The mesh port: TLS with the control plane's own certificate; certificates for nodes, their
//! streams and answers, and the admission webhook.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use weir_config::bounds::{LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX};
use weir_identity::{ClientAuth, SpiffeId, mesh_server_config, peer_id};
use weir_protocol::{Ack, IssueRequest, NodeHello, NodeReport, paths};

use crate::inject::review::{AdmissionReview, answer};
use crate::json_body::JsonBody;
use crate::nodes::AdmitError;
use crate::problem::Problem;
use crate::state::State;
use crate::stream::updates;
use crate::trust::TrustError;

/// Path of the admission webhook.
pub const INJECT: &str = "/inject";
/// Largest body: an admission review carries a whole pod.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most connections at once: every node has a stream and opens a second one for answers.
const CONNECTIONS_MAX: usize = 2 * crate::nodes::NODES_MAX + 1000;
/// Most labels of an instance: they go to every node, and into Consul's metadata, which takes 64.
const LABELS_MAX: usize = 60;
/// How long TLS may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's head may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Who the other side is, where it showed a certificate.
#[derive(Debug, Clone)]
struct Peer(Option<SpiffeId>);

/// Serves until `ending`.
pub async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    mut ending: watch::Receiver<bool>,
) -> Result<(), weir_identity::TlsConfigError> {
    let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
    let config = mesh_server_config(state.trust.identity(), ClientAuth::Optional, alpn)?;
    let acceptor = TlsAcceptor::from(config);
    let router = router(state);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            _ = ending.wait_for(|ending| *ending) => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else {
            // Out of descriptors, most likely: leave the others time to end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            connection(socket, acceptor, router).await;
            drop(place);
        });
    }
}

async fn connection(socket: TcpStream, acceptor: TlsAcceptor, router: Router) {
    let _ = socket.set_nodelay(true);
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket));
    let tls = match handshake.await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return tracing::debug!(%error, "mesh port: handshake failed"),
        Err(_) => return tracing::debug!("mesh port: handshake took too long"),
    };
    let chain = tls.get_ref().1.peer_certificates();
    // The verifier has accepted the chain; one that names nobody was refused there.
    let peer = Peer(chain.and_then(|chain| peer_id(chain).ok()));
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100);
    if let Err(error) = builder.serve_connection(TokioIo::new(tls), service).await {
        tracing::debug!(error, "mesh port: connection ended");
    }
}

fn router(state: Arc<State>) -> Router {
    Router::new()
        .route(paths::ISSUE, post(issue))
        .route(paths::STREAM, post(stream))
        .route(paths::ACK, post(acknowledge))
        .route(paths::REPORT, post(report))
        .route(INJECT, post(inject))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(state)
}

async fn issue(
    Shared(state): Shared<Arc<State>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<IssueRequest>,
) -> Result<Response, Problem> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let issued = state
        .trust
        .issue(&request, bearer, peer.as_ref(), SystemTime::now());
    match issued {
        Ok(response) => {
            state.metrics.issued(request.role);
            tracing::info!(
                node = request.node,
                identity = response.spiffe_id,
                "certificate issued"
            );
            Ok(Json(response).into_response())
        }
        Err(error) => {
            tracing::warn!(node = request.node, %error, "certificate refused");
            Err(trust_problem(&error))
        }
    }
}

fn trust_problem(error: &TrustError) -> Problem {
    let title = "No certificate is issued";
    let (status, code) = match error {
        TrustError::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
        TrustError::NotYours { .. } => (StatusCode::FORBIDDEN, "not-yours"),
        TrustError::File { .. } | TrustError::Identity(_) | TrustError::JoinToken(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
        TrustError::Authority(_)
        | TrustError::Name(_)
        | TrustError::NoService
        | TrustError::Request(_) => (StatusCode::BAD_REQUEST, "bad-request"),
    };
    Problem::new(status, code, title, error.to_string())
}

async fn stream(
    Shared(state): Shared<Arc<State>>,
    Extension(Peer(peer)): Extension<Peer>,
    JsonBody(hello): JsonBody<NodeHello>,
) -> Result<Response, Problem> {
    let peer = peer.ok_or_else(no_certificate)?;
    let id = state
        .trust
        .id_of(hello.role, &hello.node, hello.service.as_deref());
    match id {
        Ok(id) if id == peer => {}
        Ok(id) => {
            let (holder, asked) = (peer.to_string(), id.to_string());
            return Err(trust_problem(&TrustError::NotYours { holder, asked }));
        }
        Err(error) => return Err(trust_problem(&error)),
    }
    let presence = state
        .nodes
        .connect(&hello, peer.as_str(), crate::unix_now())
        .map_err(|error| {
            let status = match error {
                AdmitError::BadId => StatusCode::BAD_REQUEST,
                AdmitError::Full => StatusCode::SERVICE_UNAVAILABLE,
                AdmitError::Taken => StatusCode::CONFLICT,
            };
            Problem::new(
                status,
                "not-admitted",
                "The node is not let in",
                error.to_string(),
            )
        })?;
    tracing::info!(node = hello.node, running = hello.running, "node connected");
    let body = Body::from_stream(updates(state.sources(), &hello, presence));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

async fn acknowledge(
    Shared(state): Shared<Arc<State>>,
    Extension(Peer(peer)): Extension<Peer>,
    JsonBody(ack): JsonBody<Ack>,
) -> Result<StatusCode, Problem> {
    let peer = peer.ok_or_else(no_certificate)?;
    state.metrics.answered(ack.errors.is_empty());
    if !ack.errors.is_empty() {
        let first = ack.errors.first().map(ToString::to_string);
        tracing::warn!(
            node = ack.node,
            number = ack.number,
            first,
            "node refused a revision"
        );
    }
    if state.nodes.acknowledge(ack, peer.as_str()) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(unknown_node())
    }
}

async fn report(
    Shared(state): Shared<Arc<State>>,
    Extension(Peer(peer)): Extension<Peer>,
    JsonBody(report): JsonBody<NodeReport>,
) -> Result<StatusCode, Problem> {
    let peer = peer.ok_or_else(no_certificate)?;
    if report.labels.len() > LABELS_MAX {
        let detail = format!("at most {LABELS_MAX} labels, not {}", report.labels.len());
        return Err(Problem::bad_request(detail));
    }
    let too_long = |(name, value): (&String, &String)| {
        name.len() > LABEL_NAME_BYTES_MAX || value.len() > LABEL_VALUE_BYTES_MAX
    };
    if let Some((name, _)) = report.labels.iter().find(|label| too_long(*label)) {
        let name: String = name.chars().take(LABEL_NAME_BYTES_MAX).collect();
        return Err(Problem::bad_request(format!(
            "the label {name:?} is too long"
        )));
    }
    if state.nodes.report(report, peer.as_str()) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(unknown_node())
    }
}

async fn inject(
    Shared(state): Shared<Arc<State>>,
    JsonBody(review): JsonBody<AdmissionReview>,
) -> Json<Value> {
    Json(answer(&review, &state.inject))
}

fn no_certificate() -> Problem {
    let detail = "this path wants a client certificate of the mesh";
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "No certificate",
        detail,
    )
}

fn unknown_node() -> Problem {
    let detail = "no stream of this node with this identity is open";
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown-node",
        "The node is not known",
        detail,
    )
}
