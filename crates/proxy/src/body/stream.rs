//! What comes on an HTTP/2 stream: the body of a client's request, or of an endpoint's response.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};
use weir_policy::framing::{Fault, TrailerBounds};

/// The body of a message that came on an HTTP/2 stream.
#[derive(Debug)]
pub struct StreamBody {
    incoming: RecvStream,
    /// What is to come, where the head has said so. The library holds the other side to it.
    left: Option<u64>,
    /// Whether all data has come; trailers may still.
    data_ended: bool,
}

impl StreamBody {
    /// Of a message with these fields.
    pub(crate) fn new(headers: &HeaderMap, incoming: RecvStream) -> Self {
        let declared = headers.get(CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
        let left = match incoming.is_end_stream() {
            true => declared.or(Some(0)),
            false => declared,
        };
        Self {
            incoming,
            left,
            data_ended: false,
        }
    }

    /// The next of it; trailers over these bounds break it.
    pub(crate) fn poll_frame<E: From<Fault> + From<h2::Error>>(
        &mut self,
        bounds: TrailerBounds,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        if !self.data_ended {
            if let Some(data) = ready!(self.incoming.poll_data(cx)) {
                let data = data?;
                // Whoever asks takes it: the other side may send as much again.
                self.incoming.flow_control().release_capacity(data.len())?;
                let left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                self.left = left;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.data_ended = true;
        }
        let Some(trailers) = ready!(self.incoming.poll_trailers(cx))? else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(match bounds.exceeded_by(&trailers) {
            Some(fault) => Err(fault.into()),
            None => Ok(Frame::trailers(trailers)),
        }))
    }

    pub(crate) fn is_end(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
