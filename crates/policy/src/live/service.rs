//! Live state of one service: requests in flight, breaker, retry budget, and its endpoints by
//! address.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use weir_config::endpoint::Endpoint;
use weir_config::resilience::Outlier;

use crate::live::{EndpointLive, Limit, LimitUse, News};
use crate::moment::Moment;
use crate::pipeline::Permit;
use crate::refusal::{Code, Refusal};
use crate::resilience::{BreakerLive, Budget, DeniedCounts, Pass, may_eject};
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
    /// The circuit breaker.
    pub(crate) breaker: BreakerLive,
    /// The retry budget.
    pub(crate) budget: Budget,
    /// Attempts that were wanted and not made.
    pub(crate) retries_denied: DeniedCounts,
    endpoints: Mutex<HashMap<Box<str>, Weak<EndpointLive>>>,
}

impl ServiceLive {
    /// Takes a permit for one request: within the bound of requests in flight, and with the
    /// breaker's consent.
    ///
    /// # Errors
    /// `service-overloaded` or `breaker-open`.
    pub fn enter(self: &Arc<Self>, service: &Service, at: Moment) -> Result<Permit, Refusal> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        // From here on the permit's drop gives the place back, whatever is answered.
        let mut permit = Permit {
            live: self.clone(),
            pass: Pass::FREE,
            settled: AtomicBool::new(false),
        };
        if before >= service.requests_max {
            self.limits.reached(Limit::Requests);
            return Err(Refusal::new(Code::ServiceOverloaded).with_retry_after(OVERLOAD_PAUSE));
        }
        if let Some(breaker) = &service.breaker {
            match self.breaker.enter(breaker, at) {
                Ok(pass) => permit.pass = pass,
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
    /// no membership of any worker holds any more is forgotten.
    pub(crate) fn endpoints_of(&self, endpoints: &[Endpoint]) -> Vec<Arc<EndpointLive>> {
        let mut known = self.lock();
        let states = endpoints
            .iter()
            .map(|endpoint| {
                if let Some(live) = known.get(endpoint.address.as_str()).and_then(Weak::upgrade) {
                    return live;
                }
                let live = Arc::<EndpointLive>::default();
                known.insert(endpoint.address.as_str().into(), Arc::downgrade(&live));
                live
            })
            .collect();
        known.retain(|_, live| live.strong_count() > 0);
        states
    }

    /// Ejects an endpoint that has failed too often in a row, unless too many are ejected already.
    pub(crate) fn eject(&self, outlier: &Outlier, endpoint: &EndpointLive, at: Moment) -> bool {
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
            return false;
        }
        endpoint.ejection.eject(outlier, at);
        drop(known);
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
        if !*self.settled.get_mut() {
            // Nothing came of it: the client went away, or no endpoint was there.
            self.live.breaker.abandon(self.pass);
        }
    }
}

/// What a client of an overloaded service is told to wait.
const OVERLOAD_PAUSE: Duration = Duration::from_secs(1);
/// How long after a refused ejection the endpoints are not counted again: counting is O(endpoints).
const EJECTION_RETRY: Duration = Duration::from_millis(250);
