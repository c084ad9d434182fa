//! The time at which a decision is made, read once by the caller.

use std::time::Duration;

/// A monotonic instant and the wall clock, taken together. Comparable within one process only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Nanoseconds since an origin the process chose at start.
    pub nanos: u64,
    /// Seconds since 1970-01-01 UTC.
    pub unix_seconds: u64,
}

impl Moment {
    /// This moment, `later` on.
    #[must_use]
    pub fn plus(self, later: Duration) -> Moment {
        Moment {
            nanos: self
                .nanos
                .saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)),
            unix_seconds: self.unix_seconds.saturating_add(later.as_secs()),
        }
    }

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}
