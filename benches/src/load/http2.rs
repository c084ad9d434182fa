//! One HTTP/2 connection and the requests on its streams, gRPC's status included.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::watch;

use crate::load::connect::Io;
use crate::load::expectation::{Expectation, Verified};
use crate::load::tally::Failure;

/// A handle of an open connection.
#[derive(Clone)]
pub struct Http2 {
    sender: SendRequest<Bytes>,
    is_grpc: bool,
    /// Its other end is gone when the connection is.
    alive: Rc<watch::Receiver<()>>,
}

impl Http2 {
    /// On a connection that nobody has used.
    ///
    /// # Errors
    /// [`Failure::Connect`].
    pub async fn open(io: Io, is_grpc: bool) -> Result<Self, Failure> {
        let (sender, connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(io)
            .await
            .map_err(|error| Failure::Connect(io::Error::other(error)))?;
        let (guard, alive) = watch::channel(());
        tokio::task::spawn_local(async move {
            // Requests see the error themselves.
            let _ = connection.await;
            drop(guard);
        });
        Ok(Self {
            sender,
            is_grpc,
            alive: Rc::new(alive),
        })
    }

    /// Whether another request may follow.
    #[must_use]
    pub fn may_reuse(&self) -> bool {
        self.alive.has_changed().is_ok()
    }

    /// Sends, and reads the response to its end.
    ///
    /// # Errors
    /// Whatever makes the request not count.
    pub async fn exchange(
        &mut self,
        head: &http::Request<()>,
        body: &Bytes,
        expectation: &Expectation,
    ) -> Result<Verified, Failure> {
        let mut sender = self.sender.clone().ready().await.map_err(failed)?;
        let (response, mut stream) = sender
            .send_request(head.clone(), body.is_empty())
            .map_err(failed)?;
        if !body.is_empty() {
            stream.send_data(body.clone(), true).map_err(failed)?;
        }
        let (head, mut content) = response.await.map_err(failed)?.into_parts();
        let mut check = expectation.begin(head.status.as_u16());
        while let Some(piece) = content.data().await {
            let piece = piece.map_err(failed)?;
            check.feed(&piece);
            content
                .flow_control()
                .release_capacity(piece.len())
                .map_err(failed)?;
        }
        let trailers = content.trailers().await.map_err(failed)?;
        let verified = check.finish()?;
        if self.is_grpc && verified.status == expectation.status {
            let status = trailers
                .as_ref()
                .unwrap_or(&head.headers)
                .get("grpc-status");
            if status.is_none_or(|status| status != "0") {
                let text = status.map(|status| String::from_utf8_lossy(status.as_bytes()).into());
                return Err(Failure::GrpcStatus(text));
            }
        }
        Ok(verified)
    }

    /// Returns when the server has closed the connection.
    pub async fn closed(self) {
        let mut alive = self.alive.as_ref().clone();
        while alive.changed().await.is_ok() {}
        // Until here a handle kept it open.
        drop(self.sender);
    }

    /// Closes the connection, if this is its last handle, and waits for that.
    pub async fn close(self) {
        let mut alive = self.alive.as_ref().clone();
        drop(self.sender);
        while alive.changed().await.is_ok() {}
    }
}

fn failed(error: h2::Error) -> Failure {
    Failure::Io(
        error
            .into_io()
            .unwrap_or_else(|| io::Error::other("HTTP/2: stream or connection reset")),
    )
}

/// Window of each stream, bytes: no response waits for one.
const STREAM_WINDOW: u32 = 1 << 20;
/// Window of the connection, bytes.
const CONNECTION_WINDOW: u32 = 16 << 20;
