//! Passive ejection: an endpoint that fails too often is left out for a while.
//!
//! Transitions: *in* —`consecutive` gateway failures in a row, or `failure_share` of at least
//! `volume_min` attempts in the last `window`→ *out* —time→ *in*. The time out is the first
//! ejection × how often it happened without a quiet time (`ejection_max`) in between, at most
//! `ejection_max`. A success resets the row; failures of an endpoint that is out (attempts that
//! were under way, or panic) do not count. Never more than `share_max` of the endpoints are out.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use weir_config::resilience::Outlier;

use crate::moment::Moment;
use crate::resilience::window::{Add, Window};

/// Whether one endpoint is left out, and what speaks for it.
#[derive(Debug, Default)]
pub(crate) struct Ejection {
    /// Failures in a row.
    failures: AtomicU32,
    /// Ejections without a quiet time in between.
    times: AtomicU32,
    /// End of the last ejection, nanoseconds; zero for never.
    until: AtomicU64,
    total: AtomicU64,
    /// Attempts and failures among them, where `failure_share` asks for it.
    window: Window,
}

/// Why an endpoint is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds {
    /// Too many failures in a row.
    Consecutive,
    /// Too large a share of failures.
    FailureShare,
}

impl Grounds {
    /// Every one.
    pub const ALL: [Grounds; 2] = [Grounds::Consecutive, Grounds::FailureShare];

    /// The metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Grounds::Consecutive => "consecutive",
            Grounds::FailureShare => "failure-share",
        }
    }
}

/// How often endpoints of a service were ejected, and how often that was forbidden.
#[derive(Debug, Default)]
pub struct EjectionCounts {
    /// By [`Grounds`].
    ejected: [AtomicU64; Grounds::ALL.len()],
    withheld: AtomicU64,
}

impl EjectionCounts {
    /// Ejections for this reason, ever.
    #[must_use]
    pub fn of(&self, grounds: Grounds) -> u64 {
        self.ejected[grounds as usize].load(Ordering::Relaxed)
    }

    /// Ejections for whatever reason, ever.
    pub(crate) fn total(&self) -> u64 {
        self.ejected
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// Ejections that `share_max` forbade, ever.
    #[must_use]
    pub fn withheld_total(&self) -> u64 {
        self.withheld.load(Ordering::Relaxed)
    }

    pub(crate) fn ejected(&self, grounds: Grounds) {
        self.ejected[grounds as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn withheld(&self) {
        self.withheld.fetch_add(1, Ordering::Relaxed);
    }
}

impl Ejection {
    /// Whether it is out.
    pub(crate) fn is_ejected(&self, at: Moment) -> bool {
        at.nanos < self.until.load(Ordering::Relaxed)
    }

    /// When the last one ended, or will end, nanoseconds; zero for never.
    pub(crate) fn ended_at(&self) -> u64 {
        self.until.load(Ordering::Relaxed)
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Ejections, ever.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Counts a failure; whether it is one too many.
    pub(crate) fn fail(&self, outlier: &Outlier, at: Moment) -> Option<Grounds> {
        if outlier.consecutive == 0 || self.is_ejected(at) {
            return None;
        }
        if outlier.failure_share.is_some() {
            self.window.add(Add::Both, at.nanos, outlier.window);
        }
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(1) >= outlier.consecutive {
            return Some(Grounds::Consecutive);
        }
        let share = outlier.failure_share?;
        let counts = self.window.counts(at.nanos, outlier.window);
        counts
            .reaches(outlier.volume_min, share)
            .then_some(Grounds::FailureShare)
    }

    /// Counts a success.
    pub(crate) fn succeed(&self, outlier: &Outlier, at: Moment) {
        // Read first: the line stays shared between workers while all is well.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if outlier.failure_share.is_some() {
            self.window.add(Add::All, at.nanos, outlier.window);
        }
    }

    /// Takes it out, and says for how long; `None` when it is out already. The caller has asked
    /// [`may_eject`] and lets nobody else do so meanwhile.
    pub(crate) fn eject(&self, outlier: &Outlier, at: Moment) -> Option<Duration> {
        let last = self.until.load(Ordering::Relaxed);
        if at.nanos < last {
            return None;
        }
        let quiet = Duration::from_nanos(at.nanos - last) >= outlier.ejection_max;
        let times = match last == 0 || quiet {
            true => 1,
            false => self.times.load(Ordering::Relaxed).saturating_add(1),
        };
        let out = outlier
            .ejection
            .saturating_mul(times)
            .min(outlier.ejection_max);
        self.times.store(times, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        self.window.clear();
        self.total.fetch_add(1, Ordering::Relaxed);
        self.until.store(at.plus(out).nanos, Ordering::Relaxed);
        Some(out)
    }
}

/// Whether one more of `all` endpoints may be out when `ejected` are.
pub(crate) fn may_eject(outlier: &Outlier, ejected: usize, all: usize) -> bool {
    let (ejected, all) = (ejected as u64, all as u64);
    (ejected + 1) * WHOLE <= all * u64::from(outlier.share_max.0)
}

/// The whole, in thousandths of a percent.
const WHOLE: u64 = 100_000;

#[cfg(test)]
mod tests {
    use weir_config::units::Percent;

    use super::*;
    use crate::live::sample;

    fn moment(seconds: u64) -> Moment {
        Moment {
            nanos: seconds * 1_000_000_000,
            unix_seconds: seconds,
        }
    }

    #[test]
    fn ejections_grow_and_shrink_again_after_a_quiet_time() {
        let outlier = sample::outlier();
        let ejection = Ejection::default();
        for _ in 0..4 {
            assert_eq!(ejection.fail(&outlier, moment(1)), None);
        }
        ejection.succeed(&outlier, moment(1));
        assert_eq!(ejection.failures(), 0, "a success ends the row");
        for _ in 0..4 {
            assert_eq!(ejection.fail(&outlier, moment(1)), None);
        }
        assert_eq!(
            ejection.fail(&outlier, moment(1)),
            Some(Grounds::Consecutive)
        );
        ejection.eject(&outlier, moment(1));
        assert!(ejection.is_ejected(moment(30)));
        assert!(!ejection.is_ejected(moment(31)), "30 s the first time");
        ejection.eject(&outlier, moment(31));
        assert!(ejection.is_ejected(moment(90)));
        assert!(!ejection.is_ejected(moment(91)), "60 s the second time");
        assert_eq!(
            ejection.fail(&outlier, moment(40)),
            None,
            "one that is out does not count"
        );
        let mut now = 91;
        for _ in 0..20 {
            ejection.eject(&outlier, moment(now));
            now += 300;
        }
        assert_eq!(ejection.total(), 22);
        ejection.eject(&outlier, moment(now + 300));
        assert!(
            !ejection.is_ejected(moment(now + 330)),
            "30 s again after a quiet time"
        );
    }

    #[test]
    fn a_share_of_failures_ejects_once_there_is_enough() {
        let outlier = Outlier {
            failure_share: Some(Percent::whole_percent(25)),
            ..sample::outlier()
        };
        let ejection = Ejection::default();
        let pass = |at| ejection.succeed(&outlier, moment(at));
        let fail = |at| ejection.fail(&outlier, moment(at));
        // Every fourth fails, never two in a row.
        for round in 0..4 {
            assert_eq!(fail(1), None, "{round}");
            (0..3).for_each(|_| pass(1));
        }
        (0..3).for_each(|_| pass(1));
        assert_eq!(fail(1), Some(Grounds::FailureShare), "the twentieth");
        assert_eq!(ejection.eject(&outlier, moment(1)), Some(outlier.ejection));
        // What was counted before is forgotten, and so is what is older than the window.
        (0..18).for_each(|_| pass(40));
        assert_eq!(fail(40), None, "nineteen");
        (0..19).for_each(|_| pass(60));
        assert_eq!(fail(60), None, "one of twenty");
    }

    #[test]
    fn the_share_is_never_exceeded() {
        let outlier = sample::outlier();
        let most = |all| {
            (0..all)
                .take_while(|ejected| may_eject(&outlier, *ejected, all))
                .count()
        };
        assert_eq!([0, 1, 2, 3, 4, 10].map(most), [0, 0, 1, 1, 2, 5]);
    }
}
