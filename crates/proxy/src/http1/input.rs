//! What comes in on a connection, before it is taken apart.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use crate::wire::Socket;

/// What was read of a connection, and not taken yet.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) bytes: BytesMut,
    /// How much is asked for at once, bytes.
    wish: usize,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            bytes: BytesMut::new(),
            wish: READ_BYTES_FIRST,
        }
    }
}

impl Input {
    /// How much is asked for where nothing else says how much there is.
    pub(crate) fn wish(&self) -> usize {
        self.wish
    }

    /// Reads up to so many bytes more, at least; 0 when there are no more. `waits`: that the socket
    /// has nothing means that there is nothing.
    pub(crate) fn poll_read(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        wish: usize,
        waits: bool,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.is_empty() && self.bytes.capacity() < wish {
            // No buffer as long as there is nothing to put in it.
            if waits {
                // What is wrong is told by the read.
                let _ = ready!(socket.tcp().poll_read_ready(cx));
            }
            self.bytes = BytesMut::with_capacity(wish);
        } else {
            self.bytes.reserve(wish.min(READ_BYTES_FIRST));
        }
        let room = self.bytes.capacity() - self.bytes.len();
        let read = pin!(socket.read_buf(&mut self.bytes)).poll(cx);
        match read {
            Poll::Pending => self.release(),
            // Who fills the room has more to say.
            Poll::Ready(Ok(count)) if count == room => {
                self.wish = (self.wish * 4).min(READ_BYTES_MAX);
            }
            Poll::Ready(_) => {}
        }
        read
    }

    /// A piece of what was read.
    pub(crate) fn take(&mut self, count: usize) -> Bytes {
        if count == self.bytes.len() {
            return self.bytes.split().freeze();
        }
        self.bytes.split_to(count).freeze()
    }

    /// A piece of what was read that may be kept for long: a small one holds no buffer of others.
    pub(crate) fn take_own(&mut self, count: usize) -> Bytes {
        if count >= SHARED_BYTES_MIN {
            return self.take(count);
        }
        let piece = Bytes::copy_from_slice(&self.bytes[..count]);
        self.bytes.advance(count);
        piece
    }

    /// Holds no buffer for nothing.
    pub(crate) fn release(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }

    /// Is as it was at first.
    pub(crate) fn renew(&mut self) {
        *self = Self::default();
    }
}

/// How much of a body of which so much is to come is asked for at once.
pub(crate) fn wish_for(left: u64) -> usize {
    usize::try_from(left).map_or(READ_BYTES_MAX, |left| left.min(READ_BYTES_MAX))
}

/// Enough for most messages.
const READ_BYTES_FIRST: usize = 8 * 1024;
/// A quarter of the smallest buffer.
const SHARED_BYTES_MIN: usize = READ_BYTES_FIRST / 4;
/// Read at once of a long one.
const READ_BYTES_MAX: usize = 64 * 1024;
