//! A connection in the hands of one exchange.

use std::ops::Deref;
use std::rc::Rc;

use http::request;

use super::lane::Lane;
use crate::body::Upload;
use crate::header_maps::HeaderMaps;
use crate::interim::Relay;
use crate::{http1, http2};

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
        maps: &'a HeaderMaps,
    ) -> http1::Sending<'a> {
        self.connection.send(head, upload, relay, maps)
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
    connection: Rc<http2::Connection>,
    lane: Rc<Lane>,
}

impl H2Line {
    pub(super) fn new(connection: Rc<http2::Connection>, lane: Rc<Lane>) -> Self {
        connection.take();
        Self { connection, lane }
    }
}

impl Deref for H2Line {
    type Target = http2::Connection;

    fn deref(&self) -> &http2::Connection {
        &self.connection
    }
}

impl Drop for H2Line {
    fn drop(&mut self) {
        self.connection.leave();
        self.lane.notify();
    }
}
