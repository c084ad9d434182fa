//! Deadlines and retries in force for a request: the route's, else the service's, else the default.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use weir_config::resilience::{Retry, Timeouts};
use weir_config::service::CONNECT_TIMEOUT_DEFAULT;

use crate::grpc::Statuses;
use crate::resilience::HedgePlan;
use crate::snapshot::TOTAL_TIMEOUT_DEFAULT;

/// Deadlines in force for one request; by `default` all of them have passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeoutPlan {
    /// TCP and TLS, per attempt.
    pub connect: Duration,
    /// From the request sent to the response head, over all attempts.
    pub response: Duration,
    /// Per attempt, to its response head.
    pub per_try: Option<Duration>,
    /// Longest silence on a body.
    pub idle: Duration,
    /// Everything.
    pub total: Option<Duration>,
    /// Longest deadline that a gRPC call may set itself.
    pub grpc: Option<Duration>,
}

impl TimeoutPlan {
    /// The route's deadlines over the service's, field by field.
    #[must_use]
    pub fn resolve(service: &Timeouts, route: &Timeouts) -> TimeoutPlan {
        TimeoutPlan {
            connect: route
                .connect
                .or(service.connect)
                .unwrap_or(CONNECT_TIMEOUT_DEFAULT),
            response: route
                .response
                .or(service.response)
                .unwrap_or(RESPONSE_TIMEOUT_DEFAULT),
            per_try: route.per_try.or(service.per_try),
            idle: route.idle.or(service.idle).unwrap_or(IDLE_TIMEOUT_DEFAULT),
            total: route.total.or(service.total).or(TOTAL_TIMEOUT_DEFAULT),
            grpc: route.grpc.or(service.grpc),
        }
    }
}

/// Whether a response is a stream, which goes on for as long as its service likes: its type says so
/// and it has no length. The total deadline ends with the head of a stream, the idle one holds. Any
/// other response without a length may only be made on its way. A gRPC call has its client's
/// deadline instead.
#[must_use]
pub fn may_last(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let kind = kind.as_bytes().split(|byte| *byte == b';').next();
    let kind = kind.unwrap_or_default().trim_ascii();
    !headers.contains_key(CONTENT_LENGTH)
        && STREAMS
            .iter()
            .any(|stream| kind.eq_ignore_ascii_case(stream.as_bytes()))
}

/// Types of responses that are streams: events, one JSON text after another, one picture after
/// another.
const STREAMS: &[&str] = &[
    "application/json-seq",
    "application/jsonl",
    "application/ndjson",
    "application/stream+json",
    "application/x-ndjson",
    "multipart/x-mixed-replace",
    "text/event-stream",
];

/// Retries in force for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPlan {
    /// Attempts after the first.
    pub attempts: u32,
    /// Statuses retried for idempotent requests, sorted.
    pub statuses: Arc<[u16]>,
    /// gRPC statuses that calls are retried on.
    pub grpc_statuses: Statuses,
    /// First pause.
    pub backoff: Duration,
    /// Longest `Retry-After` that is waited out.
    pub retry_after_max: Duration,
    /// Largest body kept for another attempt.
    pub body_bytes_max: u64,
    /// Share of active requests that may be retries, thousandths of a percent.
    pub budget: u32,
    /// Attempts beside the first; `None` for none.
    pub hedge: Option<HedgePlan>,
    /// Whether only what was provably not sent is tried again, whatever the method.
    pub unsent_only: bool,
}

impl RetryPlan {
    /// Whether this status is one to try again on.
    #[must_use]
    pub fn retries_on(&self, status: StatusCode) -> bool {
        self.statuses.binary_search(&status.as_u16()).is_ok()
    }

    /// The route's retries over the service's, field by field.
    #[must_use]
    pub fn resolve(service: &Retry, route: &Retry) -> RetryPlan {
        let statuses = route.statuses.as_ref().or(service.statuses.as_ref());
        let mut statuses = statuses.cloned().unwrap_or_default();
        statuses.sort_unstable();
        statuses.dedup();
        let grpc_statuses = route
            .grpc_statuses
            .as_ref()
            .or(service.grpc_statuses.as_ref());
        let body = route.body_bytes_max.or(service.body_bytes_max);
        let budget = route.budget.or(service.budget);
        RetryPlan {
            attempts: route
                .attempts
                .or(service.attempts)
                .unwrap_or(ATTEMPTS_DEFAULT),
            statuses: statuses.into(),
            grpc_statuses: grpc_statuses.into_iter().flatten().copied().collect(),
            backoff: route.backoff.or(service.backoff).unwrap_or(BACKOFF_DEFAULT),
            retry_after_max: route
                .retry_after_max
                .or(service.retry_after_max)
                .unwrap_or(RETRY_AFTER_DEFAULT),
            body_bytes_max: body.map_or(BODY_BYTES_DEFAULT, |size| size.0),
            budget: budget.map_or(BUDGET_DEFAULT, |share| share.0),
            hedge: HedgePlan::resolve(service.hedge.as_ref(), route.hedge.as_ref()),
            unsent_only: false,
        }
    }
}

/// Long enough for a slow answer, short enough that a client is still there (Envoy's).
const RESPONSE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
/// Ends bodies that have stopped, not ones that are slow (Envoy's).
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// One more attempt hides a lost connection; more would multiply an overload.
const ATTEMPTS_DEFAULT: u32 = 1;
/// About a round trip and a short pause of garbage collection.
const BACKOFF_DEFAULT: Duration = Duration::from_millis(25);
/// A request that waits holds memory here and a client there; past a second or two the client
/// should know.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(2);
/// Most JSON requests, and 4096 requests in flight stay under 256 MiB.
const BODY_BYTES_DEFAULT: u64 = 64 * 1024;
/// 20 %: retries can never more than slightly raise the load of a service that is failing.
const BUDGET_DEFAULT: u32 = 20_000;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use weir_config::units::{Percent, Size};

    use super::*;

    #[test]
    fn nothing_written_gives_the_defaults() {
        let timeouts = TimeoutPlan::resolve(&Timeouts::default(), &Timeouts::default());
        assert_eq!(timeouts.connect, Duration::from_secs(2));
        assert_eq!(timeouts.response, Duration::from_secs(15));
        assert_eq!(timeouts.per_try, None);
        assert_eq!(timeouts.idle, Duration::from_secs(300));
        assert_eq!(timeouts.total, None);
        let retry = RetryPlan::resolve(&Retry::default(), &Retry::default());
        assert_eq!(
            (retry.attempts, retry.body_bytes_max, retry.budget),
            (1, 65_536, 20_000)
        );
        assert_eq!(retry.retry_after_max, Duration::from_secs(2));
        assert!(retry.statuses.is_empty());
    }

    #[test]
    fn a_stream_is_told_by_its_type_and_has_no_length() {
        for (kind, length, lasts) in [
            (Some("text/event-stream"), None, true),
            (Some("Text/Event-Stream ; charset=utf-8"), None, true),
            (Some("application/x-ndjson"), None, true),
            (Some("application/json-seq"), None, true),
            (Some("multipart/x-mixed-replace;boundary=x"), None, true),
            (Some("text/event-stream"), Some("10"), false),
            (Some("application/json"), None, false),
            (Some("text/event-streams"), None, false),
            (Some(""), None, false),
            (None, None, false),
            (None, Some("10"), false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(CONTENT_TYPE, kind), (CONTENT_LENGTH, length)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            assert_eq!(may_last(&headers), lasts, "{kind:?} {length:?}");
        }
    }

    #[test]
    fn a_route_overrides_its_service_field_by_field() {
        let service = Timeouts {
            connect: Some(Duration::from_secs(1)),
            response: Some(Duration::from_secs(9)),
            ..Timeouts::default()
        };
        let route = Timeouts {
            response: Some(Duration::from_secs(3)),
            ..Timeouts::default()
        };
        let plan = TimeoutPlan::resolve(&service, &route);
        assert_eq!(plan.connect, Duration::from_secs(1));
        assert_eq!(plan.response, Duration::from_secs(3));

        let service = Retry {
            attempts: Some(3),
            statuses: Some(vec![503, 502, 503]),
            budget: Some(Percent(50_000)),
            ..Retry::default()
        };
        let route = Retry {
            attempts: Some(0),
            body_bytes_max: Some(Size(1024)),
            ..Retry::default()
        };
        let plan = RetryPlan::resolve(&service, &route);
        assert_eq!(plan.attempts, 0);
        assert_eq!(&*plan.statuses, [502, 503]);
        assert_eq!((plan.body_bytes_max, plan.budget), (1024, 50_000));
    }
}
