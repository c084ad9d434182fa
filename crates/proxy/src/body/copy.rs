//! The copy of a request's body that goes to another service.
//!
//! A [`Tap`] sits on the client's body and hands every frame on to a [`Copied`] body. It never
//! waits: what the copy has not taken lies in a queue, bounded for the copy and for all copies of
//! the worker together. A copy that would go over either bound is broken off, and its queue freed;
//! the request it was made of does not notice.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

/// Bytes that lie in the queues of all copies of a worker.
#[derive(Debug, Default)]
pub(crate) struct Lag(Cell<u64>);

impl Lag {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.get()
    }

    fn change(&self, by: i64) {
        self.0.set(self.0.get().saturating_add_signed(by));
    }
}

/// Why a copy of a body broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopyFault {
    /// The copy lagged too far behind.
    #[error("the copy lagged too far behind")]
    Lag,
    /// All copies of the worker together lagged too far behind.
    #[error("copies of this worker lag too far behind")]
    Memory,
    /// The body it was made of was not read to its end.
    #[error("the original was not sent to its end")]
    Unfinished,
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Tap(Rc<Queue>);

/// The reading end: a body.
#[derive(Debug)]
pub struct Copied(Rc<Queue>);

#[derive(Debug)]
struct Queue {
    inner: RefCell<Inner>,
    lag: Rc<Lag>,
    lag_bytes_max: u64,
    declared: Option<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    data: VecDeque<Bytes>,
    bytes: u64,
    trailers: Option<HeaderMap>,
    end: Option<Result<(), CopyFault>>,
    reader: Option<Waker>,
}

/// A copy of a body of this declared length.
pub(crate) fn copy(lag: &Rc<Lag>, lag_bytes_max: u64, declared: Option<u64>) -> (Tap, Copied) {
    let queue = Rc::new(Queue {
        inner: RefCell::default(),
        lag: Rc::clone(lag),
        lag_bytes_max,
        declared,
    });
    (Tap(Rc::clone(&queue)), Copied(queue))
}

impl Tap {
    /// Hands a frame on.
    pub(crate) fn push(&self, frame: &Frame<Bytes>) {
        let mut inner = self.0.inner.borrow_mut();
        if inner.end.is_some() {
            return;
        }
        if let Some(trailers) = frame.trailers_ref() {
            inner.trailers = Some(trailers.clone());
        }
        let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) else {
            return;
        };
        let more = data.len() as u64;
        if inner.bytes + more > self.0.lag_bytes_max || inner.data.len() >= LAG_FRAMES_MAX {
            return self.0.end(&mut inner, Err(CopyFault::Lag));
        }
        if self.0.lag.bytes() + more > WORKER_LAG_BYTES_MAX {
            return self.0.end(&mut inner, Err(CopyFault::Memory));
        }
        inner.data.push_back(data.clone());
        self.0.count(&mut inner, more as i64);
        inner.wake();
    }

    /// The body came to its end.
    pub(crate) fn complete(&self) {
        self.0.end(&mut self.0.inner.borrow_mut(), Ok(()));
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut inner = self.0.inner.borrow_mut();
        self.0.end(&mut inner, Err(CopyFault::Unfinished));
    }
}

impl Copied {
    pub(super) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CopyFault>>> {
        let mut inner = self.0.inner.borrow_mut();
        if let Some(data) = inner.data.pop_front() {
            self.0.count(&mut inner, -(data.len() as i64));
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match inner.end {
            Some(Err(fault)) => Poll::Ready(Some(Err(fault))),
            Some(Ok(())) => {
                let trailers = inner.trailers.take();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            None => {
                inner.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn is_end(&self) -> bool {
        let inner = self.0.inner.borrow();
        inner.end == Some(Ok(())) && inner.data.is_empty() && inner.trailers.is_none()
    }

    pub(super) fn declared(&self) -> Option<u64> {
        self.0.declared
    }

    /// What is told about it once the body itself is gone.
    pub(crate) fn fate(&self) -> CopyFate {
        CopyFate(Rc::clone(&self.0))
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // Nobody reads any more: what lies there is freed, and nothing is added.
        let mut inner = self.0.inner.borrow_mut();
        self.0.end(&mut inner, Err(CopyFault::Unfinished));
        self.0.free(&mut inner);
    }
}

/// How a copy of a body came out.
#[derive(Debug)]
pub(crate) struct CopyFate(Rc<Queue>);

impl CopyFate {
    /// Why it broke off, if it did.
    pub(crate) fn fault(&self) -> Option<CopyFault> {
        self.0.inner.borrow().end.and_then(Result::err)
    }
}

impl Queue {
    fn count(&self, inner: &mut Inner, by: i64) {
        inner.bytes = inner.bytes.saturating_add_signed(by);
        self.lag.change(by);
    }

    /// Ends it, unless it has ended.
    fn end(&self, inner: &mut Inner, end: Result<(), CopyFault>) {
        if inner.end.is_some() {
            return;
        }
        inner.end = Some(end);
        if end.is_err() {
            self.free(inner);
        }
        inner.wake();
    }

    fn free(&self, inner: &mut Inner) {
        let bytes = i64::try_from(inner.bytes).unwrap_or(i64::MAX);
        self.count(inner, -bytes);
        inner.data = VecDeque::new();
    }
}

impl Inner {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// All copies of a worker together may lag so far behind: with more, a service that stands still
/// would eat the memory of the proxy.
pub(crate) const WORKER_LAG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Pieces in the queue of one copy: each costs memory beyond its bytes.
const LAG_FRAMES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::task::Waker;

    use super::*;

    fn data(bytes: usize) -> Frame<Bytes> {
        Frame::data(Bytes::from(vec![b'x'; bytes]))
    }

    fn poll(copied: &Copied) -> Poll<Option<Result<usize, CopyFault>>> {
        let mut cx = Context::from_waker(Waker::noop());
        let frame = copied.poll_frame(&mut cx);
        frame.map(|frame| frame.map(|frame| frame.map(|it| it.data_ref().map_or(0, Bytes::len))))
    }

    #[test]
    fn a_copy_gets_everything_in_order() {
        let lag = Rc::default();
        let (tap, copied) = copy(&lag, 100, Some(60));
        assert!(poll(&copied).is_pending());
        tap.push(&data(50));
        tap.push(&data(10));
        assert_eq!(lag.bytes(), 60);
        assert_eq!(poll(&copied), Poll::Ready(Some(Ok(50))));
        tap.push(&Frame::trailers(HeaderMap::new()));
        tap.complete();
        drop(tap);
        assert_eq!(poll(&copied), Poll::Ready(Some(Ok(10))));
        assert!(!copied.is_end());
        assert_eq!(poll(&copied), Poll::Ready(Some(Ok(0))), "the trailers");
        assert_eq!(poll(&copied), Poll::Ready(None));
        assert!(copied.is_end());
        assert_eq!((lag.bytes(), copied.fate().fault()), (0, None));
    }

    #[test]
    fn a_copy_may_lag_up_to_its_bound_and_no_further() {
        let lag = Rc::default();
        let (tap, copied) = copy(&lag, 100, None);
        tap.push(&data(100));
        assert_eq!(copied.fate().fault(), None, "at the bound");
        assert_eq!(poll(&copied), Poll::Ready(Some(Ok(100))));
        tap.push(&data(100));
        tap.push(&data(1));
        assert_eq!(poll(&copied), Poll::Ready(Some(Err(CopyFault::Lag))));
        assert_eq!(lag.bytes(), 0, "what lay there is freed");
        tap.push(&data(1));
        tap.complete();
        assert_eq!(copied.fate().fault(), Some(CopyFault::Lag));
    }

    #[test]
    fn pieces_are_bounded_as_well_as_bytes() {
        let (tap, copied) = copy(&Rc::default(), u64::MAX, None);
        (0..LAG_FRAMES_MAX).for_each(|_| tap.push(&data(1)));
        assert_eq!(copied.fate().fault(), None, "at the bound");
        tap.push(&data(1));
        assert_eq!(copied.fate().fault(), Some(CopyFault::Lag));
    }

    #[test]
    fn all_copies_of_a_worker_have_a_bound_together() {
        let lag = Rc::default();
        let max = usize::try_from(WORKER_LAG_BYTES_MAX).unwrap();
        let (first, of_first) = copy(&lag, u64::MAX, None);
        first.push(&data(max));
        let (second, of_second) = copy(&lag, u64::MAX, None);
        assert_eq!(of_first.fate().fault(), None, "at the bound");
        second.push(&data(1));
        assert_eq!(of_second.fate().fault(), Some(CopyFault::Memory));
        drop(of_first);
        assert_eq!(lag.bytes(), 0);
        first.push(&data(1));
        assert_eq!(lag.bytes(), 0, "nobody reads it");
    }

    #[test]
    fn a_copy_of_what_broke_off_breaks_off() {
        let (tap, copied) = copy(&Rc::default(), 100, None);
        tap.push(&data(1));
        let fate = copied.fate();
        drop(tap);
        assert_eq!(poll(&copied), Poll::Ready(Some(Err(CopyFault::Unfinished))));
        assert_eq!(fate.fault(), Some(CopyFault::Unfinished));
    }
}
