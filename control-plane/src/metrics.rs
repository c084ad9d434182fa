//! Counters of the control plane.

use std::sync::Arc;
use std::time::Duration;

use weir_protocol::Role;
use weir_telemetry::names;
use weir_telemetry::registry::Registry;
use weir_telemetry::sharded::{Counter, Gauge, Histogram};

use crate::nodes::Nodes;

/// The control plane counts on one shard: nothing here is on a hot path.
const SHARD: usize = 0;

/// Handles into the registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Where they are read from.
    pub registry: Registry,
    acks: Arc<Counter>,
    refusals: Arc<Counter>,
    accepted: Arc<Counter>,
    refused: Arc<Counter>,
    revision: Arc<Gauge>,
    convergence: Arc<Histogram>,
}

impl Metrics {
    /// In this registry.
    #[must_use]
    pub fn new(registry: &Registry, nodes: &Arc<Nodes>) -> Self {
        let sampled = Arc::clone(nodes);
        registry.sampled(&names::NODES_CONNECTED, move |tell| {
            let nodes = sampled.all();
            for (role, name) in [(Role::Gateway, "gateway"), (Role::Sidecar, "sidecar")] {
                let connected = |node: &&crate::nodes::Node| node.connected && node.role == role;
                #[allow(clippy::cast_precision_loss, reason = "a count of at most 10,000")]
                tell(&[name], nodes.iter().filter(connected).count() as f64);
            }
        });
        Metrics {
            registry: registry.clone(),
            acks: registry.single(&names::ACKS),
            refusals: registry.single(&names::PUSH_REFUSALS),
            accepted: registry.single(&names::REVISIONS_ACCEPTED),
            refused: registry.single(&names::REVISIONS_REFUSED),
            revision: registry.single(&names::REVISION_LATEST),
            convergence: registry.single(&names::PUSH_CONVERGENCE),
        }
    }

    /// A node answered a revision.
    pub fn answered(&self, accepted: bool) {
        if accepted { &self.acks } else { &self.refusals }.add(SHARD, 1);
    }

    /// A certificate was issued.
    pub fn issued(&self, role: Role) {
        let role = match role {
            Role::Gateway => "gateway",
            Role::Sidecar => "sidecar",
        };
        self.registry
            .family(&names::CERTIFICATES_ISSUED)
            .with(&[role])
            .add(SHARD, 1);
    }

    /// A document became a revision.
    pub fn accepted(&self) {
        self.accepted.add(SHARD, 1);
    }

    /// A document was refused.
    pub fn refused(&self) {
        self.refused.add(SHARD, 1);
    }

    /// The newest revision is this one.
    pub fn head(&self, number: u64) {
        self.revision
            .set(SHARD, i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// All connected nodes answered a revision after this time.
    pub fn converged(&self, after: Duration) {
        self.convergence
            .observe(SHARD, u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
    }
}
