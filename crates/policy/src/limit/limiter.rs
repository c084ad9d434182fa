//! A token bucket per key: governor's GCRA over Weir's bounded, lock-free state.
//!
//! governor keeps a clock inside its limiter and an unbounded map of keys. Weir's time is an
//! argument and its memory is bounded, so a `RateLimiter` is put together for each question from a
//! quota, a view of the state and the moment of the question; that is a few integer operations, no
//! allocation. Such a limiter starts *at* that moment, so governor sees times relative to it, and
//! [`View`] translates to the absolute times that are stored.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use weir_config::bounds::LIMIT_KEYS_MAX;
use weir_config::units::Rate;

use crate::limit::table::{self, Table};
use crate::moment::Moment;

/// A token bucket per key, bounded, without locks on the way of a known key.
///
/// Memory: at most [`LIMIT_KEYS_MAX`] buckets of 16 bytes (1 MiB), allocated in pieces of 2 KiB as
/// keys come; a limit that counts everything together uses one word. When a key finds no room, it
/// shares one overflow bucket (with the same quota) with all others in that position, counted by
/// [`overflowed`](Limiter::overflowed). A bucket that has filled up again says nothing that a new
/// one would not, so it is room.
#[derive(Debug)]
pub struct Limiter {
    quota: Quota,
    together: AtomicU64,
    keys: Table,
    hasher: RandomState,
}

impl Limiter {
    /// Empty buckets of this quota. `hasher` is keyed by the process, so that nobody outside can
    /// choose keys that meet in one place.
    #[must_use]
    pub fn new(rate: Rate, burst: u32, hasher: RandomState) -> Limiter {
        Limiter {
            quota: quota(rate, burst),
            together: AtomicU64::new(0),
            keys: Table::new(LIMIT_KEYS_MAX),
            hasher,
        }
    }

    /// How often a key found no room and was counted in the overflow bucket.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.keys.overflowed()
    }

    /// The hash by which `subject` is counted.
    pub(super) fn key(&self, subject: &impl Hash) -> u64 {
        self.hasher.hash_one(subject)
    }

    /// Counts one of everything together.
    pub(super) fn check(&self, at: Moment) -> Result<(), Duration> {
        self.ask(Place::Together(&self.together), 0, Spend::Yes, at)
    }

    /// [`check`](Self::check) without counting.
    pub(super) fn peek(&self, at: Moment) -> Result<(), Duration> {
        self.ask(Place::Together(&self.together), 0, Spend::No, at)
    }

    /// Counts one of this key.
    pub(super) fn check_key(&self, key: u64, at: Moment) -> Result<(), Duration> {
        self.ask(Place::Keyed(&self.keys), key, Spend::Yes, at)
    }

    /// [`check_key`](Self::check_key) without counting.
    pub(super) fn peek_key(&self, key: u64, at: Moment) -> Result<(), Duration> {
        self.ask(Place::Keyed(&self.keys), key, Spend::No, at)
    }

    fn ask(&self, place: Place<'_>, key: u64, spend: Spend, at: Moment) -> Result<(), Duration> {
        let now = Nanos::new(at.nanos);
        let view = View {
            place,
            now: at.nanos,
            spend,
        };
        let limiter: RateLimiter<u64, View<'_>, MomentClock, NoOpMiddleware<Nanos>> =
            RateLimiter::new(self.quota, view, MomentClock(now));
        limiter
            .check_key(&key)
            .map_err(|refused| refused.wait_time_from(now))
    }
}

/// Whether a question changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spend {
    /// It is a request.
    Yes,
    /// It is a question of `explain`.
    No,
}

/// A clock that stands still at the moment of the question.
#[derive(Debug)]
struct MomentClock(Nanos);

impl Clock for MomentClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0
    }
}

#[derive(Debug)]
enum Place<'a> {
    Together(&'a AtomicU64),
    Keyed(&'a Table),
}

/// The state as one question sees it: stored times are absolute, governor's are relative to `now`.
#[derive(Debug)]
struct View<'a> {
    place: Place<'a>,
    now: u64,
    spend: Spend,
}

impl StateStore for View<'_> {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // A time that has passed is a full bucket, which governor calls `None`.
        let absolute = |stored: u64| {
            let ahead = stored.checked_sub(self.now).filter(|ahead| *ahead > 0);
            decide(ahead.map(Nanos::new)).map(|(outcome, next)| {
                let next = self.now.saturating_add(next.as_u64()).min(table::TIME_MAX);
                (outcome, next)
            })
        };
        match self.place {
            Place::Together(cell) => table::spend(cell, self.spend, absolute),
            Place::Keyed(table) => table.measure(*key, self.now, self.spend, absolute),
        }
    }
}

/// governor's quota. The interval is rounded up, so that never more than the rate is let through;
/// a burst so long that its time would not fit in 64 bits of nanoseconds is cut.
fn quota(rate: Rate, burst: u32) -> Quota {
    let count = u128::from(rate.count.max(1));
    let interval = rate
        .per
        .as_nanos()
        .div_ceil(count)
        .clamp(1, u128::from(INTERVAL_NANOS_MAX));
    let interval = u64::try_from(interval).unwrap_or(INTERVAL_NANOS_MAX);
    let burst_max = u32::try_from(BURST_NANOS_MAX / interval).unwrap_or(u32::MAX);
    let burst = NonZeroU32::new(burst.min(burst_max)).unwrap_or(NonZeroU32::MIN);
    // `with_period` refuses only zero, and the interval is at least one nanosecond.
    Quota::with_period(Duration::from_nanos(interval))
        .unwrap_or(Quota::per_second(NonZeroU32::MIN))
        .allow_burst(burst)
}

/// Longest time between two requests: ten years.
const INTERVAL_NANOS_MAX: u64 = 10 * 365 * 86_400 * 1_000_000_000;
/// Longest time that a burst may stand for: a hundred years. Leaves room for sums in 64 bits.
const BURST_NANOS_MAX: u64 = 10 * INTERVAL_NANOS_MAX;

const _: () = assert!(
    BURST_NANOS_MAX < u64::MAX / 4,
    "sums of two such times must not overflow"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_never_faster_than_written_and_never_overflow() {
        let three = quota(
            Rate {
                count: 3,
                per: Duration::from_secs(1),
            },
            3,
        );
        assert_eq!(
            three.replenish_interval(),
            Duration::from_nanos(333_333_334)
        );
        let huge = quota(
            Rate {
                count: 1,
                per: Duration::MAX,
            },
            u32::MAX,
        );
        assert_eq!(huge.burst_size().get(), 10);
        let fast = quota(
            Rate {
                count: u32::MAX,
                per: Duration::from_nanos(1),
            },
            u32::MAX,
        );
        assert_eq!(fast.replenish_interval(), Duration::from_nanos(1));
        assert_eq!(
            quota(
                Rate {
                    count: 0,
                    per: Duration::ZERO
                },
                0
            )
            .burst_size()
            .get(),
            1
        );
    }
}
