//! One call: connect, send, read the whole answer, all before one deadline and below one bound.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::error::Error;
use super::settings::{Authority, Settings};
use super::tls::Tls;

/// Largest answer: ten thousand instances with meta data stay below it.
pub(super) const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How much of a refusal's body an error repeats.
const REFUSAL_CHARS_MAX: usize = 300;
/// An agent that vanished without a word is noticed after 15 + 3 × 5 s instead of a whole wait.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-consul-token");
const INDEX_HEADER: HeaderName = HeaderName::from_static("x-consul-index");
/// All that may stand in a path segment as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Keys keep their slashes.
const KEY: &AsciiSet = &SEGMENT.remove(b'/');

/// The way to one agent.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) settings: Settings,
    authority: Authority,
    address: String,
    tls: Option<Tls>,
}

/// A call to make. `what` names the endpoint in errors.
#[derive(Debug)]
pub(super) struct Call {
    what: &'static str,
    method: Method,
    target: String,
    body: Bytes,
    timeout: Option<Duration>,
}

/// A whole answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) index: Option<u64>,
    pub(super) body: Bytes,
    what: &'static str,
    address: String,
}

impl Call {
    /// A GET of `/v1/<what>`, for which `what` must need no encoding.
    pub(super) fn get(what: &'static str) -> Self {
        let target = format!("/v1/{what}");
        Call {
            what,
            method: Method::GET,
            target,
            body: Bytes::new(),
            timeout: None,
        }
    }

    /// A PUT, as [`Call::get`].
    pub(super) fn put(what: &'static str, body: impl Into<Bytes>) -> Self {
        Call {
            method: Method::PUT,
            body: body.into(),
            ..Call::get(what)
        }
    }

    /// A DELETE, as [`Call::get`].
    pub(super) fn delete(what: &'static str) -> Self {
        Call {
            method: Method::DELETE,
            ..Call::get(what)
        }
    }

    /// Appends one path segment, slashes encoded.
    pub(super) fn segment(mut self, text: &str) -> Self {
        self.target.push('/');
        self.target.extend(utf8_percent_encode(text, SEGMENT));
        self
    }

    /// Appends a key or prefix of the store, slashes kept.
    pub(super) fn key(mut self, key: &str) -> Self {
        self.target.push('/');
        self.target.extend(utf8_percent_encode(key, KEY));
        self
    }

    /// Adds a parameter.
    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        self.flag(name);
        self.target.push('=');
        self.target.extend(utf8_percent_encode(value, SEGMENT));
        self
    }

    /// Adds a parameter when there is a value for it.
    pub(super) fn query_some(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds a parameter without a value.
    pub(super) fn with_flag(mut self, name: &str) -> Self {
        self.flag(name);
        self
    }

    /// Sets a deadline of its own.
    pub(super) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn flag(&mut self, name: &str) {
        self.target
            .push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
    }
}

impl Answer {
    /// The answer if it is a success, otherwise why not.
    pub(super) fn success(self) -> Result<Self, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        let text = String::from_utf8_lossy(&self.body);
        let body = text.trim().chars().take(REFUSAL_CHARS_MAX).collect();
        let (address, what) = (self.address, self.what);
        Err(Error::Status {
            address,
            what,
            code: self.status.as_u16(),
            body,
        })
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.undecodable(error.to_string()))
    }

    /// An error that says why this answer cannot be used.
    pub(super) fn undecodable(&self, problem: String) -> Error {
        Error::Decode {
            address: self.address.clone(),
            what: self.what,
            problem,
        }
    }
}

impl Transport {
    pub(super) fn new(settings: Settings) -> Result<Self, Error> {
        let authority = Authority::parse(&settings.address)?;
        let tls = match authority.tls {
            true => Some(Tls::new(&settings, &authority)?),
            false => None,
        };
        Ok(Transport {
            address: authority.to_string(),
            settings,
            authority,
            tls,
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Makes the call and reads its whole answer.
    pub(super) async fn call(&self, call: Call) -> Result<Answer, Error> {
        let (what, after) = (
            call.what,
            call.timeout.unwrap_or(self.settings.call_timeout),
        );
        match tokio::time::timeout(after, self.attempt(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Timeout {
                address: self.address.clone(),
                what,
                after,
            }),
        }
    }

    /// Makes the call; anything but success is an error.
    pub(super) async fn succeed(&self, call: Call) -> Result<Answer, Error> {
        self.call(call).await?.success()
    }

    async fn attempt(&self, call: Call) -> Result<Answer, Error> {
        let what = call.what;
        let request = self.request(call).await?;
        let unreachable = |source| Error::Unreachable {
            address: self.address.clone(),
            source,
        };
        let stream = TcpStream::connect((self.authority.host.as_str(), self.authority.port))
            .await
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        socket2::SockRef::from(&stream)
            .set_tcp_keepalive(&keepalive)
            .map_err(unreachable)?;
        match &self.tls {
            None => self.exchange(stream, request, what).await,
            Some(tls) => {
                let name = tls.server_name.clone();
                let stream = tls
                    .connector
                    .connect(name, stream)
                    .await
                    .map_err(unreachable)?;
                self.exchange(stream, request, what).await
            }
        }
    }

    async fn request(&self, call: Call) -> Result<http::Request<Full<Bytes>>, Error> {
        let unsendable = |problem: http::Error| Error::Decode {
            address: self.address.clone(),
            what: call.what,
            problem: format!("the request cannot be built: {problem}"),
        };
        // What follows the scheme is what Host wants.
        let host = self
            .address
            .split_once("://")
            .map_or("", |(_, authority)| authority);
        let mut request = http::Request::builder()
            .method(call.method)
            .uri(call.target)
            .header(HOST, host)
            .header(USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")));
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.settings.token {
            let text = token.read().await?;
            let mut value = HeaderValue::try_from(text).map_err(|_| Error::Setting {
                variable: "CONSUL_HTTP_TOKEN",
                problem: "must be printable text".to_owned(),
            })?;
            value.set_sensitive(true);
            request = request.header(TOKEN_HEADER, value);
        }
        request.body(Full::new(call.body)).map_err(unsendable)
    }

    async fn exchange<S>(
        &self,
        stream: S,
        request: http::Request<Full<Bytes>>,
        what: &'static str,
    ) -> Result<Answer, Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let broken = |source| Error::Broken {
            address: self.address.clone(),
            source,
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let mut work = pin!(async {
            let response = sender.send_request(request).await.map_err(broken)?;
            self.whole(response, what).await
        });
        // The connection is driven here and not in a task, so that dropping the call closes it.
        tokio::select! {
            answer = &mut work => answer,
            _ended = connection => work.await,
        }
    }

    async fn whole(
        &self,
        response: http::Response<hyper::body::Incoming>,
        what: &'static str,
    ) -> Result<Answer, Error> {
        let (head, mut body) = response.into_parts();
        let index = head.headers.get(INDEX_HEADER);
        let index = index.and_then(|value| value.to_str().ok()?.parse().ok());
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let broken = |source| Error::Broken {
                address: self.address.clone(),
                source,
            };
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > BODY_BYTES_MAX {
                let (address, bytes_max) = (self.address.clone(), BODY_BYTES_MAX);
                return Err(Error::TooLarge {
                    address,
                    what,
                    bytes_max,
                });
            }
            bytes.extend_from_slice(&data);
        }
        let address = self.address.clone();
        Ok(Answer {
            status: head.status,
            index,
            body: bytes.freeze(),
            what,
            address,
        })
    }
}

#[cfg(test)]
mod tests;
