//! Time left, whether to try again, whether to try at all.
//!
//! For: judging a finished attempt ([`judge`]) and the state machines that judgement feeds: the
//! service's breaker, the ejection of endpoints, the retry budget. Not for: choosing endpoints
//! (`balance`) or measuring time (the engine does, and passes it in). The one idea: a retry must be
//! safe (nothing was sent, or sending again changes nothing) *and* affordable (attempts left,
//! budget left, breaker closed); every other failure is answered at once.
//!
//! What counts as a failure (a response that takes longer than `slow_after` is slow to the breaker
//! besides, whatever its status):
//!
//! | outcome | breaker | endpoint (ejection, latency) |
//! |---|---|---|
//! | connect, TLS, reset, protocol, timeout | yes | yes |
//! | status 502, 503, 504 | yes | yes |
//! | any other 5xx | yes | no: the application failed, the endpoint answered |
//! | no connection was free (a limit of ours) | no | no |
//! | the response's header is too large (a client may have made it so) | no | no |
//! | gRPC status 14 | yes | yes |
//! | gRPC status 2, 13, 15 | yes | no |
//! | anything else | no | no |

use std::time::Duration;

use http::{Method, StatusCode};
use weir_config::resilience::BreakerScope;

use crate::balance::Chosen;
use crate::grpc;
use crate::moment::Moment;
use crate::note::{Note, Step};
use crate::pipeline::{Attempt, FailureKind, Forward, Next, Outcome};
use crate::refusal::{Code, Refusal};
use crate::snapshot::Service;

mod adaptive;
mod breaker;
mod budget;
pub mod criticality;
mod denied;
mod ejection;
mod hedge;
mod plan;
mod retry_after;
mod window;

pub use adaptive::{Adaptive, AdaptivePlan};
pub use breaker::{BreakerLive, BreakerState};
pub use budget::Budget;
pub use denied::{Denied, DeniedCounts};
pub use ejection::{EjectionCounts, Grounds};
pub use hedge::{HedgePlan, Hedged, Withheld, hedging};
pub use plan::{RetryPlan, TimeoutPlan, may_last};
pub use retry_after::retry_after;

pub(crate) use breaker::{Came, Consent, Owner};
pub(crate) use ejection::{Ejection, may_eject};
pub(crate) use hedge::{hedge, overtaken};

/// Judges a finished attempt: tells breaker, endpoint and latency about it, and decides whether its
/// response is delivered, another attempt is made, or the failure is answered.
///
/// Of a response that is not retried nothing is hidden: it is delivered, whatever its status.
pub fn judge(
    service: &Service,
    forward: &Forward,
    method: &Method,
    attempt: &Attempt<'_>,
    at: Moment,
    draw: u64,
    note: &mut impl Note,
) -> Next {
    learn(service, forward, attempt, at, note);
    let decision = decide(service, forward, method, attempt, at, draw);
    note.note(|| Step {
        area: "retry",
        said: decision.said(),
        at: service.at,
    });
    match decision {
        Decision::Retry(after) => Next::Retry { after },
        Decision::Content | Decision::Denied(_) => match attempt.outcome {
            Outcome::Response { .. } => Next::Deliver,
            Outcome::Failure { kind, .. } => Next::GiveUp(Refusal::new(Code::from(kind))),
        },
    }
}

/// Tells breaker, endpoint and latency about a finished attempt.
pub(crate) fn learn(
    service: &Service,
    forward: &Forward,
    attempt: &Attempt<'_>,
    at: Moment,
    note: &mut impl Note,
) {
    let live = &*service.live;
    let endpoint = &*attempt.chosen.member.live;

    // What it says about the endpoint.
    match sign_of_endpoint(attempt) {
        Sign::Failure => {
            endpoint.latency.punish(at.since(attempt.began), at);
            if service.outlier.enabled
                && let Some(grounds) = endpoint.ejection.fail(&service.outlier, at)
            {
                eject(service, attempt.chosen, grounds, at, note);
            }
        }
        Sign::None => {}
        Sign::Success => {
            endpoint.latency.observe(at.since(attempt.began), at);
            endpoint.ejection.succeed(&service.outlier, at);
        }
    }

    // What it says about the load of the service: what was answered at once because something is
    // broken says nothing.
    if let Some(plan) = service.adaptive
        && says_time(attempt.outcome)
    {
        live.adaptive.answer(plan, at.since(attempt.began), at);
    }

    // What it says about the service.
    let sign = sign_of_service(attempt);
    if let Some(breaker) = &service.breaker
        && sign != Sign::None
    {
        let failed = sign == Sign::Failure;
        let came = Came::of(breaker, failed, at.since(attempt.began));
        match breaker.scope {
            BreakerScope::Endpoint => attempt.chosen.settle(breaker, live, came, at),
            BreakerScope::Service => {
                let (owner, consent) = (live.owner(None), &forward.permit.consent);
                live.breaker.settle(breaker, owner, consent, came, at);
            }
        }
    }
}

fn eject(service: &Service, chosen: &Chosen, grounds: Grounds, at: Moment, note: &mut impl Note) {
    let address = chosen.member.endpoint.address.as_str();
    let endpoint = (address, &*chosen.member.live);
    let ejected = service.live.eject(&service.outlier, endpoint, grounds, at);
    note.note(|| Step {
        area: "endpoint",
        said: format!(
            "{address} failed too often ({}) and is {}",
            grounds.as_str(),
            if ejected {
                "ejected"
            } else {
                "kept: too many are ejected already"
            },
        ),
        at: service.outlier.at,
    });
}

/// Whether another attempt is safe and affordable. The budget is asked last, since asking takes.
fn decide(
    service: &Service,
    forward: &Forward,
    method: &Method,
    attempt: &Attempt<'_>,
    at: Moment,
    draw: u64,
) -> Decision {
    let plan = &forward.retry;
    let (wanted, unsent, ours) = match attempt.outcome {
        Outcome::Response { status } => (plan.retries_on(status), false, false),
        Outcome::Failure { sent, kind } => (!is_final(kind), !sent, is_ours(kind)),
    };
    // A status of gRPC that the route names, or a failure that is one to gRPC clients.
    let is_final = matches!(attempt.outcome, Outcome::Failure { kind, .. } if is_final(kind));
    let named =
        forward.call.is_some() && !is_final && plan.grpc_statuses.contains(attempt.came_to());
    if !wanted && !named {
        return Decision::Content;
    }
    let another = attempt.number < attempt.chosen.choices();
    let asked_after = attempt.retry_after.unwrap_or(Duration::ZERO);
    let after = match unsent && another {
        // Another endpoint is there that has not been asked: it need not wait for the first one.
        true => Duration::ZERO,
        false => asked_after.saturating_add(pause(plan.backoff, attempt.number, draw)),
    };
    let denied = if !unsent && plan.unsent_only {
        Denied::Sent
    } else if !unsent && !named && !is_idempotent(method) {
        Denied::Method
    } else if ours && !another {
        // Waiting again for the same connections would only lengthen the queue.
        Denied::Limits
    } else if !attempt.replayable {
        Denied::Body
    } else if attempt.number > plan.attempts {
        Denied::Attempts
    } else if service.breaker.is_some() && live_breaker_refuses(service, forward) {
        Denied::Breaker
    } else if asked_after > plan.retry_after_max {
        Denied::RetryAfter
    } else if after >= attempt.time_left {
        Denied::Deadline
    } else if !service.live.budget.withdraw(plan.budget, at) {
        Denied::Budget
    } else {
        return Decision::Retry(after);
    };
    if plan.attempts > 0 {
        service.live.retries_denied.count(denied);
    }
    Decision::Denied(denied)
}

/// Whether the breaker has left the state under which this request was let through.
fn live_breaker_refuses(service: &Service, forward: &Forward) -> bool {
    service.live.breaker.has_moved_on(&forward.permit.consent)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// Nobody wants another attempt.
    Content,
    Denied(Denied),
    Retry(Duration),
}

impl Decision {
    fn said(self) -> String {
        match self {
            Decision::Content => "another attempt would change nothing".to_owned(),
            Decision::Denied(denied) => format!("not tried again: {}", denied.said()),
            Decision::Retry(after) => format!("tried again after {after:?}"),
        }
    }
}

/// Full jitter: anything between nothing and the step, which doubles up to ten times the base.
fn pause(base: Duration, number: u32, draw: u64) -> Duration {
    let doubled = base.saturating_mul(1 << number.saturating_sub(1).min(4));
    let step = doubled.min(base.saturating_mul(BACKOFF_FACTOR_MAX));
    let nanos = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX);
    // The high half of a product maps the draw evenly onto 0..=step.
    let share = ((u128::from(nanos) + 1) * u128::from(draw)) >> 64;
    Duration::from_nanos(u64::try_from(share).unwrap_or(nanos))
}

/// Whether a request may be sent once more, elsewhere: no endpoint can have received it, or that
/// makes no difference, and its body is still there.
pub(crate) fn may_send_again(method: &Method, sent: bool, replayable: bool) -> bool {
    replayable && (!sent || is_idempotent(method))
}

/// Methods that RFC 9110 §9.2.2 defines as idempotent and that requests are retried with.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// What an outcome says about somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Failure,
    /// Nothing: they were not asked.
    None,
    Success,
}

fn sign_of_endpoint(attempt: &Attempt<'_>) -> Sign {
    match attempt.outcome {
        Outcome::Failure { kind, .. } if is_ours(kind) || is_final(kind) => Sign::None,
        Outcome::Failure { .. } => Sign::Failure,
        Outcome::Response { status } => match status {
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Sign::Failure,
            _ if attempt.grpc.is_some_and(grpc::Status::fails_endpoint) => Sign::Failure,
            _ => Sign::Success,
        },
    }
}

fn sign_of_service(attempt: &Attempt<'_>) -> Sign {
    let failed = attempt.grpc.is_some_and(grpc::Status::fails_service);
    match attempt.outcome {
        Outcome::Failure { kind, .. } if is_ours(kind) || is_final(kind) => Sign::None,
        Outcome::Failure { .. } => Sign::Failure,
        Outcome::Response { status } if status.is_server_error() || failed => Sign::Failure,
        Outcome::Response { .. } => Sign::Success,
    }
}

/// Whether the time of an attempt says how busy the service is.
fn says_time(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Failure { kind, .. } => {
            matches!(kind, FailureKind::PerTry | FailureKind::Timeout)
        }
        Outcome::Response { status } => !status.is_server_error(),
    }
}

/// Whether another attempt would end in the same way.
fn is_final(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::HeaderTooLarge | FailureKind::HeadersTooMany
    )
}

/// Whether it was a limit of ours that failed the attempt: the endpoint was not even asked.
fn is_ours(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::PendingOverflow | FailureKind::PendingTimeout
    )
}

/// Most times the base that a pause is.
const BACKOFF_FACTOR_MAX: u32 = 10;

#[cfg(test)]
mod tests;
