//! The client's side of what leaves HTTP: an HTTP/1.1 connection, or a stream of HTTP/2, to be had
//! when its response is sent.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// The client's side before it has left HTTP. It comes with the request, among its extensions.
#[derive(Debug, Clone)]
pub(crate) enum ClientSide {
    /// A connection in the hands of hyper.
    Connection(OnUpgrade),
    /// A stream. Of one thread only, and taken once; the lock is for what extensions ask.
    Stream(Arc<Mutex<Option<oneshot::Receiver<StreamIo>>>>),
}

/// Gives the stream away.
#[derive(Debug)]
pub(crate) struct Handover(oneshot::Sender<StreamIo>);

/// The client's side, to be read and written.
#[derive(Debug)]
pub(crate) enum ClientIo {
    Connection(TokioIo<Upgraded>),
    Stream(StreamIo),
}

/// Why it did not leave HTTP.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLeft {
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] hyper::Error),
    /// The stream broke.
    #[error("the stream ended before its response was sent")]
    Stream,
}

impl ClientSide {
    pub(crate) fn of_stream() -> (Self, Handover) {
        let (sender, receiver) = oneshot::channel();
        let side = Self::Stream(Arc::new(Mutex::new(Some(receiver))));
        (side, Handover(sender))
    }

    /// Waits until it has left.
    pub(crate) async fn left(self) -> Result<ClientIo, NotLeft> {
        match self {
            ClientSide::Connection(connection) => {
                Ok(ClientIo::Connection(TokioIo::new(connection.await?)))
            }
            ClientSide::Stream(stream) => {
                let receiver = stream
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take()
                    .ok_or(NotLeft::Stream)?;
                let stream = receiver.await.map_err(|_| NotLeft::Stream)?;
                Ok(ClientIo::Stream(stream))
            }
        }
    }
}

impl Handover {
    pub(crate) fn complete(self, stream: StreamIo) {
        // Nobody may want it any more; it is reset then.
        let _ = self.0.send(stream);
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
