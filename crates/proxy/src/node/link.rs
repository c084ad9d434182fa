//! The connection to the control plane's mesh port: one HTTP/2 connection over TLS, with a deadline
//! and a bound for everything.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use weir_identity::mesh_server_name;

/// The address of a control plane's mesh port: `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlaneUrl {
    /// `host:port`.
    authority: String,
}

impl ControlPlaneUrl {
    /// `host:port`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

/// A text is not the address of a control plane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the address of a control plane; write https://host:port")]
pub struct ControlPlaneUrlError {
    text: String,
}

impl FromStr for ControlPlaneUrl {
    type Err = ControlPlaneUrlError;

    /// Reads `https://host[:port]`; the port is 9902 unless told.
    fn from_str(text: &str) -> Result<Self, ControlPlaneUrlError> {
        let wrong = || ControlPlaneUrlError {
            text: text.to_owned(),
        };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let bare = uri.path_and_query().is_none_or(|rest| rest.as_str() == "/");
        let authority = uri.authority().ok_or_else(wrong)?;
        if uri.scheme_str() != Some("https") || !bare || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(MESH_PORT_DEFAULT);
        if authority.host().is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            authority: format!("{}:{port}", authority.host()),
        })
    }
}

impl fmt::Display for ControlPlaneUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority)
    }
}

/// Why the control plane did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there, or the way is cut.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port`.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The connection broke, or the other side does not speak HTTP/2.
    #[error("the connection to the control plane failed: {0}")]
    Http(#[from] hyper::Error),
    /// The answer is not what this path answers with: a neighbouring version, or not ours.
    #[error("the control plane's answer cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The control plane says no, and why.
    #[error("the control plane refuses with {status}: {detail}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its reason.
        detail: String,
    },
    /// A deadline passed.
    #[error("the control plane did not answer within {0:?}")]
    Timeout(Duration),
    /// TLS failed: another root, another identity, or our certificate is not accepted.
    #[error("TLS with the control plane failed: {0}")]
    Tls(#[source] io::Error),
    /// The answer is larger than any of ours.
    #[error("the control plane's answer is larger than {ANSWER_BYTES_MAX} bytes, or broke off")]
    TooLarge,
    /// A body of ours cannot be sent: a fault of Weir.
    #[error("the request cannot be written: {0}")]
    Unwritable(#[from] http::Error),
}

/// An open connection. Clones share it; it closes when the last is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    sender: http2::SendRequest<Full<Bytes>>,
    authority: Arc<str>,
    _driver: Arc<Driver>,
}

#[derive(Debug)]
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Connects, with everything done within [`CONNECT_TIMEOUT`]. `config` must offer `h2`.
    pub(crate) async fn open(
        url: &ControlPlaneUrl,
        config: Arc<ClientConfig>,
    ) -> Result<Self, CallError> {
        let opened = Self::open_untimed(url, config);
        timeout(CONNECT_TIMEOUT, opened)
            .await
            .map_err(|_| CallError::Timeout(CONNECT_TIMEOUT))?
    }

    async fn open_untimed(
        url: &ControlPlaneUrl,
        config: Arc<ClientConfig>,
    ) -> Result<Self, CallError> {
        let address = || url.authority.clone();
        let connect = |source| CallError::Connect {
            address: address(),
            source,
        };
        let socket = TcpStream::connect(&url.authority).await.map_err(connect)?;
        socket.set_nodelay(true).map_err(connect)?;
        let tls = TlsConnector::from(config);
        let tls = tls
            .connect(mesh_server_name(), socket)
            .await
            .map_err(CallError::Tls)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .handshake(TokioIo::new(tls))
            .await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the control plane ended");
            }
        });
        Ok(Self {
            sender,
            authority: url.authority.as_str().into(),
            _driver: Arc::new(Driver(driver.abort_handle())),
        })
    }

    /// Sends a body and waits for the head of the answer; one that is no success is an error.
    pub(crate) async fn post<T: Serialize>(
        &self,
        path: &str,
        body: &T,
        bearer: Option<&str>,
    ) -> Result<Response<Incoming>, CallError> {
        let body = Bytes::from(serde_json::to_vec(body)?);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("https://{}{path}", self.authority))
            .header(HOST, &*self.authority)
            .header(CONTENT_TYPE, "application/json");
        if let Some(bearer) = bearer {
            let mut value =
                HeaderValue::try_from(format!("Bearer {bearer}")).map_err(http::Error::from)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::new(body))?;
        let mut sender = self.sender.clone();
        let sent = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let response = timeout(CALL_TIMEOUT, sent)
            .await
            .map_err(|_| CallError::Timeout(CALL_TIMEOUT))??;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = collected(response.into_body()).await.unwrap_or_default();
        Err(CallError::Refused {
            status,
            detail: detail_of(&body),
        })
    }

    /// As [`Link::post`], for paths that answer with one JSON value.
    pub(crate) async fn call<T: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &T,
        bearer: Option<&str>,
    ) -> Result<A, CallError> {
        let response = self.post(path, body, bearer).await?;
        Ok(serde_json::from_slice(
            &collected(response.into_body()).await?,
        )?)
    }
}

async fn collected(body: Incoming) -> Result<Bytes, CallError> {
    let whole = Limited::new(body, ANSWER_BYTES_MAX).collect();
    let whole = timeout(CALL_TIMEOUT, whole)
        .await
        .map_err(|_| CallError::Timeout(CALL_TIMEOUT))?;
    whole
        .map(|body| body.to_bytes())
        .map_err(|_| CallError::TooLarge)
}

/// What a problem document says, or the beginning of whatever came instead.
fn detail_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Problem {
        detail: String,
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => problem.detail,
        Err(_) => String::from_utf8_lossy(body).chars().take(200).collect(),
    }
}

/// ALPN for every connection to the mesh port.
pub(crate) const ALPN: &[&[u8]] = &[b"h2"];

const MESH_PORT_DEFAULT: u16 = 9902;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For one question and its answer; a stream's lines have their own.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer to a single call: a certificate chain and a bundle.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn addresses_are_https_without_a_path() {
        let shown = |text: &str| text.parse::<ControlPlaneUrl>().map(|url| url.to_string());
        assert_eq!(
            shown("https://127.0.0.1:19902").unwrap(),
            "https://127.0.0.1:19902"
        );
        assert_eq!(
            shown("https://weir.internal/").unwrap(),
            "https://weir.internal:9902"
        );
        assert_eq!(shown("https://[::1]:1").unwrap(), "https://[::1]:1");
        for wrong in [
            "",
            "weir:9902",
            "http://weir:9902",
            "https://weir/x",
            "https://a@b",
            "https://",
        ] {
            assert!(
                shown(wrong)
                    .unwrap_err()
                    .to_string()
                    .contains("https://host:port"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_reason_of_a_refusal_is_found_and_bounded() {
        assert_eq!(detail_of(br#"{"detail":"no","status":401}"#), "no");
        assert_eq!(detail_of(&[b'x'; 1000]).len(), 200);
    }
}
