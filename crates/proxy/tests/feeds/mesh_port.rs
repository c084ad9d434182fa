//! A control plane's mesh port that says what the test wants and remembers what it was told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use weir_config::endpoint::Endpoint;
use weir_identity::{
    Authority, ClientAuth, Identity, JoinToken, KeyRequest, SpiffeId, TrustDomain,
    mesh_server_config, peer_id,
};
use weir_protocol::{
    Ack, IssueRequest, IssueResponse, Membership, NodeHello, NodeReport, Revision, Role, Update,
    paths,
};
use weir_proxy::feed::file::digest_of;
use weir_testkit::ports::free_addr;

/// What lasts over restarts of the port.
pub struct Trust {
    pub authority: Authority,
    pub token: JoinToken,
    pub leaf_life: Duration,
}

impl Trust {
    pub fn new(leaf_life: Duration) -> Arc<Self> {
        let domain = TrustDomain::parse("weir.test").unwrap();
        let authority = Authority::create(&domain, SystemTime::now()).unwrap();
        let token = JoinToken::generate(authority.root_fingerprint()).unwrap();
        Arc::new(Self {
            authority,
            token,
            leaf_life,
        })
    }

    fn own_identity(&self) -> Identity {
        let id = SpiffeId::control_plane(self.authority.trust_domain());
        self.identity_of(&id)
    }

    /// An identity of this trust domain.
    pub fn identity_of(&self, id: &SpiffeId) -> Identity {
        let request = KeyRequest::new().unwrap();
        let life = Duration::from_secs(3600);
        let issued = self
            .authority
            .issue(request.csr_pem(), id, &[], life, SystemTime::now());
        let bundle = self.authority.bundle().unwrap();
        Identity::new(
            request
                .into_current(&issued.unwrap().chain_pem, bundle)
                .unwrap(),
        )
    }
}

/// What nodes said.
#[derive(Default)]
pub struct Heard {
    pub acks: Vec<Ack>,
    pub hellos: Vec<NodeHello>,
    pub reports: Vec<NodeReport>,
    /// Certificates issued: whether for the join token.
    pub issued: Vec<bool>,
}

#[derive(Default)]
struct State {
    heard: Heard,
    memberships: Vec<Membership>,
    revision: Option<Revision>,
    streams: Vec<mpsc::UnboundedSender<Bytes>>,
}

/// A running port. Dropping it cuts every connection.
pub struct MeshPort {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl MeshPort {
    pub fn start(trust: &Arc<Trust>) -> Self {
        Self::start_at(trust, free_addr())
    }

    pub fn start_at(trust: &Arc<Trust>, address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let alpn: &[&[u8]] = &[b"h2"];
        let config = mesh_server_config(&trust.own_identity(), ClientAuth::Optional, alpn).unwrap();
        let (trust, shared) = (Arc::clone(trust), Arc::clone(&state));
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let acceptor = TlsAcceptor::from(Arc::clone(&config));
                let (trust, shared) = (Arc::clone(&trust), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(socket).await else {
                        return;
                    };
                    let chain = tls.get_ref().1.peer_certificates();
                    let peer = chain.and_then(|chain| peer_id(chain).ok());
                    let service = service_fn(move |request| {
                        let (trust, shared, peer) =
                            (Arc::clone(&trust), Arc::clone(&shared), peer.clone());
                        async move {
                            let answer = answer(request, &trust, &shared, peer).await;
                            Ok::<_, Infallible>(answer)
                        }
                    });
                    let served = http2::Builder::new(TokioExecutor::new());
                    let _ = served.serve_connection(TokioIo::new(tls), service).await;
                });
            }
        });
        Self {
            address,
            state,
            runtime: Some(runtime),
        }
    }

    /// The revision that nodes are told, now and when they connect.
    pub fn set_revision(&self, number: u64, text: &str) {
        let revision = Revision {
            number,
            digest: digest_of(text),
            text: text.to_owned(),
        };
        self.state.lock().unwrap().revision = Some(revision.clone());
        self.tell(&Update::Revision(revision));
    }

    /// Who serves a service, now and when nodes connect.
    pub fn set_members(&self, service: &str, endpoints: Vec<Endpoint>) {
        let membership = Membership {
            service: service.to_owned(),
            endpoints,
        };
        let mut state = self.state.lock().unwrap();
        state.memberships.retain(|other| other.service != service);
        state.memberships.push(membership.clone());
        drop(state);
        self.tell(&Update::Membership(membership));
    }

    /// Looks at what nodes said.
    pub fn heard<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.state.lock().unwrap().heard)
    }

    /// Sends something else as a line.
    pub fn tell_text(&self, text: &str) {
        let line = Bytes::from(format!("{text}\n"));
        self.state
            .lock()
            .unwrap()
            .streams
            .retain(|stream| stream.send(line.clone()).is_ok());
    }

    /// Sends an update to the streams that are open.
    pub fn tell(&self, update: &Update) {
        self.tell_text(&serde_json::to_string(update).unwrap());
    }
}

impl Drop for MeshPort {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    trust: &Trust,
    shared: &Mutex<State>,
    peer: Option<SpiffeId>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut state = shared.lock().unwrap();
    match head.uri.path() {
        paths::ISSUE => {
            let asked: IssueRequest = serde_json::from_slice(&body).unwrap();
            let bearer = head
                .headers
                .get(AUTHORIZATION)
                .and_then(|value| value.to_str().ok());
            let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
            let by_token = bearer.is_some_and(|bearer| trust.token.accepts(bearer));
            if !by_token && peer.is_none() {
                return refused(StatusCode::UNAUTHORIZED, "who are you?");
            }
            state.heard.issued.push(by_token);
            json(&issue(trust, &asked))
        }
        paths::STREAM if peer.is_some() => stream_of(&mut state, &body),
        paths::ACK if peer.is_some() => {
            state
                .heard
                .acks
                .push(serde_json::from_slice(&body).unwrap());
            json(&())
        }
        paths::REPORT if peer.is_some() => {
            state
                .heard
                .reports
                .push(serde_json::from_slice(&body).unwrap());
            json(&())
        }
        _ => refused(StatusCode::NOT_FOUND, "not here"),
    }
}

fn issue(trust: &Trust, asked: &IssueRequest) -> IssueResponse {
    let domain = trust.authority.trust_domain();
    let id = match (asked.role, &asked.service) {
        (Role::Sidecar, Some(service)) => SpiffeId::service(domain, service).unwrap(),
        _ => SpiffeId::gateway(domain, &asked.node).unwrap(),
    };
    let now = SystemTime::now();
    let issued = trust
        .authority
        .issue(&asked.csr_pem, &id, &[], trust.leaf_life, now)
        .unwrap();
    IssueResponse {
        not_before_unix: 0,
        not_after_unix: issued.expires_unix(),
        chain_pem: issued.chain_pem,
        bundle_pem: trust.authority.root_pem(),
        spiffe_id: id.to_string(),
    }
}

fn stream_of(state: &mut State, hello: &[u8]) -> Response<Body> {
    let hello: NodeHello = serde_json::from_slice(hello).unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    let line = |update: &Update| Bytes::from(serde_json::to_string(update).unwrap() + "\n");
    for membership in &state.memberships {
        sender
            .send(line(&Update::Membership(membership.clone())))
            .unwrap();
    }
    let news = state
        .revision
        .clone()
        .filter(|revision| revision.number != hello.running);
    if let Some(revision) = news {
        sender.send(line(&Update::Revision(revision))).unwrap();
    }
    state.heard.hellos.push(hello);
    state.streams.push(sender);
    let frames = stream::unfold(receiver, |mut receiver| async move {
        let line = receiver.recv().await?;
        Some((Ok(Frame::data(line)), receiver))
    });
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn json<T: serde::Serialize>(value: &T) -> Response<Body> {
    Response::new(Full::from(serde_json::to_vec(value).unwrap()).boxed_unsync())
}

fn refused(status: StatusCode, detail: &str) -> Response<Body> {
    let mut response = json(&serde_json::json!({ "detail": detail }));
    *response.status_mut() = status;
    response
}
