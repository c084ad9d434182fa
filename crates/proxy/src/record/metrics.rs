//! Handles to metrics, looked up at most once per worker and configuration and never by a label
//! that a request brings.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir_policy::balance::{Away, Chosen};
use weir_policy::grpc::Status;
use weir_policy::pipeline::FailureKind;
use weir_policy::refusal::Code;
use weir_telemetry::sharded::{Counter, Gauge, Histogram};
use weir_telemetry::termination::Termination;
use weir_telemetry::{Registry, names};

use super::micros;
use super::shaped::MirrorMetrics;

/// Metrics of a worker that no configuration names.
#[derive(Debug)]
pub(crate) struct WorkerMetrics {
    ends: Vec<Arc<Counter>>,
    refusals: RefCell<Vec<(Code, Arc<Counter>)>>,
    pub(super) registry: Registry,
}

impl WorkerMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let family = registry.family(&names::REQUEST_ENDS);
        let ends = Termination::ALL
            .iter()
            .map(|end| family.with(&[end.code()]))
            .collect();
        Self {
            ends,
            refusals: RefCell::default(),
            registry: registry.clone(),
        }
    }

    pub(super) fn end(&self, worker: usize, termination: Termination) {
        if let Some(counter) = self.ends.get(termination as usize) {
            counter.add(worker, 1);
        }
    }

    /// Counts a response that was compressed: body bytes before and after.
    pub(crate) fn compressed(&self, worker: usize, encoding: &str, input: u64, output: u64) {
        for (name, bytes) in [
            (&names::COMPRESSION_INPUT_BYTES, input),
            (&names::COMPRESSION_OUTPUT_BYTES, output),
        ] {
            self.registry
                .family(name)
                .with(&[encoding])
                .add(worker, bytes);
        }
    }

    /// Counts a health check.
    pub(crate) fn checked(&self, worker: usize, service: &str, result: &str) {
        let family = self.registry.family(&names::HEALTH_CHECKS);
        family.with(&[service, result]).add(worker, 1);
    }

    /// Counts an answer that Weir gave by itself.
    pub(crate) fn refused(&self, worker: usize, code: Code) {
        let mut refusals = self.refusals.borrow_mut();
        if let Some((_, counter)) = refusals.iter().find(|(known, _)| *known == code) {
            counter.add(worker, 1);
            return;
        }
        let counter = self
            .registry
            .family(&names::REFUSALS)
            .with(&[code.as_str()]);
        counter.add(worker, 1);
        refusals.push((code, counter));
    }
}

/// Metrics of one service in one worker, looked up when they are first needed.
#[derive(Debug)]
pub(crate) struct ServiceMetrics {
    pub(super) worker: usize,
    pub(super) name: Arc<str>,
    pub(super) registry: Registry,
    pub(super) mirror: MirrorMetrics,
    attempts: OnceCell<Arc<Counter>>,
    response_start: OnceCell<Arc<Histogram>>,
    connections: OnceCell<(Arc<Gauge>, Arc<Counter>)>,
    /// By gRPC status; the last is for calls that ended without.
    calls: OnceCell<Box<[OnceCell<Arc<Counter>>; Status::COUNT + 1]>>,
    /// By [`Away`].
    away: [OnceCell<Arc<Counter>>; Away::COUNT],
}

impl ServiceMetrics {
    pub(crate) fn new(worker: usize, name: &Arc<str>, registry: &Registry) -> Rc<Self> {
        Rc::new(Self {
            worker,
            name: Arc::clone(name),
            registry: registry.clone(),
            mirror: MirrorMetrics::default(),
            attempts: OnceCell::new(),
            response_start: OnceCell::new(),
            connections: OnceCell::new(),
            calls: OnceCell::new(),
            away: Default::default(),
        })
    }

    /// A request goes to an endpoint.
    pub(crate) fn attempt(&self, chosen: &Chosen) {
        let make = || {
            self.registry
                .family(&names::UPSTREAM_ATTEMPTS)
                .with(&[&self.name])
        };
        self.attempts.get_or_init(make).add(self.worker, 1);
        if let Some(away) = chosen.away {
            self.away(away);
        }
    }

    /// A response head came.
    pub(crate) fn response_start(&self, after: Duration) {
        let make = || {
            self.registry
                .family(&names::UPSTREAM_RESPONSE_START)
                .with(&[&self.name])
        };
        self.response_start
            .get_or_init(make)
            .observe(self.worker, micros(after));
    }

    /// An attempt failed.
    pub(crate) fn failed(&self, kind: FailureKind) {
        let family = self.registry.family(&names::UPSTREAM_FAILURES);
        family
            .with(&[&self.name, failure_label(kind)])
            .add(self.worker, 1);
    }

    /// An attempt is made again; `reason` says what ended the one before.
    pub(crate) fn retried(&self, reason: &'static str) {
        let family = self.registry.family(&names::UPSTREAM_RETRIES);
        family.with(&[&self.name, reason]).add(self.worker, 1);
    }

    /// So many interim responses came to this.
    pub(crate) fn interim(&self, outcome: &'static str, count: u32) {
        if count > 0 {
            let family = self.registry.family(&names::INTERIM_RESPONSES);
            let counter = family.with(&[&self.name, outcome]);
            counter.add(self.worker, u64::from(count));
        }
    }

    /// A gRPC call has ended.
    pub(crate) fn called(&self, status: Option<Status>) {
        let calls = self.calls.get_or_init(Box::default);
        let index = status.map_or(Status::COUNT, |status| usize::from(status.number()));
        let make = || {
            let label = status.map_or("none", Status::as_str);
            let family = self.registry.family(&names::UPSTREAM_GRPC_CALLS);
            family.with(&[&self.name, label])
        };
        if let Some(counter) = calls.get(index) {
            counter.get_or_init(make).add(self.worker, 1);
        }
    }

    /// An attempt goes to an endpoint that is not one of those that come first.
    fn away(&self, away: Away) {
        let make = || {
            let family = self.registry.family(&names::ATTEMPTS_AWAY);
            family.with(&[&self.name, away.as_str()])
        };
        let counter = &self.away[away as usize];
        counter.get_or_init(make).add(self.worker, 1);
    }

    /// A client could not stay at the endpoint that its cookie names.
    pub(crate) fn session_broken(&self) {
        let family = self.registry.family(&names::SESSIONS_BROKEN);
        family.with(&[&self.name]).add(self.worker, 1);
    }

    /// A connection was made.
    pub(crate) fn opened(&self) {
        let (open, created) = self.connections();
        open.add(self.worker, 1);
        created.add(self.worker, 1);
    }

    /// A connection was closed.
    pub(crate) fn closed(&self) {
        self.connections().0.add(self.worker, -1);
    }

    fn connections(&self) -> &(Arc<Gauge>, Arc<Counter>) {
        self.connections.get_or_init(|| {
            (
                self.registry
                    .family(&names::UPSTREAM_CONNECTIONS_OPEN)
                    .with(&[&self.name]),
                self.registry
                    .family(&names::UPSTREAM_CONNECTIONS_CREATED)
                    .with(&[&self.name]),
            )
        })
    }
}

/// The label of a failure.
pub(crate) fn failure_label(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Connect => "connect",
        FailureKind::ConnectTimeout => "connect-timeout",
        FailureKind::HeaderTooLarge => "header-too-large",
        FailureKind::HeadersTooMany => "headers-too-many",
        FailureKind::PendingOverflow => "pending-overflow",
        FailureKind::PendingTimeout => "pending-timeout",
        FailureKind::PerTry => "per-try-timeout",
        FailureKind::Protocol => "protocol",
        FailureKind::Reset => "reset",
        FailureKind::Stalled => "stalled",
        FailureKind::Timeout => "timeout",
        FailureKind::Tls => "tls",
    }
}

/// Metrics of one listener in one worker.
#[derive(Debug, Clone)]
pub(crate) struct ListenerMetrics {
    pub(crate) active: Arc<Gauge>,
    pub(crate) connections: Arc<Gauge>,
    pub(crate) asleep: Arc<Gauge>,
    pub(crate) accepted: Arc<Counter>,
    name: Arc<str>,
    registry: Registry,
}

impl ListenerMetrics {
    pub(crate) fn new(name: &Arc<str>, registry: &Registry) -> Self {
        Self {
            active: registry.family(&names::REQUESTS_ACTIVE).with(&[name]),
            connections: registry.family(&names::CONNECTIONS_ACTIVE).with(&[name]),
            asleep: registry.family(&names::CONNECTIONS_ASLEEP).with(&[name]),
            accepted: registry.family(&names::CONNECTIONS_ACCEPTED).with(&[name]),
            name: Arc::clone(name),
            registry: registry.clone(),
        }
    }

    /// A connection was closed for this reason.
    pub(crate) fn closed(&self, worker: usize, reason: &'static str) {
        debug_assert!(weir_telemetry::closing::is_known(reason), "{reason}");
        let family = self.registry.family(&names::CONNECTIONS_CLOSED);
        family.with(&[&self.name, reason]).add(worker, 1);
    }

    /// A connection ended because a configuration took its listener away.
    pub(crate) fn closed_by_config(&self, worker: usize) {
        let counter = self.registry.single(&names::CONNECTIONS_CLOSED_BY_CONFIG);
        counter.add(worker, 1);
    }

    /// A client's TLS handshake failed.
    pub(crate) fn handshake_failed(&self, worker: usize, reason: &'static str) {
        let family = self.registry.family(&names::TLS_HANDSHAKES_FAILED);
        family.with(&[&self.name, reason]).add(worker, 1);
    }
}
