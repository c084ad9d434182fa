//! A small HTTP client for key sets: one GET per connection, no redirects, bounded in size and
//! time; `https` with the system's roots, `http` on loopback only.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use weir_identity::{TlsConfigError, UpstreamTrust, upstream_client_config};
use weir_policy::auth::JWKS_BYTES_MAX;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// Clear text beyond this machine: somebody on the way could put in keys of their own.
    #[error("http is for loopback addresses only; use https")]
    ClearText,
    /// TCP or TLS failed.
    #[error("cannot connect to {host}: {source}")]
    Connect { host: String, source: io::Error },
    /// HTTP failed.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// No answer in time.
    #[error("no answer within {FETCH_TIMEOUT:?}")]
    Timeout,
    /// The TLS configuration cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// The answer is too large, or broke off.
    #[error("the answer is larger than {JWKS_BYTES_MAX} bytes, or broke off")]
    TooLarge,
    /// The URL cannot be asked.
    #[error("{url:?} is not a URL that can be asked")]
    Url { url: String },
}

/// The client. Clones share its TLS configuration, which is made when first needed: reading the
/// system's roots takes a while.
#[derive(Clone, Debug)]
pub(super) struct HttpClient {
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl HttpClient {
    pub(super) fn new() -> Self {
        Self {
            tls: Arc::default(),
        }
    }

    /// Asks once.
    pub(super) async fn get(&self, url: &str) -> Result<Response<Bytes>, FetchError> {
        timeout(FETCH_TIMEOUT, self.ask(url))
            .await
            .map_err(|_| FetchError::Timeout)?
    }

    async fn ask(&self, url: &str) -> Result<Response<Bytes>, FetchError> {
        let wrong = || FetchError::Url {
            url: url.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?.clone();
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(&host) => false,
            Some("http") => return Err(FetchError::ClearText),
            _ => return Err(wrong()),
        };
        let port = authority
            .port_u16()
            .unwrap_or(if secure { 443 } else { 80 });
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let request = Request::get(target)
            .header(HOST, authority.as_str())
            .header(ACCEPT, "application/json")
            .header(CONNECTION, "close")
            .header(USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|_| wrong())?;

        let failed = |source| FetchError::Connect {
            host: host.clone(),
            source,
        };
        let socket = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(failed)?;
        if !secure {
            return exchange(socket, request).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
        let tls = TlsConnector::from(self.tls()?)
            .connect(name, socket)
            .await
            .map_err(failed)?;
        exchange(tls, request).await
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, FetchError> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let config = upstream_client_config(&UpstreamTrust::System, None, &[b"http/1.1"])?;
        Ok(Arc::clone(self.tls.get_or_init(|| config)))
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Bytes>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answered = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, JWKS_BYTES_MAX).collect().await;
        let body = body.map_err(|_| FetchError::TooLarge)?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    let mut answered = std::pin::pin!(answered);
    let mut connection = std::pin::pin!(connection);
    // The connection moves only while it is driven; its end before the answer is in the answer.
    tokio::select! {
        answer = &mut answered => answer,
        _ended = &mut connection => answered.await,
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Connecting, TLS, head and body.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn clear_text_beyond_this_machine_is_refused() {
        let client = HttpClient::new();
        let error = client.get("http://id.example/jwks.json").await.unwrap_err();
        assert!(matches!(error, FetchError::ClearText), "{error}");
        assert!(is_loopback("127.0.0.1") && is_loopback("::1") && is_loopback("LOCALHOST"));
        assert!(!is_loopback("10.0.0.1") && !is_loopback("localhost.example"));
        for odd in ["", "ftp://127.0.0.1/", "/jwks.json"] {
            assert!(
                matches!(client.get(odd).await, Err(FetchError::Url { .. })),
                "{odd}"
            );
        }
    }
}
