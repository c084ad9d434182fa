//! The smallest proxy on hyper: its server and its client connections, one thread, and a pool of
//! idle connections of which the one used last is taken first.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1 as server1, http2 as server2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;
use weir_bench_peers::{Arguments, POOL_MAX};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Error = Box<dyn std::error::Error>;
type Answer = Response<Either<Returning, Empty<Bytes>>>;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer-hyper: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), Error> {
    let arguments = Arguments::from_process()?.copying()?;
    let acceptor = match &arguments.tls {
        None => None,
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(&fs::read(certificate)?)
                .collect::<Result<Vec<_>, _>>()?;
            let key = PrivateKeyDer::from_pem_slice(&fs::read(key)?)?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(chain, key)?;
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Some(TlsAcceptor::from(Arc::new(config)))
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    LocalSet::new().block_on(&runtime, accept(arguments, acceptor))
}

async fn accept(arguments: Arguments, acceptor: Option<TlsAcceptor>) -> Result<(), Error> {
    let upstream = Rc::new(Upstream {
        address: arguments.upstream,
        is_http2: arguments.is_http2_upstream,
        idle: RefCell::default(),
        http2: tokio::sync::Mutex::default(),
    });
    let listener = TcpListener::bind(arguments.listen).await?;
    println!("ready");
    loop {
        let (stream, client) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (upstream, acceptor) = (Rc::clone(&upstream), acceptor.clone());
        spawn_local(async move {
            let client = HeaderValue::try_from(client.ip().to_string())?;
            // What breaks a client's connection is the client's to notice.
            let Some(acceptor) = acceptor else {
                return serve(TokioIo::new(stream), client, upstream, false).await;
            };
            let stream = acceptor.accept(stream).await?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            serve(TokioIo::new(stream), client, upstream, is_http2).await
        });
    }
}

async fn serve<I: Read + Write + Unpin + 'static>(
    io: I,
    client: HeaderValue,
    upstream: Rc<Upstream>,
    is_http2: bool,
) -> Result<(), Error> {
    let service = service_fn(move |request| {
        let (upstream, client) = (Rc::clone(&upstream), client.clone());
        async move { Ok::<_, Infallible>(upstream.forward(request, client).await) }
    });
    if is_http2 {
        server2::Builder::new(OnThisThread)
            .serve_connection(io, service)
            .await?;
    } else {
        server1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(io, service)
            .await?;
    }
    Ok(())
}

/// The origin and the connections to it.
struct Upstream {
    address: SocketAddr,
    is_http2: bool,
    idle: RefCell<Vec<client1::SendRequest<Incoming>>>,
    http2: tokio::sync::Mutex<Option<client2::SendRequest<Incoming>>>,
}

impl Upstream {
    async fn forward(
        self: Rc<Self>,
        mut request: Request<Incoming>,
        client: HeaderValue,
    ) -> Answer {
        if request.headers().contains_key(UPGRADE) {
            return refusal(StatusCode::NOT_IMPLEMENTED);
        }
        let answer = match prepare(&mut request, client, self.is_http2) {
            Err(error) => Err(error),
            Ok(()) if self.is_http2 => self.over_http2(request).await,
            Ok(()) => Rc::clone(&self).over_http1(request).await,
        };
        let Ok((mut answer, sender)) = answer else {
            return refusal(StatusCode::BAD_GATEWAY);
        };
        *answer.version_mut() = Version::HTTP_11;
        answer.headers_mut().remove(CONNECTION);
        answer.headers_mut().remove(TRANSFER_ENCODING);
        answer.map(|body| {
            Either::Left(Returning {
                body,
                is_ended: false,
                sender,
                upstream: self,
            })
        })
    }

    async fn over_http1(self: Rc<Self>, mut request: Request<Incoming>) -> Result<Sent, Error> {
        loop {
            let idle = self.idle.borrow_mut().pop();
            let mut sender = match idle {
                Some(sender) if sender.is_closed() => continue,
                Some(mut sender) if !sender.is_ready() => match sender.ready().await {
                    Ok(()) => sender,
                    Err(_) => continue,
                },
                Some(sender) => sender,
                None => self.connect().await?,
            };
            match sender.try_send_request(request).await {
                Ok(answer) => return Ok((answer, Some(sender))),
                // The upstream had closed it, and the request did not leave.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
    }

    async fn connect(&self) -> Result<client1::SendRequest<Incoming>, Error> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = client1::handshake(TokioIo::new(stream)).await?;
        spawn_local(connection);
        Ok(sender)
    }

    async fn over_http2(&self, request: Request<Incoming>) -> Result<Sent, Error> {
        let mut sender = {
            let mut held = self.http2.lock().await;
            match held.as_ref() {
                Some(sender) if !sender.is_closed() => sender.clone(),
                _ => {
                    let stream = TcpStream::connect(self.address).await?;
                    stream.set_nodelay(true)?;
                    let (sender, connection) = client2::Builder::new(OnThisThread)
                        .handshake(TokioIo::new(stream))
                        .await?;
                    spawn_local(connection);
                    held.insert(sender).clone()
                }
            }
        };
        sender.ready().await?;
        Ok((sender.send_request(request).await?, None))
    }
}

/// An answer, and the HTTP/1 connection it comes on.
type Sent = (Response<Incoming>, Option<client1::SendRequest<Incoming>>);

fn prepare(
    request: &mut Request<Incoming>,
    client: HeaderValue,
    is_http2: bool,
) -> Result<(), Error> {
    let authority = request.uri().authority().cloned();
    let headers: &mut HeaderMap = request.headers_mut();
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.insert("x-forwarded-for", client);
    if is_http2 {
        let host = headers.remove(HOST);
        let path = request.uri().path_and_query().cloned();
        let mut uri = Uri::builder().scheme("http");
        uri = match (authority, host) {
            (Some(authority), _) => uri.authority(authority),
            (None, Some(host)) => uri.authority(host.as_bytes()),
            (None, None) => uri,
        };
        if let Some(path) = path {
            uri = uri.path_and_query(path);
        }
        *request.uri_mut() = uri.build()?;
        *request.version_mut() = Version::HTTP_2;
    } else {
        if let Some(authority) = authority {
            headers.insert(HOST, HeaderValue::try_from(authority.as_str())?);
            if let Some(path) = request.uri().path_and_query().cloned() {
                *request.uri_mut() = path.into();
            }
        }
        *request.version_mut() = Version::HTTP_11;
    }
    Ok(())
}

fn refusal(status: StatusCode) -> Answer {
    let mut answer = Response::new(Either::Right(Empty::new()));
    *answer.status_mut() = status;
    answer
}

/// An answer's body; at its end the connection goes back to the pool.
struct Returning {
    body: Incoming,
    is_ended: bool,
    sender: Option<client1::SendRequest<Incoming>>,
    upstream: Rc<Upstream>,
}

impl Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.is_ended |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        let is_ended = self.is_ended || self.body.is_end_stream();
        let mut idle = self.upstream.idle.borrow_mut();
        if let Some(sender) = self.sender.take()
            && is_ended
            && idle.len() < POOL_MAX
        {
            idle.push(sender);
        }
    }
}

/// Runs hyper's tasks where everything runs.
#[derive(Clone, Copy)]
struct OnThisThread;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for OnThisThread {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}
