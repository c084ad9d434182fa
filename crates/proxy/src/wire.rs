//! Sockets, and the byte stream under h2: a TCP or TLS socket, with what was read to recognise the
//! protocol put back in front, a meter of progress, and coalesced writes.
//!
//! The h2 library writes and flushes behind each frame of data that is not tiny. A [`Wire`] keeps
//! what it is given and tells the library that it has gone; once every task that was ready has had
//! its turn, it leaves in one write, and one TLS record: the frames of all streams that had
//! something to say.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use weir_policy::framing::Fault;
use weir_policy::framing::frames::Abuse;

use crate::clock;
use crate::pace::Pace;

mod guard;
mod tcp;

use guard::Guard;
pub(crate) use tcp::Tcp;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Clear text.
    Plain(TcpStream),
    /// TLS, either side.
    Tls(Box<TlsStream<Tcp>>),
}

impl Socket {
    /// Whether it speaks TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Socket::Tls(_))
    }

    /// Whether nothing of what was written is held back.
    pub(crate) fn is_flushed(&self) -> bool {
        match self {
            Socket::Plain(_) => true,
            Socket::Tls(stream) => !stream.get_ref().1.wants_write(),
        }
    }

    /// Tells the other side, once this is dropped, that the connection broke.
    pub(crate) fn reset(&self) {
        // A connection that is gone needs no reset.
        let _ = self.tcp().set_zero_linger();
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Socket::Plain(stream) => stream,
            Socket::Tls(stream) => &stream.get_ref().0.0,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Socket::Plain(stream) => stream.is_write_vectored(),
            Socket::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What the driver of a connection wants to know about its bytes.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Reads that brought bytes.
    reads: Cell<u64>,
    /// Since when a write has been waiting for the other side, nanoseconds; 0 for not.
    blocked_since: Cell<u64>,
    /// How long writes have waited before, nanoseconds, and bytes written: since the connection
    /// was last idle.
    blocked_before: Cell<u64>,
    written: Cell<u64>,
    /// What ended what may be read.
    fault: Cell<Option<Wrong>>,
    /// What ended the connection.
    abuse: Cell<Option<Abuse>>,
    /// Since when it is only waited for the client to close, nanoseconds; 0 for not.
    lingers_since: Cell<u64>,
    /// Whose turn it is when an HTTP/2 connection has something to write.
    turn: Cell<Turn>,
}

/// Who goes first when an HTTP/2 connection has something to write.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Every other task that is ready: what they produce joins the same write.
    Others,
    /// The same; the task that drives the connection is polled again behind them.
    Waits,
    /// They have been, or it is the greeting, behind which the library does not flush again. It
    /// writes.
    #[default]
    Mine,
}

/// What a client did wrong on an HTTP/1 connection.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    /// In the body of its last request.
    Body(Fault),
    /// In a head, in place of which the last exchange was begun.
    Head(Fault),
}

impl Meter {
    pub(crate) fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Since when a write has been waiting for the other side.
    pub(crate) fn blocked_since(&self) -> Option<u64> {
        Some(self.blocked_since.get()).filter(|since| *since != 0)
    }

    /// What is wrong with what the client sent last.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.get().map(|wrong| match wrong {
            Wrong::Body(fault) | Wrong::Head(fault) => fault,
        })
    }

    /// What is wrong with the head that the last exchange was begun for.
    pub(crate) fn head_fault(&self) -> Option<Fault> {
        match self.fault.get() {
            Some(Wrong::Head(fault)) => Some(fault),
            _ => None,
        }
    }

    /// Since when it is only waited for the client to close.
    pub(crate) fn lingers_since(&self) -> Option<u64> {
        Some(self.lingers_since.get()).filter(|since| *since != 0)
    }

    /// From now on it is only waited for the client to close.
    pub(crate) fn lingers(&self) {
        self.lingers_since.set(clock::now().nanos.max(1));
    }

    /// What the client did too often.
    pub(crate) fn abuse(&self) -> Option<Abuse> {
        self.abuse.get()
    }

    /// The task that drives an HTTP/2 connection is polled. To be said before its library is.
    pub(crate) fn polled(&self) {
        if self.turn.get() == Turn::Waits {
            self.turn.set(Turn::Mine);
        }
    }

    /// Whether the task that drives a connection, which is being polled, is to write later.
    fn lets_others_go_first(&self, cx: &Context<'_>) -> bool {
        if self.turn.get() == Turn::Others {
            self.turn.set(Turn::Waits);
            cx.waker().wake_by_ref();
        }
        self.turn.get() == Turn::Waits
    }

    fn abused(&self, abuse: Abuse) {
        self.abuse.set(Some(abuse));
    }

    /// The body that is being read is none.
    pub(crate) fn body_faulted(&self, fault: Fault) {
        self.fault.set(Some(Wrong::Body(fault)));
    }

    /// What comes next is no head; an exchange is about to be begun in its place.
    pub(crate) fn head_faulted(&self, fault: Fault) {
        self.fault.set(Some(Wrong::Head(fault)));
    }

    /// Bytes came.
    pub(crate) fn read(&self) {
        self.reads.set(self.reads.get() + 1);
    }

    /// Since when a client has been too slow to take what is written to it, if it goes on so.
    pub(crate) fn too_slow_at(&self, pace: Pace) -> Option<u64> {
        let since = self.blocked_since()?;
        let patience = pace.patience(self.written.get())?;
        Some(since.saturating_add(patience.saturating_sub(self.blocked_before.get())))
    }

    /// Everything is written; what was slow is forgotten.
    pub(crate) fn idle(&self) {
        self.blocked_before.set(0);
        self.written.set(0);
    }

    /// So many bytes were written, or none could be.
    pub(crate) fn wrote(&self, count: Option<usize>) {
        let since = self.blocked_since.get();
        let Some(count) = count else {
            if since == 0 {
                self.blocked_since.set(clock::now().nanos.max(1));
            }
            return;
        };
        self.written.set(self.written.get() + count as u64);
        if since != 0 {
            let here = clock::now().nanos.saturating_sub(since);
            self.blocked_before.set(self.blocked_before.get() + here);
            self.blocked_since.set(0);
        }
    }
}

/// A socket as h2 gets it. Its driver says when a poll begins ([`Meter::polled`]).
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    prefix: Bytes,
    meter: Rc<Meter>,
    guard: Option<Box<Guard>>,
    held: Held,
}

/// What h2 has written and the socket has not taken, at most [`HELD_BYTES_MAX`].
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// So many of them are gone.
    gone: usize,
}

impl Held {
    fn left(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    /// Takes all of it, or nothing where there is no room.
    fn take(&mut self, bufs: &[io::IoSlice<'_>], total: usize) -> bool {
        if self.bytes.len() + total > HELD_BYTES_MAX {
            return false;
        }
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(HELD_BYTES_MAX);
        }
        for buf in bufs {
            self.bytes.extend_from_slice(buf);
        }
        true
    }

    /// So many more are gone. With the last of them the memory is.
    fn went(&mut self, count: usize) {
        self.gone += count;
        if self.gone == self.bytes.len() {
            *self = Self::default();
        }
    }
}

impl Wire {
    pub(crate) fn new(socket: Socket, meter: Rc<Meter>) -> Self {
        Self {
            socket,
            prefix: Bytes::new(),
            meter,
            guard: None,
            held: Held::default(),
        }
    }

    /// Puts bytes that were read already in front.
    pub(crate) fn with_prefix(mut self, prefix: Bytes) -> Self {
        self.prefix = prefix;
        self
    }

    /// Ends the connection of an HTTP/2 client that floods.
    pub(crate) fn guarded(mut self) -> Self {
        self.guard = Some(Box::new(Guard::new()));
        self
    }

    pub(crate) fn meter(&self) -> &Rc<Meter> {
        &self.meter
    }

    /// Writes what is held, and behind it as much of `bufs` as the socket takes: says how much.
    fn poll_write_out(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let held = self.held.left().len();
            if held == 0 && bufs.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let mut pieces = [io::IoSlice::new(&[]); PIECES_MAX];
            pieces[0] = io::IoSlice::new(self.held.left());
            let more = bufs.len().min(PIECES_MAX - 1);
            pieces[1..=more].copy_from_slice(&bufs[..more]);
            let pieces = &pieces[usize::from(held == 0)..=more];
            let socket = Pin::new(&mut self.socket);
            let written = match pieces {
                [one] => socket.poll_write(cx, one),
                _ => socket.poll_write_vectored(cx, pieces),
            };
            let Poll::Ready(written) = written else {
                self.meter.wrote(None);
                return Poll::Pending;
            };
            let count = written?;
            self.meter.wrote(Some(count));
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if let Some(guard) = &mut self.guard {
                guard.wrote(pieces.iter().map(|piece| &**piece), count, &self.meter);
            }
            self.held.went(count.min(held));
            if count > held {
                return Poll::Ready(Ok(count - held));
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.prefix.is_empty() {
            ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        } else {
            let taken = this.prefix.len().min(buf.remaining());
            buf.put_slice(&this.prefix[..taken]);
            this.prefix.advance(taken);
            if this.prefix.is_empty() {
                // Lets go of the buffer.
                this.prefix = Bytes::new();
            }
        }
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            this.meter.read();
            if let Some(guard) = &mut this.guard {
                guard.read(read, &mut this.socket, &this.meter, cx)?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = bufs.iter().map(|buf| buf.len()).sum();
        if self.held.take(bufs, total) {
            return Poll::Ready(Ok(total));
        }
        self.poll_write_out(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.held.left().is_empty() {
            if this.meter.lets_others_go_first(cx) {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_write_out(cx, &[]))?;
            this.meter.turn.set(Turn::Others);
        }
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        this.meter.wrote(flushed.is_ready().then_some(0));
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx, &[]))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// As much as a TLS record may have.
const HELD_BYTES_MAX: usize = 16 * 1024;
/// What is held, and what h2 writes at once: the head of a frame and its payload.
const PIECES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_flushed_leaves_when_others_have_had_their_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let near = TcpStream::connect(address).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let meter = Rc::<Meter>::default();
        let mut wire = Wire::new(Socket::Plain(near), Rc::clone(&meter));
        wire.write_all(b"greeting").await.unwrap();
        assert_eq!(meter.written.get(), 0, "it is held");
        wire.flush().await.unwrap();
        assert_eq!(meter.written.get(), 8, "the greeting is not put off");

        for frame in [b"one", b"two"] {
            wire.write_all(frame).await.unwrap();
            wire.flush().await.unwrap();
        }
        assert_eq!(meter.written.get(), 8, "they wait for the next poll");
        meter.polled();
        wire.flush().await.unwrap();
        assert_eq!(meter.written.get(), 14);
        assert_eq!(wire.held.bytes.capacity(), 0, "nothing is held for nothing");

        // What does not fit does not wait, and nothing overtakes what was held.
        wire.write_all(b"head").await.unwrap();
        wire.write_all(&[b'x'; HELD_BYTES_MAX]).await.unwrap();
        assert!(meter.written.get() >= 18);
        wire.shutdown().await.unwrap();
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert!(all.starts_with(b"greetingonetwoheadx"));
        assert_eq!(all.len(), 18 + HELD_BYTES_MAX);
    }
}
