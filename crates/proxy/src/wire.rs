//! The byte stream under hyper and h2: a TCP or TLS socket, with what was read to recognise the
//! protocol put back in front, a meter of progress, and coalesced writes for HTTP/2.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use weir_policy::framing::frames::Abuse;
use weir_policy::framing::{Bounds, Fault};

use crate::clock;
use crate::pace::Pace;

mod between;
mod guard;
mod inspector;

use between::Between;
use guard::Guard;
use inspector::Inspector;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Clear text.
    Plain(TcpStream),
    /// TLS, either side.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Whether it speaks TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Socket::Tls(_))
    }

    /// Tells the other side, once this is dropped, that the connection broke.
    pub(crate) fn reset(&self) {
        // A connection that is gone needs no reset.
        let _ = self.tcp().set_zero_linger();
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Socket::Plain(stream) => stream,
            Socket::Tls(stream) => stream.get_ref().0,
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

/// Whether a connection leaves HTTP (for a WebSocket).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It does not.
    Stays,
    /// Its last request has asked, and is not answered yet.
    Asked,
    /// It does.
    Left,
}

/// What the driver of a connection wants to know about its bytes. Written by one thread only; the
/// atomics are for the `Send` that hyper asks of upgradable connections.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Reads that brought bytes.
    reads: AtomicU64,
    /// Since when a write has been waiting for the other side, nanoseconds; 0 for not.
    blocked_since: AtomicU64,
    /// How long writes have waited before, nanoseconds, and bytes written: since the connection
    /// was last idle.
    blocked_before: AtomicU64,
    written: AtomicU64,
    /// Number of the fault that ended what may be read; 0 for none.
    fault: AtomicU8,
    /// How many heads were in order before it.
    heads: AtomicU64,
    /// A [`Leave`].
    leave: AtomicU8,
    /// Number of an [`Abuse`] that ended the connection; 0 for none.
    abuse: AtomicU8,
    /// Since when it is only waited for the client to close, nanoseconds; 0 for not.
    lingers_since: AtomicU64,
    /// What is sent between hyper's messages.
    between: Between,
}

impl Meter {
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Relaxed)
    }

    /// Since when a write has been waiting for the other side.
    pub(crate) fn blocked_since(&self) -> Option<u64> {
        Some(self.blocked_since.load(Relaxed)).filter(|since| *since != 0)
    }

    /// What the client did wrong, and how many of its requests were in order before. If that is
    /// one less than those begun, the last one begun is no request but where the fault was.
    pub(crate) fn fault(&self) -> Option<(Fault, u64)> {
        let fault = Fault::numbered(self.fault.load(Relaxed))?;
        Some((fault, self.heads.load(Relaxed)))
    }

    /// The exchange that asked to leave HTTP is over; whether it has left is decided.
    pub(crate) fn stays(&self) {
        if self.leave() == Leave::Asked {
            self.leave.store(Leave::Stays as u8, Relaxed);
        }
    }

    /// What follows is not HTTP.
    pub(crate) fn left(&self) {
        self.leave.store(Leave::Left as u8, Relaxed);
    }

    /// Since when it is only waited for the client to close.
    pub(crate) fn lingers_since(&self) -> Option<u64> {
        Some(self.lingers_since.load(Relaxed)).filter(|since| *since != 0)
    }

    /// Sends a whole message before everything that hyper writes from now on. To be called while
    /// the only exchange under way waits for its response. `false`: it cannot be sent now.
    pub(crate) fn offer(&self, message: &[u8]) -> bool {
        self.between.offer(message)
    }

    /// What the client did too often.
    pub(crate) fn abuse(&self) -> Option<Abuse> {
        guard::abuse_numbered(self.abuse.load(Relaxed))
    }

    fn abused(&self, abuse: Abuse) {
        self.abuse.store(guard::number(abuse), Relaxed);
    }

    fn faulted(&self, fault: Fault, heads: u64) {
        self.fault.store(fault.number(), Relaxed);
        self.heads.store(heads, Relaxed);
    }

    fn asked_to_leave(&self) {
        self.leave.store(Leave::Asked as u8, Relaxed);
    }

    fn leave(&self) -> Leave {
        match self.leave.load(Relaxed) {
            0 => Leave::Stays,
            1 => Leave::Asked,
            _ => Leave::Left,
        }
    }

    fn read(&self) {
        self.reads.store(self.reads.load(Relaxed) + 1, Relaxed);
    }

    /// Since when a client has been too slow to take what is written to it, if it goes on so.
    pub(crate) fn too_slow_at(&self, pace: Pace) -> Option<u64> {
        let since = self.blocked_since()?;
        let patience = pace.patience(self.written.load(Relaxed))?;
        Some(since.saturating_add(patience.saturating_sub(self.blocked_before.load(Relaxed))))
    }

    /// Everything is written; what was slow is forgotten.
    pub(crate) fn idle(&self) {
        self.blocked_before.store(0, Relaxed);
        self.written.store(0, Relaxed);
    }

    /// So many bytes were written, or none could be.
    fn wrote(&self, count: Option<usize>) {
        let since = self.blocked_since.load(Relaxed);
        let Some(count) = count else {
            if since == 0 {
                self.blocked_since.store(clock::now().nanos.max(1), Relaxed);
            }
            return;
        };
        self.written
            .store(self.written.load(Relaxed) + count as u64, Relaxed);
        if since != 0 {
            let here = clock::now().nanos.saturating_sub(since);
            self.blocked_before
                .store(self.blocked_before.load(Relaxed) + here, Relaxed);
            self.blocked_since.store(0, Relaxed);
        }
    }
}

/// A socket as hyper and h2 get it.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    prefix: Bytes,
    meter: Option<Arc<Meter>>,
    inspector: Option<Box<Inspector>>,
    guard: Option<Box<Guard>>,
    turn: Turn,
}

/// Whether the next write lets other tasks go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Writes at once, always.
    Always,
    /// Has let the others go first, writes now.
    Mine,
    /// Lets the others go first: what they produce joins the same write.
    Others,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket,
            prefix: Bytes::new(),
            meter: None,
            inspector: None,
            guard: None,
            turn: Turn::Always,
        }
    }

    /// Puts bytes that were read already in front.
    pub(crate) fn with_prefix(mut self, prefix: Bytes) -> Self {
        self.prefix = prefix;
        self
    }

    pub(crate) fn with_meter(mut self, meter: Arc<Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Hands over only what is strictly HTTP/1.
    pub(crate) fn inspected(mut self, bounds: Bounds) -> Self {
        let read = std::mem::take(&mut self.prefix);
        if let (false, Some(meter)) = (read.is_empty(), &self.meter) {
            meter.read();
        }
        self.inspector = Some(Box::new(Inspector::new(bounds, &read)));
        self
    }

    /// Ends the connection of an HTTP/2 client that floods.
    pub(crate) fn guarded(mut self) -> Self {
        self.guard = Some(Box::new(Guard::new()));
        self
    }

    /// Lets every task that is ready go first before it writes, so that the frames of many HTTP/2
    /// streams leave in one write.
    pub(crate) fn coalescing(mut self) -> Self {
        self.turn = Turn::Others;
        self
    }

    /// Ready when there may be something to read.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // What is wrong is told to whoever reads.
        self.socket.tcp().poll_read_ready(cx).map(drop)
    }

    /// Whether nothing is under way in either direction: no part of a request is held, and nothing
    /// waits to be written.
    pub(crate) fn is_quiet(&self) -> bool {
        let read = self
            .inspector
            .as_ref()
            .is_none_or(|inspector| inspector.is_quiet());
        let written = match &self.socket {
            Socket::Plain(_) => true,
            Socket::Tls(stream) => !stream.get_ref().1.wants_write(),
        };
        let blocked = self.meter.as_ref().and_then(|meter| meter.blocked_since());
        let between = self
            .meter
            .as_ref()
            .is_some_and(|it| it.between.is_waiting());
        read && written && blocked.is_none() && !between && self.prefix.is_empty()
    }

    /// Takes back what was inspected and read, and not used.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        if let Some(inspector) = &mut self.inspector {
            inspector.unread(bytes);
        }
    }

    /// To an HTTP/1 client, what goes between hyper's messages goes now.
    fn poll_between(&mut self, cx: &mut Context<'_>, flushed: bool) -> Poll<io::Result<()>> {
        let (Some(_), Some(meter)) = (&self.inspector, &self.meter) else {
            return Poll::Ready(Ok(()));
        };
        let between = &meter.between;
        if flushed {
            between.flushed();
        }
        if between.is_waiting() {
            let wrote = |count| meter.wrote(count);
            ready!(between.poll_write(&mut self.socket, cx, wrote))?;
        }
        if !flushed {
            between.writing();
        }
        Poll::Ready(Ok(()))
    }

    fn yields(&mut self, cx: &Context<'_>) -> bool {
        if self.turn == Turn::Others {
            self.turn = Turn::Mine;
            cx.waker().wake_by_ref();
            return true;
        }
        false
    }

    fn wrote(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if self.turn == Turn::Mine && result.is_ready() {
            self.turn = Turn::Others;
        }
        if let Some(meter) = &self.meter {
            meter.wrote(match &result {
                Poll::Ready(result) => Some(*result.as_ref().unwrap_or(&0)),
                Poll::Pending => None,
            });
        }
        result
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let (Some(inspector), Some(meter)) = (&mut this.inspector, &this.meter) {
            return inspector.poll_read(&mut this.socket, meter, cx, buf);
        }
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
        if let (false, Some(meter)) = (read.is_empty(), &this.meter) {
            meter.read();
            if let Some(guard) = &mut this.guard {
                guard.read(read, &mut this.socket, meter, cx)?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.yields(cx) {
            return Poll::Pending;
        }
        ready!(self.poll_between(cx, false))?;
        let result = Pin::new(&mut self.socket).poll_write(cx, buf);
        if let (Poll::Ready(Ok(count)), Some(guard)) = (&result, &mut self.guard) {
            guard.wrote([buf], *count);
        }
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.yields(cx) {
            return Poll::Pending;
        }
        ready!(self.poll_between(cx, false))?;
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        if let (Poll::Ready(Ok(count)), Some(guard)) = (&result, &mut self.guard) {
            guard.wrote(bufs.iter().map(|buf| &**buf), *count);
        }
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_between(cx, true))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let (Some(inspector), Some(meter)) = (&this.inspector, &this.meter) else {
            return Pin::new(&mut this.socket).poll_shutdown(cx);
        };
        if meter.lingers_since().is_none() {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
            if !inspector.is_amid() {
                return Poll::Ready(Ok(()));
            }
            // Closing with unread bytes would be a reset, which can overtake the answer.
            meter
                .lingers_since
                .store(clock::now().nanos.max(1), Relaxed);
        }
        inspector::drain(&mut this.socket, cx)
    }
}
