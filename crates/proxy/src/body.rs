//! Bodies: of requests as they come in ([`Inbound`]) and as they leave ([`Upload`]), of responses
//! as clients get them ([`Reply`]). All of them stream; none is collected.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

mod compressed;
mod reply;
mod upload;

pub(crate) use reply::{Download, Patience};
pub use reply::{Reply, ReplyError};
pub(crate) use upload::{Intake, IntakeEnd, Upload};

/// The body of a request as it came in.
#[derive(Debug)]
pub enum Inbound {
    /// Given whole: requests of tests and of Weir itself.
    Full(Option<Bytes>),
    /// Read by hyper from a client's connection.
    Hyper(Incoming),
}

impl From<Incoming> for Inbound {
    fn from(body: Incoming) -> Self {
        Inbound::Hyper(body)
    }
}

impl From<Bytes> for Inbound {
    fn from(body: Bytes) -> Self {
        Inbound::Full(Some(body).filter(|body| !body.is_empty()))
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Inbound::Full(body) => Poll::Ready(body.take().map(|data| Ok(Frame::data(data)))),
            Inbound::Hyper(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Inbound::Full(body) => body.is_none(),
            Inbound::Hyper(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Inbound::Full(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Inbound::Hyper(body) => body.size_hint(),
        }
    }
}

/// The error of services that answer everything.
pub type Never = Infallible;
