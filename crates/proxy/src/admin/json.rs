//! The answers of the admin server as JSON.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json as object};
use weir_config::resilience::BreakerScope;
use weir_policy::live::EndpointLive;
use weir_policy::snapshot::Service;
use weir_process::build_info::{SOURCE_REVISION, VERSION};

use super::Shown;
use crate::clock;
use crate::respond::Decision;
use crate::store::InForce;

/// What a proxy is and does.
pub(super) fn status(shown: &Shown) -> Value {
    let stats = shown.engine.stats();
    let current = shown.store.current();
    let configuration = current.as_deref().map(|current| {
        object!({
            "revision": &*current.candidate.label,
            "number": current.candidate.number,
            "since_unix": unix_seconds(current.since),
            "listeners": listeners(current),
            "routes": current.snapshot.routes.len(),
            "services": current.snapshot.services.len(),
            "warnings": &current.snapshot.warnings,
            "issuers": issuers(current),
        })
    });
    let control_plane = shown.connected.as_ref().map(|connected| {
        let connected = connected.borrow();
        object!({ "connected": connected.now, "last_error": connected.last_error })
    });
    object!({
        "node": shown.who.node,
        "role": shown.who.role,
        "service": shown.who.service,
        "version": VERSION,
        "source_revision": SOURCE_REVISION,
        "configuration": configuration,
        "control_plane": control_plane,
        "identity": shown.identity.as_ref().map(|identity| identity.spiffe_id().to_string()),
        "connections": stats.connections,
        "in_flight": stats.in_flight,
        "exchanges": stats.exchanges,
    })
}

fn listeners(current: &InForce) -> Vec<&str> {
    let listeners = current.snapshot.listeners.iter();
    listeners.map(|listener| &*listener.name).collect()
}

fn issuers(current: &InForce) -> Vec<Value> {
    let issuer = |issuer: &weir_policy::snapshot::Issuer| {
        let status = issuer.live.status();
        object!({
            "issuer": &*issuer.name,
            "keys": status.keys.iter().map(|key| object!({ "id": key.id })).collect::<Vec<_>>(),
            "fetched_unix": status.installed_unix_seconds,
        })
    };
    current.snapshot.issuers.iter().map(issuer).collect()
}

/// Who serves what.
pub(super) fn services(shown: &Shown, current: &InForce) -> Value {
    let services = shown.memberships.show(&current.snapshot);
    let live = |name: &str| {
        let mut services = current.snapshot.services.iter();
        services.find(|service| &*service.name == name).map(use_of)
    };
    let service = |service: &crate::memberships::Shown| {
        let status = service.status.as_ref();
        let failing = status.and_then(|status| status.last_error.as_ref());
        object!({
            "service": service.service,
            "source": service.source,
            "endpoints": service.endpoints.as_deref(),
            "failing": failing.map(ToString::to_string),
            "failing_since_unix": status.and_then(|status| status.since).map(unix_seconds),
            "answered_unix": status.and_then(|status| status.refreshed).map(unix_seconds),
            "live": live(&service.service),
        })
    };
    object!({ "services": services.iter().map(service).collect::<Vec<_>>() })
}

/// What is in flight towards a service, and what holds requests back from it.
fn use_of(service: &Service) -> Value {
    let (live, now) = (&service.live, clock::now());
    let endpoint = |(address, endpoint): (Box<str>, Arc<EndpointLive>)| {
        object!({
            "address": address,
            "in_flight": endpoint.in_flight(),
            "failures": endpoint.failures(),
            "ejected": endpoint.is_ejected(now),
            "ejections": endpoint.ejected_total(),
            "breaker": endpoint.breaker().map(|breaker| breaker.state().as_str()),
        })
    };
    let breaker = service.breaker_of(BreakerScope::Service);
    let adaptive = service.adaptive.map(|plan| {
        object!({
            "limit": live.adaptive().limit(plan),
            "baseline_us": live.adaptive().baseline().map(|it| it.as_micros() as u64),
        })
    });
    object!({
        "in_flight": live.in_flight(),
        "waiting": live.limits().waiting(),
        "adaptive": adaptive,
        "breaker": breaker.map(|_| live.breaker().state().as_str()),
        "endpoints": live.endpoints().into_iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// Certificates in use: names and times, never a key.
pub(super) fn certificates(shown: &Shown) -> Value {
    let edge: Vec<Value> = shown
        .store
        .certificate_expiries()
        .iter()
        .map(|(file, not_after)| {
            let file = file.display().to_string();
            object!({ "file": file, "not_after_unix": unix_seconds(*not_after) })
        })
        .collect();
    let identity = shown.identity.as_ref().map(|identity| {
        let current = identity.current();
        let roots = current.bundle().fingerprints();
        object!({
            "spiffe_id": current.spiffe_id().as_str(),
            "not_before_unix": unix_seconds(current.not_before()),
            "not_after_unix": current.expires_unix(),
            "roots": roots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    });
    object!({ "edge": edge, "identity": identity })
}

/// A refusal.
pub(super) fn decision(decision: &Decision) -> Value {
    object!({
        "id": decision.id,
        "unix_ms": decision.unix_ms,
        "code": decision.code.as_str(),
        "detail": decision.detail,
        "method": decision.method,
        "host": decision.host,
        "path": decision.path,
        "client": decision.client.to_string(),
        "listener": decision.listener,
        "route": decision.route,
        "service": decision.service,
        "revision": decision.revision,
    })
}

/// Whole seconds since 1970.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
