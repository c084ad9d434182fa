//! The answers of the admin server as JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json as object};
use weir_process::build_info::{SOURCE_REVISION, VERSION};

use super::Shown;
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
    let service = |service: &crate::memberships::Shown| {
        object!({
            "service": service.service,
            "endpoints": service.endpoints.as_deref(),
            "failing": service.failing,
        })
    };
    object!({ "services": services.iter().map(service).collect::<Vec<_>>() })
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
