//! What shaping did to an exchange: kept beside the ledger, since most exchanges have none of it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use weir_policy::refusal::Code;
use weir_telemetry::names::{self, Named};
use weir_telemetry::request_metrics::StatusClass;
use weir_telemetry::sharded::Counter;

use super::{ServiceMetrics, WorkerMetrics};

/// What shaping did to an exchange.
#[derive(Debug, Default)]
pub(crate) struct Shaped {
    /// For how long a fault on purpose held it back.
    pub(crate) delayed: Option<Duration>,
    /// Why it went to the route's fallback.
    pub(crate) fallback: Option<&'static str>,
    /// What came of attempts beside the first.
    pub(crate) hedge: Option<&'static str>,
    /// Whether an example answered it.
    pub(crate) mock: bool,
    /// Why it would have been refused, where its route only reports that.
    pub(crate) reported: Option<Box<str>>,
}

/// What came of an attempt beside others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HedgeEnd {
    /// Its request ended before one of them had answered.
    Abandoned,
    Failed,
    /// Another one was faster.
    Lost,
    Won,
}

impl HedgeEnd {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            HedgeEnd::Abandoned => "abandoned",
            HedgeEnd::Failed => "failed",
            HedgeEnd::Lost => "lost",
            HedgeEnd::Won => "won",
        }
    }
}

/// A fault on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Abort,
    Delay,
}

impl WorkerMetrics {
    /// Counts a fault on purpose.
    pub(crate) fn fault(&self, worker: usize, route: &str, fault: Fault) {
        let label = match fault {
            Fault::Abort => "abort",
            Fault::Delay => "delay",
        };
        let family = self.registry.family(&names::FAULTS_INJECTED);
        family.with(&[route, label]).add(worker, 1);
    }

    /// Counts a request that breaks the rules of its route's API.
    pub(crate) fn openapi_fault(&self, worker: usize, route: &str, code: Code, reported: bool) {
        let outcome = if reported { "reported" } else { "refused" };
        let family = self.registry.family(&names::OPENAPI_FAULTS);
        let labels = [route, code.as_str(), outcome];
        family.with(&labels).add(worker, 1);
    }

    /// Counts a request that fell back.
    pub(crate) fn fell_back(&self, worker: usize, route: &str, why: &'static str) {
        let family = self.registry.family(&names::FALLBACKS);
        family.with(&[route, why]).add(worker, 1);
    }
}

impl ServiceMetrics {
    /// An attempt beside others has ended.
    pub(crate) fn hedged(&self, end: HedgeEnd) {
        let family = self.registry.family(&names::HEDGES);
        family.with(&[&self.name, end.as_str()]).add(self.worker, 1);
    }

    /// It was time for an attempt beside others, and there is none.
    pub(crate) fn hedge_withheld(&self, reason: &'static str) {
        let family = self.registry.family(&names::HEDGES_WITHHELD);
        family.with(&[&self.name, reason]).add(self.worker, 1);
    }
}

/// Counters of the copies that a service gets, each looked up when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct MirrorMetrics(RefCell<Vec<(&'static str, &'static str, Arc<Counter>)>>);

impl ServiceMetrics {
    /// A copy is sent.
    pub(crate) fn mirror_sent(&self) {
        self.mirror(&names::MIRROR_SENT, "");
    }

    /// A copy was given up, or never began.
    pub(crate) fn mirror_dropped(&self, reason: &'static str) {
        self.mirror(&names::MIRROR_DROPPED, reason);
    }

    /// A copy was answered.
    pub(crate) fn mirror_answered(&self, status: StatusClass) {
        self.mirror(&names::MIRROR_ANSWERS, status.label());
    }

    /// A copy got no answer.
    pub(crate) fn mirror_failed(&self, reason: &'static str) {
        self.mirror(&names::MIRROR_FAILED, reason);
    }

    fn mirror(&self, metric: &Named<Counter>, label: &'static str) {
        let mut known = self.mirror.0.borrow_mut();
        let found = known
            .iter()
            .find(|(name, of, _)| (*name, *of) == (metric.name, label));
        if let Some((_, _, counter)) = found {
            counter.add(self.worker, 1);
            return;
        }
        let labels: &[&str] = match label {
            "" => &[&self.name],
            label => &[&self.name, label],
        };
        let counter = self.registry.family(metric).with(labels);
        counter.add(self.worker, 1);
        known.push((metric.name, label, counter));
    }
}
