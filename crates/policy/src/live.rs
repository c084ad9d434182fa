//! State that outlives snapshots, keyed by stable names: limiters, breakers, latencies, keys. A
//! reload keeps what still exists and drops the rest.
//!
//! For: handing out the same state to every snapshot that names the same thing. Not for: the rules
//! of that state, which live with the feature (`limit`, `resilience`, `balance`, `auth`). The one
//! idea: names are looked up while a document compiles, and never on the way of a request.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use weir_config::units::Rate;

use crate::auth::IssuerLive;
use crate::clients::ClientConnections;
use crate::compile::ApiKey;
use crate::limit::Limiter;
use crate::openapi::Api;
use crate::snapshot::Snapshot;

mod endpoint;
mod limits;
mod news;
#[cfg(test)]
pub(crate) mod sample;
mod service;

pub use endpoint::EndpointLive;
pub use limits::{Limit, LimitUse, Waiting};
pub use news::{Event, News};
pub use service::ServiceLive;

/// All live state of one proxy process. Cheap to share; locked only while a document compiles.
#[derive(Debug, Default)]
pub struct Live {
    named: Mutex<Named>,
    /// Where the process stands.
    zone: Option<Arc<str>>,
    /// Keys the hashes of limits: random per process, the same for every limiter in it.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Named {
    services: HashMap<String, Arc<ServiceLive>>,
    limiters: HashMap<LimiterName, Arc<Limiter>>,
    issuers: HashMap<String, Arc<IssuerLive>>,
    clients: HashMap<String, Arc<ClientConnections>>,
    /// Compiled OpenAPI documents, as long as a snapshot has them.
    apis: HashMap<ApiKey, Weak<Api>>,
}

/// What a limiter is found by. The quota belongs to it: the time that a bucket stores means nothing
/// under another quota.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LimiterName {
    name: String,
    count: u32,
    per: Duration,
    burst: u32,
}

impl Live {
    /// The live state of a proxy that stands in this zone; one of no name is no zone.
    #[must_use]
    pub fn in_zone(zone: Option<&str>) -> Live {
        Live {
            zone: zone.filter(|zone| !zone.is_empty()).map(Arc::from),
            ..Live::default()
        }
    }

    /// Where the proxy stands, where it knows.
    pub(crate) fn zone(&self) -> Option<Arc<str>> {
        self.zone.clone()
    }

    /// The state of this service, made when it is new.
    #[must_use]
    pub fn service(&self, name: &str) -> Arc<ServiceLive> {
        let mut named = self.lock();
        if let Some(known) = named.services.get(name) {
            return known.clone();
        }
        named.services.entry(name.to_owned()).or_default().clone()
    }

    /// The limiter of this name and quota; a changed quota makes a new one.
    #[must_use]
    pub fn limiter(&self, name: &str, rate: Rate, burst: u32) -> Arc<Limiter> {
        let name = LimiterName {
            name: name.to_owned(),
            count: rate.count,
            per: rate.per,
            burst,
        };
        let make = || Arc::new(Limiter::new(rate, burst, self.hasher.clone()));
        self.lock()
            .limiters
            .entry(name)
            .or_insert_with(make)
            .clone()
    }

    /// The keys of this issuer.
    #[must_use]
    pub fn issuer(&self, name: &str) -> Arc<IssuerLive> {
        let mut named = self.lock();
        if let Some(known) = named.issuers.get(name) {
            return known.clone();
        }
        named.issuers.entry(name.to_owned()).or_default().clone()
    }

    /// The connections of this listener by client.
    #[must_use]
    pub fn clients(&self, listener: &str) -> Arc<ClientConnections> {
        let mut named = self.lock();
        if let Some(known) = named.clients.get(listener) {
            return known.clone();
        }
        named
            .clients
            .entry(listener.to_owned())
            .or_default()
            .clone()
    }

    /// The OpenAPI document of this text, where a snapshot still has it.
    pub(crate) fn api(&self, key: ApiKey) -> Option<Arc<Api>> {
        self.lock().apis.get(&key)?.upgrade()
    }

    /// Remembers a compiled OpenAPI document for the snapshots to come.
    pub(crate) fn keep_api(&self, key: ApiKey, api: &Arc<Api>) {
        self.lock().apis.insert(key, Arc::downgrade(api));
    }

    /// Forgets what nobody holds any more. The snapshot that was just installed holds all that it
    /// names; one that is being compiled, or that requests still run under, keeps its state alive
    /// and findable as well.
    pub fn retain(&self, _installed: &Snapshot) {
        let mut named = self.lock();
        named
            .services
            .retain(|_, state| Arc::strong_count(state) > 1);
        named
            .limiters
            .retain(|_, state| Arc::strong_count(state) > 1);
        named
            .issuers
            .retain(|_, state| Arc::strong_count(state) > 1);
        named
            .clients
            .retain(|_, state| Arc::strong_count(state) > 1);
        named.apis.retain(|_, api| api.strong_count() > 0);
    }

    /// Every limiter with its name, for metrics.
    #[must_use]
    pub fn limiters(&self) -> Vec<(String, Arc<Limiter>)> {
        let named = self.lock();
        named
            .limiters
            .iter()
            .map(|(name, state)| (name.name.clone(), state.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Named> {
        // Every change under the lock is one insertion or removal, so a poisoned map is whole.
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
