//! Whole messages that hyper does not know of, between those that it writes to an HTTP/1 client.
//!
//! hyper's server cannot send interim responses. They must not come amid another message, and hyper
//! may hold bytes that the socket has not taken. But it asks to flush only when it holds nothing.
//! So as long as an exchange waits for its response, and hyper has written nothing since it last
//! asked to flush, everything written is whole: hyper asks for the next request only when the
//! response before is encoded to its end. What is offered then goes before hyper's next byte,
//! whenever that comes; what is offered at any other time is not taken.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::Socket;

/// What goes between. Of one thread only, as all of the meter.
#[derive(Debug, Default)]
pub(super) struct Between {
    /// Whether hyper holds nothing that it has begun to write.
    flushed: AtomicBool,
    /// Whether there are bytes.
    waiting: AtomicBool,
    bytes: Mutex<Vec<u8>>,
}

impl Between {
    /// hyper holds nothing.
    pub(super) fn flushed(&self) {
        self.flushed.store(true, Relaxed);
    }

    /// hyper holds something.
    pub(super) fn writing(&self) {
        self.flushed.store(false, Relaxed);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Relaxed)
    }

    /// Takes a message, if it can go before everything that hyper writes from now on. To be called
    /// while an exchange waits for its response.
    pub(super) fn offer(&self, message: &[u8]) -> bool {
        if !self.flushed.load(Relaxed) {
            return false;
        }
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend_from_slice(message);
        self.waiting.store(true, Relaxed);
        true
    }

    /// Writes all of it; `wrote` is told of each write.
    pub(super) fn poll_write(
        &self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        wrote: impl Fn(Option<usize>),
    ) -> Poll<io::Result<()>> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        while !bytes.is_empty() {
            let polled = Pin::new(&mut *socket).poll_write(cx, &bytes);
            wrote(match &polled {
                Poll::Ready(written) => Some(*written.as_ref().unwrap_or(&0)),
                Poll::Pending => None,
            });
            let written = ready!(polled)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes.drain(..written);
        }
        // Keeps no room for nothing.
        *bytes = Vec::new();
        self.waiting.store(false, Relaxed);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::future::poll_fn;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use weir_policy::framing::Bounds;

    use super::super::{Meter, Wire};
    use super::*;

    const HINT: &[u8] = b"HTTP/1.1 103 Early Hints\r\n\r\n";

    async fn wire() -> (Wire, Arc<Meter>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (served, _) = listener.accept().await.unwrap();
        let meter = Arc::<Meter>::default();
        let bounds = Bounds {
            head_bytes_max: 1024,
            fields_max: 10,
            target_bytes_max: 1024,
        };
        let wire = Wire::new(Socket::Plain(served)).with_meter(Arc::clone(&meter));
        (wire.inspected(bounds), meter, client.unwrap())
    }

    /// Writes until the client takes no more; how many bytes it took.
    async fn fill(wire: &mut Wire, byte: u8) -> usize {
        let (piece, mut filled) = ([byte; 65536], 0);
        poll_fn(|cx| {
            while let Poll::Ready(written) = Pin::new(&mut *wire).poll_write(cx, &piece) {
                filled += written.unwrap();
            }
            Poll::Ready(())
        })
        .await;
        filled
    }

    #[tokio::test]
    async fn a_message_goes_only_where_nothing_is_under_way() {
        let (mut wire, meter, mut client) = wire().await;
        assert!(
            !meter.offer(HINT),
            "before hyper has said that it holds nothing"
        );
        wire.flush().await.unwrap();
        assert!(meter.offer(HINT) && meter.offer(HINT));
        // Before what hyper writes next, even if it never asks to flush before.
        wire.write_all(b"final").await.unwrap();
        assert!(!meter.offer(HINT), "hyper may hold the rest of it");
        wire.flush().await.unwrap();
        let mut read = vec![0; 2 * HINT.len() + 5];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(read, [HINT, HINT, b"final"].concat());
        assert!(meter.offer(HINT));
        assert!(!wire.is_quiet());
        wire.flush().await.unwrap();
        assert!(wire.is_quiet());
        client.read_exact(&mut read[..HINT.len()]).await.unwrap();
        assert_eq!(&read[..HINT.len()], HINT);
    }

    #[tokio::test]
    async fn one_that_is_taken_in_part_comes_whole() {
        let (mut wire, meter, mut client) = wire().await;
        let filled = fill(&mut wire, b'a').await;
        assert!(
            !meter.offer(HINT),
            "the client has not taken what was written"
        );
        wire.flush().await.unwrap();
        // Larger than all that a socket holds: it goes in parts.
        let large = vec![b'h'; 16 * 1024 * 1024];
        assert!(meter.offer(&large));
        let waker = std::task::Waker::noop();
        let mut cx = Context::from_waker(waker);
        assert!(Pin::new(&mut wire).poll_flush(&mut cx).is_pending());
        assert!(Pin::new(&mut wire).poll_write(&mut cx, b"f").is_pending());
        assert!(
            meter.blocked_since().is_some(),
            "a client that is slow is seen"
        );
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.unwrap();
            read
        });
        wire.write_all(b"final").await.unwrap();
        wire.shutdown().await.unwrap();
        let read = reading.await.unwrap();
        assert!(read[..filled].iter().all(|byte| *byte == b'a'));
        let (hint, last) = read[filled..].split_at(large.len());
        assert!(hint == large);
        assert_eq!(last, b"final");
    }
}
