//! A look at the first bytes of a connection that takes nothing from it, so that whoever comes next
//! (TLS, HTTP, an endpoint) finds them where they were.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Why there is no more to see.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeekError {
    /// The other side has closed, or the connection broke.
    #[error("the connection ended: {0}")]
    Ended(#[from] io::Error),
    /// As many bytes have been seen as were to be looked at.
    #[error("there are more than {0} bytes")]
    Full(usize),
}

/// The first bytes of a connection, as many as have come.
#[derive(Debug)]
pub(crate) struct Peek<'a> {
    stream: &'a TcpStream,
    buffer: Vec<u8>,
    seen: usize,
    bytes_max: usize,
}

impl<'a> Peek<'a> {
    /// Nothing has been looked at yet; at most `bytes_max` will be.
    pub(crate) fn new(stream: &'a TcpStream, bytes_max: usize) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            seen: 0,
            bytes_max,
        }
    }

    /// Waits until more has come than was seen before, and gives all of it.
    pub(crate) async fn more(&mut self) -> Result<&[u8], PeekError> {
        loop {
            let ready = self.stream.ready(Interest::READABLE).await?;
            if self.seen == self.buffer.len() {
                if self.seen == self.bytes_max {
                    return Err(PeekError::Full(self.bytes_max));
                }
                let bytes = (2 * self.seen).clamp(FIRST_BYTES, self.bytes_max.max(FIRST_BYTES));
                self.buffer.resize(bytes.min(self.bytes_max), 0);
            }
            let (stream, buffer, before) = (self.stream, &mut self.buffer, self.seen);
            // To have seen nothing new counts as "would block": the runtime then waits for the
            // arrival of more, as it would after a read.
            let looked = stream.try_io(Interest::READABLE, || {
                match recv(stream.as_raw_fd(), buffer, MsgFlags::MSG_PEEK)? {
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    seen if seen > before => Ok(seen),
                    _ => Err(io::ErrorKind::WouldBlock.into()),
                }
            });
            match looked {
                Ok(seen) => {
                    self.seen = seen;
                    return Ok(&self.buffer[..seen]);
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
                Err(_) if ready.is_read_closed() => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                Err(_) => {}
            }
        }
    }
}

/// Looked at first: a PROXY header, or most TLS client hellos.
const FIRST_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_comes_in_pieces_is_seen_whole_and_left_where_it_is() {
        let (mut client, mut server) = pair().await;
        let mut peek = Peek::new(&server, 5000);
        client.write_all(b"ab").await.unwrap();
        assert_eq!(peek.more().await.unwrap(), b"ab");
        // Nothing new: it waits, and does not give the same again.
        let again = timeout(Duration::from_millis(50), peek.more()).await;
        assert!(again.is_err());
        client.write_all(&[b'c'; 4000]).await.unwrap();
        let mut seen = 0;
        while seen < 4002 {
            seen = timeout(Duration::from_secs(5), peek.more())
                .await
                .unwrap()
                .unwrap()
                .len();
        }
        let mut read = vec![0; 4002];
        server.read_exact(&mut read).await.unwrap();
        assert!(read.starts_with(b"abccc"));
    }

    #[tokio::test]
    async fn the_end_of_the_stream_and_of_patience_are_told() {
        let (mut client, server) = pair().await;
        client.write_all(b"abc").await.unwrap();
        let mut peek = Peek::new(&server, 3);
        assert_eq!(peek.more().await.unwrap(), b"abc");
        assert!(matches!(peek.more().await, Err(PeekError::Full(3))));

        let mut peek = Peek::new(&server, 10);
        assert_eq!(peek.more().await.unwrap(), b"abc");
        client.shutdown().await.unwrap();
        let end = timeout(Duration::from_secs(5), peek.more()).await.unwrap();
        assert!(matches!(end, Err(PeekError::Ended(_))), "{end:?}");

        let (client, server) = pair().await;
        drop(client);
        let end = Peek::new(&server, 3).more().await.map(<[u8]>::to_vec);
        assert!(matches!(end, Err(PeekError::Ended(_))), "{end:?}");
    }
}
