//! The origin: answers at once, from memory, on one thread, so that what is measured is the proxy
//! before it.

mod bodies;
mod http1;
mod http2;
mod websocket;

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

pub use bodies::{Bodies, SizeError, grpc_reply};

/// What listens where.
#[derive(Debug)]
pub struct Listeners {
    http1: Option<TcpListener>,
    http2: Option<TcpListener>,
    websocket: Option<TcpListener>,
}

impl Listeners {
    /// Listens on all that are given.
    ///
    /// # Errors
    /// An address that cannot be had, or none at all.
    pub async fn bind(
        http1: Option<SocketAddr>,
        http2: Option<SocketAddr>,
        websocket: Option<SocketAddr>,
    ) -> io::Result<Self> {
        if http1.is_none() && http2.is_none() && websocket.is_none() {
            return Err(io::Error::other("give one of --http1, --http2, --ws"));
        }
        Ok(Self {
            http1: bind(http1).await?,
            http2: bind(http2).await?,
            websocket: bind(websocket).await?,
        })
    }

    /// The addresses, as [`Self::bind`] takes them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn addresses(&self) -> io::Result<[Option<SocketAddr>; 3]> {
        let address = |listener: &Option<TcpListener>| {
            listener.as_ref().map(TcpListener::local_addr).transpose()
        };
        Ok([
            address(&self.http1)?,
            address(&self.http2)?,
            address(&self.websocket)?,
        ])
    }

    /// Serves on this thread, for ever.
    pub async fn serve(self, bodies: Bodies) {
        crate::raise_descriptor_limit();
        let bodies = Rc::new(bodies);
        let local = LocalSet::new();
        local
            .run_until(async {
                if let Some(listener) = self.http1 {
                    let bodies = Rc::clone(&bodies);
                    spawn_local(accept(listener, move |stream| {
                        http1::serve(stream, Rc::clone(&bodies))
                    }));
                }
                if let Some(listener) = self.http2 {
                    let bodies = Rc::clone(&bodies);
                    spawn_local(accept(listener, move |stream| {
                        http2::serve(stream, Rc::clone(&bodies))
                    }));
                }
                if let Some(listener) = self.websocket {
                    spawn_local(accept(listener, websocket::serve));
                }
                pending::<()>().await;
            })
            .await;
    }
}

async fn bind(address: Option<SocketAddr>) -> io::Result<Option<TcpListener>> {
    let Some(address) = address else {
        return Ok(None);
    };
    TcpListener::bind(address).await.map(Some).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

async fn accept<F: Future<Output = ()> + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it answers are late, which the measurements show.
                let _ = stream.set_nodelay(true);
                spawn_local(serve(stream));
            }
            // Out of descriptors, mostly: a connection that ends frees one.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Before the next attempt when a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
