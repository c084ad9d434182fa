//! Live state of one service: requests in flight, breaker, retry budget, and its endpoints by
//! address.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use weir_config::criticality::Criticality;
use weir_config::endpoint::Endpoint;
use weir_config::resilience::{BreakerScope, Outlier};

use crate::balance::table::Tables;
use crate::live::{EndpointLive, Event, Limit, LimitUse, News};
use crate::moment::Moment;
use crate::pipeline::Permit;
use crate::refusal::{Code, Refusal};
use crate::resilience::criticality::within;
use crate::resilience::{
    Adaptive, BreakerLive, Budget, Consent, DeniedCounts, EjectionCounts, Grounds, Owner, may_eject,
};
use crate::snapshot::Service;

/// Live state of one service: requests in flight, breaker, retry budget, and per address the state
/// of its endpoints. Atomics only on the way of a request; the map of endpoints is locked when a
/// membership compiles and when an endpoint is about to be ejected.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ServiceLive {
    in_flight: AtomicU32,
    /// When an ejection that the share forbade may be tried again, nanoseconds.
    ejection_not_before: AtomicU64,
    /// What waits, and the warnings.
    pub(crate) limits: LimitUse,
    /// What is worth a line in the log.
    pub(crate) news: News,
    /// How many requests it can have in flight.
    pub(crate) adaptive: Adaptive,
    /// By [`Criticality`].
    shed: [AtomicU64; Criticality::ALL.len()],
    /// The circuit breaker.
    pub(crate) breaker: BreakerLive,
    breakers_opened: AtomicU64,
    ejections: EjectionCounts,
    /// The retry budget.
    pub(crate) budget: Budget,
    /// Attempts that were wanted and not made.
    pub(crate) retries_denied: DeniedCounts,
    /// Tables of consistent hashing.
    pub(crate) tables: Tables,
    endpoints: Mutex<HashMap<Box<str>, Weak<EndpointLive>>>,
}

impl ServiceLive {
    /// Takes a permit for one request: within the bound of requests in flight, within what the
    /// adaptive limit leaves to its class, and with the breaker's consent.
    ///
    /// # Errors
    /// `service-overloaded`, `shed` or `breaker-open`.
    pub fn enter(
        self: &Arc<Self>,
        service: &Service,
        class: Criticality,
        at: Moment,
    ) -> Result<Permit, Refusal> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        // From here on the permit's drop gives the place back, whatever is answered.
        let mut permit = Permit {
            live: self.clone(),
            consent: Consent::free(),
        };
        if before >= service.requests_max {
            self.limits.reached(Limit::Requests);
            return Err(Refusal::new(Code::ServiceOverloaded).with_retry_after(OVERLOAD_PAUSE));
        }
        if let Some(plan) = service.adaptive {
            if before >= within(class, self.adaptive.limit(plan)) {
                self.shed[class as usize].fetch_add(1, Ordering::Relaxed);
                return Err(Refusal::new(Code::Shed).with_retry_after(OVERLOAD_PAUSE));
            }
            self.adaptive.enter(before.saturating_add(1));
        }
        if let Some(breaker) = service.breaker_of(BreakerScope::Service) {
            match self.breaker.enter(breaker, self.owner(None), at) {
                Ok(consent) => permit.consent = consent,
                Err(after) => {
                    return Err(Refusal::new(Code::BreakerOpen).with_retry_after(after));
                }
            }
        }
        self.limits.used(
            Limit::Requests,
            before.saturating_add(1),
            service.requests_max,
            &self.news,
            at,
        );
        self.budget.deposit(at);
        Ok(permit)
    }

    /// Takes a permit for one more attempt of a request that has one already: `None` when all of
    /// `limits.requests` are taken, or the adaptive limit would shed what matters least. No breaker
    /// is asked, and the budget does not grow by it.
    pub(crate) fn enter_beside(self: &Arc<Self>, service: &Service) -> Option<Permit> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        // From here on its drop gives the place back.
        let permit = Permit {
            live: Arc::clone(self),
            consent: Consent::free(),
        };
        let room = service.adaptive.map_or(u32::MAX, |plan| {
            within(Criticality::Sheddable, self.adaptive.limit(plan))
        });
        (before < service.requests_max.min(room)).then_some(permit)
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What waits, and how often limits were near or reached.
    #[must_use]
    pub fn limits(&self) -> &LimitUse {
        &self.limits
    }

    /// What is worth a line in the log and was not told yet.
    #[must_use]
    pub fn news(&self) -> &News {
        &self.news
    }

    /// How many requests it can have in flight, as far as its adaptive limit knows.
    #[must_use]
    pub fn adaptive(&self) -> &Adaptive {
        &self.adaptive
    }

    /// Requests of this class that the adaptive limit refused, ever.
    #[must_use]
    pub fn shed_total(&self, class: Criticality) -> u64 {
        self.shed[class as usize].load(Ordering::Relaxed)
    }

    /// How often its breakers opened, that of the service or those of endpoints, ever.
    #[must_use]
    pub fn breakers_opened(&self) -> u64 {
        self.breakers_opened.load(Ordering::Relaxed)
    }

    /// The service as owner of its breaker, or of that of an endpoint.
    pub(crate) fn owner<'a>(&'a self, endpoint: Option<&'a str>) -> Owner<'a> {
        Owner {
            news: &self.news,
            opened: &self.breakers_opened,
            endpoint,
        }
    }

    /// Endpoints ejected for this reason, and ejections that `share_max` forbade, ever.
    #[must_use]
    pub fn ejections(&self) -> &EjectionCounts {
        &self.ejections
    }

    /// The circuit breaker.
    #[must_use]
    pub fn breaker(&self) -> &BreakerLive {
        &self.breaker
    }

    /// The retry budget.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Attempts that were wanted and not made, by reason.
    #[must_use]
    pub fn retries_denied(&self) -> &DeniedCounts {
        &self.retries_denied
    }

    /// Every endpoint that some worker knows, for admin and metrics.
    #[must_use]
    pub fn endpoints(&self) -> Vec<(Box<str>, Arc<EndpointLive>)> {
        let known = self.lock();
        let mut endpoints: Vec<_> = known
            .iter()
            .filter_map(|(address, live)| Some((address.clone(), live.upgrade()?)))
            .collect();
        drop(known);
        endpoints.sort_by(|one, other| one.0.cmp(&other.0));
        endpoints
    }

    /// The state of each of these endpoints, in their order: kept by address, made when new. What
    /// no membership of any worker holds any more is forgotten. Who is new among others begins at
    /// this moment; the first ones of a service were always there.
    pub(crate) fn endpoints_of(
        &self,
        endpoints: &[Endpoint],
        at: Moment,
    ) -> Vec<Arc<EndpointLive>> {
        let mut known = self.lock();
        known.retain(|_, live| live.strong_count() > 0);
        let first = known.is_empty();
        let states = endpoints.iter().map(|endpoint| {
            let live = known.get(endpoint.address.as_str()).and_then(Weak::upgrade);
            let live = live.unwrap_or_else(|| {
                let live = Arc::<EndpointLive>::default();
                if !first {
                    live.begins(at);
                }
                known.insert(endpoint.address.as_str().into(), Arc::downgrade(&live));
                live
            });
            live.found(endpoint.healthy, at);
            live
        });
        let states: Vec<_> = states.collect();
        if known.len() > endpoints.len() {
            // Some are gone and still in somebody's hands: should they return, they recover.
            let here: HashSet<&str> = endpoints.iter().map(|it| it.address.as_str()).collect();
            let gone = known
                .iter()
                .filter(|(address, _)| !here.contains(&***address));
            let gone = gone.filter_map(|(_, live)| live.upgrade());
            gone.for_each(|live| live.found(false, at));
        }
        states
    }

    /// Ejects an endpoint that has failed too often, unless too many are ejected already.
    pub(crate) fn eject(
        &self,
        outlier: &Outlier,
        (address, endpoint): (&str, &EndpointLive),
        grounds: Grounds,
        at: Moment,
    ) -> bool {
        if at.nanos < self.ejection_not_before.load(Ordering::Relaxed) {
            return false;
        }
        // The lock makes count and ejection one step, so that the share holds exactly.
        let known = self.lock();
        let live: Vec<_> = known.values().filter_map(Weak::upgrade).collect();
        let ejected = live.iter().filter(|live| live.is_ejected(at)).count();
        if !may_eject(outlier, ejected, live.len()) {
            let again = at.plus(EJECTION_RETRY).nanos;
            self.ejection_not_before.store(again, Ordering::Relaxed);
            self.ejections.withheld();
            return false;
        }
        let out = endpoint.ejection.eject(outlier, at);
        drop(known);
        let Some(out) = out else {
            return false;
        };
        self.ejections.ejected(grounds);
        self.news.add(Event::Ejected {
            endpoint: address.into(),
            grounds,
            out,
        });
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Weak<EndpointLive>>> {
        // Every change under the lock leaves the map whole.
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let before = self.live.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a permit was returned that was never taken");
        // If nothing came of it: the client went away, or no endpoint was there.
        self.live.breaker.abandon(&self.consent);
    }
}

/// What a client of an overloaded service is told to wait.
const OVERLOAD_PAUSE: Duration = Duration::from_secs(1);
/// How long after a refused ejection the endpoints are not counted again: counting is O(endpoints).
const EJECTION_RETRY: Duration = Duration::from_millis(250);
