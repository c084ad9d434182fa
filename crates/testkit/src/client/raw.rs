//! Bytes in, bytes out: for requests that no client library would send.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// How a raw exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The other side closed in order.
    Closed,
    /// The other side still had the connection open at the deadline.
    Open,
    /// The other side reset the connection.
    Reset,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Every byte received.
    pub bytes: Vec<u8>,
    /// How it ended.
    pub ending: Ending,
}

impl Raw {
    /// As text, foreign bytes replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The status of the first answer, when what came back starts like one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let text = self.text();
        let rest = text
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| text.strip_prefix("HTTP/1.0 "))?;
        rest.get(..3)?.parse().ok()
    }

    /// How many answers came back, counted by their status lines; only sensible when no body
    /// holds one.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.text().matches("HTTP/1.1 ").count()
    }
}

/// Sends the bytes on a new connection and collects what comes back until the other side ends the
/// connection or the deadline passes. Sending goes on while receiving, and stops at the first
/// error.
///
/// # Panics
/// When nobody accepts the connection.
pub async fn raw(address: SocketAddr, request: impl AsRef<[u8]>, deadline: Duration) -> Raw {
    let end = Instant::now() + deadline;
    let stream = timeout_at(end, TcpStream::connect(address))
        .await
        .unwrap_or_else(|_| panic!("no connection to {address} within {deadline:?}"))
        .unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
    let (mut reader, mut writer) = stream.into_split();
    let mut bytes = Vec::new();
    let receive = async {
        let mut piece = vec![0; 16 * 1024];
        loop {
            match reader.read(&mut piece).await {
                Ok(0) => return Ending::Closed,
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ending::Reset;
                }
                Err(error) => panic!("reading from {address}: {error}"),
            }
        }
    };
    let send = async {
        // A server may refuse and close before it has read everything; its answer counts.
        let _ = writer.write_all(request.as_ref()).await;
        std::future::pending::<()>().await;
    };
    let ending = tokio::select! {
        ending = timeout_at(end, receive) => ending.unwrap_or(Ending::Open),
        () = send => Ending::Open,
    };
    Raw { bytes, ending }
}
