//! Breakers and ejections of each service, read from its live state.

use weir_config::resilience::BreakerScope;
use weir_policy::resilience::{BreakerState, Denied, Grounds};
use weir_policy::snapshot::Service;
use weir_telemetry::{Registry, names};

use super::{InForceReceiver, of_services};
use crate::clock;

type Tell<'a> = dyn FnMut(&[&str], f64) + 'a;

pub(super) fn sample(registry: &Registry, in_force: &InForceReceiver) {
    of_services(registry, &names::ENDPOINTS, in_force, endpoints);
    of_services(registry, &names::BREAKER_STATE, in_force, breaker);
    of_services(registry, &names::BREAKERS_OPENED, in_force, opened);
    of_services(registry, &names::EJECTIONS, in_force, ejections);
    of_services(registry, &names::EJECTIONS_WITHHELD, in_force, withheld);
    of_services(registry, &names::RETRIES_DENIED, in_force, denied);
}

fn endpoints(service: &Service, tell: &mut Tell<'_>) {
    let now = clock::now();
    let breaker = service.breaker_of(BreakerScope::Endpoint);
    let (mut fit, mut ejected, mut failing, mut open) = (0, 0, 0, 0);
    for (_, live) in service.live.endpoints() {
        let refuses = breaker.and_then(|it| live.breaker()?.refuses(it, now));
        match (live.is_ejected(now), refuses) {
            (true, _) => ejected += 1,
            (false, _) if !live.checked().is_fit() => failing += 1,
            (false, Some(_)) => open += 1,
            (false, None) => fit += 1,
        }
    }
    tell(&[&service.name, "fit"], f64::from(fit));
    tell(&[&service.name, "ejected"], f64::from(ejected));
    if service.health.is_some() {
        tell(&[&service.name, "failing"], f64::from(failing));
    }
    if breaker.is_some() {
        tell(&[&service.name, "breaker-open"], f64::from(open));
    }
}

fn breaker(service: &Service, tell: &mut Tell<'_>) {
    if service.breaker_of(BreakerScope::Service).is_none() {
        return;
    }
    let state = match service.live.breaker().state() {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    };
    tell(&[&service.name], state);
}

fn opened(service: &Service, tell: &mut Tell<'_>) {
    counted(tell, &[&service.name], service.live.breakers_opened());
}

fn ejections(service: &Service, tell: &mut Tell<'_>) {
    for grounds in Grounds::ALL {
        let count = service.live.ejections().of(grounds);
        counted(tell, &[&service.name, grounds.as_str()], count);
    }
}

fn withheld(service: &Service, tell: &mut Tell<'_>) {
    let count = service.live.ejections().withheld_total();
    counted(tell, &[&service.name], count);
}

fn denied(service: &Service, tell: &mut Tell<'_>) {
    for denied in Denied::ALL {
        let count = service.live.retries_denied().of(denied);
        counted(tell, &[&service.name, denied.as_str()], count);
    }
}

/// Counters that have not moved are left out: a document may have ten thousand services.
pub(super) fn counted(tell: &mut Tell<'_>, labels: &[&str], count: u64) {
    if count > 0 {
        tell(labels, count as f64);
    }
}
