//! Bodies: of requests as they come in ([`Inbound`]) and as they leave ([`Upload`]), of responses
//! as clients get them ([`Reply`]). All of them stream; none is collected.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use weir_policy::framing::{Fault, TrailerBounds};

use crate::call::{Decoder, NotBase64};
use crate::serve::{RequestBody, RequestBodyError};

mod compressed;
mod copy;
mod from_endpoint;
mod outgoing;
mod reply;
mod stream;
mod upload;

pub use copy::{Copied, CopyFault};
pub(crate) use copy::{CopyFate, Lag};
pub use from_endpoint::EndpointError;
pub(crate) use from_endpoint::FromEndpoint;
pub(crate) use outgoing::{Cut, Outgoing};
pub(crate) use reply::{Download, Patience};
pub(crate) use reply::{Polled, take_polled};
pub use reply::{Reply, ReplyError};
pub use stream::StreamBody;
pub(crate) use upload::{Intake, IntakeEnd, Upload, UploadError};

/// The body of a request as it came in.
#[derive(Debug)]
pub enum Inbound {
    /// Copied from the body of another request.
    Copied(Copied),
    /// Given whole: requests of tests and of Weir itself, and what was held.
    Full(Option<Bytes>),
    /// The beginning was held, the rest comes on.
    Held(Box<Held>),
    /// Read off a client's HTTP/1 connection.
    Http1(RequestBody),
    /// Of a stream of a client's HTTP/2 connection, with trailers within bounds.
    Stream(StreamBody, TrailerBounds),
    /// The same in Base64, decoded: gRPC-Web in its text form.
    Text(Box<Text>),
}

/// A body that comes in Base64.
#[derive(Debug)]
pub struct Text {
    source: Inbound,
    decoder: Decoder,
}

/// A body whose beginning was held.
#[derive(Debug)]
pub struct Held {
    before: Option<Bytes>,
    rest: Inbound,
}

/// Why a body ended early on its way in.
#[derive(Debug, thiserror::Error)]
pub enum InboundError {
    /// It is a copy, and that was given up.
    #[error(transparent)]
    Copy(#[from] CopyFault),
    /// The client's side broke.
    #[error(transparent)]
    Http1(#[from] RequestBodyError),
    /// It is not Base64 although it should be.
    #[error(transparent)]
    NotBase64(#[from] NotBase64),
    /// The client's stream broke.
    #[error(transparent)]
    Stream(#[from] h2::Error),
    /// What stands behind it on the client's stream is too much.
    #[error("the body is malformed: {0}")]
    Trailers(#[from] Fault),
}

impl Inbound {
    /// The same body, behind what was read of it before.
    pub(crate) fn behind(self, before: Bytes) -> Self {
        Inbound::Held(Box::new(Held {
            before: Some(before),
            rest: self,
        }))
    }

    /// What comes on this stream behind a head with these fields, with trailers within bounds.
    pub(crate) fn of_stream(
        headers: &HeaderMap,
        incoming: RecvStream,
        bounds: TrailerBounds,
    ) -> Self {
        Inbound::Stream(StreamBody::new(headers, incoming), bounds)
    }

    /// The same body, decoded.
    pub(crate) fn decoded(self) -> Self {
        match self {
            source @ (Inbound::Http1(_) | Inbound::Stream(..)) => Inbound::Text(Box::new(Text {
                source,
                decoder: Decoder::default(),
            })),
            other => other,
        }
    }
}

impl Text {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InboundError>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.source).poll_frame(cx)?) else {
                self.decoder.finish()?;
                return Poll::Ready(None);
            };
            let Ok(data) = frame.into_data() else {
                // gRPC knows no trailers of requests.
                continue;
            };
            let decoded = self.decoder.decode(&data)?;
            if !decoded.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(decoded))));
            }
        }
    }
}

impl From<Bytes> for Inbound {
    fn from(body: Bytes) -> Self {
        Inbound::Full(Some(body).filter(|body| !body.is_empty()))
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = InboundError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InboundError>>> {
        match self.get_mut() {
            Inbound::Copied(body) => body.poll_frame(cx).map_err(InboundError::Copy),
            Inbound::Full(body) => Poll::Ready(body.take().map(|data| Ok(Frame::data(data)))),
            Inbound::Held(body) => match body.before.take() {
                Some(before) => Poll::Ready(Some(Ok(Frame::data(before)))),
                None => Pin::new(&mut body.rest).poll_frame(cx),
            },
            Inbound::Http1(body) => body.poll_frame(cx).map_err(InboundError::Http1),
            Inbound::Stream(body, bounds) => body.poll_frame(*bounds, cx),
            Inbound::Text(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Inbound::Copied(body) => body.is_end(),
            Inbound::Full(body) => body.is_none(),
            Inbound::Held(body) => body.before.is_none() && body.rest.is_end_stream(),
            Inbound::Http1(body) => body.is_end(),
            Inbound::Stream(body, _) => body.is_end(),
            Inbound::Text(body) => body.source.is_end_stream() && body.decoder.finish().is_ok(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Inbound::Copied(body) => body
                .declared()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            Inbound::Full(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Inbound::Held(body) => {
                let before = body.before.as_ref().map_or(0, |before| before.len() as u64);
                let rest = body.rest.size_hint().exact();
                rest.map_or_else(SizeHint::default, |rest| {
                    SizeHint::with_exact(before + rest)
                })
            }
            Inbound::Http1(body) => body.size_hint(),
            Inbound::Stream(body, _) => body.size_hint(),
            Inbound::Text(_) => SizeHint::default(),
        }
    }
}

/// The error of services that answer everything.
pub type Never = Infallible;
