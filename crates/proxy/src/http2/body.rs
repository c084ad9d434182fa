//! The body of a response that comes on an HTTP/2 stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;

use crate::body::{EndpointError, StreamBody};
use crate::http1::BOUNDS;

/// The body of a response.
#[derive(Debug)]
pub(crate) struct Body {
    stream: StreamBody,
    /// Held for the task that sends the rest of the request beside it.
    _beside: Option<oneshot::Sender<()>>,
}

impl Body {
    pub(super) fn new(stream: StreamBody, beside: Option<oneshot::Sender<()>>) -> Self {
        Self {
            stream,
            _beside: beside,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = EndpointError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EndpointError>>> {
        let bounds = BOUNDS.trailers();
        self.get_mut().stream.poll_frame(bounds, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        self.stream.size_hint()
    }
}
