//! Rate limits: what one route asks, and by whom requests are counted.
//!
//! For: turning a request into the key that it is counted by, and asking the buckets. Not for: the
//! arithmetic (governor's GCRA, in `limit/limiter.rs`) or where buckets live (`limit/table.rs`).
//! The one idea: a request can always be counted. Where the thing it should be counted by is
//! missing or ambiguous, it shares one bucket with every other such request, so that leaving a
//! header out, or sending it twice, never buys a fresh bucket.

use std::sync::Arc;
use std::time::Duration;

use weir_config::limit::Limit;

use crate::key::{KeyInputs, RequestKey, Subject};
use crate::live::Live;
use crate::moment::Moment;

mod limiter;
mod table;

pub use limiter::Limiter;

/// A limit as one route asks it.
#[derive(Debug)]
pub struct RouteLimit {
    /// As written.
    pub config: Limit,
    /// The buckets, outliving snapshots.
    pub limiter: Arc<Limiter>,
    by: RequestKey,
}

impl RouteLimit {
    /// Compiles a limit of a route and takes its buckets from `live`.
    ///
    /// Routes that name the same `shared` limit with the same rate and burst get the same buckets;
    /// a limit of the route's own is found again by route, key and quota, so that a reload that
    /// leaves them alone leaves the buckets alone.
    #[must_use]
    pub fn compile(limit: &Limit, route_name: &str, live: &Live) -> RouteLimit {
        let rate = limit.rate.value;
        let burst = limit.burst.unwrap_or(rate.count);
        let by = RequestKey::compile(&limit.by);
        // The slash cannot stand in a shared limit's name, so own and shared names never meet.
        let name = match &limit.shared {
            Some(shared) => format!("shared/{shared}"),
            None => format!("route/{}/{route_name}", limit.by),
        };
        RouteLimit {
            config: limit.clone(),
            limiter: live.limiter(&name, rate, burst),
            by,
        }
    }

    /// Counts a request, if it is within the limit.
    ///
    /// # Errors
    /// How long until a request with this key would be within it.
    pub fn check(&self, inputs: &KeyInputs<'_>, at: Moment) -> Result<(), Duration> {
        match self.key(inputs) {
            None => self.limiter.check(at),
            Some(key) => self.limiter.check_key(key, at),
        }
    }

    /// The answer that [`check`](Self::check) would give, without counting anything.
    ///
    /// # Errors
    /// How long until a request with this key would be within the limit.
    pub fn peek(&self, inputs: &KeyInputs<'_>, at: Moment) -> Result<(), Duration> {
        match self.key(inputs) {
            None => self.limiter.peek(at),
            Some(key) => self.limiter.peek_key(key, at),
        }
    }

    /// The keyed hash a request is counted by; `None` when everything is counted together.
    fn key(&self, inputs: &KeyInputs<'_>) -> Option<u64> {
        match self.by.of(inputs) {
            Subject::Everybody => None,
            subject => Some(self.limiter.key(&subject)),
        }
    }
}

#[cfg(test)]
mod tests;
