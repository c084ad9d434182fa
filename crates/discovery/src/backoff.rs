//! How long to wait before a failing source is asked again: doubling, bounded, and spread by
//! chance so that a thousand proxies do not come back in step. Chance is an argument.

use std::time::Duration;

/// The waits after consecutive failures.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    floor: Duration,
    ceiling: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits from about `floor` doubling to at most `ceiling`.
    pub(crate) fn new(floor: Duration, ceiling: Duration) -> Self {
        debug_assert!(floor <= ceiling);
        Backoff {
            floor,
            ceiling,
            failures: 0,
        }
    }

    /// The wait after one more failure; `chance` in `0.0..1.0` takes up to half of it away.
    pub(crate) fn next(&mut self, chance: f64) -> Duration {
        // 2^20 times any floor in use is past every ceiling; the bound keeps the shift defined.
        let doublings = self.failures.min(20);
        self.failures = self.failures.saturating_add(1);
        let whole = self.floor.saturating_mul(1 << doublings).min(self.ceiling);
        whole.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
    }

    /// Starts again from the floor: the source has answered.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_ceiling_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let waits: Vec<u128> = (0..9).map(|_| backoff.next(0.0).as_millis()).collect();
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        backoff.reset();
        assert_eq!(backoff.next(0.0), Duration::from_millis(100));
    }

    #[test]
    fn chance_takes_at_most_half() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        assert_eq!(backoff.next(1.0), Duration::from_millis(50));
        assert_eq!(backoff.next(0.5), Duration::from_millis(150));
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..1000 {
            assert!(backoff.next(0.0) <= Duration::from_secs(60));
        }
    }
}
