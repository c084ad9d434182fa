//! A plain HTTP client that hides nothing: one connection per request, or one that the test holds.
//!
//! No pool, no retry, no redirect: what the proxy does to a connection must be visible. Every
//! operation has a deadline.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::authority::Identity;

mod connection;
pub mod frames;
mod raw;
mod trust;

pub use connection::Connection;
pub use raw::{Ending, Raw, raw};
pub use trust::Trust;

/// The protocol to speak: in clear text by prior knowledge, over TLS by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// How to reach servers. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    protocol: Protocol,
    trust: Trust,
    identity: Option<Identity>,
    deadline: Duration,
    connect_to: Option<SocketAddr>,
}

impl Client {
    /// HTTP/1.1, any certificate accepted, 10 s for each request.
    #[must_use]
    pub fn http1() -> Self {
        Self {
            protocol: Protocol::Http1,
            trust: Trust::Anybody,
            identity: None,
            deadline: Duration::from_secs(10),
            connect_to: None,
        }
    }

    /// As [`Client::http1`], in HTTP/2.
    #[must_use]
    pub fn http2() -> Self {
        Self {
            protocol: Protocol::Http2,
            ..Self::http1()
        }
    }

    /// Whose certificates to accept.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// The client certificate to show.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The time that a whole request may take, connecting and body included.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Connects there, whatever the URL says; the URL still gives SNI and Host.
    #[must_use]
    pub fn connect_to(mut self, address: SocketAddr) -> Self {
        self.connect_to = Some(address);
        self
    }

    /// Opens a connection for `scheme://authority` of the URL.
    ///
    /// # Errors
    /// When connecting or a handshake fails, or takes longer than the deadline.
    pub async fn connect(&self, url: &str) -> Result<Connection, ClientError> {
        let uri = parse(url)?;
        within(self.deadline, "connecting", Connection::open(self, &uri)).await
    }

    /// GET, on a connection of its own.
    ///
    /// # Errors
    /// See [`Client::send`].
    pub async fn get(&self, url: &str) -> Result<Response, ClientError> {
        self.send(request(Method::GET, url, &[], Bytes::new())?)
            .await
    }

    /// GET with these headers, on a connection of its own.
    ///
    /// # Errors
    /// See [`Client::send`].
    pub async fn get_with(
        &self,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response, ClientError> {
        self.send(request(Method::GET, url, headers, Bytes::new())?)
            .await
    }

    /// POST with these headers and this body, on a connection of its own.
    ///
    /// # Errors
    /// See [`Client::send`].
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response, ClientError> {
        self.send(request(Method::POST, url, headers, body.into())?)
            .await
    }

    /// Sends a request with an absolute URI, on a connection of its own.
    ///
    /// # Errors
    /// When connecting, sending or receiving fails or the deadline passes.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response, ClientError> {
        within(self.deadline, "the request", async {
            let mut connection = Connection::open(self, request.uri()).await?;
            connection.send(request).await
        })
        .await
    }
}

/// A request with an absolute or origin-form URI.
///
/// # Errors
/// When the URL or a header is not one.
pub fn request(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Request<Bytes>, ClientError> {
    let mut builder = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body).map_err(ClientError::Request)
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The protocol version of the answer.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The trailers, when there were any.
    pub trailers: Option<HeaderMap>,
}

impl Response {
    /// The first value of a header, when it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as text, foreign bytes replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not, with the body.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {} {}", self.status, self.text()))
    }
}

impl fmt::Display for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:?} {}", self.version, self.status)?;
        for (name, value) in &self.headers {
            writeln!(
                formatter,
                "{name}: {}",
                String::from_utf8_lossy(value.as_bytes())
            )?;
        }
        write!(formatter, "\n{}", self.text())
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The answer broke off inside its body.
    #[error("the body broke off: {0}")]
    Body(#[source] hyper::Error),
    /// No TCP connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// It took too long.
    #[error("{0} took longer than the deadline")]
    Deadline(&'static str),
    /// The HTTP handshake failed.
    #[error("http handshake: {0}")]
    Handshake(#[source] hyper::Error),
    /// The test's own request cannot be built.
    #[error("not a request: {0}")]
    Request(#[source] http::Error),
    /// Nothing, or no valid head, came back.
    #[error("no answer: {0}")]
    Send(#[source] hyper::Error),
    /// The TLS handshake failed.
    #[error("tls handshake: {0}")]
    Tls(#[source] io::Error),
    /// The test's own URL has no host that can be resolved.
    #[error("not a usable url: {0:?}")]
    Url(String),
}

fn parse(url: &str) -> Result<Uri, ClientError> {
    url.parse().map_err(|_| ClientError::Url(url.to_owned()))
}

async fn within<T>(
    deadline: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or(Err(ClientError::Deadline(what)))
}
