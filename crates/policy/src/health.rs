//! What active health checks found out about an endpoint.
//!
//! For: the state between two checks. Not for: checking; that is the engine's. The states:
//! *unknown* (counts as fit, so that a process which has just started serves), *fit*, *unfit*. The
//! first check decides at once; after that it takes `fall` failures or `rise` passes in a row.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weir_config::health::{HealthCheck, Probe};
use weir_config::service::Protocol;

/// A health check as it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthPlan {
    /// What is asked.
    pub probe: Probe,
    /// Host of a check by HTTP; `None`: the endpoint's.
    pub host: Option<Box<str>>,
    /// Statuses that pass; none: 200 to 299.
    pub statuses: Vec<u16>,
    /// Time between two checks.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// Failures in a row that make unfit.
    pub fall: u32,
    /// Passes in a row that make fit.
    pub rise: u32,
}

impl HealthPlan {
    /// What was written.
    #[must_use]
    pub fn compile(written: &HealthCheck) -> HealthPlan {
        HealthPlan {
            probe: written.probe.clone(),
            host: written.host.as_deref().map(Into::into),
            statuses: written.statuses.clone(),
            interval: written.interval,
            timeout: written.timeout,
            fall: written.fall,
            rise: written.rise,
        }
    }

    /// Whether a response with this status passes.
    #[must_use]
    pub fn passes(&self, status: http::StatusCode) -> bool {
        match self.statuses.is_empty() {
            true => status.is_success(),
            false => self.statuses.contains(&status.as_u16()),
        }
    }
}

/// Why a check cannot be asked of a service, if it cannot.
pub(crate) fn problem(written: &HealthCheck, protocol: Protocol) -> Option<&'static str> {
    let grpc = matches!(written.probe, Probe::Grpc(_));
    (grpc && protocol != Protocol::Http2).then_some("gRPC is spoken over HTTP/2 only")
}

/// What checks found out about an endpoint; shared by all workers, written by one.
#[derive(Debug, Default)]
pub struct Checked {
    /// [`UNKNOWN`], [`FIT`] or [`UNFIT`] in the upper half; checks in a row that say otherwise in
    /// the lower.
    state: AtomicU32,
}

/// What is known of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckState {
    /// It passes.
    Fit,
    /// It fails.
    Unfit,
    /// It was not checked yet, or is not checked at all.
    Unknown,
}

impl Checked {
    /// Whether it may be used as far as checks know.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        self.state.load(Ordering::Relaxed) & STATE != UNFIT
    }

    /// What is known.
    #[must_use]
    pub fn state(&self) -> CheckState {
        match self.state.load(Ordering::Relaxed) & STATE {
            FIT => CheckState::Fit,
            UNFIT => CheckState::Unfit,
            _ => CheckState::Unknown,
        }
    }

    /// Takes the result of a check; the new state where it changed.
    pub fn record(&self, passed: bool, plan: &HealthPlan) -> Option<CheckState> {
        // Only one worker checks an endpoint, so load and store need not be one step.
        let before = self.state.load(Ordering::Relaxed);
        let (target, needed) = match passed {
            true => (FIT, plan.rise),
            false => (UNFIT, plan.fall),
        };
        if before & STATE == target {
            self.state.store(target, Ordering::Relaxed);
            return None;
        }
        let streak = (before & STREAK) + 1;
        if before & STATE != UNKNOWN && streak < needed {
            self.state
                .store((before & STATE) | streak, Ordering::Relaxed);
            return None;
        }
        self.state.store(target, Ordering::Relaxed);
        Some(self.state())
    }

    /// It is not checked any more.
    pub fn forget(&self) {
        self.state.store(UNKNOWN, Ordering::Relaxed);
    }
}

const UNKNOWN: u32 = 0;
const FIT: u32 = 1 << 16;
const UNFIT: u32 = 2 << 16;
const STATE: u32 = 0xffff_0000;
const STREAK: u32 = 0x0000_ffff;
const _: () = assert!(weir_config::bounds::HEALTH_STREAK_MAX < STREAK);

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> HealthPlan {
        HealthPlan::compile(&HealthCheck::of(Probe::Tcp(())))
    }

    #[test]
    fn the_first_check_decides_and_then_it_takes_a_streak() {
        let (checked, plan) = (Checked::default(), plan());
        assert!(checked.is_fit() && checked.state() == CheckState::Unknown);
        assert_eq!(checked.record(true, &plan), Some(CheckState::Fit));
        for passed in [false, false, true, false, false] {
            assert_eq!(checked.record(passed, &plan), None);
        }
        assert!(checked.is_fit(), "two failures of three");
        assert_eq!(checked.record(false, &plan), Some(CheckState::Unfit));
        assert!(!checked.is_fit());
        assert_eq!(checked.record(true, &plan), None);
        assert_eq!(checked.record(false, &plan), None);
        assert_eq!(checked.record(true, &plan), None);
        assert_eq!(checked.record(true, &plan), Some(CheckState::Fit));
        checked.forget();
        assert_eq!(checked.record(false, &plan), Some(CheckState::Unfit));
    }

    #[test]
    fn statuses_pass_as_written() {
        let mut plan = plan();
        let status = |code| http::StatusCode::from_u16(code).unwrap_or_default();
        assert!(plan.passes(status(204)) && !plan.passes(status(302)));
        plan.statuses = vec![200, 401];
        assert!(plan.passes(status(401)) && !plan.passes(status(204)));
    }
}
