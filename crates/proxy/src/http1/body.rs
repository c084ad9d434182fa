//! The body of a response, read off its connection.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use weir_policy::framing::response::Length;

use super::chunked::{Chunked, Part};
use super::input::{Input, wish_for};
use super::{BOUNDS, Connection, State, Switched};
use crate::body::EndpointError;

/// The body of a response.
#[derive(Debug)]
pub(crate) struct Body {
    /// `None` once nothing more comes.
    connection: Option<Rc<Connection>>,
    left: Left,
    /// Whether data was given and perhaps not passed on yet.
    fresh: bool,
}

#[derive(Debug)]
enum Left {
    Bytes(u64),
    Chunked(Box<Chunked>),
    UntilClose,
    /// It broke off; why, unless that was said.
    Broken(Option<EndpointError>),
    /// The connection has left HTTP: it has no body.
    Switched,
}

type Next = Poll<Option<Result<Frame<Bytes>, EndpointError>>>;

impl Body {
    /// `state` is that of the connection.
    pub(super) fn new(connection: Rc<Connection>, length: Length, state: &mut State) -> Self {
        let left = match length {
            Length::Bytes(count) => Left::Bytes(count),
            Length::Chunked => Left::Chunked(Box::default()),
            Length::UntilClose => {
                state.keeps = false;
                Left::UntilClose
            }
        };
        state.ended = length == Length::Bytes(0);
        Self {
            connection: Some(connection).filter(|_| !state.ended),
            left,
            fresh: false,
        }
    }

    /// That of a connection that leaves HTTP.
    pub(super) fn switched(connection: Rc<Connection>) -> Self {
        Self {
            connection: Some(connection),
            left: Left::Switched,
            fresh: false,
        }
    }

    /// The connection, where it has left HTTP.
    pub(crate) fn take_switched(&mut self) -> Option<Switched> {
        match self.left {
            Left::Switched => self.connection.take().map(Switched),
            _ => None,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = EndpointError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Next {
        let this = self.get_mut();
        let Some(connection) = this.connection.take() else {
            return Poll::Ready(match &mut this.left {
                Left::Broken(why) => Some(Err(why.take().unwrap_or(EndpointError::Closed))),
                _ => None,
            });
        };
        let state = &mut *connection.state.borrow_mut();
        let polled = match &mut this.left {
            Left::Bytes(left) => state.poll_bytes(left, cx),
            Left::Chunked(chunked) => state.poll_chunk(chunked, cx),
            Left::UntilClose => state.poll_rest(cx),
            Left::Broken(_) | Left::Switched => Poll::Ready(None),
        };
        let ended = match (&polled, &this.left) {
            (Poll::Ready(None), _) | (_, Left::Bytes(0)) => true,
            (Poll::Ready(Some(Ok(frame))), Left::Chunked(chunked)) => {
                // What ends the body has often come with its last data.
                frame.is_trailers() || chunked.ends(&mut state.input.bytes, &BOUNDS)
            }
            _ => false,
        };
        let given = std::mem::replace(&mut this.fresh, polled.is_ready());
        if ended {
            state.ended = true;
            this.left = Left::Bytes(0);
            return polled;
        }
        match polled {
            Poll::Ready(Some(Err(error))) if given => {
                // What came before it is to leave first.
                this.left = Left::Broken(Some(error));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Some(Err(error))) => {
                this.left = Left::Broken(None);
                Poll::Ready(Some(Err(error)))
            }
            polled => {
                this.connection = Some(Rc::clone(&connection));
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.left, Left::Bytes(0) | Left::Switched)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.left {
            Left::Bytes(left) => SizeHint::with_exact(*left),
            Left::Chunked(_) | Left::UntilClose | Left::Broken(_) => SizeHint::default(),
            Left::Switched => SizeHint::with_exact(0),
        }
    }
}

impl State {
    fn poll_bytes(&mut self, left: &mut u64, cx: &mut Context<'_>) -> Next {
        if self.input.bytes.is_empty() && ready!(self.poll_read(cx, wish_for(*left)))? == 0 {
            return Poll::Ready(Some(Err(EndpointError::Closed)));
        }
        let come = self.input.bytes.len();
        let count = usize::try_from(*left).map_or(come, |left| left.min(come));
        *left -= count as u64;
        Poll::Ready(Some(Ok(Frame::data(self.input.take(count)))))
    }

    fn poll_chunk(&mut self, chunked: &mut Chunked, cx: &mut Context<'_>) -> Next {
        loop {
            match chunked.take(&mut self.input, &BOUNDS, Input::take)? {
                Part::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Part::End(trailers) => return Poll::Ready(trailers.map(Ok)),
                Part::More => {}
            }
            if ready!(self.poll_read(cx, self.input.wish()))? == 0 {
                return Poll::Ready(Some(Err(EndpointError::Closed)));
            }
        }
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Next {
        if self.input.bytes.is_empty() && ready!(self.poll_read(cx, self.input.wish()))? == 0 {
            return Poll::Ready(None);
        }
        let come = self.input.bytes.len();
        Poll::Ready(Some(Ok(Frame::data(self.input.take(come)))))
    }
}
