//! gRPC calls in the engine: a look at the first frame before the response is judged, the time
//! that is left, and the status that ends a call.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, request};
use http_body::{Body, Frame};
use weir_policy::grpc::{Flavour, Status, TIMEOUT_HEADER, timeout_value};
use weir_policy::refusal::{Code, Refusal};

use crate::body::{EndpointError, FromEndpoint, ReplyError};
use crate::record::Ledger;

mod web;

pub(crate) use web::Decoder;
pub use web::NotBase64;

/// The first frame of a response that was looked at before it was delivered; it waits in the
/// extensions of the response.
#[derive(Debug, Clone)]
pub(crate) enum First {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl From<First> for Frame<Bytes> {
    fn from(first: First) -> Self {
        match first {
            First::Data(data) => Frame::data(data),
            First::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

/// Looks at the first frame where it has come together with the head, without waiting for it: a
/// stream may have nothing to say for long.
///
/// # Errors
/// When the response has broken off instead.
pub(crate) fn look(response: &mut Response<FromEndpoint>) -> Result<(), EndpointError> {
    if response.body().is_end_stream() {
        return Ok(());
    }
    let mut cx = Context::from_waker(Waker::noop());
    let first = match Pin::new(response.body_mut()).poll_frame(&mut cx) {
        Poll::Pending | Poll::Ready(None) => return Ok(()),
        Poll::Ready(Some(frame)) => match frame?.into_data() {
            Ok(data) => First::Data(data),
            Err(frame) => First::Trailers(frame.into_trailers().unwrap_or_default()),
        },
    };
    response.extensions_mut().insert(first);
    Ok(())
}

/// The status of a response that has no messages.
pub(crate) fn status(response: &Response<FromEndpoint>) -> Option<Status> {
    Status::of(response.headers()).or_else(|| match response.extensions().get::<First>()? {
        First::Trailers(trailers) => Status::of(trailers),
        First::Data(_) => None,
    })
}

/// Tells the endpoint what is left of the call's time.
pub(crate) fn write_left(head: &mut request::Parts, left: Duration) {
    head.headers.insert(TIMEOUT_HEADER, timeout_value(left));
}

/// What the body of a call's response needs beside the body.
#[derive(Debug)]
pub(crate) struct CallBody {
    /// Comes before what the body has.
    first: Option<First>,
    form: Form,
    /// Why it ends when its time is over.
    late: Code,
}

/// How the end of a call is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As the endpoint does; nothing can be added.
    AsItIs,
    Trailers,
    /// In the body.
    Web,
    /// In the body, all of it in Base64.
    WebText,
}

impl CallBody {
    /// `web` is the form of gRPC-Web that the response is translated to; `http2` says what the
    /// client speaks.
    pub(crate) fn new(
        call: Flavour,
        web: Option<Flavour>,
        first: Option<First>,
        http2: bool,
        late: Code,
    ) -> Box<Self> {
        let form = match web {
            Some(Flavour::WebText) => Form::WebText,
            Some(Flavour::Grpc | Flavour::Web) => Form::Web,
            None if http2 && call == Flavour::Grpc => Form::Trailers,
            None => Form::AsItIs,
        };
        Box::new(Self { first, form, late })
    }

    /// Whether a frame has been looked at that is still to be sent.
    pub(crate) fn has_first(&self) -> bool {
        self.first.is_some()
    }

    pub(crate) fn take_first(&mut self) -> Option<Frame<Bytes>> {
        self.first.take().map(Frame::from)
    }

    /// Whether the length of the body is another than the endpoint's.
    pub(crate) fn is_translated(&self) -> bool {
        matches!(self.form, Form::Web | Form::WebText)
    }

    /// A frame on its way to the client.
    pub(crate) fn pass(&self, frame: Frame<Bytes>, ledger: &mut Ledger) -> Frame<Bytes> {
        if let Some(trailers) = frame.trailers_ref() {
            ledger.grpc_status = Status::of(trailers);
        }
        self.formed(frame)
    }

    /// The end of a call whose response broke off: a client would have to guess from a reset.
    pub(crate) fn last_words(
        &self,
        error: &ReplyError,
        ledger: &mut Ledger,
    ) -> Option<Frame<Bytes>> {
        if self.form == Form::AsItIs {
            return None;
        }
        let code = match error {
            ReplyError::Stalled => Code::UpstreamStalled,
            ReplyError::Total => self.late,
            ReplyError::Encoder(_) => Code::Internal,
            ReplyError::TooLarge => Code::ResponseTooLarge,
            ReplyError::Upstream(_) => Code::UpstreamReset,
        };
        ledger.grpc_status = Some(code.row().grpc);
        Some(self.formed(Frame::trailers(Refusal::new(code).call_trailers())))
    }

    fn formed(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        if !self.is_translated() {
            return frame;
        }
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => web::trailers_frame(&frame.into_trailers().unwrap_or_default()),
        };
        Frame::data(match self.form {
            Form::WebText => web::encoded(&data),
            _ => data,
        })
    }
}
