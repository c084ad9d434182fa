//! The body of a request, read off its connection by whoever has it.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use weir_policy::framing::{Bounds, Fault};

use super::link::{Expects, Incoming, Link, State};
use crate::http1::{Input, Part, wish_for};

/// The body of a request on a client's HTTP/1 connection.
#[derive(Debug)]
pub struct RequestBody {
    link: Rc<Link>,
    /// Nothing more comes of this one; what is read next belongs to others.
    ended: bool,
}

/// Why the body of a request broke off.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// The client's connection ended before it.
    #[error("the client's connection ended amid the body")]
    Ended,
    /// The client's connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no body.
    #[error("the body is malformed: {0}")]
    Malformed(#[from] Fault),
}

type Read = Result<Option<Frame<Bytes>>, RequestBodyError>;

impl RequestBody {
    pub(super) fn new(link: Rc<Link>) -> Self {
        link.forsaken.set(false);
        Self { link, ended: false }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let link = &*self.link;
        if link.expects.get() == Expects::Continue {
            link.expects.set(Expects::Asked);
            link.changed();
        }
        let bounds = link.bounds();
        let state = &mut *link.state.borrow_mut();
        let read = match state.poll_body(&bounds, cx) {
            Poll::Ready(read) => read,
            Poll::Pending => {
                // Who drops the socket wakes nobody.
                let reader = &mut state.reader;
                if reader
                    .as_ref()
                    .is_none_or(|known| !known.will_wake(cx.waker()))
                {
                    *reader = Some(cx.waker().clone());
                }
                return Poll::Pending;
            }
        };
        match &read {
            Err(RequestBodyError::Malformed(fault)) => link.connection.meter.body_faulted(*fault),
            // Behind the end of its exchange, this tells that the client is still sending.
            _ => link.connection.meter.read(),
        }
        if read.is_err() {
            state.incoming = Incoming::Broken;
        }
        if !matches!(state.incoming, Incoming::Bytes(_) | Incoming::Chunked(_)) {
            self.ended = true;
            state.reader = None;
            state.input.release();
            state.unseen = !state.input.bytes.is_empty();
            link.changed();
        }
        Poll::Ready(read.transpose())
    }

    pub(crate) fn is_end(&self) -> bool {
        self.ended
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.ended {
            return SizeHint::with_exact(0);
        }
        match &self.link.state.borrow().incoming {
            Incoming::Bytes(left) => SizeHint::with_exact(*left),
            Incoming::Chunked(_) | Incoming::Nothing | Incoming::Broken => SizeHint::default(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.ended {
            self.link.forsaken.set(true);
            self.link.changed();
        }
    }
}

impl State {
    /// The next piece of the body; `None` at its end.
    fn poll_body(&mut self, bounds: &Bounds, cx: &mut Context<'_>) -> Poll<Read> {
        loop {
            match &mut self.incoming {
                Incoming::Bytes(left) if !self.input.bytes.is_empty() => {
                    let here = self.input.bytes.len();
                    let here = usize::try_from(*left).map_or(here, |left| left.min(here));
                    *left -= here as u64;
                    if *left == 0 {
                        self.incoming = Incoming::Nothing;
                    }
                    let data = self.input.take_own(here);
                    return Poll::Ready(Ok(Some(Frame::data(data))));
                }
                Incoming::Bytes(_) => {}
                Incoming::Chunked(chunked) => {
                    match chunked.take(&mut self.input, bounds, Input::take_own)? {
                        Part::Data(data) => {
                            // The end has often come with the last data.
                            if chunked.ends(&mut self.input.bytes, bounds) {
                                self.incoming = Incoming::Nothing;
                            }
                            return Poll::Ready(Ok(Some(Frame::data(data))));
                        }
                        Part::End(trailers) => {
                            self.incoming = Incoming::Nothing;
                            return Poll::Ready(Ok(trailers));
                        }
                        Part::More => {}
                    }
                }
                Incoming::Nothing => return Poll::Ready(Ok(None)),
                Incoming::Broken => return Poll::Ready(Err(RequestBodyError::Ended)),
            }
            if ready!(self.poll_more(cx))? == 0 {
                return Poll::Ready(Err(RequestBodyError::Ended));
            }
        }
    }

    /// Reads more of the body; 0 at the end of the connection.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(Ok(0));
        };
        // A client that is slow has small buffers.
        let wish = match self.incoming {
            Incoming::Bytes(left) => wish_for(left).min(self.input.wish()),
            _ => self.input.wish(),
        };
        // Of TLS there may be something that the socket no longer has.
        let waits = !socket.is_tls();
        self.input.poll_read(socket, cx, wish, waits)
    }
}
