//! One direction of a tunnel.
//!
//! What is read goes into a buffer that all tunnels of a worker share and from there straight to
//! the other side. Only what that side does not take at once is kept, so that a tunnel in which
//! nothing moves holds no memory, and a stalled one at most one buffer per direction.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Which end of a flow broke.
#[derive(Debug)]
pub(super) enum Broke {
    /// Where bytes go.
    Sink(io::Error),
    /// Where bytes come from.
    Source(io::Error),
}

/// Bytes from one side to the other.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Read so far.
    pub(super) bytes: u64,
    /// Read, and not taken yet.
    kept: Vec<u8>,
    /// How much of it was taken since.
    taken: usize,
    unflushed: bool,
    phase: Phase,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Copying,
    /// The source has ended; the sink is to be told.
    Ending,
    Ended,
}

impl Flow {
    /// Moves what can be moved; ready when the source has ended and the sink has all of it.
    pub(super) fn poll<S, T>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        scratch: &mut [u8],
    ) -> Poll<Result<(), Broke>>
    where
        S: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            if !self.kept.is_empty() {
                ready!(self.poll_kept(cx, sink)).map_err(Broke::Sink)?;
            }
            match self.phase {
                Phase::Copying => ready!(self.poll_piece(cx, source, sink, scratch))?,
                Phase::Ending => {
                    // A sink that has closed already need not be told.
                    let _ = ready!(Pin::new(&mut *sink).poll_shutdown(cx));
                    self.phase = Phase::Ended;
                }
                Phase::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_kept<T>(&mut self, cx: &mut Context<'_>, sink: &mut T) -> Poll<io::Result<()>>
    where
        T: AsyncWrite + Unpin,
    {
        while self.taken < self.kept.len() {
            let written = Pin::new(&mut *sink).poll_write(cx, &self.kept[self.taken..]);
            self.taken += some(ready!(written)?)?;
        }
        (self.kept, self.taken) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Reads once and writes as much of it as goes.
    fn poll_piece<S, T>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        scratch: &mut [u8],
    ) -> Poll<Result<(), Broke>>
    where
        S: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        let mut read = ReadBuf::new(scratch);
        match Pin::new(source).poll_read(cx, &mut read) {
            Poll::Ready(result) => result.map_err(Broke::Source)?,
            Poll::Pending => {
                // TLS may hold a part of what it took.
                if self.unflushed {
                    ready!(Pin::new(sink).poll_flush(cx)).map_err(Broke::Sink)?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
        let mut rest = read.filled();
        if rest.is_empty() {
            self.phase = Phase::Ending;
            return Poll::Ready(Ok(()));
        }
        self.bytes += rest.len() as u64;
        self.unflushed = true;
        while !rest.is_empty() {
            match Pin::new(&mut *sink).poll_write(cx, rest) {
                Poll::Ready(written) => {
                    let written = written.and_then(some).map_err(Broke::Sink)?;
                    rest = &rest[written..];
                }
                Poll::Pending => {
                    self.kept = rest.to_vec();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A sink that takes nothing will never take anything.
fn some(written: usize) -> io::Result<usize> {
    match written {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn everything_arrives_through_a_narrow_sink_and_then_the_end() {
        let (mut client, mut source) = duplex(64 * 1024);
        let (mut sink, mut endpoint) = duplex(100);
        let sent: Vec<u8> = (0..50_000_u32).map(|number| number as u8).collect();
        let expected = sent.clone();
        let sending = async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let mut flow = Flow::default();
        let mut scratch = vec![0; 1000];
        let copying = poll_fn(|cx| {
            let polled = flow.poll(cx, &mut source, &mut sink, &mut scratch);
            assert!(flow.kept.len() <= 1000);
            polled
        });
        let receiving = endpoint.read_to_end(&mut received);
        let ((), copied, read) = tokio::join!(sending, copying, receiving);
        copied.unwrap();
        assert_eq!((read.unwrap(), flow.bytes), (50_000, 50_000));
        assert_eq!(received, expected);
        assert_eq!(flow.kept.capacity(), 0, "nothing is held at the end");
    }

    #[tokio::test]
    async fn which_side_broke_is_told() {
        let (mut client, mut source) = duplex(100);
        let (mut sink, endpoint) = duplex(100);
        drop(endpoint);
        client.write_all(b"x").await.unwrap();
        let mut flow = Flow::default();
        let end = poll_fn(|cx| flow.poll(cx, &mut source, &mut sink, &mut [0; 10])).await;
        assert!(matches!(end, Err(Broke::Sink(_))), "{end:?}");
    }
}
