//! An HTTP/1 connection of a client: reads requests strictly, has each answered, and writes the
//! response, one after the other.
//!
//! The connection is one of four: between requests (or in the head of one), *waiting* for the
//! response of an exchange, *sending* it, or *closing*. A request is read when all of the response
//! before it is written; what a client sends ahead waits in the socket, but for what came with the
//! head. Heads are read into a buffer of the worker and kept in one of their own size, so that a
//! connection between requests holds none. The body of a request is read by whoever has it
//! ([`RequestBody`]); everything else happens in the connection's own task.
//!
//! Bounds: a head by those of its listener; what came ahead by one read (16 KiB), or two where the
//! request asks to leave HTTP; what waits to be written by 128 KiB of a body and its last piece:
//! its next is asked for when the client has taken all of that.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::HeaderName;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;
use weir_policy::framing::Fault;
use weir_policy::framing::request::{Body, Head, Said};

use super::service::{Answer, ConnectionService};
use crate::body::{Inbound, Never, Reply, ReplyError};
use crate::http1::{Out, WrongLength};
use crate::upgrade::{ClientSide, Handover};
use crate::wire::Socket;

mod answer;
mod body;
mod link;

pub use body::{RequestBody, RequestBodyError};

use answer::{Asked, Length};
use link::{Expects, Found, Link, Rest};

/// An HTTP/1 connection.
pub(super) struct Http1<A: Answer> {
    service: ConnectionService<A>,
    link: Rc<Link>,
    phase: Phase,
    /// What the last request asked for.
    asked: Asked,
    /// No other request is taken.
    last: bool,
    asleep: bool,
    /// Of a request that asks to leave HTTP.
    leave: Option<Leave>,
    /// `None` while it is asleep.
    awake: Option<Box<Awake<A::Future>>>,
}

enum Phase {
    /// Between requests, or in the head of one.
    Head,
    /// For the response.
    Waiting,
    /// The body of the response.
    Sending(Reply),
    /// All of the response was taken.
    Ending,
    /// Nothing more is said.
    Closing,
    /// It has left HTTP.
    Left,
}

/// How a connection leaves HTTP.
struct Leave {
    handover: Handover,
    /// By a CONNECT.
    connects: bool,
}

/// What is used from one request to the next.
struct Awake<F> {
    /// The exchange that is under way. Its room is made once.
    exchange: Pin<Box<Option<F>>>,
    out: Out,
    /// Trailers that the response may have.
    trailers: Vec<HeaderName>,
}

/// Why a connection ended that should not have.
#[derive(Debug, thiserror::Error)]
pub(super) enum Http1Error {
    /// The client went away.
    #[error("the client has gone amid an exchange")]
    Gone,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Length(#[from] WrongLength),
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

impl<A: Answer> Http1<A> {
    /// Of which `prefix` was read already.
    pub(super) fn new(socket: Socket, prefix: Bytes, service: ConnectionService<A>) -> Self {
        let connection = Rc::clone(service.connection());
        Self {
            service,
            link: Link::new(connection, socket, prefix),
            phase: Phase::Head,
            asked: Asked::default(),
            last: false,
            asleep: false,
            leave: None,
            awake: None,
        }
    }

    /// Serves it until it ends.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        self.link.driving.set(true);
        let polled = self.poll_phases(cx);
        self.link.driving.set(false);
        polled
    }

    /// Takes no other request.
    pub(super) fn shut_down(&mut self) {
        self.last = true;
        self.asked.keeps = false;
        if let Phase::Head = self.phase {
            self.phase = Phase::Closing;
        }
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// Gives its buffers back, if nothing is under way; says whether it did.
    pub(super) fn sleep(&mut self) -> bool {
        let state = &mut *self.link.state.borrow_mut();
        let idle = matches!(self.phase, Phase::Head) && state.input.bytes.is_empty();
        self.asleep = idle && state.socket.as_ref().is_none_or(Socket::is_flushed);
        if self.asleep {
            state.input.renew();
            self.awake = None;
        }
        self.asleep
    }

    fn poll_phases(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        // Shares the thread with others: a client that always has another request ready waits its
        // turn.
        for _ in 0..STEPS_MAX {
            match &mut self.phase {
                Phase::Head => {
                    let found = ready!(self.poll_head(cx));
                    self.begin(found);
                }
                Phase::Waiting => match self.poll_exchange(cx) {
                    Poll::Ready(Ok(response)) => self.answer(response, cx),
                    Poll::Pending => {
                        let _ = self.poll_write(cx)?;
                        return self.poll_gone(cx);
                    }
                },
                Phase::Sending(_) => {
                    if self.poll_reply(cx)?.is_pending() {
                        return self.poll_gone(cx);
                    }
                    self.phase = Phase::Ending;
                }
                Phase::Ending => {
                    if self.poll_write(cx)?.is_pending() {
                        return self.poll_gone(cx);
                    }
                    ready!(self.poll_end(cx));
                }
                Phase::Closing => return self.poll_close(cx),
                Phase::Left => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Found> {
        self.link.poll_head(cx)
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Reply>, Never>> {
        let exchange = self.awake.as_mut().map(|awake| awake.exchange.as_mut());
        let Some(exchange) = exchange.and_then(Option::as_pin_mut) else {
            return Poll::Pending;
        };
        // What was told to nobody is nothing for this one.
        let interim = &self.link.connection.worker.interim;
        interim.borrow_mut().clear();
        let polled = exchange.poll(cx);
        self.say_first();
        polled
    }

    /// Begins an exchange.
    fn ask(&mut self, request: Request<Inbound>) {
        let exchange = self.service.answer(request);
        let awake = self.awake.get_or_insert_with(Awake::new);
        awake.exchange.set(Some(exchange));
        self.phase = Phase::Waiting;
    }

    /// A head was read, or something in its place.
    fn begin(&mut self, found: Found) {
        self.asleep = false;
        match found {
            Found::Request(request, said, head) => self.receive(request, said, head),
            Found::Fault(request, fault) => self.refuse(request, fault),
            Found::End => self.phase = Phase::Closing,
        }
    }

    fn receive(&mut self, mut request: Request<()>, said: Said, head: Head) {
        let http10 = request.version() == Version::HTTP_10;
        self.asked = Asked {
            http10,
            head: *request.method() == Method::HEAD,
            trailers: said.takes_trailers,
            keeps: said.keeps_alive && !self.last,
            leaves: false,
        };
        let body = match head.body {
            Body::Length(0) => {
                let connects = *request.method() == Method::CONNECT;
                if head.leaves_http && (connects || !http10) {
                    let (side, handover) = ClientSide::new();
                    request.extensions_mut().insert(side);
                    self.leave = Some(Leave { handover, connects });
                }
                Inbound::Full(None)
            }
            Body::Length(_) | Body::Chunked => {
                self.link.expects.set(match said.expects_continue {
                    true => Expects::Continue,
                    false => Expects::Nothing,
                });
                Inbound::Http1(RequestBody::new(Rc::clone(&self.link)))
            }
        };
        self.ask(request.map(|()| body));
    }

    /// What came is no head: an exchange refuses what stands for it.
    fn refuse(&mut self, request: Request<()>, fault: Fault) {
        self.link.connection.meter.head_faulted(fault);
        self.last = true;
        self.asked = Asked {
            http10: request.version() == Version::HTTP_10,
            head: *request.method() == Method::HEAD,
            ..Asked::default()
        };
        self.ask(request.map(|()| Inbound::Full(None)));
    }

    /// Writes what goes before the response: `100 Continue`, interim responses.
    fn say_first(&mut self) {
        let link = &self.link;
        let mut interim = link.connection.worker.interim.borrow_mut();
        let continues = link.expects.get() == Expects::Asked;
        if interim.is_empty() && !continues {
            return;
        }
        let awake = self.awake.get_or_insert_with(Awake::new);
        let bytes = awake.out.buffer();
        if continues {
            link.expects.set(Expects::Nothing);
            bytes.extend_from_slice(CONTINUE);
        }
        for response in interim.drain(..) {
            answer::write_interim(bytes, &response);
        }
    }

    /// The exchange has its response: writes the head of it.
    fn answer(&mut self, response: Response<Reply>, cx: &mut Context<'_>) {
        let (mut head, reply) = response.into_parts();
        self.phase = Phase::Ending;
        let awake = self.awake.get_or_insert_with(Awake::new);
        // It may have the body of the request, of which nothing is wanted any more.
        awake.exchange.set(None);
        self.link.expects.set(Expects::Nothing);
        self.asked.keeps &= self.link.rest(cx) != Rest::Lost;
        if let Some(leave) = &self.leave {
            let tunnels = leave.connects && head.status.is_success();
            self.asked.leaves = tunnels || head.status == StatusCode::SWITCHING_PROTOCOLS;
        }
        if head.status.is_informational() && !self.asked.leaves {
            // Nobody sends one for a response.
            head.status = StatusCode::INTERNAL_SERVER_ERROR;
            self.asked.keeps = false;
        }
        let length = match reply.size_hint().exact() {
            _ if reply.is_end_stream() => Length::Nothing,
            Some(count) => Length::Known(count),
            None => Length::Unknown,
        };
        let clock = &self.link.connection.worker.clock;
        let bytes = awake.out.buffer();
        let follows = answer::write(bytes, &head, length, self.asked, || clock.date());
        awake.out.frame(follows.framing);
        self.asked.keeps = follows.keeps;
        awake.trailers = follows.trailers;
        self.link
            .connection
            .worker
            .header_maps
            .give_back(head.headers);
        if !awake.out.is_whole() {
            self.phase = Phase::Sending(reply);
        }
    }

    /// Takes the body of the response as fast as the client does; ready at its end.
    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Http1Error> {
        let (Phase::Sending(reply), Some(awake)) = (&mut self.phase, &mut self.awake) else {
            return Ok(Poll::Ready(()));
        };
        loop {
            let mut waits = false;
            while !waits && awake.out.has_room() {
                match Pin::new(&mut *reply).poll_frame(cx) {
                    Poll::Pending => waits = true,
                    Poll::Ready(Some(Ok(frame))) => {
                        awake.push(frame)?;
                        if awake.out.is_whole() {
                            return Ok(Poll::Ready(()));
                        }
                        if reply.is_end_stream() {
                            awake.out.end()?;
                            return Ok(Poll::Ready(()));
                        }
                    }
                    Poll::Ready(None) => {
                        awake.out.end()?;
                        return Ok(Poll::Ready(()));
                    }
                    Poll::Ready(Some(Err(error))) => {
                        // What came before it may leave, as far as it goes.
                        let _ = awake.poll_write(&self.link, cx);
                        return Err(error.into());
                    }
                }
            }
            if awake.poll_write(&self.link, cx)?.is_pending() || waits {
                return Ok(Poll::Pending);
            }
        }
    }

    /// Writes what is there to be written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.awake {
            Some(awake) => awake.poll_write(&self.link, cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Amid an exchange: ready with an error when the client has gone.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        ready!(self.link.poll_gone(self.leave.is_some(), cx))?;
        Poll::Ready(Err(Http1Error::Gone))
    }

    /// The response is written: decides what comes after it. Not ready as long as somebody still
    /// wants the rest of the request.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.link.rest(cx) {
            Rest::Wanted => return Poll::Pending,
            Rest::Lost => self.asked.keeps = false,
            Rest::Nothing => {}
        }
        let leave = self.leave.take();
        if self.asked.leaves
            && let Some(leave) = leave
        {
            self.link.hand_over(leave.handover);
            self.phase = Phase::Left;
        } else if self.asked.keeps && !self.last {
            self.phase = Phase::Head;
        } else {
            self.phase = Phase::Closing;
        }
        Poll::Ready(())
    }

    /// Says nothing more; ready when the client has heard everything, or says nothing more itself.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        let amid = self.link.is_amid();
        let state = &mut *self.link.state.borrow_mut();
        let Some(socket) = &mut state.socket else {
            return Poll::Ready(Ok(()));
        };
        let connection = &self.link.connection;
        if connection.meter.lingers_since().is_none() {
            ready!(Pin::new(&mut *socket).poll_shutdown(cx))?;
            if !amid {
                return Poll::Ready(Ok(()));
            }
            // Closing with unread bytes would be a reset, which can overtake the answer.
            connection.meter.lingers();
        }
        link::drain(&connection.worker, socket, cx).map_err(Into::into)
    }
}

impl<A: Answer> Drop for Http1<A> {
    fn drop(&mut self) {
        // What was under way is recorded before the client can see that it is over.
        self.phase = Phase::Left;
        self.awake = None;
        self.link.close();
    }
}

impl<F> Awake<F> {
    fn new() -> Box<Self> {
        Box::new(Self {
            exchange: Box::pin(None),
            out: Out::default(),
            trailers: Vec::new(),
        })
    }

    /// Takes a piece of the body of the response.
    fn push(&mut self, frame: Frame<Bytes>) -> Result<(), WrongLength> {
        match frame.into_trailers() {
            Ok(trailers) => {
                let trailers = answer::trailers(&self.trailers, trailers);
                self.out.push(Frame::trailers(trailers))
            }
            Err(frame) => self.out.push(frame),
        }
    }

    /// Writes all of what was taken, and notes how fast the client takes it.
    fn poll_write(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *link.state.borrow_mut();
        let (meter, Some(socket)) = (&link.connection.meter, &mut state.socket) else {
            return Poll::Ready(Ok(()));
        };
        let noted = |polled: Poll<io::Result<usize>>| {
            meter.wrote(match &polled {
                Poll::Ready(written) => Some(*written.as_ref().unwrap_or(&0)),
                Poll::Pending => None,
            });
            polled
        };
        while !self.out.is_empty() {
            ready!(noted(self.out.poll_write(socket, cx)))?;
        }
        if !socket.is_flushed() {
            let flushed = Pin::new(socket).poll_flush(cx);
            ready!(noted(flushed.map_ok(|()| 0)))?;
        }
        Poll::Ready(Ok(()))
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Steps from phase to phase before others have their turn: those of about 16 requests.
const STEPS_MAX: usize = 64;
