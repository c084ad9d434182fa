//! The body of a response as an endpoint sends it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use weir_policy::framing::Fault;

use super::upload::UploadError;
use crate::upgrade::{EndpointSide, StreamIo};
use crate::{http1, http2};

/// The body of a response from an endpoint.
#[derive(Debug)]
pub(crate) enum FromEndpoint {
    Http1(http1::Body),
    Http2(http2::Body),
    /// It is none: the endpoint has taken an extended CONNECT.
    Tunnel(Option<Box<StreamIo>>),
}

/// Why an exchange with an endpoint broke off.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The connection was closed before the response was whole.
    #[error("the connection was closed before the response was whole")]
    Closed,
    /// On an HTTP/2 connection or one of its streams.
    #[error("{0}")]
    Http2(#[from] h2::Error),
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
    /// Whether it came in HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        !matches!(self, FromEndpoint::Http1(_))
    }

    /// The connection or stream, where HTTP has ended on it.
    pub(crate) fn take_switched(&mut self) -> Option<EndpointSide> {
        match self {
            FromEndpoint::Http1(body) => body.take_switched().map(EndpointSide::Connection),
            FromEndpoint::Http2(_) => None,
            FromEndpoint::Tunnel(stream) => stream.take().map(EndpointSide::Stream),
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
            FromEndpoint::Http2(body) => Pin::new(body).poll_frame(cx),
            FromEndpoint::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            FromEndpoint::Http1(body) => body.is_end_stream(),
            FromEndpoint::Http2(body) => body.is_end_stream(),
            FromEndpoint::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            FromEndpoint::Http1(body) => body.size_hint(),
            FromEndpoint::Http2(body) => body.size_hint(),
            FromEndpoint::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}
