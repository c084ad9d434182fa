//! A connection of any protocol.

use crate::load::connect::connect;
use crate::load::expectation::{Expectation, Verified};
use crate::load::http1::Http1;
use crate::load::http2::Http2;
use crate::load::plan::{Plan, Protocol, Request};
use crate::load::tally::Failure;
use crate::load::websocket::WebSocket;

/// An open connection.
pub enum Link {
    /// HTTP/1.1.
    Http1(Http1),
    /// HTTP/2; clones make requests at the same time.
    Http2(Http2),
    /// Upgraded.
    WebSocket(WebSocket),
}

impl Link {
    /// Opens one.
    ///
    /// # Errors
    /// [`Failure::Connect`], or an upgrade that failed.
    pub async fn open(plan: &Plan, first: &Request) -> Result<Self, Failure> {
        let io = connect(plan).await.map_err(Failure::Connect)?;
        Ok(match plan.protocol {
            Protocol::Http1 => Self::Http1(Http1::new(io)),
            Protocol::Http2 { is_grpc } => Self::Http2(Http2::open(io, is_grpc).await?),
            Protocol::WebSocket => Self::WebSocket(WebSocket::open(io, first).await?),
        })
    }

    /// One request and its whole, verified response.
    ///
    /// # Errors
    /// Whatever makes it not count.
    pub async fn exchange(
        &mut self,
        request: &Request,
        expectation: &Expectation,
    ) -> Result<Verified, Failure> {
        match (self, request) {
            (Self::Http1(link), Request::Bytes(bytes)) => link.exchange(bytes, expectation).await,
            (Self::Http2(link), Request::Http2(head, body)) => {
                link.exchange(head, body, expectation).await
            }
            (Self::WebSocket(link), Request::Message { frame, .. }) => {
                link.exchange(frame, expectation).await
            }
            _ => unreachable!("a plan has the requests of its protocol"),
        }
    }

    /// Whether another request may follow.
    #[must_use]
    pub fn may_reuse(&self) -> bool {
        match self {
            Self::Http1(link) => link.may_reuse(),
            Self::Http2(link) => link.may_reuse(),
            Self::WebSocket(_) => true,
        }
    }

    /// Another handle of the same connection, where it can have several requests at a time.
    #[must_use]
    pub fn share(&self) -> Option<Self> {
        match self {
            Self::Http2(link) => Some(Self::Http2(link.clone())),
            Self::Http1(_) | Self::WebSocket(_) => None,
        }
    }

    /// Returns when the server has closed it.
    pub async fn closed(self) {
        match self {
            Self::Http1(link) => link.closed().await,
            Self::Http2(link) => link.closed().await,
            Self::WebSocket(link) => link.closed().await,
        }
    }

    /// Ends it after its one request. An HTTP/1 request of that kind asked the server to close.
    pub async fn close(self) {
        match self {
            Self::Http1(link) => link.closed().await,
            Self::Http2(link) => link.close().await,
            Self::WebSocket(_) => {}
        }
    }
}
