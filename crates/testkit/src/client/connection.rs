//! One connection that the test holds: requests in a row, and whether the other side closed it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::{Client, ClientError, Protocol, Response, request, within};

/// An open connection. Dropping it closes it.
pub struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
    deadline: Duration,
    scheme: Scheme,
    authority: String,
    local: SocketAddr,
    certificates: Vec<CertificateDer<'static>>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(super) async fn open(client: &Client, uri: &Uri) -> Result<Self, ClientError> {
        let not_usable = || ClientError::Url(uri.to_string());
        let authority = uri.authority().ok_or_else(not_usable)?;
        let scheme = uri.scheme().cloned().unwrap_or(Scheme::HTTP);
        let is_tls = scheme == Scheme::HTTPS;
        let address = match client.connect_to {
            Some(address) => address,
            None => {
                let port = authority
                    .port_u16()
                    .unwrap_or(if is_tls { 443 } else { 80 });
                let host = uri.host().ok_or_else(not_usable)?.trim_matches(['[', ']']);
                let mut found = lookup_host((host, port))
                    .await
                    .map_err(ClientError::Connect)?;
                found.next().ok_or_else(not_usable)?
            }
        };
        let stream = TcpStream::connect(address)
            .await
            .map_err(ClientError::Connect)?;
        stream.set_nodelay(true).map_err(ClientError::Connect)?;
        let local = stream.local_addr().map_err(ClientError::Connect)?;

        let (sender, driver, certificates) = if is_tls {
            let alpn: &[u8] = if client.protocol == Protocol::Http2 {
                b"h2"
            } else {
                b"http/1.1"
            };
            let config = client.trust.client_config(client.identity.as_ref(), alpn);
            let host = uri
                .host()
                .ok_or_else(not_usable)?
                .trim_matches(['[', ']'])
                .to_owned();
            let name = ServerName::try_from(host).map_err(|_| not_usable())?;
            let connector = TlsConnector::from(Arc::new(config));
            let stream = connector
                .connect(name, stream)
                .await
                .map_err(ClientError::Tls)?;
            let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let certificates = shown.to_vec();
            let (sender, driver) = handshake(client.protocol, stream).await?;
            (sender, driver, certificates)
        } else {
            let (sender, driver) = handshake(client.protocol, stream).await?;
            (sender, driver, Vec::new())
        };
        Ok(Self {
            sender,
            driver,
            deadline: client.deadline,
            scheme,
            authority: authority.to_string(),
            local,
            certificates,
        })
    }

    /// GET of a path on this connection.
    ///
    /// # Errors
    /// See [`Connection::send`].
    pub async fn get(&mut self, path: &str) -> Result<Response, ClientError> {
        self.send(request(Method::GET, path, &[], Bytes::new())?)
            .await
    }

    /// Sends a request and receives the whole answer. Scheme, authority and Host are filled in
    /// when the request has none.
    ///
    /// # Errors
    /// When the connection ends first or the deadline passes.
    pub async fn send(&mut self, request: Request<Bytes>) -> Result<Response, ClientError> {
        within(self.deadline, "the request", async {
            let (head, body) = self.start(request).await?.into_parts();
            let collected = body.collect().await.map_err(ClientError::Body)?;
            let trailers = collected.trailers().cloned();
            Ok(Response {
                status: head.status,
                version: head.version,
                headers: head.headers,
                body: collected.to_bytes(),
                trailers,
            })
        })
        .await
    }

    /// Sends a request and returns as soon as the head of the answer is there, without a deadline.
    /// An upgraded connection comes out of `hyper::upgrade::on` the response.
    ///
    /// # Errors
    /// When the connection ends first.
    pub async fn start(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<http::Response<Incoming>, ClientError> {
        let (mut head, body) = request.into_parts();
        let path = head
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        let body = Full::new(body);
        match &mut self.sender {
            Sender::Http1(sender) => {
                if !head.headers.contains_key(header::HOST) {
                    let authority = head.uri.authority().map(|given| given.as_str());
                    let host = authority.unwrap_or(&self.authority);
                    let value = HeaderValue::from_str(host)
                        .map_err(|error| ClientError::Request(error.into()))?;
                    head.headers.insert(header::HOST, value);
                }
                head.uri = path.parse().map_err(|_| ClientError::Url(path))?;
                sender.ready().await.map_err(ClientError::Send)?;
                let request = Request::from_parts(head, body);
                sender
                    .send_request(request)
                    .await
                    .map_err(ClientError::Send)
            }
            Sender::Http2(sender) => {
                if head.uri.authority().is_none() {
                    let text = format!("{}://{}{path}", self.scheme, self.authority);
                    head.uri = text.parse().map_err(|_| ClientError::Url(text))?;
                }
                sender.ready().await.map_err(ClientError::Send)?;
                let request = Request::from_parts(head, body);
                sender
                    .send_request(request)
                    .await
                    .map_err(ClientError::Send)
            }
        }
    }

    /// Whether the other side has closed it (or said that it takes no more requests).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.driver.is_finished()
            || match &self.sender {
                Sender::Http1(sender) => sender.is_closed(),
                Sender::Http2(sender) => sender.is_closed(),
            }
    }

    /// A second handle for requests at the same time; HTTP/2 only.
    #[must_use]
    pub fn http2_sender(&self) -> Option<http2::SendRequest<Full<Bytes>>> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(sender.clone()),
        }
    }

    /// Our own address, to tell connections apart.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What the server showed, leaf first; empty without TLS.
    #[must_use]
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn handshake<S>(
    protocol: Protocol,
    stream: S,
) -> Result<(Sender, JoinHandle<()>), ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    match protocol {
        Protocol::Http1 => {
            let (sender, connection) =
                http1::handshake(io).await.map_err(ClientError::Handshake)?;
            // How the connection ended shows in the request that it cut off.
            let driver = tokio::spawn(async move {
                let _ = connection.with_upgrades().await;
            });
            Ok((Sender::Http1(sender), driver))
        }
        Protocol::Http2 => {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(ClientError::Handshake)?;
            let driver = tokio::spawn(async move {
                let _ = connection.await;
            });
            Ok((Sender::Http2(sender), driver))
        }
    }
}
