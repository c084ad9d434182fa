//! Live state of one endpoint, shared by all workers: requests in flight, latency, ejection.
//!
//! The rules are next to their features: which latency counts is `balance`'s matter
//! ([`Latency`]), who is ejected is `resilience`'s ([`Ejection`]).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::balance::latency::Latency;
use crate::health::{CheckState, Checked, HealthPlan};
use crate::moment::Moment;
use crate::resilience::{BreakerLive, Ejection};

/// Live state of one endpoint: requests in flight, decaying latency, failures in a row, ejection.
/// Aligned so that two endpoints never share a cache line (nor the pair that is prefetched).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointLive {
    in_flight: AtomicU32,
    /// Since when it is here, or fit again, nanoseconds; zero: it was here from the start.
    since: AtomicU64,
    /// Discovery said last that it is not healthy.
    lost: AtomicBool,
    /// How fast it answers.
    pub(crate) latency: Latency,
    checked: Checked,
    /// Whether it is taken out for a while.
    pub(crate) ejection: Ejection,
    /// Its circuit breaker, where the service has one for each endpoint.
    breaker: OnceLock<Box<BreakerLive>>,
}

impl EndpointLive {
    /// Attempts in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What health checks found out.
    #[must_use]
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// Whether outlier detection has taken it out at this moment.
    #[must_use]
    pub fn is_ejected(&self, at: Moment) -> bool {
        self.ejection.is_ejected(at)
    }

    /// How often it was ejected, ever.
    #[must_use]
    pub fn ejected_total(&self) -> u64 {
        self.ejection.total()
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.ejection.failures()
    }

    /// Its circuit breaker, where the service has one for each endpoint and it was asked before.
    #[must_use]
    pub fn breaker(&self) -> Option<&BreakerLive> {
        self.breaker.get().map(Box::as_ref)
    }

    /// Its circuit breaker, made when it is first asked for.
    pub(crate) fn own_breaker(&self) -> &BreakerLive {
        self.breaker.get_or_init(Box::default)
    }

    /// A health check says how it is; the new state where it changed. One that recovers starts
    /// slowly, where its service says so.
    pub fn check(&self, passed: bool, plan: &HealthPlan, at: Moment) -> Option<CheckState> {
        let was_fit = self.checked.is_fit();
        let changed = self.checked.record(passed, plan);
        if !was_fit && changed == Some(CheckState::Fit) {
            self.begins(at);
        }
        changed
    }

    /// Discovery says how it is.
    pub(crate) fn found(&self, healthy: bool, at: Moment) {
        if self.lost.swap(!healthy, Ordering::Relaxed) && healthy {
            self.begins(at);
        }
    }

    /// It is new among others, or fit again.
    pub(crate) fn begins(&self, at: Moment) {
        self.since.store(at.nanos.max(1), Ordering::Relaxed);
    }

    /// Since when it is fit, nanoseconds; `None` when it was always.
    pub(crate) fn since(&self) -> Option<u64> {
        let since = self.since.load(Ordering::Relaxed);
        let since = since.max(self.ejection.ended_at());
        (since > 0).then_some(since)
    }

    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        let before = self.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "an attempt ended that never began");
    }
}
