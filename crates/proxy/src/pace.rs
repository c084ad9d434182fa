//! How slow a client may be: it may keep Weir waiting for ten seconds, and then for as long as the
//! bytes that have moved take at the least rate that its listener accepts.
//!
//! Only the time counts in which Weir waits for the client: a body that the endpoint does not take,
//! or a stream that has nothing to say, is not the client's fault.

use std::time::Duration;

use crate::clock;

/// The least rate, bytes per second; 0 for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace(pub(crate) u64);

impl Pace {
    /// Any rate will do.
    pub(crate) const ANY: Self = Self(0);

    /// How long the client may have kept Weir waiting when so many bytes have moved, nanoseconds.
    pub(crate) fn patience(self, bytes: u64) -> Option<u64> {
        let nanos = bytes.saturating_mul(1_000_000_000).checked_div(self.0)?;
        Some(clock::nanos(GRACE).saturating_add(nanos))
    }
}

/// Long enough for a lost packet or a phone that changes its cell.
const GRACE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_what_has_moved() {
        assert_eq!(Pace::ANY.patience(1), None);
        assert_eq!(Pace(1024).patience(0), Some(10_000_000_000));
        assert_eq!(Pace(1024).patience(2048), Some(12_000_000_000));
        assert!(Pace(1).patience(u64::MAX).is_some());
    }
}
