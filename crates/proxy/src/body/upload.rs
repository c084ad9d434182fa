//! The body of a request on its way to an endpoint: counted, capped, and kept for another attempt
//! as long as it fits the bound.
//!
//! One [`Intake`] per request owns the client's body; each attempt sends an [`Upload`], a view of
//! it that first repeats what was kept and then goes on reading. Only the newest view may read:
//! starting another attempt (or giving the exchange up) ends the older ones with an error, which
//! breaks off what they were sent on. Of a body that was read whole and kept there may be
//! several views at once ([`Intake::again`]): none of them has to read.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use weir_policy::framing::Fault;
use weir_policy::pipeline;

use super::copy::{self, Copied, Lag, Tap};
use super::{Inbound, InboundError};
use crate::clock::Clock;
use crate::pace::Pace;

/// Why a body could not be sent to its end.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The exchange goes on without it.
    #[error("the exchange no longer wants this body")]
    Abandoned,
    /// The client's side broke.
    #[error("the client's body broke off: {0}")]
    Client(#[source] InboundError),
    /// It is larger than the route takes.
    #[error("the body is larger than the route takes")]
    TooLarge,
}

/// How far the client's body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntakeEnd {
    /// It broke off.
    Broken,
    /// Its last byte was read at this time.
    Complete(u64),
    /// It is not what its type says.
    Malformed,
    /// There is more to come.
    Open,
    /// It went over its bound.
    TooLarge,
    /// Its trailers did.
    Trailers(Fault),
}

/// The client's body and what was kept of it.
#[derive(Debug)]
pub(crate) struct Intake {
    inner: RefCell<Inner>,
    clock: Rc<Clock>,
    /// The attempt that may read.
    turn: Cell<u32>,
    end: Cell<IntakeEnd>,
    received: Cell<u64>,
    bytes_max: u64,
    declared: Option<u64>,
    /// When it last moved, nanoseconds.
    moved: Cell<u64>,
    /// Whether the endpoint is ready for more and the client has not sent it.
    waiting: Cell<bool>,
    pace: Pace,
    /// How long the client has kept us waiting before, nanoseconds.
    waited: Cell<u64>,
    /// Since when it does so now, or could, nanoseconds.
    waits_from: Cell<u64>,
}

#[derive(Debug)]
struct Inner {
    source: Inbound,
    kept: Vec<Bytes>,
    kept_bytes: u64,
    kept_bytes_max: u64,
    whole: bool,
    trailers: Option<HeaderMap>,
    reader: Option<Waker>,
    /// Copies of it for other services.
    taps: Vec<Tap>,
}

impl Intake {
    /// Takes a body in; up to `kept_bytes_max` of it are kept for another attempt.
    pub(crate) fn new(
        source: Inbound,
        clock: Rc<Clock>,
        bytes_max: u64,
        kept_bytes_max: u64,
        pace: Pace,
    ) -> Rc<Self> {
        let declared = source.size_hint().exact();
        let fits = declared.is_none_or(|bytes| bytes <= kept_bytes_max);
        let moved = clock.now().nanos;
        Rc::new(Self {
            inner: RefCell::new(Inner {
                source,
                kept: Vec::new(),
                kept_bytes: 0,
                kept_bytes_max,
                whole: fits && kept_bytes_max > 0,
                trailers: None,
                reader: None,
                taps: Vec::new(),
            }),
            clock,
            turn: Cell::new(0),
            end: Cell::new(IntakeEnd::Open),
            received: Cell::new(0),
            bytes_max,
            declared,
            moved: Cell::new(moved),
            waiting: Cell::new(false),
            pace,
            waited: Cell::new(0),
            waits_from: Cell::new(moved),
        })
    }

    /// A view for the next attempt; ends those before.
    pub(crate) fn upload(self: &Rc<Self>) -> Upload {
        self.turn.set(self.turn.get() + 1);
        Upload(Some(Leg {
            intake: Rc::clone(self),
            turn: self.turn.get(),
            next: 0,
            trailers_sent: false,
        }))
    }

    /// One more view of a body that was read whole and [kept](Intake::is_kept); those before go on.
    pub(crate) fn again(self: &Rc<Self>) -> Upload {
        debug_assert!(self.is_kept(), "only one view may read");
        Upload(Some(Leg {
            intake: Rc::clone(self),
            turn: self.turn.get(),
            next: 0,
            trailers_sent: false,
        }))
    }

    /// Ends every view: the exchange is over for the endpoint.
    pub(crate) fn abandon(&self) {
        self.turn.set(self.turn.get() + 1);
        let mut inner = self.inner.borrow_mut();
        // What was not read to its end until now never will be.
        inner.taps.clear();
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }

    /// A copy of it for another service, which may lag so many bytes behind. What was read before
    /// is not in it: ask before the first attempt.
    pub(crate) fn copy(&self, lag: &Rc<Lag>, lag_bytes_max: u64) -> Copied {
        let (tap, copied) = copy::copy(lag, lag_bytes_max, self.declared);
        self.inner.borrow_mut().taps.push(tap);
        copied
    }

    /// Keeps nothing more: there will be no other attempt.
    pub(crate) fn settle(&self) {
        self.inner.borrow_mut().whole = false;
    }

    /// Whether it can be sent again from its first byte: all that was read was kept, or nothing was
    /// read.
    pub(crate) fn replayable(&self) -> bool {
        let unread = self.received.get() == 0 && self.end.get() == IntakeEnd::Open;
        unread || self.inner.borrow().whole
    }

    /// Whether all of it was read and kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_complete() && self.inner.borrow().whole
    }

    pub(crate) fn end(&self) -> IntakeEnd {
        self.end.get()
    }

    /// Whether its last byte was read.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.end.get(), IntakeEnd::Complete(_))
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    pub(crate) fn moved(&self) -> u64 {
        self.moved.get()
    }

    /// Whether the endpoint waits for the client.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.waiting.get()
    }

    /// When the client is too slow, unless it sends more or the endpoint is the one who waits.
    pub(crate) fn too_slow_at(&self) -> Option<u64> {
        let patience = self.pace.patience(self.received.get())?;
        let left = patience.saturating_sub(self.waited.get());
        Some(self.waits_from.get().saturating_add(left))
    }

    /// Whether the client is not to blame for the time that has passed; it counts from now on.
    pub(crate) fn excuses(&self) -> bool {
        let excused = !self.waiting.get();
        if excused {
            self.waits_from.set(self.clock.now().nanos);
        }
        excused
    }

    fn poll_source(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let mut inner = self.inner.borrow_mut();
        let polled = Pin::new(&mut inner.source).poll_frame(cx);
        if polled.is_pending() {
            if !self.waiting.replace(true) {
                self.waits_from.set(self.clock.now().nanos);
            }
            if inner
                .reader
                .as_ref()
                .is_none_or(|reader| !reader.will_wake(cx.waker()))
            {
                inner.reader = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let now = self.clock.now().nanos;
        if self.waiting.replace(false) {
            let here = now.saturating_sub(self.waits_from.get());
            self.waited.set(self.waited.get() + here);
        }
        self.waits_from.set(now);
        self.moved.set(now);
        let frame = match ready!(polled) {
            None => {
                self.end.set(IntakeEnd::Complete(self.moved.get()));
                inner.complete_copies();
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                inner.taps.clear();
                self.end.set(match error {
                    InboundError::Copy(_) | InboundError::Http1(_) | InboundError::Stream(_) => {
                        IntakeEnd::Broken
                    }
                    InboundError::NotBase64(_) => IntakeEnd::Malformed,
                    InboundError::Trailers(fault) => IntakeEnd::Trailers(fault),
                });
                return Poll::Ready(Some(Err(UploadError::Client(error))));
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    pipeline::prepare_trailers(trailers);
                }
                frame
            }
        };
        inner.taps.iter().for_each(|tap| tap.push(&frame));
        if let Some(data) = frame.data_ref() {
            let received = self.received.get() + data.len() as u64;
            self.received.set(received);
            if received > self.bytes_max {
                self.end.set(IntakeEnd::TooLarge);
                inner.taps.clear();
                return Poll::Ready(Some(Err(UploadError::TooLarge)));
            }
            inner.keep(data);
        } else if let Some(trailers) = frame.trailers_ref()
            && inner.whole
        {
            inner.trailers = Some(trailers.clone());
        }
        if inner.source.is_end_stream() {
            self.end.set(IntakeEnd::Complete(self.moved.get()));
            inner.complete_copies();
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Inner {
    fn complete_copies(&mut self) {
        self.taps.drain(..).for_each(|tap| tap.complete());
    }

    fn keep(&mut self, data: &Bytes) {
        if !self.whole {
            return;
        }
        self.kept_bytes += data.len() as u64;
        if self.kept_bytes > self.kept_bytes_max {
            self.whole = false;
            self.kept = Vec::new();
        } else {
            self.kept.push(data.clone());
        }
    }
}

/// The body of one attempt; without a leg, no body.
#[derive(Debug, Default)]
pub(crate) struct Upload(Option<Leg>);

#[derive(Debug)]
struct Leg {
    intake: Rc<Intake>,
    turn: u32,
    next: usize,
    trailers_sent: bool,
}

impl Upload {
    /// No body.
    pub(crate) fn none() -> Self {
        Upload(None)
    }

    /// Whether the exchange goes on without it.
    pub(crate) fn is_abandoned(&self) -> bool {
        let leg = self.0.as_ref();
        leg.is_some_and(|leg| leg.turn != leg.intake.turn.get())
    }
}

impl Leg {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if self.turn != self.intake.turn.get() {
            return Poll::Ready(Some(Err(UploadError::Abandoned)));
        }
        if let Some(data) = self.intake.inner.borrow().kept.get(self.next).cloned() {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match self.intake.end.get() {
            IntakeEnd::Open => {}
            IntakeEnd::Broken
            | IntakeEnd::Malformed
            | IntakeEnd::TooLarge
            | IntakeEnd::Trailers(_) => {
                return Poll::Ready(Some(Err(UploadError::Abandoned)));
            }
            IntakeEnd::Complete(_) => {
                let trailers = self.intake.inner.borrow().trailers.clone();
                let sent = std::mem::replace(&mut self.trailers_sent, true);
                return Poll::Ready(
                    trailers
                        .filter(|_| !sent)
                        .map(|trailers| Ok(Frame::trailers(trailers))),
                );
            }
        }
        let frame = ready!(self.intake.poll_source(cx));
        match &frame {
            Some(Ok(frame)) if frame.is_data() => self.next = self.intake.kept_count(),
            Some(Ok(_)) => self.trailers_sent = true,
            _ => {}
        }
        Poll::Ready(frame)
    }

    fn is_end(&self) -> bool {
        let inner = self.intake.inner.borrow();
        self.intake.is_complete()
            && self.next >= inner.kept.len()
            && (self.trailers_sent || inner.trailers.is_none())
    }
}

impl Intake {
    fn kept_count(&self) -> usize {
        self.inner.borrow().kept.len()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match &mut self.get_mut().0 {
            Some(leg) => leg.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Leg::is_end)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(leg) => leg
                .intake
                .declared
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
