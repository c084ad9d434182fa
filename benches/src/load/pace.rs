//! When requests begin.
//!
//! Closed loop: whenever a connection is free. Fixed rate (open loop): request number n is to begin
//! n / rate after the start, whether a connection is free or not, and its latency counts from that
//! moment. A server that stalls therefore shows in every request that was to be made meanwhile, not
//! only in the few that were under way: the omission that is known as coordinated is corrected.
//! What was never begun, because all connections were busy to the end, counts with the time it
//! waited.
//!
//! The runtime's timers have a resolution of 1 ms, many requests at usual rates; so moments come
//! from a timer of the kernel (timerfd) with nanoseconds.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};

/// Leave to make one request.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// When it begins, or was to begin.
    pub moment: Instant,
    /// The warm-up is over.
    pub is_counted: bool,
}

/// Gives out tickets until the end.
#[derive(Debug)]
pub struct Pace {
    start: Instant,
    counted_from: Instant,
    end: Cell<Instant>,
    /// Time between two requests; none in a closed loop.
    interval: Option<f64>,
    /// Number of the next request at a fixed rate.
    next: Cell<u64>,
    waiting: RefCell<VecDeque<oneshot::Sender<Ticket>>>,
    /// Somebody waits, or the end was moved.
    changed: Notify,
}

impl Pace {
    /// From `start` on, for a warm-up and the time that counts, at so many requests per second.
    #[must_use]
    pub fn new(start: Instant, warm_up: Duration, duration: Duration, rate: Option<f64>) -> Self {
        let counted_from = start + warm_up;
        Self {
            start,
            counted_from,
            end: Cell::new(counted_from + duration),
            interval: rate.map(f64::recip),
            next: Cell::new(0),
            waiting: RefCell::default(),
            changed: Notify::new(),
        }
    }

    /// When the warm-up is over.
    #[must_use]
    pub fn counted_from(&self) -> Instant {
        self.counted_from
    }

    /// When the last request begins at the latest.
    #[must_use]
    pub fn end(&self) -> Instant {
        self.end.get()
    }

    /// Ends now.
    pub fn stop(&self) {
        self.end.set(self.end.get().min(Instant::now()));
        self.changed.notify_one();
    }

    /// The next ticket, as soon as its moment has come; none at the end.
    pub async fn next(&self) -> Option<Ticket> {
        let now = Instant::now();
        if now >= self.end.get() {
            return None;
        }
        if self.interval.is_none() {
            return Some(self.ticket(now));
        }
        if let Some(ticket) = self.take_due(now) {
            return Some(ticket);
        }
        let (sender, receiver) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push_back(sender);
            waiting.len() == 1
        };
        if is_first {
            self.changed.notify_one();
        }
        receiver.await.ok()
    }

    /// Wakes those who wait, each at its moment, until the end. Does nothing in a closed loop.
    ///
    /// # Errors
    /// The kernel has no timer.
    pub async fn drive(&self) -> io::Result<()> {
        if self.interval.is_none() {
            return Ok(());
        }
        let timer = Timer::new()?;
        loop {
            let moment = self.moment(self.next.get());
            let until = moment.min(self.end.get());
            if self.waiting.borrow().is_empty() {
                // Everybody is busy. Who gets free takes what is due, or waits and says so.
                if !timer.sleep_or(self.end.get(), &self.changed).await? {
                    break;
                }
                continue;
            }
            if timer.sleep_or(until, &self.changed).await? {
                continue;
            }
            let now = Instant::now();
            if now >= self.end.get() {
                break;
            }
            while !self.waiting.borrow().is_empty() {
                let Some(ticket) = self.take_due(now) else {
                    break;
                };
                self.hand_over(ticket);
            }
        }
        self.waiting.borrow_mut().clear();
        Ok(())
    }

    /// How long each counted request had waited at the end that was never begun.
    pub fn unsent(&self) -> impl Iterator<Item = Duration> {
        let end = self.end.get();
        let first = self.next.get();
        let moments = self
            .interval
            .map(|_| (first..).map(|number| self.moment(number)));
        moments
            .into_iter()
            .flatten()
            .take_while(move |&moment| moment < end)
            .filter(|&moment| moment >= self.counted_from)
            .map(move |moment| end - moment)
    }

    fn hand_over(&self, ticket: Ticket) {
        let mut ticket = ticket;
        loop {
            let Some(sender) = self.waiting.borrow_mut().pop_front() else {
                // All of them went away: it is due again.
                self.next.set(self.next.get() - 1);
                return;
            };
            match sender.send(ticket) {
                Ok(()) => return,
                Err(returned) => ticket = returned,
            }
        }
    }

    fn take_due(&self, now: Instant) -> Option<Ticket> {
        let number = self.next.get();
        let moment = self.moment(number);
        if moment > now || moment >= self.end.get() {
            return None;
        }
        self.next.set(number + 1);
        Some(self.ticket(moment))
    }

    fn ticket(&self, moment: Instant) -> Ticket {
        Ticket {
            moment,
            is_counted: moment >= self.counted_from,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of requests below 2^53")]
    fn moment(&self, number: u64) -> Instant {
        let after = self.interval.unwrap_or_default() * number as f64;
        self.start + Duration::from_secs_f64(after)
    }
}

/// A timer of the kernel.
struct Timer {
    descriptor: AsyncFd<Descriptor>,
}

/// What the runtime waits for.
struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    fn new() -> io::Result<Self> {
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        #[expect(
            unsafe_code,
            reason = "the runtime waits for a descriptor that it does not own"
        )]
        // SAFETY: the descriptor is open and the same until `Descriptor` is dropped, and the
        // `AsyncFd` owns that and drops it last.
        let descriptor =
            unsafe { AsyncFd::register_with_interest(Descriptor(timer), Interest::READABLE) };
        Ok(Self {
            descriptor: descriptor.map_err(io::Error::from)?,
        })
    }

    /// Sleeps until that moment; true when something changed before.
    async fn sleep_or(&self, until: Instant, changed: &Notify) -> io::Result<bool> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        self.descriptor.get_ref().0.set(
            Expiration::OneShot(TimeSpec::from_duration(left)),
            TimerSetTimeFlags::empty(),
        )?;
        loop {
            let mut guard = tokio::select! {
                biased;
                guard = self.descriptor.readable() => guard?,
                () = changed.notified() => return Ok(true),
            };
            // Otherwise the readiness was an earlier one's.
            if let Ok(fired) =
                guard.try_io(|timer| timer.get_ref().0.wait().map_err(io::Error::from))
            {
                return fired.map(|()| false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ago(time: Duration) -> Instant {
        Instant::now().checked_sub(time).unwrap()
    }

    #[tokio::test]
    async fn moments_that_passed_are_given_out_at_once_with_their_own_time() {
        let start = ago(SECOND);
        let pace = Pace::new(start, SECOND / 2, SECOND * 60, Some(100.0));
        let mut counted = 0;
        for number in 0..100_u32 {
            let ticket = pace.next().await.unwrap();
            let expected = start + SECOND / 100 * number;
            assert!(ticket.moment.max(expected) - ticket.moment.min(expected) < SECOND / 1000);
            counted += u32::from(ticket.is_counted);
        }
        assert!((49..=51).contains(&counted), "{counted}");
    }

    #[tokio::test]
    async fn moments_to_come_are_waited_for() {
        let pace = Pace::new(Instant::now(), Duration::ZERO, SECOND / 10, Some(1000.0));
        let take = async {
            let mut count = 0;
            while let Some(ticket) = pace.next().await {
                assert!(ticket.moment <= Instant::now());
                count += 1;
            }
            count
        };
        let (driven, count) = tokio::join!(pace.drive(), take);
        driven.unwrap();
        // However late the machine was, what was due was taken or is known to be unsent.
        assert_eq!(count + pace.unsent().count(), 100);
    }

    #[tokio::test]
    async fn what_was_never_begun_is_known_with_its_wait() {
        let pace = Pace::new(ago(SECOND * 2), SECOND, SECOND, Some(10.0));
        assert!(pace.next().await.is_none());
        let unsent: Vec<Duration> = pace.unsent().collect();
        assert_eq!(unsent.len(), 10);
        assert!(unsent[0] > SECOND * 9 / 10 && unsent[0] <= SECOND);
        assert!(unsent[9] < SECOND / 5);
    }

    #[tokio::test]
    async fn a_stop_ends_those_who_wait() {
        let pace = Pace::new(Instant::now(), Duration::ZERO, SECOND * 600, Some(0.001));
        let first = pace.next().await;
        assert!(first.is_some());
        let wait = async {
            tokio::join!(pace.next(), async {
                tokio::task::yield_now().await;
                pace.stop();
            })
        };
        let (driven, (second, ())) = tokio::join!(pace.drive(), wait);
        driven.unwrap();
        assert!(second.is_none());
    }
}
