//! A light proxy: enrols, follows the control plane's stream, answers revisions and reports its
//! instance as a sidecar does, and runs nothing. A thousand of them fit in one process.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{Method, Request};
use rustls::ClientConfig;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsConnector;
use weir_identity::{
    Expect, Identity, JoinToken, KeyRequest, TrustBundle, join_client_config, mesh_client_config,
    mesh_server_name,
};
use weir_protocol::{
    Ack, IssueRequest, IssueResponse, Membership, NodeHello, NodeReport, PING_INTERVAL, Role,
    Update, paths,
};

/// Where nodes connect, and with what.
#[derive(Debug, Clone)]
pub struct Mesh {
    /// The control plane's mesh port.
    pub address: SocketAddr,
    /// What the first certificate is asked for with.
    pub token: Arc<JoinToken>,
}

/// What a node has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The endpoints of a service.
    Membership {
        /// Its name.
        service: String,
        /// How many of them are healthy.
        healthy: usize,
    },
    /// A revision, answered since.
    Revision(u64),
    /// The stream ended.
    Ended(String),
}

/// One thing that a node has seen.
#[derive(Debug, Clone)]
pub struct Event {
    /// Which node.
    pub node: usize,
    /// What.
    pub seen: Seen,
    /// When the line was complete.
    pub at: Instant,
}

/// A node that follows the stream until this is dropped.
#[derive(Debug)]
pub struct Node {
    /// Whether its application answers: what it reports.
    pub healthy: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What all nodes have received on their streams.
#[derive(Debug, Default)]
pub struct Received {
    /// Bytes, before TLS.
    pub bytes: AtomicU64,
    /// Lines that are memberships.
    pub memberships: AtomicU64,
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Enrols a sidecar of this service and begins to follow.
///
/// # Errors
/// The control plane refuses, or is not there.
pub async fn join(
    mesh: &Mesh,
    index: usize,
    service: &str,
    events: mpsc::UnboundedSender<Event>,
    received: Arc<Received>,
) -> Result<Node, Fault> {
    let name = format!("scale-{index}");
    let identity = enrol(mesh, &name, service).await?;
    let config = mesh_client_config(&identity, Expect::ControlPlane, ALPN)?;
    let mut link = Link::open(mesh.address, config).await?;
    let hello = NodeHello {
        node: name.clone(),
        role: Role::Sidecar,
        service: Some(service.to_owned()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        running: 0,
        takes_changes: true,
    };
    let stream = link.post(paths::STREAM, &hello, None).await?;
    let (healthy, health) = watch::channel(true);
    let mut follower = Follower {
        index,
        name,
        link,
        health,
        events,
        received,
        buffer: Vec::new(),
        known: HashMap::new(),
    };
    let task = tokio::spawn(async move {
        let ended = match follower.follow(stream).await {
            Ok(()) => "it was ended".to_owned(),
            Err(fault) => fault.to_string(),
        };
        follower.tell(Seen::Ended(ended));
    });
    Ok(Node { healthy, task })
}

async fn enrol(mesh: &Mesh, name: &str, service: &str) -> Result<Identity, Fault> {
    let request = KeyRequest::new()?;
    let asked = IssueRequest {
        csr_pem: request.csr_pem().to_owned(),
        node: name.to_owned(),
        role: Role::Sidecar,
        service: Some(service.to_owned()),
    };
    let mut link = Link::open(mesh.address, join_client_config(&mesh.token, ALPN)?).await?;
    let bearer = mesh.token.bearer();
    let answer = link.post(paths::ISSUE, &asked, Some(&bearer)).await?;
    let issued: IssueResponse = serde_json::from_slice(&whole(answer).await?)?;
    let bundle = TrustBundle::from_pem(&issued.bundle_pem)?;
    Ok(Identity::new(
        request.into_current(&issued.chain_pem, bundle)?,
    ))
}

struct Follower {
    index: usize,
    name: String,
    link: Link,
    health: watch::Receiver<bool>,
    events: mpsc::UnboundedSender<Event>,
    received: Arc<Received>,
    buffer: Vec<u8>,
    /// By service.
    known: HashMap<String, Membership>,
}

impl Follower {
    async fn follow(&mut self, mut stream: RecvStream) -> Result<(), Fault> {
        let mut report = interval(PING_INTERVAL);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                data = stream.data() => {
                    let Some(data) = data else { return Ok(()) };
                    let data = data?;
                    stream.flow_control().release_capacity(data.len())?;
                    let length = data.len() as u64;
                    self.received.bytes.fetch_add(length, Relaxed);
                    self.take(&data).await?;
                }
                _ = report.tick() => self.report().await?,
                changed = self.health.changed() => {
                    changed?;
                    self.report().await?;
                }
            }
        }
    }

    async fn take(&mut self, data: &[u8]) -> Result<(), Fault> {
        self.buffer.extend_from_slice(data);
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            match serde_json::from_slice(&line)? {
                Update::Bundle { .. } | Update::Ping => {}
                Update::Membership(membership) => {
                    self.received.memberships.fetch_add(1, Relaxed);
                    self.learn(membership);
                }
                Update::MembershipChange(change) => {
                    self.received.memberships.fetch_add(1, Relaxed);
                    let service = change.service.clone();
                    let before = self.known.remove(&service);
                    let before = before.map(|known| known.endpoints).unwrap_or_default();
                    let endpoints = change.applied(&before).ok_or("a change does not fit")?;
                    self.learn(Membership { service, endpoints });
                }
                Update::Revision(revision) => {
                    self.tell(Seen::Revision(revision.number));
                    let ack = Ack {
                        node: self.name.clone(),
                        number: revision.number,
                        errors: Vec::new(),
                    };
                    let answer = self.link.post(paths::ACK, &ack, None).await?;
                    whole(answer).await?;
                }
            }
        }
        Ok(())
    }

    fn learn(&mut self, membership: Membership) {
        let endpoints = membership.endpoints.iter();
        let healthy = endpoints.filter(|it| it.healthy).count();
        let service = membership.service.clone();
        self.known.insert(service.clone(), membership);
        self.tell(Seen::Membership { service, healthy });
    }

    async fn report(&mut self) -> Result<(), Fault> {
        let report = NodeReport {
            node: self.name.clone(),
            // Nobody connects there; each instance has an address of its own.
            address: format!("127.{}.{}.1:15443", 1 + self.index / 250, self.index % 250),
            healthy: *self.health.borrow_and_update(),
            leaving: false,
            labels: Default::default(),
        };
        let answer = self.link.post(paths::REPORT, &report, None).await?;
        whole(answer).await?;
        Ok(())
    }

    fn tell(&self, seen: Seen) {
        let (node, at) = (self.index, Instant::now());
        // Nobody listens once the measurement is over.
        let _ = self.events.send(Event { node, seen, at });
    }
}

/// One HTTP/2 connection over TLS.
struct Link {
    sender: SendRequest<Bytes>,
    authority: String,
    driver: tokio::task::AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    async fn open(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Link> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let tls = TlsConnector::from(config);
        let tls = tls.connect(mesh_server_name(), socket).await?;
        let (sender, connection) = h2::client::Builder::new()
            // As much as the proxies allow.
            .initial_window_size(2 * 1024 * 1024)
            .initial_connection_window_size(5 * 1024 * 1024)
            .handshake(tls)
            .await
            .map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Link {
            sender,
            authority: address.to_string(),
            driver: driver.abort_handle(),
        })
    }

    /// Sends a body and gives the body of the answer.
    async fn post<T: Serialize>(
        &mut self,
        path: &str,
        body: &T,
        bearer: Option<&str>,
    ) -> Result<RecvStream, Fault> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("https://{}{path}", self.authority))
            .header("content-type", "application/json");
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let sender = self.sender.clone().ready().await?;
        self.sender = sender;
        let (answer, mut sent) = self.sender.send_request(request.body(())?, false)?;
        sent.send_data(Bytes::from(serde_json::to_vec(body)?), true)?;
        let answer = answer.await?;
        if !answer.status().is_success() {
            let status = answer.status();
            let said = whole(answer.into_body()).await?;
            return Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&said)).into());
        }
        Ok(answer.into_body())
    }
}

async fn whole(mut body: RecvStream) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                body.flow_control().release_capacity(data.len())?;
                bytes.extend_from_slice(&data);
            }
            // Everything was said already.
            Err(error) if error.reason() == Some(Reason::NO_ERROR) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

const ALPN: &[&[u8]] = &[b"h2"];
