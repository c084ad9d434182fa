//! The admin server of a process: health, readiness, metrics, log level, drain, and what the
//! binary adds. Plain HTTP/1.1 on loopback unless asked otherwise, on a thread of its own, so that
//! it answers while the workers are busy.
//!
//! It has no authentication: whoever reaches the address may drain the process. So on loopback it
//! takes care that no web page makes a browser reach it on its behalf (see `admin/service.rs`).

mod routes;
mod service;
mod standard;

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::sleep;
use tower_service::Service;

pub use routes::{AdminFuture, AdminRoutes};
pub use service::AdminService;
pub use standard::{Standard, json, problem, text};

use crate::ports::bind_error;

/// Why the admin server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on; whoever chose it must choose another.
    #[error("{}", bind_error(*addr, source, "--admin"))]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The thread of the server could not be started: the system is out of something.
    #[error("cannot start the thread of the admin server: {0}")]
    Thread(io::Error),
}

/// A running admin server. It ends when this is dropped.
#[derive(Debug)]
pub struct AdminServer {
    addr: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl AdminServer {
    /// Listens and starts serving.
    pub fn start(addr: SocketAddr, routes: AdminRoutes) -> Result<Self, AdminError> {
        let bind = |source| AdminError::Bind { addr, source };
        let listener = StdTcpListener::bind(addr).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let addr = listener.local_addr().map_err(bind)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(AdminError::Thread)?;
        let service = AdminService::new(routes, addr.ip().is_loopback());
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || run(&runtime, listener, service, stopped))
            .map_err(AdminError::Thread)?;
        Ok(Self { addr, _stop: stop })
    }

    /// Where it listens; useful when port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

fn run(
    runtime: &Runtime,
    listener: StdTcpListener,
    service: AdminService,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        tokio::select! {
            result = accept(listener, service) => {
                if let Err(error) = result {
                    tracing::error!(%error, "the admin server ended");
                }
            }
            _ = stopped => {}
        }
    });
}

async fn accept(listener: StdTcpListener, service: AdminService) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Mostly out of descriptors: the next attempt would fail at once as well.
                tracing::warn!(%error, "the admin server cannot accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Beyond the bound a connection is closed at once; scrapers and probes come back.
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let service = service.clone();
        tokio::spawn(async move {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_DEADLINE)
                .max_buf_size(BUFFER_BYTES_MAX)
                .serve_connection(
                    TokioIo::new(stream),
                    service_fn(move |request| service.clone().call(request)),
                )
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "admin connection");
            }
            drop(permit);
        });
    }
}

/// Connections served at the same time.
const CONNECTIONS_MAX: usize = 64;

/// Time for the head of a request; idle connections are closed by it too.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);

/// Room for the head of a request and for reading its body piece by piece.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
