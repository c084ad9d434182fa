//! The body of a response as an endpoint sends it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use weir_policy::framing::Fault;

use super::upload::UploadError;
use crate::http1::{self, Switched};

/// The body of a response from an endpoint.
#[derive(Debug)]
pub(crate) enum FromEndpoint {
    Http1(http1::Body),
    /// Read by hyper.
    Http2(Incoming),
}

/// Why an exchange with an endpoint broke off.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The connection was closed before the response was whole.
    #[error("the connection was closed before the response was whole")]
    Closed,
    /// On an HTTP/2 connection.
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A length is not what it should be.
    #[error("{0}")]
    Length(&'static str),
    /// The response is no HTTP/1.
    #[error("the response is malformed: {0}")]
    Malformed(#[from] Fault),
    /// The request could not be sent to its end.
    #[error(transparent)]
    Upload(UploadError),
}

impl FromEndpoint {
    /// The connection, where HTTP/1.1 has ended on it.
    pub(crate) fn take_switched(&mut self) -> Option<Switched> {
        match self {
            FromEndpoint::Http1(body) => body.take_switched(),
            FromEndpoint::Http2(_) => None,
        }
    }
}

impl Body for FromEndpoint {
    type Data = Bytes;
    type Error = EndpointError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EndpointError>>> {
        match self.get_mut() {
            FromEndpoint::Http1(body) => Pin::new(body).poll_frame(cx),
            FromEndpoint::Http2(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            FromEndpoint::Http1(body) => body.is_end_stream(),
            FromEndpoint::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            FromEndpoint::Http1(body) => body.size_hint(),
            FromEndpoint::Http2(body) => body.size_hint(),
        }
    }
}
