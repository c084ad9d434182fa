//! What a proxy tells about its configuration: counters of changes, and gauges that are read from
//! the truth at each scrape.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use weir_identity::Identity;
use weir_policy::snapshot::Service;
use weir_telemetry::Scalar;
use weir_telemetry::names::Named;
use weir_telemetry::sharded::{Counter, Gauge};
use weir_telemetry::{Registry, names};

use super::InForce;
use crate::tls::TlsFiles;

mod failing;
mod limits;

/// Handles to the metrics of changes.
#[derive(Debug)]
pub(super) struct Gauges {
    applied: Arc<Counter>,
    refused: Arc<Counter>,
    revision: Arc<Gauge>,
    last_success: Arc<Gauge>,
}

impl Gauges {
    pub(super) fn new(
        registry: &Registry,
        tls: &Arc<TlsFiles>,
        identity: Option<&Identity>,
        in_force: watch::Receiver<Option<Arc<InForce>>>,
    ) -> Self {
        let (tls, identity) = (Arc::clone(tls), identity.cloned());
        registry.sampled(&names::CERTIFICATE_NOT_AFTER, move |tell| {
            for (file, not_after) in tls.expiries() {
                tell(
                    &[&file.display().to_string()],
                    unix_seconds(not_after) as f64,
                );
            }
            if let Some(identity) = &identity {
                let current = identity.current();
                tell(
                    &[current.spiffe_id().as_str()],
                    current.expires_unix() as f64,
                );
            }
        });
        limits::sample(registry, &in_force);
        failing::sample(registry, &in_force);
        Self {
            applied: registry.single(&names::CONFIG_APPLIED),
            refused: registry.single(&names::CONFIG_REFUSED),
            revision: registry.single(&names::CONFIG_REVISION),
            last_success: registry.single(&names::CONFIG_LAST_SUCCESS),
        }
    }

    pub(super) fn applied(&self, number: u64, since: SystemTime) {
        self.applied.add(CONTROL, 1);
        self.revision
            .set(CONTROL, i64::try_from(number).unwrap_or(i64::MAX));
        let since = i64::try_from(unix_seconds(since)).unwrap_or(i64::MAX);
        self.last_success.set(CONTROL, since);
    }

    pub(super) fn refused(&self) {
        self.refused.add(CONTROL, 1);
    }
}

type InForceReceiver = watch::Receiver<Option<Arc<InForce>>>;

/// Reads a metric of every service in force at each scrape.
fn of_services<T: Scalar>(
    registry: &Registry,
    named: &Named<T>,
    in_force: &InForceReceiver,
    read: impl Fn(&Service, &mut dyn FnMut(&[&str], f64)) + Send + Sync + 'static,
) {
    let in_force = in_force.clone();
    registry.sampled(named, move |tell| {
        let Some(in_force) = in_force.borrow().clone() else {
            return;
        };
        for service in &in_force.snapshot.services {
            read(service, tell);
        }
    });
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Changes are counted in the shard of the first worker; they are rare.
const CONTROL: usize = 0;
