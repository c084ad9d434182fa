//! A connection in hyper's hands.
//!
//! hyper's read buffer is 8 KiB at least, its connection some more. Most connections of a gateway
//! are silent at any moment, so an HTTP/1 connection that has nothing to say gives all of that back
//! and keeps its socket alone; when the socket becomes readable, hyper gets it anew.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::Response;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::streams::StreamExec;
use crate::body::{Never, Reply};
use crate::wire::Wire;
use crate::worker::{Bounds, Worker};

type Io = TokioIo<Wire>;

/// A connection in hyper's hands.
pub(super) enum Http<S, F>
where
    S: HttpService<Incoming, ResBody = Reply, Error = Never, Future = F>,
{
    H1(Http1<S>),
    H2(Pin<Box<http2::Connection<Io, S, StreamExec>>>),
}

/// An HTTP/1 connection.
pub(super) struct Http1<S>
where
    S: HttpService<Incoming, ResBody = Reply, Error = Never>,
{
    state: State<S>,
    bounds: Bounds,
}

enum State<S>
where
    S: HttpService<Incoming, ResBody = Reply, Error = Never>,
{
    Awake(Box<http1::UpgradeableConnection<Io, S>>),
    Asleep(Wire, S),
    /// It has left HTTP, and hyper has nothing of it any more.
    Left,
}

impl<S, F> Http<S, F>
where
    S: HttpService<Incoming, ResBody = Reply, Error = Never, Future = F>,
    F: Future<Output = Result<Response<Reply>, Never>> + 'static,
{
    pub(super) fn h1(wire: Wire, service: S, bounds: Bounds) -> Self {
        Self::H1(Http1 {
            state: State::Awake(Box::new(awake(wire, service, bounds))),
            bounds,
        })
    }

    pub(super) fn h2(worker: &Rc<Worker>, wire: Wire, service: S, bounds: Bounds) -> Self {
        let http = h2_builder(worker, bounds).serve_connection(TokioIo::new(wire), service);
        Self::H2(Box::pin(http))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        match self {
            Self::H1(http) => http.poll(cx),
            Self::H2(http) => http.as_mut().poll(cx),
        }
    }

    pub(super) fn shut_down(&mut self) {
        match self {
            Self::H1(http) => http.shut_down(),
            Self::H2(http) => http.as_mut().graceful_shutdown(),
        }
    }

    pub(super) fn is_asleep(&self) -> bool {
        matches!(
            self,
            Self::H1(Http1 {
                state: State::Asleep(..),
                ..
            })
        )
    }

    /// Gives back what hyper holds for it, if nothing is under way; says whether it did.
    pub(super) fn sleep(&mut self) -> bool {
        match self {
            Self::H1(http) => http.sleep(),
            Self::H2(_) => false,
        }
    }
}

impl<S, F> Http1<S>
where
    S: HttpService<Incoming, ResBody = Reply, Error = Never, Future = F>,
    F: Future<Output = Result<Response<Reply>, Never>> + 'static,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        if let State::Asleep(wire, _) = &self.state {
            ready!(wire.poll_readable(cx));
        }
        match self.awake() {
            Some(http) => Pin::new(http).poll(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn shut_down(&mut self) {
        if let Some(http) = self.awake() {
            Pin::new(http).graceful_shutdown();
        }
    }

    fn awake(&mut self) -> Option<&mut http1::UpgradeableConnection<Io, S>> {
        if matches!(self.state, State::Asleep(..))
            && let State::Asleep(wire, service) = std::mem::replace(&mut self.state, State::Left)
        {
            self.state = State::Awake(Box::new(awake(wire, service, self.bounds)));
        }
        match &mut self.state {
            State::Awake(http) => Some(http),
            State::Asleep(..) | State::Left => None,
        }
    }

    fn sleep(&mut self) -> bool {
        let http = match std::mem::replace(&mut self.state, State::Left) {
            State::Awake(http) => http,
            state => {
                self.state = state;
                return false;
            }
        };
        let Some(parts) = http.into_parts() else {
            return false;
        };
        let mut wire = parts.io.into_inner();
        let quiet = parts.read_buf.is_empty() && wire.is_quiet();
        wire.unread(parts.read_buf);
        self.state = State::Asleep(wire, parts.service);
        if !quiet {
            self.awake();
        }
        quiet
    }
}

fn awake<S>(wire: Wire, service: S, bounds: Bounds) -> http1::UpgradeableConnection<Io, S>
where
    S: HttpService<Incoming, ResBody = Reply, Error = Never>,
    S::Future: 'static,
{
    h1_builder(bounds)
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades()
}

fn h1_builder(bounds: Bounds) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        // What is over hyper's own bounds it answers by itself, without a reason. So they are wider
        // than the listener's, which the inspector under it and `exchange` hold.
        .max_header_size(2 * bounds.header_bytes_max)
        .max_buf_size(H1_BUFFER_BYTES_MAX.max(2 * bounds.header_bytes_max));
    if bounds.header_count_max > HYPER_HEADER_COUNT_MAX {
        // Costs an allocation per request, so only where it says something.
        builder.max_headers(2 * bounds.header_count_max);
    }
    builder
}

fn h2_builder(worker: &Rc<Worker>, bounds: Bounds) -> http2::Builder<StreamExec> {
    let mut builder = http2::Builder::new(StreamExec {
        worker: Rc::clone(worker),
        idle: bounds.idle_timeout,
    });
    builder
        .timer(TokioTimer::new())
        // WebSockets (RFC 8441); whatever else is asked for so is refused.
        .enable_connect_protocol()
        .max_concurrent_streams(H2_STREAMS_MAX)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_frame_size(H2_FRAME_BYTES)
        .max_send_buf_size(H2_SEND_BUFFER_BYTES)
        // The library answers what is over it without a reason; `exchange` has one.
        .max_header_list_size(header_list_bytes_max(bounds))
        .max_pending_accept_reset_streams(H2_RESETS_PENDING_MAX)
        .max_local_error_reset_streams(H2_RESETS_LOCAL_MAX);
    builder
}

/// Room for everything within the bounds, as HTTP/2 counts (RFC 9113, section 10.5.1), and a
/// little.
fn header_list_bytes_max(bounds: Bounds) -> u32 {
    let fields = bounds.header_count_max + H2_PSEUDO_FIELDS;
    let bytes = bounds.header_bytes_max + fields * H2_FIELD_OVERHEAD_BYTES;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// hyper's read and write buffers towards a client may grow to this.
const H1_BUFFER_BYTES_MAX: usize = 128 * 1024;
/// hyper's own bound, which costs nothing.
const HYPER_HEADER_COUNT_MAX: usize = 100;
const H2_PSEUDO_FIELDS: usize = 8;
const H2_FIELD_OVERHEAD_BYTES: usize = 32;
const H2_STREAMS_MAX: u32 = 100;
const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
const H2_FRAME_BYTES: u32 = 16 * 1024;
const H2_SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Streams reset by the client before they were looked at (rapid reset): more are an attack.
const H2_RESETS_PENDING_MAX: usize = 20;
/// Streams reset because the client broke the protocol.
const H2_RESETS_LOCAL_MAX: usize = 256;
const _: () = assert!(H2_STREAM_WINDOW_BYTES < H2_CONNECTION_WINDOW_BYTES);
