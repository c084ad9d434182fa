//! A body on its way onto an HTTP/2 stream, as fast as the other side's window takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

/// A body on its way.
#[derive(Debug)]
pub(crate) struct Outgoing<B> {
    send: SendStream<Bytes>,
    body: B,
    /// What waits for room in the window, and whether it is the last.
    next: Option<(Bytes, bool)>,
}

/// Why a body was not sent to its end.
#[derive(Debug)]
pub(crate) enum Cut<E> {
    /// It broke off. The other side does not know yet.
    Body(E),
    /// The other side does not take it, or is gone.
    Stream(h2::Error),
}

impl<E> From<h2::Error> for Cut<E> {
    fn from(error: h2::Error) -> Self {
        Cut::Stream(error)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Outgoing<B> {
    pub(crate) fn new(send: SendStream<Bytes>, body: B) -> Self {
        Self {
            send,
            body,
            next: None,
        }
    }

    pub(crate) fn body(&self) -> &B {
        &self.body
    }

    /// Tells the other side that there is no more.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.send.send_reset(reason);
    }

    /// Ready when it is sent to its end, trailers included.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut<B::Error>>> {
        loop {
            if let Poll::Ready(reset) = self.send.poll_reset(cx) {
                return Poll::Ready(Err(Cut::Stream(reset.map_or_else(|it| it, Into::into))));
            }
            if self.next.is_some() {
                // Ready says that there is more room than before, which may still be none.
                while self.send.capacity() == 0 {
                    match ready!(self.send.poll_capacity(cx)) {
                        Some(room) => drop(room?),
                        None => return Poll::Ready(Ok(())),
                    }
                }
            }
            if let Some((data, is_last)) = self.next.take() {
                self.send.send_data(data, is_last)?;
                if is_last {
                    return Poll::Ready(Ok(()));
                }
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Err(Cut::Body(error))),
                None => {
                    self.send.send_data(Bytes::new(), true)?;
                    return Poll::Ready(Ok(()));
                }
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {
                    let is_last = self.body.is_end_stream();
                    self.send.send_data(data, is_last)?;
                    if is_last {
                        return Poll::Ready(Ok(()));
                    }
                }
                Ok(data) => {
                    // As little as there is: what is reserved and not used is missing to others
                    // of the connection. The library asks for the rest when it has the data.
                    self.send.reserve_capacity(1);
                    self.next = Some((data, self.body.is_end_stream()));
                }
                Err(frame) => {
                    self.send.reserve_capacity(0);
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.send.send_trailers(trailers)?;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}
