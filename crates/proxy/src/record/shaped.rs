//! What shaping did to an exchange: kept beside the ledger, since most exchanges have none of it.

use std::time::Duration;

use weir_telemetry::names;

use super::WorkerMetrics;

/// What shaping did to an exchange.
#[derive(Debug, Default)]
pub(crate) struct Shaped {
    /// For how long a fault on purpose held it back.
    pub(crate) delayed: Option<Duration>,
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
}
