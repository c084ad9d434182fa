//! An answer that is stored while it is passed on.
//!
//! A task of the worker reads it from the endpoint as fast as it comes, so that a slow client holds
//! up nobody who waits for it, and a client that goes away does not end it. When it turns out to be
//! too large to be stored, it goes on as any other answer: no faster than the client takes it, and
//! no longer than there is one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use weir_policy::pipeline::Permit;
use weir_telemetry::termination::Termination;

use super::flights::{News, Part};
use super::shelf::{Cache, Stored, Ticket};
use crate::body::{FromEndpoint, Patience, ReplyError};
use crate::clock;
use crate::pool::Line;
use crate::record::Ledger;
use crate::worker::Worker;

/// Where an answer is to be stored.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(super) cache: Arc<Cache>,
    pub(super) worker: Rc<Worker>,
    pub(super) key: String,
    /// Without its body.
    pub(super) stored: Stored,
    pub(super) ticket: Ticket,
    pub(super) part: Part,
    /// What `Cache-Status` tells the client.
    pub(super) how: String,
}

impl Sink {
    pub(super) fn told(mut self: Box<Self>, how: String) -> Box<Self> {
        self.how = how;
        self
    }

    /// What `Cache-Status` tells the client.
    pub(crate) fn how(&self) -> &str {
        &self.how
    }
}

/// What was read of the answer, to be stored at its end. Gives its room back when it is dropped.
#[derive(Debug)]
struct Kept {
    sink: Box<Sink>,
    chunks: Vec<Bytes>,
    bytes: u64,
}

impl Kept {
    /// Keeps more; `false` when it is too much.
    fn push(&mut self, data: &Bytes) -> bool {
        let more = data.len() as u64;
        if self.bytes + more > self.sink.cache.object_bytes_max() || !self.sink.cache.take(more) {
            return false;
        }
        self.bytes += more;
        self.chunks.push(data.clone());
        true
    }

    /// The answer is whole.
    fn store(mut self) {
        let mut body = BytesMut::with_capacity(self.bytes as usize);
        for chunk in self.chunks.drain(..) {
            body.extend_from_slice(&chunk);
        }
        self.sink.stored.body = body.freeze();
        let (part, stored) = self.put();
        if let Part::Lead(lead) = part {
            lead.end(if stored { News::Stored } else { News::Apart });
        }
    }

    fn put(&mut self) -> (Part, bool) {
        let sink = &mut *self.sink;
        let empty = Stored {
            status: sink.stored.status,
            headers: http::HeaderMap::new(),
            body: Bytes::new(),
            freshness: sink.stored.freshness,
            selecting: Vec::new(),
            route: Arc::clone(&sink.stored.route),
            tags: Vec::new(),
        };
        let stored = std::mem::replace(&mut sink.stored, empty);
        let put = sink
            .cache
            .put(&sink.key, stored, sink.ticket, sink.worker.index);
        (std::mem::replace(&mut sink.part, Part::Alone), put)
    }

    /// It will not be stored.
    fn give_up(mut self) {
        let part = std::mem::replace(&mut self.sink.part, Part::Alone);
        if let Part::Lead(lead) = part
            && lead.end(News::Apart)
        {
            let now = self.sink.worker.clock.now();
            self.sink.cache.set_apart(&self.sink.key, now);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.sink.cache.give(self.bytes);
    }
}

/// Between the task that reads and the client's response.
#[derive(Debug, Default)]
struct Feed {
    frames: VecDeque<Frame<Bytes>>,
    bytes: usize,
    end: Option<Result<(), (ReplyError, Termination)>>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The client takes no more.
    left: bool,
}

type Shared = Rc<RefCell<Feed>>;

fn push(feed: &Shared, frame: Frame<Bytes>) {
    let mut feed = feed.borrow_mut();
    if feed.left {
        return;
    }
    feed.bytes += frame.data_ref().map_or(0, Bytes::len);
    feed.frames.push_back(frame);
    if let Some(reader) = feed.reader.take() {
        reader.wake();
    }
}

fn end(feed: &Shared, end: Result<(), (ReplyError, Termination)>) {
    let mut feed = feed.borrow_mut();
    feed.end = Some(end);
    if let Some(reader) = feed.reader.take() {
        reader.wake();
    }
}

/// Waits until the client wants more; `false` when it has gone.
async fn wanted(feed: &Shared) -> bool {
    poll_fn(|cx| {
        let mut feed = feed.borrow_mut();
        if feed.left || feed.bytes < AHEAD_BYTES_MAX {
            return Poll::Ready(!feed.left);
        }
        feed.writer = Some(cx.waker().clone());
        Poll::Pending
    })
    .await
}

/// Begins to store an answer. The permit of its service is held as long as it is read.
pub(crate) fn start(
    sink: Box<Sink>,
    (incoming, line): (FromEndpoint, Line),
    patience: Patience,
    permit: Option<Permit>,
) -> Feeding {
    let feed = Shared::default();
    let length = incoming.size_hint().exact();
    let fill = Fill {
        worker: Rc::clone(&sink.worker),
        kept: Some(Kept {
            sink,
            chunks: Vec::new(),
            bytes: 0,
        }),
        feed: Rc::clone(&feed),
        patience,
        bytes: 0,
    };
    if incoming.is_end_stream() {
        fill.whole(line);
    } else {
        tokio::task::spawn_local(async move {
            fill.run(incoming, line).await;
            drop(permit);
        });
    }
    Feeding { feed, length }
}

/// What the client's response is read from.
pub(crate) struct Feeding {
    feed: Shared,
    length: Option<u64>,
}

impl Feeding {
    /// The client's body; the exchange ends with it.
    pub(crate) fn body(self, ledger: Box<Ledger>) -> Box<Filling> {
        let mut filling = Box::new(Filling {
            feed: self.feed,
            ledger: Some(ledger),
            bytes: 0,
            left: self.length,
        });
        if filling.is_end() {
            filling.finish();
        }
        filling
    }

    /// No client wants it.
    pub(crate) fn leave(self) {
        leave(&self.feed);
    }
}

fn leave(feed: &Shared) {
    let mut feed = feed.borrow_mut();
    feed.left = true;
    feed.frames.clear();
    feed.bytes = 0;
    if let Some(writer) = feed.writer.take() {
        writer.wake();
    }
}

/// The task that reads.
struct Fill {
    worker: Rc<Worker>,
    /// `None` once it is clear that it is not stored.
    kept: Option<Kept>,
    feed: Shared,
    patience: Patience,
    bytes: u64,
}

impl Fill {
    async fn run(mut self, mut incoming: FromEndpoint, line: Line) {
        loop {
            if self.kept.is_none() && !wanted(&self.feed).await {
                return;
            }
            let (until, total) = self.until();
            let when = tokio::time::Instant::from_std(clock::instant(until));
            let frame = match tokio::time::timeout_at(when, incoming.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return self.whole(line),
                Ok(Some(Err(error))) => {
                    let termination = Ledger::broken_by(&error);
                    return end(&self.feed, Err((ReplyError::Upstream(error), termination)));
                }
                Err(_) if total => {
                    let late = (ReplyError::Total, Termination::TotalTimeout);
                    return end(&self.feed, Err(late));
                }
                Err(_) => {
                    let late = (ReplyError::Stalled, Termination::UpstreamStalled);
                    return end(&self.feed, Err(late));
                }
            };
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if self.bytes > self.patience.bytes_max {
                let large = (ReplyError::TooLarge, Termination::UpstreamTooLarge);
                return end(&self.feed, Err(large));
            }
            // Trailers are not stored, and an answer is not stored without them.
            let kept = self.kept.as_mut();
            let keeps =
                kept.is_some_and(|kept| frame.data_ref().is_some_and(|data| kept.push(data)));
            if !keeps && let Some(kept) = self.kept.take() {
                kept.give_up();
            }
            if incoming.is_end_stream() {
                // Stored before the client has the last byte: its next request finds it.
                if let Some(kept) = self.kept.take() {
                    kept.store();
                }
                push(&self.feed, frame);
                return self.whole(line);
            }
            push(&self.feed, frame);
        }
    }

    /// Until when the next frame must come, and whether the whole exchange must be over then.
    fn until(&self) -> (u64, bool) {
        let now = self.worker.clock.now().nanos;
        let idle = now
            .saturating_add(clock::nanos(self.patience.idle))
            .min(FAR);
        match self.patience.total_until {
            Some(total) if total <= idle => (total, true),
            _ => (idle, false),
        }
    }

    /// The last byte was read: the connection may serve others.
    fn whole(mut self, line: Line) {
        line.finish(self.worker.clock.recent());
        self.worker.sweep_later();
        if let Some(kept) = self.kept.take() {
            kept.store();
        }
        end(&self.feed, Ok(()));
    }
}

/// The body of a response whose answer is stored meanwhile.
#[derive(Debug)]
pub(crate) struct Filling {
    feed: Shared,
    /// `None` once the exchange has ended.
    ledger: Option<Box<Ledger>>,
    bytes: u64,
    left: Option<u64>,
}

impl Filling {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let mut feed = self.feed.borrow_mut();
        if let Some(frame) = feed.frames.pop_front() {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            feed.bytes -= bytes;
            if let Some(writer) = feed.writer.take() {
                writer.wake();
            }
            drop(feed);
            self.bytes += bytes as u64;
            self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
            if self.is_end() {
                self.finish();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        match feed.end.take() {
            None => {
                feed.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Ok(())) => {
                feed.end = Some(Ok(()));
                drop(feed);
                self.finish();
                Poll::Ready(None)
            }
            Some(Err((error, termination))) => {
                drop(feed);
                if let Some(ledger) = &mut self.ledger {
                    ledger.ended(termination);
                }
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    pub(crate) fn is_end(&self) -> bool {
        let feed = self.feed.borrow();
        feed.frames.is_empty() && matches!(feed.end, Some(Ok(())))
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    fn finish(&mut self) {
        if let Some(ledger) = self.ledger.take() {
            ledger.end(Termination::Ok, self.bytes);
        }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if self.is_end() {
            self.finish();
        }
        leave(&self.feed);
        if let Some(mut ledger) = self.ledger.take() {
            ledger.sent(self.bytes);
        }
    }
}

/// How far an answer that is not stored is read ahead of its client.
const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// Timers cannot be set for the end of time: a year.
const FAR: u64 = 365 * 24 * 3600 * 1_000_000_000;
