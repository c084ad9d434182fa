//! Waits between tries that grow, with jitter so that proxies which lost the same server do not
//! come back together.

use std::time::Duration;

/// The wait before the next try.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    floor: Duration,
    ceiling: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(floor: Duration, ceiling: Duration) -> Self {
        debug_assert!(floor <= ceiling, "the floor is below the ceiling");
        Self {
            floor,
            ceiling,
            next: floor,
        }
    }

    /// How long to wait now: between half and all of a wait that doubles up to the ceiling. `draw`
    /// is any uniformly random number.
    pub(crate) fn wait(&mut self, draw: u64) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.ceiling);
        let half = whole / 2;
        let share = (draw >> 32) as f64 / f64::from(u32::MAX);
        half + half.mul_f64(share)
    }

    /// It worked: begin at the floor again.
    pub(crate) fn reset(&mut self) {
        self.next = self.floor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_ceiling_and_begin_again() {
        let (floor, ceiling) = (Duration::from_millis(200), Duration::from_secs(10));
        let mut backoff = Backoff::new(floor, ceiling);
        assert_eq!(backoff.wait(0), Duration::from_millis(100));
        assert_eq!(backoff.wait(u64::MAX), Duration::from_millis(400));
        for _ in 0..10 {
            backoff.wait(7);
        }
        assert_eq!(backoff.wait(u64::MAX), ceiling);
        assert_eq!(backoff.wait(0), ceiling / 2);
        backoff.reset();
        assert_eq!(backoff.wait(u64::MAX), floor);
    }
}
