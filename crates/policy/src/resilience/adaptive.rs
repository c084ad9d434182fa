//! Adaptive concurrency: how many requests a service can have in flight before they only wait for
//! each other.
//!
//! Motivation: a number of requests in flight that is right today is wrong after the next release.
//! What does not change is the sign of overload: answers take longer because requests queue. So the
//! limit follows the *gradient*, how long answers would take without a queue (the *baseline*) over
//! how long they take now, as Netflix's gradient limiter and Envoy's adaptive concurrency do.
//!
//! Rules, applied once per window (at least [`WINDOW`] long, and at least [`SAMPLES_MIN`] answers):
//! - *Quiet*, less than a quarter of the limit was ever in use: there is no queue of ours, so the
//!   baseline follows what answers took. The limit stays.
//! - *No queue*, answers took about the baseline: a quarter more is tried, unless the baseline is
//!   doubtful.
//! - *Queue*: the limit becomes `limit × min(1, TOLERANCE × baseline / answers took)`, never less
//!   than half of what it was, and a root of itself more, room to try a little higher.
//! - The first window gives the first baseline.
//! - After [`QUEUED_MAX`] windows with a queue in a row nobody knows what answers would take
//!   without one. For two windows a third of the limit is in force: one to let the queue drain (for
//!   twice the time that answers take), one to measure the baseline anew. A service that became
//!   slower for good is believed in this way.
//!
//! Rules for the code: requests touch atomics only. Whoever finds that the window is over and wins
//! the compare-and-swap closes it; for that time the window has no end, so nobody else does.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::moment::Moment;

/// Bounds of an adaptive limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdaptivePlan {
    /// It never falls below.
    pub min: u32,
    /// It never grows past.
    pub max: u32,
}

/// State of an adaptive limit; its bounds come with every call, since they may change with a
/// reload.
#[derive(Debug, Default)]
pub struct Adaptive {
    /// The limit; zero until the first window is over.
    limit: AtomicU32,
    /// What is in force: the limit, or a third of it during a measurement.
    in_force: AtomicU32,
    /// Most requests in flight in this window.
    peak: AtomicU32,
    /// Answers of this window and the microseconds they took together: see [`Taken`].
    taken: AtomicU64,
    /// When this window may be closed, nanoseconds; [`CLOSING`] while somebody does.
    ends: AtomicU64,
    /// Microseconds; zero for unknown.
    baseline: AtomicU64,
    /// Windows with a queue in a row; past [`QUEUED_MAX`], the windows of a measurement.
    queued: AtomicU32,
}

impl Adaptive {
    /// The limit in force.
    #[must_use]
    pub fn limit(&self, plan: AdaptivePlan) -> u32 {
        match self.in_force.load(Ordering::Relaxed) {
            0 => START.clamp(plan.min, plan.max),
            limit => limit.clamp(plan.min, plan.max),
        }
    }

    /// How long answers take without a queue, as far as is known.
    #[must_use]
    pub fn baseline(&self) -> Option<Duration> {
        let micros = self.baseline.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    /// Takes note of so many requests in flight.
    pub(crate) fn enter(&self, in_flight: u32) {
        // Read first: the line stays shared between workers while nothing changes.
        if self.peak.load(Ordering::Relaxed) < in_flight {
            self.peak.fetch_max(in_flight, Ordering::Relaxed);
        }
    }

    /// Takes note of an answer and what it took; closes the window when it is over.
    pub(crate) fn answer(&self, plan: AdaptivePlan, took: Duration, at: Moment) {
        let micros = u64::try_from(took.as_micros())
            .unwrap_or(u64::MAX)
            .clamp(1, TOOK_MICROS_MAX);
        let before = Taken::unpack(self.taken.fetch_add(Taken::one(micros), Ordering::Relaxed));
        let ends = self.ends.load(Ordering::Relaxed);
        let over = at.nanos >= ends && before.count + 1 >= SAMPLES_MIN;
        if !over && before.count < SAMPLES_MAX {
            return;
        }
        if ends == CLOSING {
            return;
        }
        let turn = self
            .ends
            .compare_exchange(ends, CLOSING, Ordering::Acquire, Ordering::Relaxed);
        if turn.is_ok() {
            // The first answers ever are the fastest ones: they only open the first window.
            let next = if ends == 0 {
                self.taken.store(0, Ordering::Relaxed);
                WINDOW
            } else {
                self.close(plan)
            };
            self.ends.store(at.plus(next).nanos, Ordering::Release);
        }
    }

    /// Closes a window, one at a time, which [`CLOSING`] sees to. Returns how long the next one is.
    fn close(&self, plan: AdaptivePlan) -> Duration {
        let taken = Taken::unpack(self.taken.swap(0, Ordering::Relaxed));
        let peak = self.peak.swap(0, Ordering::Relaxed);
        if taken.count == 0 {
            return WINDOW;
        }
        let state = State {
            limit: match self.limit.load(Ordering::Relaxed) {
                0 => START,
                limit => limit,
            },
            baseline: self.baseline.load(Ordering::Relaxed),
            queued: self.queued.load(Ordering::Relaxed),
        };
        let took = taken.micros / taken.count;
        let next = state.after(plan, took, peak);
        self.limit.store(next.limit, Ordering::Relaxed);
        self.baseline.store(next.baseline, Ordering::Relaxed);
        self.queued.store(next.queued, Ordering::Relaxed);
        self.in_force.store(next.in_force(), Ordering::Relaxed);
        match next.queued {
            // What is in the queue now is answered within about this time.
            QUEUED_MAX => Duration::from_micros(2 * took).clamp(WINDOW, DRAIN_MAX),
            _ => WINDOW,
        }
    }

    /// What must hold at any time.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self, plan: AdaptivePlan) {
        let limit = self.limit(plan);
        assert!(
            (plan.min..=plan.max).contains(&limit),
            "{limit} of {plan:?}"
        );
        assert!(self.queued.load(Ordering::Relaxed) <= QUEUED_MAX + 2);
    }
}

/// What one window hands to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    limit: u32,
    /// Microseconds; zero for unknown.
    baseline: u64,
    queued: u32,
}

impl State {
    /// What follows a window in which answers took so many microseconds on average and at most
    /// `peak` requests were in flight.
    fn after(self, plan: AdaptivePlan, took: u64, peak: u32) -> State {
        let limit = self.limit.clamp(plan.min, plan.max);
        let known = self.baseline;
        // A window that was faster than the baseline: slowly, since some are by chance.
        let baseline = known - known.saturating_sub(took).div_ceil(4);
        match self.queued {
            _ if self.baseline == 0 => State {
                limit,
                baseline: took,
                queued: QUEUED_SOON,
            },
            // The measurement: the first window of it still had the queue of before.
            QUEUED_MAX => State {
                limit,
                queued: self.queued + 1,
                ..self
            },
            queued if queued > QUEUED_MAX => State {
                limit,
                baseline: took,
                // What was less than believed may be less still.
                queued: if took * 10 < self.baseline * 9 {
                    QUEUED_SOON
                } else {
                    0
                },
            },
            _ if u64::from(peak) * 4 < u64::from(limit) => State {
                limit,
                baseline: baseline + took.saturating_sub(known).div_ceil(4),
                queued: 0,
            },
            // With a doubtful baseline nothing more is tried.
            QUEUED_SOON.. if took as f64 <= baseline as f64 * NO_QUEUE => State {
                limit,
                baseline,
                queued: self.queued + 1,
            },
            _ if took as f64 <= baseline as f64 * NO_QUEUE => State {
                limit: limit.saturating_add(limit.div_ceil(4)).min(plan.max),
                baseline,
                queued: 0,
            },
            queued => State {
                limit: queueing(limit, baseline, took).clamp(plan.min, plan.max),
                baseline,
                queued: queued + 1,
            },
        }
    }

    fn in_force(self) -> u32 {
        match self.queued {
            QUEUED_MAX.. => self.limit / 3,
            _ => self.limit,
        }
    }
}

/// The limit after a window with a queue.
fn queueing(limit: u32, baseline: u64, took: u64) -> u32 {
    let limit = f64::from(limit);
    let gradient = (TOLERANCE * baseline as f64 / took as f64).clamp(GRADIENT_MIN, 1.0);
    // At most twice the limit's largest value, which a float holds exactly.
    (limit * gradient + limit.sqrt()).round() as u32
}

/// How many answers, and the microseconds they took together, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    count: u64,
    micros: u64,
}

impl Taken {
    fn one(micros: u64) -> u64 {
        1 << MICROS_BITS | micros
    }

    fn unpack(word: u64) -> Taken {
        Taken {
            count: word >> MICROS_BITS,
            micros: word & ((1 << MICROS_BITS) - 1),
        }
    }
}

/// Long enough for an average, short enough to follow an overload before clients give up.
const WINDOW: Duration = Duration::from_millis(250);
/// A queue that takes longer to drain is not waited for.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Answers that an average needs, so that chance does not look like a queue.
const SAMPLES_MIN: u64 = 50;
/// Answers after which a window is closed whatever the time, so that its sum has room.
const SAMPLES_MAX: u64 = 50_000;
/// Windows with a queue before the baseline is measured anew: fifteen seconds.
const QUEUED_MAX: u32 = 60;
/// Where that count begins when the baseline is doubtful, seen first or just found too high: two
/// seconds.
const QUEUED_SOON: u32 = QUEUED_MAX - 8;
/// Answers that take up to a tenth longer than the baseline have not queued.
const NO_QUEUE: f64 = 1.1;
/// Answers may take half as long again as the baseline before that counts as a queue.
const TOLERANCE: f64 = 1.5;
/// A limit falls by no more than half per window: one slow window is not an outage.
const GRADIENT_MIN: f64 = 0.5;
/// Where a limit begins that has seen nothing: small enough for most services, and it doubles
/// within a second.
const START: u32 = 100;
const MICROS_BITS: u32 = 46;
/// Ten minutes: an answer that took longer counts as this.
const TOOK_MICROS_MAX: u64 = 600_000_000;
/// No time.
const CLOSING: u64 = u64::MAX;

// The sum of a window has room, those included that arrive while it is being closed.
const _: () = assert!(2 * SAMPLES_MAX * TOOK_MICROS_MAX < 1 << MICROS_BITS);

#[cfg(test)]
mod tests;
