//! Deadlines, retries, breakers, ejection and bounds.

use std::time::Duration;

use crate::bounds::{CONNECTIONS_MAX, RETRY_ATTEMPTS_MAX, RETRY_BODY_BYTES_MAX};
use crate::declare::{defaulted, fixed, object, optional, place, words};
use crate::decode::{Complaint, Decoder};
use crate::grpc::GrpcStatus;
use crate::hedge::Hedge;
use crate::position::Position;
use crate::syntax::plain::{Boolean, Only, whole, word};
use crate::syntax::unit::{duration, percent, size};
use crate::syntax::{list, of};
use crate::units::{Percent, Size};
use crate::yaml::Node;

object! {
    /// Deadlines. A route overrides its service field by field; what neither says has the default.
    pub default struct Timeouts: Copy, Eq {
        /// TCP and TLS together, per attempt; waiting for a free connection counts.
        // A minute, as some have it, only hides that a host is gone.
        pub connect: Option<Duration> = optional(duration()).unless_told(Duration::from_secs(2)),
        /// From the request sent to the response's head, over all attempts. Not applied to
        /// upgrades and gRPC calls.
        pub response: Option<Duration> =
            optional(duration()).unless_told(Duration::from_secs(15)),
        /// From the attempt's start to its response's head.
        pub per_try: Option<Duration> = optional(duration()).note("none"),
        /// Longest silence on a body in either direction.
        pub idle: Option<Duration> = optional(duration()).unless_told(Duration::from_secs(300)),
        /// From the request's head to the end of the response; to its head where it is an upgrade
        /// or a stream: without a length, and of a type such as `text/event-stream` or
        /// `application/x-ndjson`. Not applied to gRPC calls, whose clients say how long they wait.
        pub total: Option<Duration> = optional(duration()).note("none"),
        /// Longest deadline that a gRPC call may set itself with `grpc-timeout`; a call that asks
        /// for more gets this. Calls that set none have none.
        pub grpc: Option<Duration> = optional(duration()).note("none"),
        /// Where it was written.
        pub at: Position = place(),
    }
}

object! {
    /// Retries: only requests provably not sent, or idempotent ones, and always within the budget.
    /// A route overrides its service field by field. `retry: false` is the same as `attempts: 0`
    /// with `hedge: false`.
    pub default struct Retry: Eq {
        short Only(false) => |(), at| Retry {
            attempts: Some(0),
            hedge: Some(Hedge::off(at)),
            at,
            ..Retry::default()
        };
        /// Attempts after the first; 0 switches retries off.
        pub attempts: Option<u32> = optional(whole(0, RETRY_ATTEMPTS_MAX)).unless_told(1),
        /// Response statuses to retry idempotent requests on.
        pub statuses: Option<Vec<u16>> = optional(list(whole(400, 599))).unless_told(Vec::new()),
        /// gRPC statuses to retry calls on that brought no message yet, whatever they may have
        /// done. `unavailable` holds for connections that broke as well.
        pub grpc_statuses: Option<Vec<GrpcStatus>> =
            optional(list(word::<GrpcStatus>())).unless_told(Vec::new()),
        /// First pause; doubles, jittered.
        pub backoff: Option<Duration> =
            optional(duration()).unless_told(Duration::from_millis(25)),
        /// Longest pause that a response may ask for with `Retry-After` and that is waited out; a
        /// response that asks for more (or for more than deadlines leave) is delivered.
        pub retry_after_max: Option<Duration> =
            optional(duration()).unless_told(Duration::from_secs(2)),
        /// One more attempt, at another endpoint, while those before have not answered.
        pub hedge: Option<Hedge> = optional(of::<Hedge>()).note("none"),
        /// Largest request body kept for another attempt.
        pub body_bytes_max: Option<Size> = optional(
            size().within(Size(0), Size(RETRY_BODY_BYTES_MAX)),
        ).unless_told(Size::kib(64)),
        /// Share of active requests that may be retries or hedges.
        pub budget: Option<Percent> = optional(percent()).unless_told(Percent::whole_percent(20)),
        /// Where it was written.
        pub at: Position = place(),
    }
}

object! {
    /// A circuit breaker: open, it lets nothing through; after a pause it lets probes through. What
    /// clients do wrong (4xx, hanging up) never opens it.
    pub default struct Breaker: Eq {
        check Breaker::check;
        /// Opens after so many failures in a row; 0 switches this condition off.
        pub consecutive: u32 = defaulted(whole(0, 1_000_000), 5),
        /// Opens when at least this share of the last window failed.
        pub ratio: Option<Percent> = optional(percent()).note("off"),
        /// Opens when at least `slow_ratio` of the last window took longer than this until the
        /// response's head. Probes that do open it again.
        pub slow_after: Option<Duration> = optional(duration()).note("off"),
        /// See `slow_after`.
        pub slow_ratio: Percent = defaulted(percent(), Percent::whole_percent(50)),
        /// Attempts a window needs before `ratio` and `slow_ratio` count.
        pub volume_min: u32 = defaulted(whole(1, 1_000_000), 20),
        /// Length of that window.
        pub window: Duration = defaulted(duration(), Duration::from_secs(10)),
        /// How long it stays open before probing.
        pub open: Duration = defaulted(duration(), Duration::from_secs(5)),
        /// Successful probes that close it.
        pub probes: u32 = defaulted(whole(1, 1_000), 1),
        /// What it stands before.
        pub scope: BreakerScope = defaulted(word::<BreakerScope>(), BreakerScope::Service),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Breaker {
    fn check(&self, node: &Node, decoder: &mut Decoder) {
        let ratio = self.ratio.is_some_and(|ratio| ratio > Percent(0));
        if self.consecutive == 0 && !ratio && self.slow_after.is_none() {
            let complaint = Complaint::new("this breaker never opens")
                .hint("give it `consecutive`, `ratio` or `slow_after`, or remove it");
            decoder.report(node.at, complaint);
        }
    }
}

words! {
    /// What a breaker stands before.
    pub enum BreakerScope: Default {
        /// Each endpoint: one whose breaker is open is left out; when all are open, 503 at once.
        Endpoint = "endpoint",
        /// The whole service: open, every request is answered with 503 at once.
        Service (default) = "service",
    }
}

object! {
    /// Passive ejection of failing endpoints. `outlier: false` switches it off.
    pub default struct Outlier: Eq {
        short Boolean => |enabled, at| Outlier { enabled, at, ..Outlier::default() };
        check Outlier::check;
        /// `outlier: false` switches it off.
        pub enabled: bool = fixed(true),
        /// Ejects after so many gateway failures (502, 503, 504, connect and protocol errors) in a
        /// row.
        pub consecutive: u32 = defaulted(whole(1, 1_000_000), 5),
        /// Ejects when at least this share of its attempts in the last `window` were such failures.
        pub failure_share: Option<Percent> = optional(percent()).note("off"),
        /// Attempts at one endpoint that a window needs before `failure_share` counts.
        pub volume_min: u32 = defaulted(whole(1, 1_000_000), 20),
        /// Length of that window.
        pub window: Duration = defaulted(duration(), Duration::from_secs(10)),
        /// First ejection; multiplied by how often it happened.
        pub ejection: Duration = defaulted(duration(), Duration::from_secs(30)),
        /// Longest ejection.
        pub ejection_max: Duration = defaulted(duration(), Duration::from_secs(300)),
        /// Largest share of endpoints ejected at once.
        pub share_max: Percent = defaulted(percent(), Percent::whole_percent(50)),
        /// Below this share of fit endpoints all are used (panic).
        pub panic: Percent = defaulted(percent(), Percent::whole_percent(50)),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Outlier {
    fn check(&self, node: &Node, decoder: &mut Decoder) {
        if self.ejection > self.ejection_max {
            let complaint = Complaint::new("`ejection` is longer than `ejection_max`")
                .hint("raise `ejection_max` (`5m` unless told) or lower `ejection`");
            decoder.report(node.at, complaint);
        }
    }
}

object! {
    /// Bounds of an adaptive limit. It begins at 100.
    pub default struct Adaptive: Copy, Eq {
        short Only(true) => |(), at| Adaptive { at, ..Adaptive::default() };
        check Adaptive::check;
        /// It never falls below.
        pub min: u32 = defaulted(whole(1, 1_000_000), 10),
        /// It never grows past.
        pub max: Option<u32> = optional(whole(1, 1_000_000)).note("`limits.requests`"),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Adaptive {
    fn check(&self, node: &Node, decoder: &mut Decoder) {
        if let Some(max) = self.max
            && max < self.min
        {
            let complaint = Complaint::new(format!("`max` {max} is below `min` {}", self.min));
            decoder.report(node.at, complaint.hint("raise `max` or lower `min`"));
        }
    }
}

object! {
    /// Bounds on what is in flight towards a service, per proxy process. Each warns, in the log and
    /// in a metric, from four fifths on.
    pub default struct Limits: Eq {
        /// Most requests in flight; more are refused with 503 (`service-overloaded`).
        pub requests: u32 = defaulted(whole(1, 1_000_000), 4096),
        /// Most requests that wait for a connection where all `connections` are in use; more are
        /// refused with 503 (`pending-overflow`). They wait no longer than `timeouts.connect`
        /// (then `pending-timeout`). 0: nobody waits.
        pub pending: u32 = defaulted(whole(0, 1_000_000), 1024),
        /// Most connections per endpoint and worker.
        pub connections: u32 = defaulted(whole(1, CONNECTIONS_MAX), 1024),
        /// Finds by itself how many requests the service can have in flight, by how much longer
        /// answers take than without a queue; the rest is refused with 503 (`shed`), the least
        /// critical first (`criticality` of routes). `true` is the same as `{}`. For services that
        /// answer promptly: long polls and WebSockets say nothing about load.
        pub adaptive: Option<Adaptive> = optional(of::<Adaptive>()).note("off"),
        /// Where it was written.
        pub at: Position = place(),
    }
}
