//! HTTP/1.1 towards endpoints: one exchange at a time on a connection, driven by the exchange
//! itself.
//!
//! There is no task and no channel per connection: who sends a request writes it, reads the head of
//! its response, and whoever reads the body then reads it off the socket. Only the rest of a
//! request whose response began before its end is sent by a task of its own. Between exchanges a
//! connection is a socket without buffers. Whether its endpoint has closed it is asked of the
//! socket when it is to be used again, which costs no system call; the lane in which it waits is
//! told as well.
//!
//! Heads and lengths of responses are read by [`weir_policy::framing::response`], strictly.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use http::{Method, Response, StatusCode, Version, request};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_config::bounds::{RESPONSE_HEADER_BYTES_MAX, RESPONSE_HEADER_COUNT_MAX};
use weir_policy::framing::Bounds;
use weir_policy::framing::response::{Head, HeadReader};

use crate::body::{EndpointError, FromEndpoint, Upload};
use crate::connect::Counted;
use crate::header_maps::HeaderMaps;
use crate::interim::Relay;
use crate::wire::Socket;

mod body;
mod chunked;
mod input;
mod out;

pub(crate) use body::Body;
pub(crate) use chunked::{Chunked, Part};
pub(crate) use input::{Input, wish_for};
pub(crate) use out::{Framing, Out, WrongLength, decimal, field};

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Connection {
    state: RefCell<State>,
    _counted: Counted,
}

#[derive(Debug)]
struct State {
    socket: Socket,
    input: Input,
    reader: HeadReader,
    out: Out,
    /// Something of the response was read.
    begun: bool,
    /// The request was written to its end.
    sent: bool,
    /// The head of the response lets another one follow.
    keeps: bool,
    /// The response was read to its end.
    ended: bool,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// Nothing of the request was written.
    Unsent,
    /// Some of it may have arrived.
    Failed(EndpointError),
}

impl Connection {
    pub(crate) fn new(socket: Socket, counted: Counted) -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::new(State {
                socket,
                input: Input::default(),
                reader: HeadReader::default(),
                out: Out::default(),
                begun: false,
                sent: false,
                keeps: false,
                ended: false,
            }),
            _counted: counted,
        })
    }

    /// Begins an exchange, whose interim responses are told to `relay`. Nothing is written before
    /// the result is polled.
    pub(crate) fn send<'a>(
        self: &Rc<Self>,
        head: &request::Parts,
        upload: Upload,
        relay: Option<&'a Relay<'a>>,
        maps: &'a HeaderMaps,
    ) -> Sending<'a> {
        let length = upload.size_hint().exact();
        self.state.borrow_mut().out.begin(head, length);
        Sending {
            connection: Rc::clone(self),
            upload: Some(upload).filter(|upload| !upload.is_end_stream()),
            broken: false,
            method: head.method.clone(),
            relay,
            maps,
        }
    }

    /// Whether the endpoint has neither closed the connection nor said anything unasked, as far as
    /// is known; `waker` is told when that may have changed.
    pub(crate) fn is_alive(&self, waker: &Waker) -> bool {
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(waker);
        let socket = &mut self.state.borrow_mut().socket;
        Pin::new(socket).poll_read(&mut cx, &mut read).is_pending()
    }

    /// Makes it ready for another exchange, if it can have one.
    pub(crate) fn renew(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        let clean = state.sent && state.keeps && state.ended && state.input.bytes.is_empty();
        if clean {
            state.input.renew();
            (state.begun, state.sent, state.keeps, state.ended) = (false, false, false, false);
        }
        clean
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let socket = &mut self.state.get_mut().socket;
        if socket.is_tls() {
            // The other side is told as far as that needs no waiting.
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(socket).poll_shutdown(&mut cx);
        }
    }
}

/// A request on its way, until the head of its response has come.
#[derive(Debug)]
#[must_use]
pub(crate) struct Sending<'a> {
    connection: Rc<Connection>,
    /// `None` once it was taken to its end.
    upload: Option<Upload>,
    /// The endpoint takes no more, and may have answered before.
    broken: bool,
    method: Method,
    relay: Option<&'a Relay<'a>>,
    maps: &'a HeaderMaps,
}

impl Future for Sending<'_> {
    type Output = Result<Response<FromEndpoint>, Unanswered>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let state = &mut *this.connection.state.borrow_mut();
        if !state.sent && !this.broken {
            match state.poll_upload(&mut this.upload, cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => state.sent = true,
                Poll::Ready(Err(EndpointError::Io(_))) if state.out.is_untouched() => {
                    return Poll::Ready(Err(Unanswered::Unsent));
                }
                Poll::Ready(Err(EndpointError::Io(error))) => {
                    tracing::debug!(%error, "an endpoint takes no more of a request");
                    this.broken = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Unanswered::Failed(error))),
            }
        }
        let head =
            ready!(state.poll_head(this.relay, this.maps, cx)).map_err(Unanswered::Failed)?;
        let sent = state.sent;
        let response = this.answered(head, state);
        if !sent && !this.broken {
            let (connection, upload) = (Rc::clone(&this.connection), this.upload.take());
            tokio::task::spawn_local(connection.send_rest(upload));
        }
        Poll::Ready(response)
    }
}

impl Sending<'_> {
    fn answered(
        &self,
        head: Head,
        state: &mut State,
    ) -> Result<Response<FromEndpoint>, Unanswered> {
        let unanswered = |what| Unanswered::Failed(EndpointError::Length(what));
        let length = head.length(&self.method).map_err(unanswered)?;
        state.keeps = head.keeps_alive();
        let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let connection = Rc::clone(&self.connection);
        let body = match switched {
            true => Body::switched(connection),
            false => Body::new(connection, length, state),
        };
        let mut response = Response::new(FromEndpoint::Http1(body));
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        Ok(response)
    }
}

impl Connection {
    /// Sends what is left of a request while its response is read already.
    async fn send_rest(self: Rc<Self>, mut upload: Option<Upload>) {
        let sent = poll_fn(|cx| self.state.borrow_mut().poll_upload(&mut upload, cx)).await;
        let state = &mut *self.state.borrow_mut();
        match sent {
            Ok(()) => state.sent = true,
            // What the endpoint has said may still be read.
            Err(EndpointError::Io(_)) => {}
            Err(error) => {
                tracing::debug!(%error, "a request broke off behind the head of its response");
                // Neither side may take what came for all.
                let _ = socket2::SockRef::from(state.socket.tcp()).shutdown(Shutdown::Both);
            }
        }
    }
}

impl State {
    /// Writes what is there to be written; ready when that was all.
    fn poll_upload(
        &mut self,
        upload: &mut Option<Upload>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EndpointError>> {
        loop {
            if let (Some(body), true) = (upload.as_mut(), self.out.has_room()) {
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(Some(frame)) => {
                        self.out.push(frame.map_err(EndpointError::Upload)?)?;
                        if body.is_end_stream() {
                            self.out.end()?;
                            *upload = None;
                        }
                    }
                    Poll::Ready(None) => {
                        self.out.end()?;
                        *upload = None;
                    }
                    Poll::Pending if self.out.is_empty() => {
                        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
                        return Poll::Pending;
                    }
                    Poll::Pending => {}
                }
            }
            if self.out.is_empty() && upload.is_none() {
                self.out.release();
                return Pin::new(&mut self.socket)
                    .poll_flush(cx)
                    .map_err(Into::into);
            }
            if !self.out.is_empty() {
                ready!(self.out.poll_write(&mut self.socket, cx))?;
            }
        }
    }

    /// The head of the response; those before it are told.
    fn poll_head(
        &mut self,
        relay: Option<&Relay<'_>>,
        maps: &HeaderMaps,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, EndpointError>> {
        loop {
            while !self.input.bytes.is_empty() {
                let make = || maps.take();
                let Some(head) = self.reader.read(&mut self.input.bytes, &BOUNDS, make)? else {
                    break;
                };
                let interim = head.status.is_informational();
                if !interim || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Ok(head));
                }
                if let Some(relay) = relay {
                    relay.hear(head.status, Version::HTTP_11, head.headers);
                }
            }
            if ready!(self.poll_read(cx, self.input.wish()))? == 0 {
                return Poll::Ready(Err(EndpointError::Closed));
            }
        }
    }

    /// Reads up to so many bytes more, at least; 0 when there are no more.
    fn poll_read(&mut self, cx: &mut Context<'_>, wish: usize) -> Poll<io::Result<usize>> {
        // Of TLS there may be something that the socket no longer has.
        let waits = !self.begun || !self.socket.is_tls();
        let read = ready!(self.input.poll_read(&mut self.socket, cx, wish, waits));
        self.begun |= read.is_ok();
        Poll::Ready(read)
    }
}

/// What is left of a connection that has left HTTP. What was read of it already comes first.
#[derive(Debug)]
pub(crate) struct Switched(Rc<Connection>);

impl AsyncRead for Switched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let state = &mut *self.0.state.borrow_mut();
        let unread = &mut state.input.bytes;
        if unread.is_empty() {
            return Pin::new(&mut state.socket).poll_read(cx, buf);
        }
        let count = unread.len().min(buf.remaining());
        buf.put_slice(&unread.split_to(count));
        state.input.release();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Switched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.state.borrow_mut().socket).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.state.borrow_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.state.borrow_mut().socket).poll_shutdown(cx)
    }
}

/// What the head of a response may have, and its trailer section, in HTTP/2 as well.
pub(crate) const BOUNDS: Bounds = Bounds {
    head_bytes_max: RESPONSE_HEADER_BYTES_MAX,
    fields_max: RESPONSE_HEADER_COUNT_MAX,
    target_bytes_max: 0,
    trailer_bytes_max: RESPONSE_HEADER_BYTES_MAX,
};
