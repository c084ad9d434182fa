//! How the sources of endpoints are doing, read at each scrape.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use weir_discovery::Status;
use weir_telemetry::{Registry, names};

use super::Memberships;

impl Memberships {
    /// Tells metrics of the sources that this proxy follows.
    pub(crate) fn sample(self: &Arc<Self>, registry: &Registry) {
        let each = of_sources(self);
        registry.sampled(&names::DISCOVERY_LOOKUPS, move |tell| {
            each(&mut |service, status| {
                let asked = status.asked;
                tell(&[service, "answered"], asked.answered as f64);
                tell(&[service, "failed"], asked.failed as f64);
                tell(&[service, "negative"], asked.negative as f64);
            });
        });
        let each = of_sources(self);
        registry.sampled(&names::DISCOVERY_FAILING, move |tell| {
            each(&mut |service, status| {
                let failing = status.last_error.is_some();
                tell(&[service], f64::from(u8::from(failing)));
            });
        });
        let each = of_sources(self);
        registry.sampled(&names::DISCOVERY_AGE, move |tell| {
            each(&mut |service, status| {
                // A clock that was set back makes no answer younger than new.
                let age = status.refreshed.map(|refreshed| {
                    let since = SystemTime::now().duration_since(refreshed);
                    since.unwrap_or_default().as_secs_f64()
                });
                if let Some(age) = age {
                    tell(&[service], age);
                }
            });
        });
    }
}

type Each = Box<dyn Fn(&mut dyn FnMut(&str, &Status)) + Send + Sync>;

/// Calls its argument for each source. The registry outlives nobody: it would hold the engine that
/// holds the registry.
fn of_sources(memberships: &Arc<Memberships>) -> Each {
    let memberships: Weak<Memberships> = Arc::downgrade(memberships);
    Box::new(move |told| {
        let Some(memberships) = memberships.upgrade() else {
            return;
        };
        let state = memberships.lock();
        for (service, followed) in &state.followed {
            told(service, &followed.watch.status());
        }
    })
}
