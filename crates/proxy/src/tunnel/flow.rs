//! One direction of a tunnel.
//!
//! A side that takes no more bytes may still have something to say: what was meant for it is then
//! read and dropped, and the other direction goes on to its own end.
//!
//! What is read goes into a buffer that all tunnels of a worker share and from there straight to
//! the other side. Only what that side does not take at once is kept, so that a tunnel in which
//! nothing moves holds no memory, and a stalled one at most one buffer per direction.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
    /// The sink is broken; what still comes is dropped.
    Dropping,
}

impl Flow {
    /// Moves what can be moved; ready when nothing more will arrive: the source has ended and the
    /// sink has all of it, or the sink is broken.
    ///
    /// # Errors
    /// When the source breaks.
    pub(super) fn poll<S, T>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            if !self.kept.is_empty()
                && let Err(error) = ready!(self.poll_kept(cx, sink))
            {
                self.sink_broke(&error);
            }
            match self.phase {
                Phase::Copying => ready!(self.poll_piece(cx, source, sink, scratch))?,
                Phase::Ending => {
                    // A sink that has closed already need not be told.
                    let _ = ready!(Pin::new(&mut *sink).poll_shutdown(cx));
                    self.phase = Phase::Ended;
                }
                Phase::Ended => return Poll::Ready(Ok(())),
                Phase::Dropping => {
                    self.poll_drop(cx, source, scratch)?;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Whether the sink broke before it had everything.
    pub(super) fn is_cut(&self) -> bool {
        self.phase == Phase::Dropping
    }

    fn sink_broke(&mut self, error: &io::Error) {
        tracing::debug!(%error, "one side of a tunnel takes no more");
        (self.kept, self.taken) = (Vec::new(), 0);
        self.phase = Phase::Dropping;
    }

    /// Reads what is there, for nobody.
    fn poll_drop<S>(
        &self,
        cx: &mut Context<'_>,
        source: &mut S,
        scratch: &mut [u8],
    ) -> io::Result<()>
    where
        S: AsyncRead + Unpin,
    {
        loop {
            let mut read = ReadBuf::new(scratch);
            match Pin::new(&mut *source).poll_read(cx, &mut read) {
                Poll::Ready(result) => result?,
                Poll::Pending => return Ok(()),
            }
            if read.filled().is_empty() {
                return Ok(());
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
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        let mut read = ReadBuf::new(scratch);
        match Pin::new(source).poll_read(cx, &mut read) {
            Poll::Ready(result) => result?,
            Poll::Pending => {
                // TLS may hold a part of what it took.
                if self.unflushed {
                    if let Err(error) = ready!(Pin::new(sink).poll_flush(cx)) {
                        self.sink_broke(&error);
                        return Poll::Ready(Ok(()));
                    }
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
                Poll::Ready(written) => match written.and_then(some) {
                    Ok(written) => rest = &rest[written..],
                    Err(error) => {
                        self.sink_broke(&error);
                        return Poll::Ready(Ok(()));
                    }
                },
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
    async fn a_sink_that_breaks_ends_the_flow_and_the_rest_is_dropped() {
        let (mut client, mut source) = duplex(100);
        let (mut sink, endpoint) = duplex(100);
        drop(endpoint);
        let mut flow = Flow::default();
        let mut poll = async || {
            poll_fn(|cx| flow.poll(cx, &mut source, &mut sink, &mut [0; 10]))
                .await
                .unwrap();
            flow.is_cut()
        };
        for _ in 0..5 {
            // Ten times its buffer would not go through if nobody read.
            client.write_all(&[0; 100]).await.unwrap();
            assert!(poll().await);
        }
    }
}
