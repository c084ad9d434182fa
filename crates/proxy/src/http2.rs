//! HTTP/2 towards endpoints, on the h2 library alone: hyper's client around the same library keeps
//! interim responses to itself.
//!
//! A connection is a task ([`life`]). An exchange opens a stream on it by itself, sends its request
//! and reads the response, interim ones included. Only the rest of a request whose response began
//! before its end is sent by a task of its own.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, Uri, Version, request};
use http_body::Body as _;
use tokio::sync::oneshot;
use weir_config::bounds::RESPONSE_HEADER_BYTES_MAX;

use crate::body::{
    Cut, EndpointError, FromEndpoint, InboundError, Outgoing, StreamBody, Upload, UploadError,
};
use crate::connect::Counted;
use crate::http1::Unanswered;
use crate::interim::Relay;
use crate::upgrade::StreamIo;
use crate::wire::{Socket, Wire};

mod body;
mod life;

pub(crate) use body::Body;

use life::Signs;

/// A connection to an endpoint, which exchanges share. It closes when nobody has it any more and
/// its last stream has ended.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its clones send. One that has sent may have to wait before it sends again; this one never.
    sender: RefCell<SendRequest<Bytes>>,
    signs: Rc<Signs>,
    /// Since when the sweep has seen no exchange, nanoseconds; 0 for not looked at yet.
    idle_since: Cell<u64>,
    /// Whether the endpoint's settings have come, or it was given the time to send them.
    settled: Cell<bool>,
}

impl Connection {
    /// Begins to speak, and spawns the task that drives the connection.
    ///
    /// # Errors
    /// The socket takes nothing.
    pub(crate) async fn start(socket: Socket, counted: Counted) -> Result<Rc<Self>, h2::Error> {
        let meter = Rc::default();
        let wire = Wire::new(socket, Rc::clone(&meter));
        let (sender, connection) = builder().handshake(wire).await?;
        let signs = Rc::<Signs>::default();
        life::spawn(connection, Rc::clone(&signs), meter, counted);
        Ok(Rc::new(Self {
            sender: RefCell::new(sender),
            signs,
            idle_since: Cell::new(0),
            settled: Cell::new(false),
        }))
    }

    /// One more exchange has it.
    pub(crate) fn take(&self) {
        self.signs.streams.set(self.signs.streams.get() + 1);
        self.idle_since.set(0);
    }

    /// One exchange less has it.
    pub(crate) fn leave(&self) {
        let streams = self.signs.streams.get();
        self.signs.streams.set(streams.saturating_sub(1));
    }

    /// Whether the endpoint allows one more stream.
    pub(crate) fn has_room(&self) -> bool {
        let max = self.sender.borrow().current_max_send_streams();
        (self.signs.streams.get() as usize) < max.max(1)
    }

    /// Whether it takes no more streams: it is closed, or the endpoint has said that it will be.
    pub(crate) fn is_closed(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(
            self.sender.borrow_mut().poll_ready(&mut cx),
            Poll::Ready(Err(_))
        )
    }

    /// For how long no exchange has been seen on it, looked at now and then.
    pub(crate) fn idle_for(&self, now: u64) -> u64 {
        if self.signs.streams.get() > 0 || self.idle_since.get() == 0 {
            self.idle_since.set(now);
        }
        now.saturating_sub(self.idle_since.get())
    }

    /// Whether the endpoint takes extended CONNECTs; waits for it to say so on a new connection.
    pub(crate) async fn takes_connect(&self) -> bool {
        let takes = || self.sender.borrow().is_extended_connect_protocol_enabled();
        if !takes() && !self.settled.get() {
            self.signs.ask(SETTINGS_WAIT).await;
            self.settled.set(true);
        }
        takes()
    }

    /// Opens a stream with this request, whose interim responses are told to `relay`.
    ///
    /// # Errors
    /// The request cannot be sent so.
    pub(crate) fn send<'a>(
        &self,
        head: request::Parts,
        upload: Upload,
        relay: Option<&'a Relay<'a>>,
    ) -> Result<Sending<'a>, h2::Error> {
        let connects = head.method == Method::CONNECT;
        let ends = !connects && upload.is_end_stream();
        let mut request = with_authority(Request::from_parts(head, ()));
        declare_length(&mut request, &upload);
        let mut sender = self.sender.borrow().clone();
        let (answer, send) = sender.send_request(request, ends)?;
        let out = match (connects, ends) {
            (true, _) => Out::Connect(send),
            (false, true) => Out::Sent,
            (false, false) => Out::Upload(Box::new(Outgoing::new(send, upload))),
        };
        Ok(Sending { answer, out, relay })
    }
}

/// A request on its way, until the head of its response has come. The stream is reset when it is
/// dropped before.
#[derive(Debug)]
#[must_use]
pub(crate) struct Sending<'a> {
    answer: ResponseFuture,
    out: Out,
    relay: Option<&'a Relay<'a>>,
}

/// What is still to be sent of a request.
#[derive(Debug)]
enum Out {
    /// It is a CONNECT: whatever comes once it is answered.
    Connect(SendStream<Bytes>),
    /// Nothing, or nothing that the endpoint would take.
    Sent,
    Upload(Box<Outgoing<Upload>>),
}

impl Future for Sending<'_> {
    type Output = Result<Response<FromEndpoint>, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Out::Upload(outgoing) = &mut this.out
            && let Poll::Ready(sent) = outgoing.poll(cx)
        {
            let sent = ended(outgoing, sent);
            this.out = Out::Sent;
            sent.map_err(failed)?;
        }
        if let Some(relay) = this.relay {
            while let Some(told) = ready!(this.answer.poll_informational(cx)) {
                let (head, ()) = told.map_err(failed)?.into_parts();
                relay.hear(head.status, head.version, head.headers);
            }
        }
        let response = ready!(Pin::new(&mut this.answer).poll(cx)).map_err(failed)?;
        Poll::Ready(Ok(this.answered(response)))
    }
}

impl Sending<'_> {
    fn answered(&mut self, response: Response<RecvStream>) -> Response<FromEndpoint> {
        let (head, incoming) = response.into_parts();
        let beside = match std::mem::replace(&mut self.out, Out::Sent) {
            Out::Connect(send) if head.status.is_success() => {
                let tunnel = StreamIo::new(send, incoming);
                return Response::from_parts(head, FromEndpoint::Tunnel(Some(Box::new(tunnel))));
            }
            Out::Connect(mut send) => {
                // A stream that is gone needs no end.
                let _ = send.send_data(Bytes::new(), true);
                None
            }
            Out::Sent => None,
            Out::Upload(outgoing) => {
                let (beside, read) = oneshot::channel();
                tokio::task::spawn_local(send_rest(outgoing, read));
                Some(beside)
            }
        };
        let body = Body::new(StreamBody::new(&head.headers, incoming), beside);
        Response::from_parts(head, FromEndpoint::Http2(body))
    }
}

/// Sends what is left of a request while its response is read already. `read` comes when that was
/// read to its end or is not wanted any more.
async fn send_rest(mut outgoing: Box<Outgoing<Upload>>, read: oneshot::Receiver<()>) {
    let sent = tokio::select! {
        biased;
        sent = poll_fn(|cx| outgoing.poll(cx)) => Some(sent),
        _ = read => None,
    };
    let sent = match sent {
        None if !outgoing.body().is_abandoned() => {
            // All of it is here; the endpoint may still want it.
            let rest = tokio::time::timeout(REST_WAIT, poll_fn(|cx| outgoing.poll(cx)));
            rest.await.ok()
        }
        sent => sent,
    };
    let Some(sent) = sent else {
        return outgoing.reset(Reason::CANCEL);
    };
    if let Err(error) = ended(&mut outgoing, sent) {
        tracing::debug!(%error, "a request broke off behind the head of its response");
    }
}

/// What follows from the end of an upload.
///
/// # Errors
/// It broke off on the client's side. The endpoint is told.
fn ended(
    outgoing: &mut Outgoing<Upload>,
    sent: Result<(), Cut<UploadError>>,
) -> Result<(), EndpointError> {
    match sent {
        Ok(()) => Ok(()),
        // What it has said before may still be read.
        Err(Cut::Stream(error)) => {
            tracing::debug!(%error, "an endpoint takes no more of a request");
            Ok(())
        }
        Err(Cut::Body(error)) => {
            outgoing.reset(reason(&error));
            Err(EndpointError::Upload(error))
        }
    }
}

/// What an endpoint is told about a request that broke off: what an HTTP/2 client has said, but
/// never that all is well.
fn reason(error: &UploadError) -> Reason {
    let said = match error {
        UploadError::Abandoned => Some(Reason::CANCEL),
        UploadError::Client(InboundError::Stream(error)) => error.reason(),
        UploadError::Client(_) | UploadError::TooLarge => None,
    };
    said.filter(|reason| *reason != Reason::NO_ERROR)
        .unwrap_or(Reason::INTERNAL_ERROR)
}

fn failed(error: impl Into<EndpointError>) -> Unanswered {
    Unanswered::Failed(error.into())
}

/// The request as HTTP/2 wants it: the host in the target.
fn with_authority(mut request: Request<()>) -> Request<()> {
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let Some(authority) = authority else {
        return request;
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    let target = request.uri().path_and_query().cloned();
    parts.path_and_query = Some(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// Says how long the body is, where that is known and means something (RFC 9110, 8.6).
fn declare_length(request: &mut Request<()>, upload: &Upload) {
    let Some(length) = upload.size_hint().exact() else {
        return;
    };
    let expected = matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH
    );
    if length > 0 || expected {
        let headers = request.headers_mut();
        let value = || HeaderValue::from(length);
        headers.entry(CONTENT_LENGTH).or_insert_with(value);
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_max_send_streams(STREAMS_INITIAL)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_local_error_reset_streams(Some(RESETS_LOCAL_MAX));
    builder
}

const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Streams assumed to be allowed until the endpoint says.
const STREAMS_INITIAL: usize = 100;
const FRAME_BYTES: u32 = 16 * 1024;
/// Twice what is taken, so that what is a little too large is refused by name.
const HEADER_BYTES_MAX: u32 = 128 * 1024;
/// Held of an upload until the endpoint's window takes it, per stream.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Streams reset because the endpoint broke the protocol: with more it loses its connection.
const RESETS_LOCAL_MAX: usize = 1024;
/// An endpoint has so long to say that it takes extended CONNECTs.
const SETTINGS_WAIT: Duration = Duration::from_millis(500);
/// An endpoint that has answered has so long to take the rest of the request.
const REST_WAIT: Duration = Duration::from_secs(10);

const _: () = assert!(HEADER_BYTES_MAX as usize > RESPONSE_HEADER_BYTES_MAX);
const _: () = assert!(STREAM_WINDOW_BYTES < CONNECTION_WINDOW_BYTES);
