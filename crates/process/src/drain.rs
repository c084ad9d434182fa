//! Ending without losing a request.
//!
//! A process goes through three phases and never back: *serving*; *leaving*, when it is no longer
//! ready but still takes new connections, because whoever sends them has not noticed yet; and
//! *draining*, when it takes no new ones and ends as soon as nothing is active any more or the
//! time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

/// How far the end of the process has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Nobody wants the process to end.
    Serving,
    /// Not ready any more; still accepts.
    Leaving,
    /// Accepts nothing new; what is active comes to its end.
    Draining,
}

/// How long the phases last.
#[derive(Clone, Copy, Debug)]
pub struct DrainTimes {
    /// How long to keep accepting after readiness failed.
    pub leaving: Duration,
    /// How long all of it may take, leaving included.
    pub total: Duration,
}

impl Default for DrainTimes {
    /// 5 s for load balancers to notice; 30 s in all, what Kubernetes grants by default.
    fn default() -> Self {
        Self {
            leaving: Duration::from_secs(5),
            total: Duration::from_secs(30),
        }
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DrainOutcome {
    /// The time was over with this many things active.
    CutOff {
        /// What was active.
        active: usize,
    },
    /// Nothing was active any more.
    Drained,
}

/// The end of the process: asked for by one, watched by many. Clones share it.
#[derive(Clone, Debug)]
pub struct Drain {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    phase: watch::Sender<Phase>,
    active: AtomicUsize,
    idle: Notify,
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// A process that serves.
    pub fn new() -> Self {
        let shared = Shared {
            phase: watch::Sender::new(Phase::Serving),
            active: AtomicUsize::new(0),
            idle: Notify::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Asks for the end. Asking again changes nothing.
    pub fn request(&self) {
        self.advance(Phase::Leaving);
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        *self.shared.phase.borrow()
    }

    /// Waits until the end is asked for.
    pub async fn requested(&self) {
        self.reached(Phase::Leaving).await;
    }

    /// Waits until nothing new is to be accepted: close listeners, send GOAWAY, answer with
    /// `connection: close`.
    pub async fn begun(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Counts something that has to come to its end before the process does, typically a
    /// connection. The count is shared between workers, so not for every request.
    pub fn track(&self) -> Active {
        self.shared.active.fetch_add(1, SeqCst);
        Active {
            shared: Arc::clone(&self.shared),
        }
    }

    /// How many things are active.
    pub fn active(&self) -> usize {
        self.shared.active.load(SeqCst)
    }

    /// Goes through leaving and draining. The main task calls it after [`Drain::requested`], and
    /// ends the process when it returns.
    pub async fn carry_out(&self, times: DrainTimes) -> DrainOutcome {
        let deadline = Instant::now() + times.total;
        self.advance(Phase::Leaving);
        sleep(times.leaving.min(times.total)).await;
        self.advance(Phase::Draining);
        match timeout_at(deadline, self.idle()).await {
            Ok(()) => DrainOutcome::Drained,
            Err(_) => DrainOutcome::CutOff {
                active: self.active(),
            },
        }
    }

    /// Waits until nothing is active.
    async fn idle(&self) {
        loop {
            // Registered before the count is read, so that no end in between is missed.
            let mut notified = std::pin::pin!(self.shared.idle.notified());
            notified.as_mut().enable();
            if self.active() == 0 {
                return;
            }
            notified.await;
        }
    }

    fn advance(&self, to: Phase) {
        self.shared.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            if forward {
                *phase = to;
            }
            forward
        });
    }

    async fn reached(&self, phase: Phase) {
        // It fails only when the sender is gone, and `self` holds it.
        let _ = self
            .shared
            .phase
            .subscribe()
            .wait_for(|now| *now >= phase)
            .await;
    }
}

/// Something active; it counts until it is dropped.
#[derive(Debug)]
#[must_use = "it counts only as long as it is held"]
pub struct Active {
    shared: Arc<Shared>,
}

impl Drop for Active {
    fn drop(&mut self) {
        if self.shared.active.fetch_sub(1, SeqCst) == 1 {
            self.shared.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: DrainTimes = DrainTimes {
        leaving: Duration::from_secs(5),
        total: Duration::from_secs(30),
    };

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_the_last_thing_does() {
        let drain = Drain::new();
        let (first, second) = (drain.track(), drain.track());
        assert_eq!(drain.phase(), Phase::Serving);

        let started = Instant::now();
        let task = tokio::spawn({
            let drain = drain.clone();
            async move { drain.carry_out(SHORT).await }
        });
        drain.requested().await;
        assert_eq!(drain.phase(), Phase::Leaving);
        drain.begun().await;
        assert_eq!(started.elapsed(), SHORT.leaving);
        drop(first);
        assert_eq!(drain.active(), 1);
        sleep(Duration::from_secs(1)).await;
        drop(second);
        assert_eq!(task.await.ok(), Some(DrainOutcome::Drained));
        assert_eq!(started.elapsed(), Duration::from_secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_cut_off_when_the_time_is_over() {
        let drain = Drain::new();
        let _stuck = drain.track();
        let started = Instant::now();
        assert_eq!(
            drain.carry_out(SHORT).await,
            DrainOutcome::CutOff { active: 1 }
        );
        assert_eq!(started.elapsed(), SHORT.total);
    }

    #[tokio::test(start_paused = true)]
    async fn phases_never_go_back() {
        let drain = Drain::new();
        drain.carry_out(SHORT).await;
        drain.request();
        assert_eq!(drain.phase(), Phase::Draining);
    }
}
