//! What to load, with what, for how long: the arguments after reading, with nothing left to refuse.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use crate::load::expectation::Expectation;

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Spoken on the connections.
    pub protocol: Protocol,
    /// Where they go.
    pub target: SocketAddr,
    /// TLS on them.
    pub tls: Option<Tls>,
    /// How many.
    pub connections: usize,
    /// Requests at a time on each; more than one in HTTP/2 alone.
    pub streams: usize,
    /// What is sent in turn; never empty.
    pub requests: Vec<Request>,
    /// What must come back.
    pub expectation: Expectation,
    /// How connections are used.
    pub usage: Usage,
    /// Requests per second over all connections; none: as fast as answers come.
    pub rate: Option<f64>,
    /// Before anything counts.
    pub warm_up: Duration,
    /// That counts.
    pub duration: Duration,
    /// For one request, a new connection's opening included.
    pub timeout: Duration,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; `is_grpc`: and a unary call of gRPC in it.
    Http2 {
        /// The status is in the trailers.
        is_grpc: bool,
    },
    /// Messages that are echoed, after an HTTP/1.1 upgrade.
    WebSocket,
}

/// How connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// One request each, then held open.
    Idle,
    /// Again and again.
    KeepAlive,
    /// For one request.
    New,
}

/// How TLS is spoken: version 1.3, X25519 and AES-128-GCM alone, so that every server does the same
/// work; without resumption, and no tickets are kept.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For every connection.
    pub config: Arc<ClientConfig>,
    /// Asked for and verified.
    pub name: ServerName<'static>,
}

/// A request, encoded as far as the protocol lets it be.
#[derive(Clone, Debug)]
pub enum Request {
    /// Head and body, or a WebSocket's upgrade.
    Bytes(Bytes),
    /// Fields and body.
    Http2(http::Request<()>, Bytes),
    /// An upgrade's head, and the message to send again and again.
    Message {
        /// The head.
        upgrade: Bytes,
        /// A whole masked frame.
        frame: Bytes,
    },
}
