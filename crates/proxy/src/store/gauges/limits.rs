//! What is in use of each service's limits, read from its live state.

use weir_policy::live::Limit;
use weir_policy::resilience::Denied;
use weir_policy::snapshot::Service;
use weir_telemetry::{Registry, names};

use super::{InForceReceiver, of_services};

pub(super) fn sample(registry: &Registry, in_force: &InForceReceiver) {
    of_services(
        registry,
        &names::UPSTREAM_REQUESTS_ACTIVE,
        in_force,
        |service, tell| tell(&[&service.name], f64::from(service.live.in_flight())),
    );
    of_services(
        registry,
        &names::UPSTREAM_REQUESTS_PENDING,
        in_force,
        |service, tell| tell(&[&service.name], f64::from(service.live.limits().waiting())),
    );
    of_services(
        registry,
        &names::LIMITS_NEARLY_FULL,
        in_force,
        |service, tell| {
            by_limit(service, tell, |limit| {
                service.live.limits().nearly_full_total(limit)
            })
        },
    );
    of_services(
        registry,
        &names::RETRIES_DENIED,
        in_force,
        |service, tell| {
            for denied in Denied::ALL {
                let count = service.live.retries_denied().of(denied);
                if count > 0 {
                    tell(&[&service.name, denied.as_str()], count as f64);
                }
            }
        },
    );
    of_services(
        registry,
        &names::LIMITS_REACHED,
        in_force,
        |service, tell| {
            by_limit(service, tell, |limit| {
                service.live.limits().reached_total(limit)
            })
        },
    );
}

/// Counters that have not moved are left out: a document may have ten thousand services.
fn by_limit(service: &Service, tell: &mut dyn FnMut(&[&str], f64), count: impl Fn(Limit) -> u64) {
    for limit in Limit::ALL {
        let count = count(limit);
        if count > 0 {
            tell(&[&service.name, limit.as_str()], count as f64);
        }
    }
}
