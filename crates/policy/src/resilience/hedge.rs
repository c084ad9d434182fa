//! Hedging: one more attempt, at another endpoint, while those before have not answered.
//!
//! Motivation: of an answer that is late, most often just one endpoint is to blame. A second one
//! that is asked after the usual time has passed answers sooner than the first one would have.
//!
//! Rules:
//! - It must be safe (sending again changes nothing) and affordable: within the retry budget and
//!   the service's limits, with its breaker closed. A hedge takes a place of its own in
//!   `limits.requests`, and counts in the budget as a retry does.
//! - It goes to an endpoint that the request has not been sent to, or nowhere.
//! - What lost because another was faster has not failed: breakers and ejection do not hear of it.
//!   Its endpoint is known to take at least as long as was waited, and that is told to `peak-ewma`.
//! - What failed by itself is told as ever ([`learn`](super::learn)).

use std::time::Duration;

use http::Method;
use weir_config::hedge::Hedge;
use weir_config::resilience::BreakerScope;
use weir_config::units::duration_text;

use super::{BreakerState, TimeoutPlan, is_idempotent};
use crate::balance::{self, Chosen, Members, Tried};
use crate::moment::Moment;
use crate::pipeline::{Forward, Permit};
use crate::snapshot::Service;

/// Hedging in force for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HedgePlan {
    /// How long to wait for an answer before each more attempt.
    pub after: Duration,
    /// Most attempts beside the first.
    pub attempts: u32,
}

impl HedgePlan {
    /// What is wrong with it under these deadlines, if anything.
    pub(crate) fn problem(self, timeouts: &TimeoutPlan) -> Option<String> {
        let (name, first) = match timeouts.per_try {
            Some(per_try) if per_try <= timeouts.response => ("per_try", per_try),
            _ => ("response", timeouts.response),
        };
        let (after, ends) = (duration_text(self.after), duration_text(first));
        (self.after >= first).then(|| {
            format!("nothing is ever hedged: it waits {after}, and `timeouts.{name}` ends the wait after {ends}")
        })
    }

    /// The route's over the service's; `None` where neither has any, or the route none.
    #[must_use]
    pub fn resolve(service: Option<&Hedge>, route: Option<&Hedge>) -> Option<HedgePlan> {
        let hedge = route.or(service).filter(|hedge| hedge.attempts > 0)?;
        Some(HedgePlan {
            after: hedge.after,
            attempts: hedge.attempts,
        })
    }
}

/// One more attempt that may be made; what it holds is given back on drop.
#[derive(Debug)]
pub struct Hedged {
    /// Where it goes.
    pub chosen: Chosen,
    /// Its place among the service's requests in flight.
    pub place: Permit,
}

/// Why no further attempt is made beside those under way, though it was time for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// The request's body is not, or not wholly, kept.
    Body,
    /// The service's breaker is not closed.
    Breaker,
    /// The retry budget is used up.
    Budget,
    /// There is no other endpoint that is fit.
    Endpoint,
    /// The service has as many requests in flight as it may.
    Limits,
}

impl Withheld {
    /// The metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Withheld::Body => "body",
            Withheld::Breaker => "breaker",
            Withheld::Budget => "budget",
            Withheld::Endpoint => "endpoint",
            Withheld::Limits => "limits",
        }
    }
}

/// The hedging of a request by this method, if any: gRPC calls and upgrades may be streams, and
/// have none.
#[must_use]
pub fn hedging(forward: &Forward, method: &Method, upgrade: bool) -> Option<HedgePlan> {
    let plan = forward.retry.hedge?;
    (is_idempotent(method) && forward.call.is_none() && !upgrade).then_some(plan)
}

/// Allows one more attempt beside those `tried`. The budget is asked last, since asking takes.
pub(crate) fn hedge(
    service: &Service,
    forward: &Forward,
    members: &Members,
    tried: &Tried,
    draw: u64,
    at: Moment,
) -> Result<Hedged, Withheld> {
    let live = &service.live;
    if service.breaker_of(BreakerScope::Service).is_some()
        && live.breaker.state() != BreakerState::Closed
    {
        return Err(Withheld::Breaker);
    }
    let chosen = balance::pick(service, members, &forward.asks, tried, draw, at, &mut ())
        .ok()
        .filter(|chosen| !tried.has(&chosen.member))
        .ok_or(Withheld::Endpoint)?;
    let place = live.enter_beside(service).ok_or(Withheld::Limits)?;
    match live.budget.withdraw(forward.retry.budget, at) {
        true => Ok(Hedged { chosen, place }),
        false => Err(Withheld::Budget),
    }
}

/// Takes note of an attempt that was cancelled `after` so long because a later one answered.
pub(crate) fn overtaken(chosen: &Chosen, after: Duration, at: Moment) {
    chosen.member.live.latency.at_least(after, at);
}
