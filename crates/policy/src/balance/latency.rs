//! How fast an endpoint answers: a decaying average that jumps up at once and comes down slowly
//! ("peak EWMA", as Finagle and Linkerd have it).
//!
//! One word holds average and time of the last change, so that an observation is one
//! compare-and-swap and a reader never sees one without the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::moment::Moment;

/// Decaying latency of one endpoint: microseconds in the high half, milliseconds of the last change
/// in the low half.
#[derive(Debug, Default)]
pub(crate) struct Latency(AtomicU64);

impl Latency {
    /// Takes note of an answer.
    pub(crate) fn observe(&self, took: Duration, at: Moment) {
        // Zero stands for "never observed".
        let sample = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let now = millis(at);
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (average, changed) = unpack(word);
            let next = if average == 0 || sample >= average {
                sample
            } else {
                let kept = decay(now.wrapping_sub(changed));
                let mean = f64::from(average) * kept + f64::from(sample) * (1.0 - kept);
                mean as u32
            };
            let next = u64::from(next) << 32 | u64::from(now);
            match self
                .0
                .compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(changed) => word = changed,
            }
        }
    }

    /// Takes note that an answer would have taken at least as long.
    pub(crate) fn at_least(&self, took: Duration, at: Moment) {
        let (average, _) = unpack(self.0.load(Ordering::Relaxed));
        if u32::try_from(took.as_micros()).unwrap_or(u32::MAX) > average {
            self.observe(took, at);
        }
    }

    /// Takes note of a failure: as if it had taken a second, since failing fast must not attract.
    pub(crate) fn punish(&self, took: Duration, at: Moment) {
        self.observe(took.max(FAILURE_TOOK), at);
    }

    /// Expected microseconds until one more attempt is answered. The average decays while nothing
    /// is observed, so an endpoint that was slow is asked again after a while.
    pub(crate) fn cost(&self, in_flight: u32, at: Moment) -> f64 {
        let (average, changed) = unpack(self.0.load(Ordering::Relaxed));
        let pending = f64::from(in_flight);
        if average == 0 {
            // Never heard of: one attempt is worth finding out, more wait for its answer.
            return pending * FAILURE_TOOK.as_micros() as f64;
        }
        f64::from(average) * decay(millis(at).wrapping_sub(changed)) * (pending + 1.0)
    }
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// Comes round after 49 days; an endpoint that was silent exactly so long looks fresh for once.
fn millis(at: Moment) -> u32 {
    (at.nanos / 1_000_000) as u32
}

/// What is left of the old average.
fn decay(passed_millis: u32) -> f64 {
    // A little backwards in time (moments of two workers) is no time at all.
    let passed = if passed_millis > u32::MAX / 2 {
        0
    } else {
        passed_millis
    };
    (-f64::from(passed) / DECAY_MILLIS).exp()
}

/// Time in which the old average shrinks to a third.
const DECAY_MILLIS: f64 = 10_000.0;
const FAILURE_TOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample::moment;

    #[test]
    fn it_jumps_up_comes_down_slowly_and_fades() {
        let latency = Latency::default();
        assert_eq!(latency.cost(0, moment(0)), 0.0);
        assert!(latency.cost(1, moment(0)) > 0.0);
        latency.observe(Duration::from_millis(10), moment(1_000));
        assert_eq!(latency.cost(0, moment(1_000)), 10_000.0);
        assert_eq!(latency.cost(1, moment(1_000)), 20_000.0);
        latency.observe(Duration::from_millis(500), moment(1_000));
        assert_eq!(latency.cost(0, moment(1_000)), 500_000.0, "up at once");
        latency.observe(Duration::from_millis(10), moment(2_000));
        let after = latency.cost(0, moment(2_000));
        assert!(
            (430_000.0..480_000.0).contains(&after),
            "down slowly: {after}"
        );
        assert!(
            latency.cost(0, moment(62_000)) < 2_000.0,
            "fades in silence"
        );
        assert_eq!(
            latency.cost(0, moment(1_500)),
            after,
            "time does not run backwards"
        );
        latency.at_least(Duration::from_micros(1), moment(62_000));
        assert!(
            latency.cost(0, moment(62_000)) < 2_000.0,
            "says nothing new"
        );
        latency.at_least(Duration::from_millis(600), moment(62_000));
        assert_eq!(
            latency.cost(0, moment(62_000)),
            600_000.0,
            "known to be slow"
        );
        latency.punish(Duration::ZERO, moment(62_000));
        assert_eq!(latency.cost(0, moment(62_000)), 1_000_000.0);
    }
}
