//! What an HTTP/1 endpoint answers, before hyper reads it: no head gets there that two readers may
//! take for different ones. hyper takes a line feed alone for the end of a line.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_policy::framing::response::HeadLines;

use crate::wire::Wire;

/// A connection to an endpoint whose answers are looked at.
#[derive(Debug)]
pub(super) struct Answers {
    wire: Wire,
    /// Set by whoever sends a request. Of one thread only; atomic for the `Send` that hyper asks of
    /// upgradable connections.
    awaited: Arc<AtomicBool>,
    lines: HeadLines,
}

impl Answers {
    pub(super) fn new(wire: Wire, awaited: Arc<AtomicBool>) -> Self {
        Self {
            wire,
            awaited,
            lines: HeadLines::default(),
        }
    }
}

impl AsyncRead for Answers {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.wire).poll_read(cx, buf))?;
        if self.awaited.load(Relaxed) {
            self.awaited.store(false, Relaxed);
            self.lines.expect();
        }
        let read = self.lines.read(&buf.filled()[before..]);
        Poll::Ready(read.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault)))
    }
}

impl AsyncWrite for Answers {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
