//! The client's side of what leaves HTTP: an HTTP/1.1 connection, or a stream of HTTP/2, to be had
//! when its response is sent.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::wire::Socket;

/// The client's side before it has left HTTP. It comes with the request, among its extensions. Of
/// one thread only, and taken once; the lock is for what extensions ask.
#[derive(Debug, Clone)]
pub(crate) struct ClientSide(Arc<Mutex<Option<oneshot::Receiver<ClientIo>>>>);

/// Gives it away.
#[derive(Debug)]
pub(crate) struct Handover(oneshot::Sender<ClientIo>);

/// The client's side, to be read and written.
#[derive(Debug)]
pub(crate) enum ClientIo {
    Connection(Remainder),
    Stream(StreamIo),
}

/// It did not leave HTTP.
#[derive(Debug, thiserror::Error)]
#[error("the client's side ended before its response was sent")]
pub(crate) struct NotLeft;

impl ClientSide {
    pub(crate) fn new() -> (Self, Handover) {
        let (sender, receiver) = oneshot::channel();
        let side = Self(Arc::new(Mutex::new(Some(receiver))));
        (side, Handover(sender))
    }

    /// Waits until it has left.
    pub(crate) async fn left(self) -> Result<ClientIo, NotLeft> {
        let side = {
            let mut side = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            side.take()
        };
        let receiver = side.ok_or(NotLeft)?;
        receiver.await.map_err(|_| NotLeft)
    }
}

impl Handover {
    pub(crate) fn complete(self, side: ClientIo) {
        // Nobody may want it any more; it is reset or closed then.
        let _ = self.0.send(side);
    }
}

/// What is left of an HTTP/1.1 connection: its socket, and what was read of it and not taken.
#[derive(Debug)]
pub(crate) struct Remainder {
    socket: Socket,
    unread: Bytes,
}

impl Remainder {
    pub(crate) fn new(socket: Socket, unread: Bytes) -> Self {
        Self { socket, unread }
    }
}

impl AsyncRead for Remainder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let taken = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..taken]);
        self.unread.advance(taken);
        if self.unread.is_empty() {
            // Lets go of the buffer.
            self.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Remainder {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A stream of HTTP/2 as bytes in both directions.
#[derive(Debug)]
pub(crate) struct StreamIo {
    send: SendStream<Bytes>,
    incoming: RecvStream,
    /// What was received and not read.
    unread: Bytes,
}

impl StreamIo {
    pub(crate) fn new(send: SendStream<Bytes>, incoming: RecvStream) -> Self {
        Self {
            send,
            incoming,
            unread: Bytes::new(),
        }
    }
}

impl AsyncRead for StreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.unread.is_empty() {
            match ready!(this.incoming.poll_data(cx)) {
                Some(data) => this.unread = data.map_err(broken)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..taken]);
        this.unread.advance(taken);
        // The client may send as much again.
        let released = this.incoming.flow_control().release_capacity(taken);
        Poll::Ready(released.map_err(broken))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if let Poll::Ready(reset) = self.send.poll_reset(cx) {
            let reset = reset.and_then(|reason| Err(reason.into()));
            return Poll::Ready(reset.map_err(broken));
        }
        self.send.reserve_capacity(buf.len());
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(room) => drop(room.map_err(broken)?),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let taken = buf.len().min(self.send.capacity());
        let data = Bytes::copy_from_slice(&buf[..taken]);
        let sent = self.send.send_data(data, false).map_err(broken);
        Poll::Ready(sent.map(|()| taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send.reserve_capacity(0);
        let sent = self.send.send_data(Bytes::new(), true);
        Poll::Ready(sent.map_err(broken))
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl AsyncRead for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientIo::Connection(connection) => Pin::new(connection).poll_read(cx, buf),
            ClientIo::Stream(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientIo::Connection(connection) => Pin::new(connection).poll_write(cx, buf),
            ClientIo::Stream(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientIo::Connection(connection) => Pin::new(connection).poll_flush(cx),
            ClientIo::Stream(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientIo::Connection(connection) => Pin::new(connection).poll_shutdown(cx),
            ClientIo::Stream(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
