//! The body of a response on its way to the client, and everything that has to outlive its last
//! byte: the endpoint's connection goes back to the pool, the exchange is recorded.
//!
//! Both happen on drop at the latest, so that a client which goes away is recorded too.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use weir_policy::compress::Coding;
use weir_policy::pipeline;
use weir_telemetry::termination::Termination;

use super::compressed::Compressed;
use super::{EndpointError, FromEndpoint, Intake};
use crate::alarm::Alarm;
use crate::cache::Filling;
use crate::call::CallBody;
use crate::clock;
use crate::pool::Line;
use crate::record::Ledger;
use crate::worker::Worker;

/// The body of a response.
#[derive(Debug)]
pub struct Reply(Kind);

#[derive(Debug)]
enum Kind {
    Compressed(Box<Compressed>),
    Full {
        data: Option<Bytes>,
        ledger: Option<Box<Ledger>>,
        sent: u64,
    },
    /// Read from an endpoint and stored meanwhile.
    Filling(Box<Filling>),
    Stream(Box<Download>),
}

/// Why a response body broke off.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The response could not be compressed.
    #[error("the response could not be compressed: {0}")]
    Encoder(#[source] std::io::Error),
    /// The endpoint, or the client in a two-way stream, said nothing for too long.
    #[error("the response made no progress in time")]
    Stalled,
    /// It is larger than its route or service allows.
    #[error("the response is larger than `response_bytes_max`")]
    TooLarge,
    /// The whole exchange took too long.
    #[error("the exchange took longer than its total timeout")]
    Total,
    /// The endpoint's side broke.
    #[error("the endpoint's response broke off: {0}")]
    Upstream(#[source] EndpointError),
}

/// What a body said when it was asked for its next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Polled {
    /// Here it is, or the end.
    Frame,
    /// There is none yet.
    Pending,
}

thread_local! {
    /// What the body that was asked last on this thread has said.
    static POLLED: Cell<Option<Polled>> = const { Cell::new(None) };
}

/// What the body that was asked last on this thread has said since this was called before.
pub(crate) fn take_polled() -> Option<Polled> {
    POLLED.take()
}

impl Reply {
    /// A body given whole; `ledger` is settled when it was taken.
    pub(crate) fn full(data: Bytes, ledger: Option<Box<Ledger>>) -> Self {
        Reply(Kind::Full {
            data: Some(data).filter(|data| !data.is_empty()),
            ledger,
            sent: 0,
        })
    }

    /// A body that is stored while it is sent.
    pub(crate) fn filling(filling: Box<Filling>) -> Self {
        Reply(Kind::Filling(filling))
    }

    /// A body that streams from an endpoint.
    pub(crate) fn stream(download: Box<Download>) -> Self {
        Reply(Kind::Stream(download))
    }

    /// The same body, compressed. Its head must say so.
    pub(crate) fn compressed(self, coding: Coding, worker: &Rc<Worker>) -> Self {
        Reply(Kind::Compressed(Compressed::new(self, coding, worker)))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let polled = match &mut self.get_mut().0 {
            Kind::Compressed(body) => body.poll_frame(cx),
            Kind::Full { data, ledger, sent } => {
                // In pieces, so that the exchange goes on as long as the client takes it.
                let piece = match data {
                    Some(data) if data.len() > PIECE_BYTES_MAX => {
                        Some(data.split_to(PIECE_BYTES_MAX))
                    }
                    _ => data.take(),
                };
                *sent += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                if data.is_none()
                    && let Some(ledger) = ledger.take()
                {
                    ledger.end(Termination::Ok, *sent);
                }
                Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
            }
            Kind::Filling(filling) => filling.poll_frame(cx),
            Kind::Stream(download) => download.poll_frame(cx),
        };
        POLLED.set(Some(match &polled {
            Poll::Pending => Polled::Pending,
            Poll::Ready(_) => Polled::Frame,
        }));
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Compressed(body) => body.is_end_stream(),
            Kind::Full { data, .. } => data.is_none(),
            Kind::Filling(filling) => filling.is_end(),
            Kind::Stream(download) => download.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Compressed(_) => SizeHint::default(),
            Kind::Full { data, .. } => {
                SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64))
            }
            Kind::Filling(filling) => filling.size_hint(),
            Kind::Stream(download) => download.size_hint(),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // A body without bytes is never polled: its exchange ends here, in order. One with bytes
        // that were not all taken means that the client is gone.
        if let Kind::Full { data, ledger, sent } = &mut self.0
            && let Some(mut ledger) = ledger.take()
        {
            match data {
                None => ledger.end(Termination::Ok, *sent),
                Some(_) => ledger.sent(*sent),
            }
        }
    }
}

/// A response body from an endpoint.
#[derive(Debug)]
pub(crate) struct Download {
    incoming: FromEndpoint,
    /// Of a gRPC call.
    call: Option<Box<CallBody>>,
    /// `None` once the exchange has ended.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    line: Line,
    intake: Option<Rc<Intake>>,
    ledger: Box<Ledger>,
    idle: Duration,
    total_until: Option<u64>,
    bytes: u64,
    bytes_max: u64,
    silent_since: Option<u64>,
    alarm: Option<Alarm>,
}

/// The deadlines of a body, and its bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Longest silence.
    pub(crate) idle: Duration,
    /// When the whole exchange must be over, nanoseconds.
    pub(crate) total_until: Option<u64>,
    /// Most bytes.
    pub(crate) bytes_max: u64,
}

impl Download {
    /// Streams `incoming`; an empty one ends the exchange at once.
    pub(crate) fn new(
        incoming: FromEndpoint,
        call: Option<Box<CallBody>>,
        line: Line,
        intake: Option<Rc<Intake>>,
        ledger: Box<Ledger>,
        patience: Patience,
    ) -> Box<Self> {
        let open = Open {
            line,
            intake,
            ledger,
            idle: patience.idle,
            total_until: patience.total_until,
            bytes: 0,
            bytes_max: patience.bytes_max,
            silent_since: None,
            alarm: None,
        };
        let mut download = Box::new(Self {
            incoming,
            call,
            open: Some(open),
        });
        if download.is_drained() {
            download.finish();
        }
        download
    }

    fn is_end(&self) -> bool {
        self.open.is_none() || self.is_drained()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.call {
            Some(call) if call.is_translated() => SizeHint::default(),
            _ => self.incoming.size_hint(),
        }
    }

    /// Whether nothing more comes from the endpoint.
    fn is_drained(&self) -> bool {
        self.incoming.is_end_stream() && !self.call.as_ref().is_some_and(|call| call.has_first())
    }

    fn finish(&mut self) {
        if let Some(open) = self.open.take() {
            open.finish();
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let Some(open) = &mut self.open else {
            return Poll::Ready(None);
        };
        let first = self.call.as_mut().and_then(|call| call.take_first());
        let polled = match first {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut self.incoming).poll_frame(cx),
        };
        match polled {
            Poll::Pending => {
                let error = ready!(open.poll_patience(cx));
                open.ledger.ended(match error {
                    ReplyError::Total => Termination::TotalTimeout,
                    _ => Termination::UpstreamStalled,
                });
                self.broke(error)
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                open.silent_since = None;
                if let Some(trailers) = frame.trailers_mut() {
                    pipeline::settle_trailers(trailers);
                }
                let bytes = open.bytes + frame.data_ref().map_or(0, |data| data.len() as u64);
                if bytes > open.bytes_max {
                    open.ledger.ended(Termination::UpstreamTooLarge);
                    return self.broke(ReplyError::TooLarge);
                }
                open.bytes = bytes;
                if let Some(call) = &self.call {
                    frame = call.pass(frame, &mut open.ledger);
                }
                if self.is_drained() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                open.ledger.broke(&error);
                self.broke(ReplyError::Upstream(error))
            }
        }
    }

    /// Tells the client that there is no more: the client of a call by a status.
    fn broke(&mut self, error: ReplyError) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        if let (Some(call), Some(open)) = (&self.call, &mut self.open)
            && let Some(frame) = call.last_words(&error, &mut open.ledger)
        {
            self.abandon();
            return Poll::Ready(Some(Ok(frame)));
        }
        Poll::Ready(Some(Err(error)))
    }

    /// Ends the exchange before its end.
    fn abandon(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.give_alarm();
            if let Some(intake) = &open.intake {
                intake.abandon();
            }
            open.ledger.sent(open.bytes);
        }
    }
}

impl Open {
    /// Ready with an error once the silence, or the whole, has lasted too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<ReplyError> {
        let worker = self.ledger.worker();
        let since = *self
            .silent_since
            .get_or_insert_with(|| worker.clock.now().nanos);
        let idle = clock::nanos(self.idle);
        loop {
            // In a two-way stream the client may be the one who speaks.
            let moved = match &self.intake {
                Some(intake) if !intake.is_complete() => since.max(intake.moved()),
                _ => since,
            };
            let idle_until = moved.saturating_add(idle);
            let until = self
                .total_until
                .map_or(idle_until, |total| total.min(idle_until));
            let when = clock::instant(until);
            let alarm = self.alarm.get_or_insert_with(|| worker.alarms.take(when));
            ready!(alarm.poll(when, cx));
            if self.total_until == Some(until) {
                return Poll::Ready(ReplyError::Total);
            }
            let moved_again = self
                .intake
                .as_ref()
                .is_some_and(|intake| intake.moved() > moved);
            if !moved_again {
                return Poll::Ready(ReplyError::Stalled);
            }
        }
    }

    /// The last byte was read: the connection may serve others.
    fn finish(mut self) {
        let sent = match &self.intake {
            Some(intake) if !intake.is_complete() => {
                intake.abandon();
                false
            }
            _ => true,
        };
        self.give_alarm();
        if sent {
            let worker = self.ledger.worker();
            self.line.finish(worker.clock.recent());
            worker.sweep_later();
        }
        self.ledger.end(Termination::Ok, self.bytes);
    }

    fn give_alarm(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            self.ledger.worker().alarms.give(alarm);
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if self.open.is_some() && self.is_drained() {
            self.finish();
        }
        self.abandon();
    }
}

/// Largest piece of a body given whole that is handed over at once.
const PIECE_BYTES_MAX: usize = 256 * 1024;
