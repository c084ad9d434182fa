//! What the live state of a service noticed, written to the process log: each event by the first
//! worker that comes by.

use weir_policy::live::Event;
use weir_policy::snapshot::Service;

/// Writes what there is to tell about a service; one relaxed load when there is nothing.
#[inline]
pub(crate) fn tell(service: &Service) {
    if service.live.news().any() {
        tell_all(service);
    }
}

#[cold]
fn tell_all(service: &Service) {
    let name = &*service.name;
    for event in service.live.news().take() {
        match event {
            Event::Breaker { endpoint, state } => {
                let (endpoint, state) = (endpoint.as_deref(), state.as_str());
                tracing::warn!(service = name, endpoint, state, "a circuit breaker changed");
            }
            Event::Ejected {
                endpoint,
                grounds,
                out,
            } => {
                let (endpoint, grounds) = (&*endpoint, grounds.as_str());
                let seconds = out.as_secs_f64();
                tracing::warn!(
                    service = name,
                    endpoint,
                    grounds,
                    seconds,
                    "an endpoint is ejected"
                );
            }
            Event::LimitNearlyFull { limit, used, max } => {
                tracing::warn!(
                    service = name,
                    limit = limit.as_str(),
                    used,
                    max,
                    "a limit of a service is nearly full"
                );
            }
        }
    }
}
