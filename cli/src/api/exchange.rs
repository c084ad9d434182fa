//! One request and its answer: a connection of its own, bounded in size; the caller bounds the
//! time.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::url::ApiUrl;

/// Largest answer that is read, bytes: the largest document many times over.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the API answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum ExchangeError {
    /// The host does not resolve, or nobody listens.
    #[error("{}", connect_text(.0))]
    Connect(io::Error),
    /// The connection broke, or what answers does not speak HTTP.
    #[error("{}", http_text(.0))]
    Http(#[from] hyper::Error),
    /// The host cannot be the name in a certificate.
    #[error("{0}")]
    Name(#[from] InvalidDnsNameError),
    /// The other side's certificate is not trusted, or it does not speak TLS.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The answer is larger than anything that a control plane answers.
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
}

impl ExchangeError {
    /// What to look at.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Connect(_) => "; is it running? see --control-plane",
            Self::Http(_) | Self::Name(_) | Self::TooLarge => "; see --control-plane",
            Self::Tls(_) => "; see --ca",
        }
    }
}

/// The cause of such an error says more than the error.
fn http_text(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn connect_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

/// Sends a request and reads the whole answer.
pub(super) async fn exchange(
    url: &ApiUrl,
    tls: Option<Arc<ClientConfig>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, ExchangeError> {
    let tcp = TcpStream::connect((url.host.as_str(), url.port))
        .await
        .map_err(ExchangeError::Connect)?;
    match tls {
        None => over(tcp, request).await,
        Some(config) => {
            let name = ServerName::try_from(url.host.clone())?;
            let connector = TlsConnector::from(config);
            over(
                connector
                    .connect(name, tcp)
                    .await
                    .map_err(ExchangeError::Tls)?,
                request,
            )
            .await
        }
    }
}

async fn over<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (head, mut body) = sender.send_request(request).await?.into_parts();
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                if bytes.len() + data.len() > ANSWER_BYTES_MAX {
                    return Err(ExchangeError::TooLarge);
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: bytes.freeze(),
        })
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end with the answer's last byte; what it left to read is still there.
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}
