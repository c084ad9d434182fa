//! A connection that is being served: HTTP/1 by hyper, HTTP/2 by [`Http2`].
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
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;

use super::http2::Http2;
use super::service::{Answer, ConnectionService};
use crate::body::{Never, Reply};
use crate::wire::Wire;
use crate::worker::{Bounds, Worker};

type Io = TokioIo<Wire>;

/// A connection that is being served.
pub(super) enum Http<A: Answer> {
    H1(Http1<ConnectionService<A>>),
    H2(Box<Http2<A>>),
}

/// Why one ended that should not have.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    #[error(transparent)]
    Http2(#[from] h2::Error),
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

impl<A: Answer> Http<A> {
    pub(super) fn h1(wire: Wire, service: ConnectionService<A>, bounds: Bounds) -> Self {
        Self::H1(Http1 {
            state: State::Awake(Box::new(awake(wire, service, bounds))),
            bounds,
        })
    }

    pub(super) fn h2(
        worker: &Rc<Worker>,
        wire: Wire,
        service: ConnectionService<A>,
        bounds: Bounds,
    ) -> Self {
        Self::H2(Box::new(Http2::new(worker, wire, service, bounds)))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        match self {
            Self::H1(http) => http.poll(cx).map_err(HttpError::Http1),
            Self::H2(http) => http.poll(cx).map_err(HttpError::Http2),
        }
    }

    pub(super) fn shut_down(&mut self) {
        match self {
            Self::H1(http) => http.shut_down(),
            Self::H2(http) => http.shut_down(),
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

/// hyper's read and write buffers towards a client may grow to this.
const H1_BUFFER_BYTES_MAX: usize = 128 * 1024;
/// hyper's own bound, which costs nothing.
const HYPER_HEADER_COUNT_MAX: usize = 100;
