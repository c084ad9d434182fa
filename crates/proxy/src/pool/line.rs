//! A connection in the hands of one exchange.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use http::{Request, Response, request};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};

use super::lane::Lane;
use crate::body::Upload;
use crate::http1;
use crate::interim::Relay;

/// A connection that one exchange may send its request on.
#[derive(Debug)]
pub(crate) enum Line {
    /// HTTP/1.1: this exchange alone.
    H1(H1Line),
    /// HTTP/2: one stream of many.
    H2(H2Line),
}

impl Line {
    /// Gives the connection back after a whole response to a request that was sent whole. `now` is
    /// when that was, nanoseconds.
    pub(crate) fn finish(self, now: u64) {
        match self {
            Line::H1(line) => line.finish(now),
            Line::H2(line) => drop(line),
        }
    }
}

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct H1Line {
    connection: Rc<http1::Connection>,
    lane: Rc<Lane>,
}

impl H1Line {
    pub(crate) fn new(connection: Rc<http1::Connection>, lane: Rc<Lane>) -> Self {
        Self { connection, lane }
    }

    /// Sends a request; its interim responses are told to `relay`.
    pub(crate) fn send<'a>(
        &self,
        head: &request::Parts,
        upload: Upload,
        relay: Option<&'a Relay<'a>>,
    ) -> http1::Sending<'a> {
        self.connection.send(head, upload, relay)
    }

    fn finish(self, now: u64) {
        if self.connection.renew() {
            self.lane.put_back(self.connection, now);
        }
    }
}

/// A stream of an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct H2Line {
    sender: http2::SendRequest<Upload>,
    shared: Rc<Shared>,
    lane: Rc<Lane>,
}

impl H2Line {
    pub(super) fn new(
        sender: http2::SendRequest<Upload>,
        shared: Rc<Shared>,
        lane: Rc<Lane>,
    ) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        shared.idle_since.set(0);
        Self {
            sender,
            shared,
            lane,
        }
    }

    pub(crate) fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>> + use<>
    {
        self.sender.try_send_request(request)
    }
}

impl H2Line {
    /// Whether the endpoint takes extended CONNECTs; waits for it to say so on a new connection.
    pub(crate) async fn takes_connect(&self) -> bool {
        let shared = &self.shared;
        // The endpoint's settings come with its first bytes. hyper says neither when nor whether,
        // so the task of the connection is made to look again and again.
        for _ in 0..SETTINGS_LOOKS_MAX {
            if shared.connect.get() || shared.settled.get() {
                break;
            }
            if let Some(driver) = shared.driver.borrow_mut().take() {
                driver.wake();
            }
            tokio::time::sleep(SETTINGS_LOOK_INTERVAL).await;
        }
        shared.settled.set(true);
        shared.connect.get()
    }
}

impl Drop for H2Line {
    fn drop(&mut self) {
        self.shared
            .streams
            .set(self.shared.streams.get().saturating_sub(1));
        self.lane.notify();
    }
}

/// An HTTP/2 connection that exchanges share.
#[derive(Debug)]
pub(crate) struct Shared {
    sender: http2::SendRequest<Upload>,
    streams: Cell<u32>,
    /// What the endpoint allows; told by the task that drives the connection.
    streams_max: Cell<u32>,
    /// Whether the endpoint takes extended CONNECTs, and whether it was given the time to say so.
    connect: Cell<bool>,
    settled: Cell<bool>,
    driver: RefCell<Option<Waker>>,
    /// Since when the sweep has seen no exchange, nanoseconds; 0 for not looked at yet.
    idle_since: Cell<u64>,
}

impl Shared {
    pub(crate) fn new(sender: http2::SendRequest<Upload>, streams_max: u32) -> Rc<Self> {
        Rc::new(Self {
            sender,
            streams: Cell::new(0),
            streams_max: Cell::new(streams_max),
            connect: Cell::new(false),
            settled: Cell::new(false),
            driver: RefCell::default(),
            idle_since: Cell::new(0),
        })
    }

    /// Says whether the endpoint takes extended CONNECTs, as far as is known; told by the task that
    /// drives the connection, which is asked again until it has settled.
    pub(crate) fn tell_connect(&self, takes: bool, driver: &Waker) {
        self.connect.set(takes);
        if !takes && !self.settled.get() {
            self.driver.replace(Some(driver.clone()));
        }
    }

    /// The endpoint changed what it allows.
    pub(crate) fn allow(&self, streams_max: usize) {
        self.streams_max
            .set(u32::try_from(streams_max).unwrap_or(u32::MAX).max(1));
    }

    pub(super) fn sender(&self) -> http2::SendRequest<Upload> {
        self.sender.clone()
    }

    pub(super) fn has_room(&self) -> bool {
        self.streams.get() < self.streams_max.get()
    }

    /// For how long no exchange has been seen on it, looked at now and then.
    pub(super) fn idle_for(&self, now: u64) -> u64 {
        if self.streams.get() > 0 || self.idle_since.get() == 0 {
            self.idle_since.set(now);
        }
        now.saturating_sub(self.idle_since.get())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// An endpoint has 500 ms to say that it takes extended CONNECTs.
const SETTINGS_LOOKS_MAX: u32 = 100;
const SETTINGS_LOOK_INTERVAL: Duration = Duration::from_millis(5);
