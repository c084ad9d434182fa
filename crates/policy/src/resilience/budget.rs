//! The retry budget of a service: over the last ten seconds, retries may be a share of the
//! requests, and thirty more (three a second), so that a service with little traffic is retried at
//! all.
//!
//! The share is checked before a retry is counted, without a lock: each worker may go over it by
//! one.

use std::time::Duration;

use crate::moment::Moment;
use crate::resilience::window::{Add, Window};

/// Requests and retries of the last ten seconds.
#[derive(Debug, Default)]
pub struct Budget {
    window: Window,
}

impl Budget {
    /// Requests of the last ten seconds, and retries among their attempts.
    #[must_use]
    pub fn counts(&self, at: Moment) -> (u64, u64) {
        let counts = self.window.counts(at.nanos, WINDOW);
        (counts.all, counts.some)
    }

    /// Counts a request.
    pub(crate) fn deposit(&self, at: Moment) {
        self.window.add(Add::All, at.nanos, WINDOW);
    }

    /// Counts a retry, if the budget (thousandths of a percent of the requests) allows it.
    pub(crate) fn withdraw(&self, share: u32, at: Moment) -> bool {
        let counts = self.window.counts(at.nanos, WINDOW);
        let allowed = counts.all * u64::from(share) / WHOLE + FLOOR;
        if counts.some >= allowed {
            return false;
        }
        self.window.add(Add::Some, at.nanos, WINDOW);
        true
    }
}

/// Long enough to see a share at low rates, short enough to follow an outage.
const WINDOW: Duration = Duration::from_secs(10);
/// Retries that are always allowed in a window: three a second.
const FLOOR: u64 = 30;
/// The whole, in thousandths of a percent.
const WHOLE: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(seconds: u64) -> Moment {
        Moment {
            nanos: seconds * 1_000_000_000,
            unix_seconds: seconds,
        }
    }

    #[test]
    fn retries_are_a_share_of_requests_and_a_floor() {
        let budget = Budget::default();
        let allowed = |at| (0..1_000).filter(|_| budget.withdraw(20_000, at)).count();
        assert_eq!(allowed(moment(5)), 30, "the floor");
        for _ in 0..1_000 {
            budget.deposit(moment(6));
        }
        assert_eq!(allowed(moment(6)), 200, "a fifth of a thousand more");
        assert_eq!(budget.counts(moment(6)), (1_000, 230));
        assert_eq!(
            allowed(moment(15)),
            30,
            "the first thirty are out of the window"
        );
        assert_eq!(allowed(moment(30)), 30, "everything is");
        assert!(!budget.withdraw(0, moment(30)));
    }
}
