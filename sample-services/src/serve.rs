//! Accepting connections until told to stop, and the orderly end.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tower::Service;

use crate::shell::Readiness;

/// How a service serves.
#[derive(Clone, Debug)]
pub struct Server {
    /// How long requests under way may take after the stop.
    pub drain_timeout: Duration,
    /// Whether handlers may reset their connection through [`ConnectionReset`].
    pub is_resettable: bool,
    /// Ended when the drain begins.
    pub readiness: Readiness,
}

/// How a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// So many connections still had a request at the deadline.
    CutOff(usize),
    /// Every request was answered.
    Whole,
}

/// In the extensions of every request: resets the connection that the request came by.
#[derive(Clone, Debug)]
pub struct ConnectionReset(Arc<Notify>);

impl ConnectionReset {
    /// Resets the connection. It happens as soon as the caller yields.
    pub fn reset(&self) {
        self.0.notify_one();
    }
}

impl Server {
    /// Serves HTTP/1.1 and HTTP/2 (by prior knowledge) until `stop`, then drains.
    pub async fn run(
        self,
        listener: TcpListener,
        router: Router,
        stop: impl Future<Output = ()>,
    ) -> Drained {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (drain, draining) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        let resettable = self.is_resettable;
        loop {
            // At the bound nobody is accepted; callers wait in the kernel's queue.
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (listener.accept().await, place)
            };
            tokio::select! {
                () = &mut stop => break,
                (accepted, place) = accepted => match accepted {
                    Ok((stream, _)) => {
                        let connection =
                            connection(stream, router.clone(), resettable, draining.clone());
                        connections.spawn(async move {
                            connection.await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        self.readiness.end();
        drop(listener);
        tracing::info!(connections = connections.len(), "draining");
        // Nobody listens when there is no connection.
        let _ = drain.send(true);
        let all = async { while connections.join_next().await.is_some() {} };
        match tokio::time::timeout(self.drain_timeout, all).await {
            Ok(()) => Drained::Whole,
            Err(_) => Drained::CutOff(connections.len()),
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    is_resettable: bool,
    mut draining: watch::Receiver<bool>,
) {
    // Only a hint to the kernel.
    let _ = stream.set_nodelay(true);
    // A second descriptor, because hyper owns the first one when it is needed.
    let handle = if is_resettable {
        SockRef::from(&stream).try_clone().ok()
    } else {
        None
    };
    let reset = ConnectionReset(Arc::new(Notify::new()));
    let of_requests = reset.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut request, mut router) = (request, router.clone());
        request.extensions_mut().insert(of_requests.clone());
        async move {
            let response = router.call(request).await.unwrap_or_else(|no| match no {});
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut is_draining = false;
    loop {
        tokio::select! {
            ended = &mut serving => {
                if let Err(error) = ended {
                    tracing::debug!(error, "connection ended");
                }
                return;
            }
            () = reset.0.notified() => {
                if let Err(error) = handle.as_ref().map_or(Ok(()), make_close_a_reset) {
                    tracing::warn!(%error, "cannot reset a connection");
                }
                return;
            }
            _ = draining.changed(), if !is_draining => {
                is_draining = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

fn make_close_a_reset(socket: &Socket) -> io::Result<()> {
    socket.set_linger(Some(Duration::ZERO))
}

const CONNECTIONS_MAX: usize = 4096;
const STREAMS_MAX: u32 = 256;
/// Also how long a kept connection may be idle. Longer than a proxy keeps an idle connection, so
/// that it is the proxy that closes first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Out of descriptors: others may close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
