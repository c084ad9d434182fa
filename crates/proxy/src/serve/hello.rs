//! What a TLS client asks for, read without answering and without taking a byte, so that the
//! connection can still be passed on closed or be opened here.

use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use weir_config::bounds::CLIENT_HELLO_BYTES_MAX;

use crate::peek::{Peek, PeekError};

/// Why it is not known what a client asks for.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelloError {
    /// It ended before it said so, or says it too long.
    #[error(transparent)]
    Ended(#[from] PeekError),
    /// It does not speak TLS.
    #[error("no TLS client hello: {0}")]
    Malformed(#[from] rustls::Error),
    /// It takes too long.
    #[error("no TLS client hello within {0:?}")]
    Timeout(Duration),
}

/// Waits for the client hello and gives the name in it (SNI), where there is one.
pub(super) async fn name_asked_for(
    stream: &TcpStream,
    timeout: Duration,
) -> Result<Option<Box<str>>, HelloError> {
    let hello = tokio::time::timeout(timeout, hello(stream));
    hello.await.map_err(|_| HelloError::Timeout(timeout))?
}

async fn hello(stream: &TcpStream) -> Result<Option<Box<str>>, HelloError> {
    let mut peek = Peek::new(stream, CLIENT_HELLO_BYTES_MAX);
    let mut acceptor = Acceptor::default();
    let mut fed = 0;
    loop {
        let bytes = peek.more().await?;
        while fed < bytes.len() {
            // Reading from memory only fails when the acceptor has more than it can hold.
            match acceptor
                .read_tls(&mut &bytes[fed..])
                .map_err(PeekError::Ended)?
            {
                0 => break,
                read => fed += read,
            }
        }
        if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error)? {
            return Ok(accepted.client_hello().server_name().map(Into::into));
        }
    }
}

/// Tells a client that nobody has the name that it asks for (RFC 6066, 3), and closes.
pub(super) async fn refuse(mut stream: TcpStream) {
    // What was looked at is taken first: to close with unread bytes would reset the connection, and
    // the alert could be lost with it.
    let mut hello = [0; 4096];
    let mut taken = 0;
    while taken < CLIENT_HELLO_BYTES_MAX {
        match stream.try_read(&mut hello) {
            Ok(read) if read > 0 => taken += read,
            _ => break,
        }
    }
    // A new connection has room for seven bytes; a client that is gone needs none.
    let _ = stream.write_all(&UNRECOGNIZED_NAME).await;
    let _ = stream.shutdown().await;
}

/// A record with a fatal alert: `unrecognized_name`.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
