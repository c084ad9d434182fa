//! What is in use of each service's limits, read from its live state.

use weir_config::criticality::Criticality;
use weir_policy::live::Limit;
use weir_policy::snapshot::Service;
use weir_telemetry::{Registry, names};

use super::failing::counted;
use super::{InForceReceiver, of_services};

type Tell<'a> = dyn FnMut(&[&str], f64) + 'a;

pub(super) fn sample(registry: &Registry, in_force: &InForceReceiver) {
    of_services(registry, &names::UPSTREAM_REQUESTS_ACTIVE, in_force, active);
    of_services(
        registry,
        &names::UPSTREAM_REQUESTS_PENDING,
        in_force,
        pending,
    );
    of_services(registry, &names::LIMITS_NEARLY_FULL, in_force, nearly_full);
    of_services(registry, &names::LIMITS_REACHED, in_force, reached);
    of_services(registry, &names::ADAPTIVE_LIMIT, in_force, adaptive);
    of_services(registry, &names::SHED, in_force, shed);
}

fn active(service: &Service, tell: &mut Tell<'_>) {
    tell(&[&service.name], f64::from(service.live.in_flight()));
}

fn pending(service: &Service, tell: &mut Tell<'_>) {
    let waiting = service.live.limits().waiting();
    tell(&[&service.name], f64::from(waiting));
}

fn nearly_full(service: &Service, tell: &mut Tell<'_>) {
    for limit in Limit::ALL {
        let count = service.live.limits().nearly_full_total(limit);
        counted(tell, &[&service.name, limit.as_str()], count);
    }
}

fn reached(service: &Service, tell: &mut Tell<'_>) {
    for limit in Limit::ALL {
        let count = service.live.limits().reached_total(limit);
        counted(tell, &[&service.name, limit.as_str()], count);
    }
}

fn adaptive(service: &Service, tell: &mut Tell<'_>) {
    if let Some(plan) = service.adaptive {
        let limit = service.live.adaptive().limit(plan);
        tell(&[&service.name], f64::from(limit));
    }
}

fn shed(service: &Service, tell: &mut Tell<'_>) {
    for class in Criticality::ALL {
        let count = service.live.shed_total(class);
        counted(tell, &[&service.name, class.as_str()], count);
    }
}
