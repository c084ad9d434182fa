//! An HTTP/2 connection of a client, on the h2 library alone. hyper's server around the same
//! library hides what interim responses need: the handle by which a stream answers.
//!
//! Each stream is a task of its own ([`StreamExec`]). It waits for the exchange, sending what comes
//! before the response, then sends the response as fast as the client's window takes it.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Response};
use http_body::Body;
use weir_policy::framing::TrailerBounds;

use super::service::{Answer, ConnectionService};
use super::streams::StreamExec;
use crate::body::{Cut, Inbound, Never, Outgoing, Reply, ReplyError};
use crate::outcome;
use crate::upgrade::{ClientIo, ClientSide, Handover, StreamIo};
use crate::wire::{Meter, Wire};
use crate::worker::{Bounds, Worker};

/// A connection in HTTP/2.
pub(super) struct Http2<A> {
    state: State,
    meter: Rc<Meter>,
    service: ConnectionService<A>,
    streams: StreamExec,
    /// What trailers of requests may have.
    trailers: TrailerBounds,
    /// It is to take no new streams once it stands.
    leaves: bool,
}

enum State {
    Greeting(Handshake<Wire, Bytes>),
    Open(Connection<Wire, Bytes>),
}

impl<A: Answer> Http2<A> {
    pub(super) fn new(
        worker: &Rc<Worker>,
        wire: Wire,
        service: ConnectionService<A>,
        bounds: Bounds,
    ) -> Self {
        Self {
            meter: Rc::clone(wire.meter()),
            state: State::Greeting(builder(bounds).handshake(wire)),
            service,
            streams: StreamExec {
                worker: Rc::clone(worker),
                idle: bounds.idle_timeout,
            },
            trailers: bounds.framing().trailers(),
            leaves: false,
        }
    }

    /// Takes streams until the connection ends.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.meter.polled();
        loop {
            match &mut self.state {
                State::Greeting(handshake) => {
                    let mut connection = ready!(Pin::new(handshake).poll(cx))?;
                    if self.leaves {
                        connection.graceful_shutdown();
                    }
                    self.state = State::Open(connection);
                }
                State::Open(connection) => match ready!(connection.poll_accept(cx)) {
                    Some(accepted) => {
                        let (request, respond) = accepted?;
                        self.begin(request, respond);
                    }
                    None => return Poll::Ready(Ok(())),
                },
            }
        }
    }

    /// Says GOAWAY; what runs goes on.
    pub(super) fn shut_down(&mut self) {
        match &mut self.state {
            State::Greeting(_) => self.leaves = true,
            State::Open(connection) => connection.graceful_shutdown(),
        }
    }

    fn begin(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let (mut head, incoming) = request.into_parts();
        let connects = head.method == Method::CONNECT && !head.headers.contains_key(CONTENT_LENGTH);
        let (body, tunnel) = if connects {
            let (side, handover) = ClientSide::new();
            head.extensions.insert(side);
            (Inbound::from(Bytes::new()), Some((handover, incoming)))
        } else {
            (
                Inbound::of_stream(&head.headers, incoming, self.trailers),
                None,
            )
        };
        let answer = self.service.answer(Request::from_parts(head, body));
        let stream = Stream {
            worker: Rc::clone(&self.streams.worker),
            respond,
            tunnel,
            phase: Phase::Waiting(Box::pin(answer)),
        };
        self.streams.run(stream);
    }
}

/// One stream.
struct Stream<F> {
    worker: Rc<Worker>,
    respond: SendResponse<Bytes>,
    /// Of a CONNECT: what it becomes when it succeeds.
    tunnel: Option<(Handover, RecvStream)>,
    phase: Phase<F>,
}

enum Phase<F> {
    /// For the response.
    Waiting(Pin<Box<F>>),
    /// The body of the response.
    Sending(Box<Outgoing<Reply>>),
}

impl<F: Future<Output = Result<Response<Reply>, Never>>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let ended = loop {
            match &mut this.phase {
                Phase::Waiting(answer) => {
                    // What was told to nobody is nothing for this one.
                    this.worker.interim.take();
                    let polled = answer.as_mut().poll(cx);
                    for interim in this.worker.interim.take() {
                        if let Err(error) = this.respond.send_informational(interim) {
                            tracing::debug!(%error, "interim response not sent");
                        }
                    }
                    let Poll::Ready(Ok(response)) = polled else {
                        // The client may have lost its interest.
                        ready!(this.respond.poll_reset(cx)).ok();
                        return Poll::Ready(());
                    };
                    match this.answer(response) {
                        Ok(Some(sending)) => this.phase = Phase::Sending(Box::new(sending)),
                        Ok(None) => break Ok(()),
                        Err(error) => {
                            this.respond.send_reset(Reason::INTERNAL_ERROR);
                            break Err(error);
                        }
                    }
                }
                Phase::Sending(sending) => match ready!(sending.poll(cx)) {
                    Ok(()) => break Ok(()),
                    Err(Cut::Stream(error)) => break Err(error),
                    Err(Cut::Body(error)) => {
                        sending.reset(reason(&error));
                        break Ok(());
                    }
                },
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a stream broke off");
        }
        Poll::Ready(())
    }
}

impl<F> Stream<F> {
    /// Sends the head, and says what is still to be sent.
    fn answer(&mut self, response: Response<Reply>) -> Result<Option<Outgoing<Reply>>, h2::Error> {
        let (head, reply) = response.into_parts();
        let mut response = Response::from_parts(head, ());
        let headers = response.headers_mut();
        for name in &OF_HTTP_1 {
            headers.remove(name);
        }
        if !headers.contains_key(DATE) {
            headers.insert(DATE, self.worker.clock.date());
        }
        if let Some((handover, incoming)) = self.tunnel.take()
            && response.status().is_success()
        {
            response.headers_mut().remove(CONTENT_LENGTH);
            let send = self.respond.send_response(response, false)?;
            handover.complete(ClientIo::Stream(StreamIo::new(send, incoming)));
            return Ok(None);
        }
        if reply.is_end_stream() {
            self.respond.send_response(response, true)?;
            return Ok(None);
        }
        declare_length(response.headers_mut(), &reply);
        let send = self.respond.send_response(response, false)?;
        Ok(Some(Outgoing::new(send, reply)))
    }
}

fn declare_length(headers: &mut HeaderMap, reply: &Reply) {
    if let Some(bytes) = reply.size_hint().exact() {
        headers
            .entry(CONTENT_LENGTH)
            .or_insert_with(|| bytes.into());
    }
}

/// What a client is told about a response that broke off: what an HTTP/2 endpoint has said, but
/// nothing that some take for the end of it.
fn reason(error: &ReplyError) -> Reason {
    let found = outcome::source::<h2::Error>(error).and_then(h2::Error::reason);
    found
        .filter(|reason| !matches!(*reason, Reason::CANCEL | Reason::NO_ERROR))
        .unwrap_or(Reason::INTERNAL_ERROR)
}

fn builder(bounds: Bounds) -> Builder {
    let mut builder = Builder::new();
    builder
        // WebSockets (RFC 8441); whatever else is asked for so is refused.
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        // The library answers what is over it without a reason; `exchange` has one.
        .max_header_list_size(header_list_bytes_max(bounds))
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(Some(RESETS_LOCAL_MAX));
    builder
}

/// Room for everything within the bounds, as HTTP/2 counts (RFC 9113, section 10.5.1), and a
/// little.
fn header_list_bytes_max(bounds: Bounds) -> u32 {
    let fields = bounds.header_count_max + PSEUDO_FIELDS;
    let bytes = bounds.header_bytes_max + fields * FIELD_OVERHEAD_BYTES;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What has no place in HTTP/2 (RFC 9113, 8.2.2).
const OF_HTTP_1: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];
const PSEUDO_FIELDS: usize = 8;
const FIELD_OVERHEAD_BYTES: usize = 32;
const STREAMS_MAX: u32 = 100;
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
const FRAME_BYTES: u32 = 16 * 1024;
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Streams reset by the client before they were looked at (rapid reset): more are an attack.
const RESETS_PENDING_MAX: usize = 20;
/// Streams reset because the client broke the protocol.
const RESETS_LOCAL_MAX: usize = 256;
const _: () = assert!(STREAM_WINDOW_BYTES < CONNECTION_WINDOW_BYTES);
