//! Deadlines that almost never touch the timer wheel.
//!
//! Nearly every deadline of a proxy is far away and is met. An [`Alarm`] therefore stays armed for
//! an *earlier* moment than the one asked for, and is only moved when it rings; the alarms of
//! finished exchanges are handed to the next one still armed. So a busy connection re-arms a timer
//! once per timeout, not once per request.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// A timer that can be asked about any deadline, again and again.
#[derive(Debug)]
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
    /// Whether the task of `poll_same_task` is the one that is woken.
    registered: bool,
}

impl Alarm {
    fn new(when: Instant) -> Self {
        let sleep = Box::pin(tokio::time::sleep_until(when.into()));
        Self {
            sleep,
            armed: when,
            registered: false,
        }
    }

    /// Ready once `when` has passed; otherwise the task is woken at that time or earlier.
    pub(crate) fn poll(&mut self, when: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.armed > when {
            self.arm(when);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= when {
                return Poll::Ready(());
            }
            self.arm(when);
        }
        Poll::Pending
    }

    /// The same for a caller that always polls from one task: while nothing has changed it costs
    /// two loads.
    pub(crate) fn poll_same_task(&mut self, when: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.registered && self.armed <= when && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        self.registered = true;
        self.poll(when, cx)
    }

    fn arm(&mut self, when: Instant) {
        self.sleep.as_mut().reset(when.into());
        self.armed = when;
    }
}

/// The alarms of one worker that no exchange holds.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    free: RefCell<Vec<Alarm>>,
}

impl Alarms {
    /// An alarm; what it is armed for does not matter to the taker.
    pub(crate) fn take(&self, when: Instant) -> Alarm {
        self.free
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Alarm::new(when))
    }

    /// Keeps an alarm for the next taker.
    pub(crate) fn give(&self, mut alarm: Alarm) {
        alarm.registered = false;
        let mut free = self.free.borrow_mut();
        if free.len() < FREE_MAX {
            free.push(alarm);
        }
    }
}

/// Alarms kept for reuse; more are dropped.
const FREE_MAX: usize = 1024;
