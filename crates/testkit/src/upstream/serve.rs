//! The accept loop of an upstream's thread.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::client::Protocol;

use super::record::Journal;
use super::{http1, http2};

/// A stream whose TCP connection can be got at, for resets.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn tcp(&self) -> &TcpStream;
}

impl Transport for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Transport for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Runs until `stopped` says so; then every connection is dropped where it stands.
pub(super) fn run(
    listener: StdListener,
    protocol: Protocol,
    tls: Option<TlsAcceptor>,
    journal: Arc<Journal>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).expect("it is non-blocking");
        let mut connections = JoinSet::new();
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                // The sender is dropped, never used.
                _ = &mut stopped => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (journal, tls) = (Arc::clone(&journal), tls.clone());
                        connections.spawn(connection(stream, protocol, tls, journal));
                    }
                    // Out of descriptors: others may close some.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                },
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
        }
    });
}

/// Whatever ends a connection early is the other side's doing, and what the test is about.
async fn connection(
    stream: TcpStream,
    protocol: Protocol,
    tls: Option<TlsAcceptor>,
    journal: Arc<Journal>,
) {
    let presence = journal.enter();
    let _ = stream.set_nodelay(true);
    match tls {
        None => speak(stream, protocol, &journal, presence.number).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                speak(stream, protocol, &journal, presence.number).await;
            }
        }
    }
}

async fn speak<S: Transport>(
    stream: S,
    protocol: Protocol,
    journal: &Arc<Journal>,
    connection: u64,
) {
    match protocol {
        Protocol::Http1 => {
            let _ = http1::serve(stream, journal, connection).await;
        }
        Protocol::Http2 => {
            let _ = http2::serve(stream, journal, connection).await;
        }
    }
}
