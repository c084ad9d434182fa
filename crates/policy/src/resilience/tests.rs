//! Judgement of attempts: what is retried, what counts, what is ejected.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use http::{Method, StatusCode};
use weir_config::balance::Balance;

use super::{BreakerState, Denied, judge, pause};
use crate::balance::{Asks, Chosen, Members, Tried, pick};
use crate::live::Limit;
use crate::live::sample::{breaker, forward, members, moment, service};
use crate::moment::Moment;
use crate::pipeline::{Attempt, FailureKind, Forward, Next, Outcome};
use crate::refusal::{Code, Refusal};
use crate::snapshot::Service;

mod breaking;

mod calls;
mod hedging;

fn status(status: u16) -> Outcome {
    Outcome::Response {
        status: StatusCode::from_u16(status).unwrap(),
    }
}

fn failure(kind: FailureKind, sent: bool) -> Outcome {
    Outcome::Failure { kind, sent }
}

fn choose(service: &Service, members: &Members, at: Moment) -> Chosen {
    pick(
        service,
        members,
        &Asks::default(),
        &Tried::default(),
        0,
        at,
        &mut (),
    )
    .unwrap()
}

/// What follows the first attempt of a request.
fn first(service: &Service, forward: &Forward, method: Method, outcome: Outcome) -> Next {
    let members = members(service, &[1, 1]);
    let chosen = choose(service, &members, moment(0));
    let attempt = Attempt {
        chosen: &chosen,
        number: 1,
        began: moment(0),
        outcome,
        grpc: None,
        replayable: true,
        retry_after: None,
        time_left: Duration::MAX,
    };
    judge(
        service,
        forward,
        &method,
        &attempt,
        moment(10),
        u64::MAX,
        &mut (),
    )
}

/// A request that is answered after so long.
fn took_first(service: &Service, forward: &Forward, began: Moment, took: Duration) {
    let members = members(service, &[1]);
    let chosen = choose(service, &members, began);
    let attempt = Attempt {
        chosen: &chosen,
        number: 1,
        began,
        outcome: status(200),
        replayable: true,
        retry_after: None,
        time_left: Duration::MAX,
        grpc: None,
    };
    let at = began.plus(took);
    judge(service, forward, &Method::GET, &attempt, at, 0, &mut ());
}

const AT_ONCE: Next = Next::Retry {
    after: Duration::ZERO,
};
const PAUSED: Next = Next::Retry {
    after: Duration::from_millis(25),
};

fn gives_up(code: Code) -> Next {
    Next::GiveUp(Refusal::new(code))
}

#[test]
fn only_safe_requests_are_tried_again() {
    use FailureKind::{Connect, ConnectTimeout, PerTry, Protocol, Reset, Stalled, Timeout, Tls};
    let table = [
        // Provably unsent: any method, another endpoint, at once.
        (Method::POST, failure(Connect, false), AT_ONCE),
        (Method::POST, failure(ConnectTimeout, false), AT_ONCE),
        (Method::POST, failure(Tls, false), AT_ONCE),
        (Method::PATCH, failure(Reset, false), AT_ONCE),
        (Method::GET, failure(Connect, false), AT_ONCE),
        // Perhaps received: idempotent methods only.
        (Method::GET, failure(Reset, true), PAUSED),
        (Method::HEAD, failure(Timeout, true), PAUSED),
        (Method::GET, failure(PerTry, true), PAUSED),
        (Method::POST, failure(PerTry, false), AT_ONCE),
        (
            Method::POST,
            failure(PerTry, true),
            gives_up(Code::PerTryTimeout),
        ),
        (
            Method::POST,
            failure(Stalled, true),
            gives_up(Code::UpstreamStalled),
        ),
        (Method::PUT, failure(Protocol, true), PAUSED),
        (Method::DELETE, failure(Reset, true), PAUSED),
        (Method::OPTIONS, failure(Reset, true), PAUSED),
        (Method::TRACE, failure(Reset, true), PAUSED),
        (
            Method::POST,
            failure(Reset, true),
            gives_up(Code::UpstreamReset),
        ),
        (
            Method::PATCH,
            failure(Timeout, true),
            gives_up(Code::UpstreamTimeout),
        ),
        (
            Method::POST,
            failure(Protocol, true),
            gives_up(Code::UpstreamProtocol),
        ),
        (
            Method::CONNECT,
            failure(Connect, true),
            gives_up(Code::ConnectFailed),
        ),
        // Responses: those of the list, and only for idempotent methods.
        (Method::GET, status(503), PAUSED),
        (Method::POST, status(503), Next::Deliver),
        (Method::GET, status(500), Next::Deliver),
        (Method::GET, status(200), Next::Deliver),
        (Method::GET, status(404), Next::Deliver),
    ];
    for (method, outcome, expected) in table {
        let service = service(Balance::RoundRobin);
        let mut forward = forward(&service, moment(0)).unwrap();
        forward.retry.statuses = [502, 503].into();
        let next = first(&service, &forward, method.clone(), outcome);
        assert_eq!(next, expected, "{method} {outcome:?}");
    }
}

/// Towards a sidecar's own application: what it may have seen it never sees twice.
#[test]
fn only_unsent_requests_are_tried_again_where_that_is_asked() {
    use FailureKind::{Connect, Protocol, Reset, Timeout};
    let table = [
        (Method::GET, failure(Connect, false), AT_ONCE),
        (Method::POST, failure(Connect, false), AT_ONCE),
        // A kept connection that was closed before anything was written to it.
        (Method::POST, failure(Reset, false), AT_ONCE),
        (
            Method::GET,
            failure(Reset, true),
            gives_up(Code::UpstreamReset),
        ),
        (
            Method::PUT,
            failure(Timeout, true),
            gives_up(Code::UpstreamTimeout),
        ),
        (
            Method::DELETE,
            failure(Protocol, true),
            gives_up(Code::UpstreamProtocol),
        ),
        (
            Method::POST,
            failure(Reset, true),
            gives_up(Code::UpstreamReset),
        ),
        (Method::GET, status(503), Next::Deliver),
    ];
    for (method, outcome, expected) in table {
        let service = service(Balance::RoundRobin);
        let mut forward = forward(&service, moment(0)).unwrap();
        forward.retry.unsent_only = true;
        // Even if somebody should ask for it: a response is proof that the request arrived.
        forward.retry.statuses = [503].into();
        let next = first(&service, &forward, method.clone(), outcome);
        assert_eq!(next, expected, "{method} {outcome:?}");
    }
}

/// A client can make a service send a header section that is too large: nobody is ejected for it.
#[test]
fn too_large_a_header_section_is_nobodys_failure_and_not_tried_again() {
    let mut service = service(Balance::RoundRobin);
    service.breaker = Some(breaker());
    let lone = members(&service, &[1]);
    for (kind, code) in [
        (FailureKind::HeaderTooLarge, Code::ResponseHeaderTooLarge),
        (FailureKind::HeadersTooMany, Code::ResponseHeadersTooMany),
    ] {
        let large = failure(kind, true);
        fail_at(&service, &lone, 0, 20, large);
        assert!(!lone.endpoints[0].live.is_ejected(moment(1)));
        assert_eq!(service.live.breaker().state(), BreakerState::Closed);
        let forward = forward(&service, moment(0)).unwrap();
        let next = first(&service, &forward, Method::GET, large);
        assert_eq!(next, gives_up(code));
    }
}

/// What a limit of ours refused, no endpoint is blamed for; another endpoint may have room.
#[test]
fn waiting_in_vain_says_nothing_about_endpoint_or_service() {
    let mut service = service(Balance::RoundRobin);
    service.breaker = Some(breaker());
    for (kind, code) in [
        (FailureKind::PendingOverflow, Code::PendingOverflow),
        (FailureKind::PendingTimeout, Code::PendingTimeout),
    ] {
        let permit = forward(&service, moment(0)).unwrap();
        let full = failure(kind, false);
        assert_eq!(first(&service, &permit, Method::POST, full), AT_ONCE);
        let lone = members(&service, &[1]);
        fail_at(&service, &lone, 0, 20, full);
        assert!(!lone.endpoints[0].live.is_ejected(moment(1)));
        assert_eq!(lone.endpoints[0].live.failures(), 0);
        assert_eq!(service.live.breaker().state(), BreakerState::Closed);
        let chosen = choose(&service, &lone, moment(0));
        let attempt = Attempt {
            chosen: &chosen,
            number: 1,
            began: moment(0),
            outcome: full,
            grpc: None,
            replayable: true,
            retry_after: None,
            time_left: Duration::MAX,
        };
        let next = judge(
            &service,
            &permit,
            &Method::GET,
            &attempt,
            moment(1),
            0,
            &mut (),
        );
        assert_eq!(next, gives_up(code), "a lone endpoint");
    }
}

#[test]
fn attempts_bodies_and_budget_bound_retries() {
    let service = service(Balance::RoundRobin);
    let mut forward = forward(&service, moment(0)).unwrap();
    let members = members(&service, &[1, 1]);
    let chosen = choose(&service, &members, moment(0));
    let judged = |number, replayable| {
        let outcome = failure(FailureKind::Connect, false);
        let attempt = Attempt {
            chosen: &chosen,
            number,
            began: moment(0),
            outcome,
            grpc: None,
            replayable,
            retry_after: None,
            time_left: Duration::MAX,
        };
        judge(
            &service,
            &forward,
            &Method::GET,
            &attempt,
            moment(10),
            7,
            &mut (),
        )
    };
    assert_eq!(
        judged(1, false),
        gives_up(Code::ConnectFailed),
        "the body is gone"
    );
    assert_eq!(judged(1, true), AT_ONCE);
    assert_eq!(
        judged(2, true),
        gives_up(Code::ConnectFailed),
        "one attempt after the first"
    );
    let retried = (0..100).filter(|_| judged(1, true) == AT_ONCE).count();
    assert_eq!(
        retried, 29,
        "the floor of the budget, one of which is spent"
    );
    forward.retry.attempts = 0;
    assert_eq!(
        first(
            &service,
            &forward,
            Method::GET,
            failure(FailureKind::Connect, false)
        ),
        gives_up(Code::ConnectFailed)
    );
}

/// What follows a 503 that is to be tried again, with this `Retry-After` and time left.
fn after_503(service: &Service, asked: Option<Duration>, time_left: Duration) -> Next {
    let mut forward = forward(service, moment(0)).unwrap();
    forward.retry.statuses = [503].into();
    let members = members(service, &[1, 1]);
    let chosen = choose(service, &members, moment(0));
    let attempt = Attempt {
        chosen: &chosen,
        number: 1,
        began: moment(0),
        outcome: status(503),
        grpc: None,
        replayable: true,
        retry_after: asked,
        time_left,
    };
    judge(
        service,
        &forward,
        &Method::GET,
        &attempt,
        moment(10),
        u64::MAX,
        &mut (),
    )
}

#[test]
fn a_pause_that_the_service_asks_for_is_kept_within_bounds() {
    let secs = Duration::from_secs;
    let backoff = Duration::from_millis(25);
    let paused = |after| Next::Retry { after };
    for (asked, time_left, expected) in [
        (None, secs(9), paused(backoff)),
        (Some(secs(0)), secs(9), paused(backoff)),
        (Some(secs(1)), secs(9), paused(secs(1) + backoff)),
        // At the longest that is waited out, and past it.
        (Some(secs(2)), secs(9), paused(secs(2) + backoff)),
        (
            Some(secs(2) + Duration::from_nanos(1)),
            secs(9),
            Next::Deliver,
        ),
        (Some(Duration::MAX), secs(9), Next::Deliver),
        // The deadline comes first: the response there is will do.
        (Some(secs(1)), secs(1), Next::Deliver),
        (None, backoff, Next::Deliver),
        (None, backoff + Duration::from_nanos(1), paused(backoff)),
    ] {
        let service = service(Balance::RoundRobin);
        let next = after_503(&service, asked, time_left);
        assert_eq!(next, expected, "{asked:?} {time_left:?}");
    }
}

#[test]
fn denied_retries_are_counted_by_reason() {
    let service = service(Balance::RoundRobin);
    let denied = |denied| service.live.retries_denied().of(denied);
    after_503(&service, Some(Duration::from_secs(60)), Duration::MAX);
    after_503(&service, None, Duration::ZERO);
    let forward = forward(&service, moment(0)).unwrap();
    let reset = failure(FailureKind::Reset, true);
    first(&service, &forward, Method::POST, reset);
    first(&service, &forward, Method::GET, status(500));
    for _ in 0..40 {
        first(&service, &forward, Method::GET, reset);
    }
    let counts = Denied::ALL.map(|reason| (reason.as_str(), denied(reason)));
    let expected = [
        ("attempts", 0),
        ("body", 0),
        ("breaker", 0),
        ("budget", 10),
        ("deadline", 1),
        ("limits", 0),
        ("method", 1),
        ("retry-after", 1),
        ("sent", 0),
    ];
    assert_eq!(counts, expected);
}

#[test]
fn pauses_are_jittered_and_bounded() {
    let base = Duration::from_millis(25);
    for (number, most) in [(1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (60, 250)] {
        assert_eq!(pause(base, number, 0), Duration::ZERO);
        assert_eq!(
            pause(base, number, u64::MAX),
            Duration::from_millis(most),
            "{number}"
        );
        let half = pause(base, number, u64::MAX / 2).as_millis() as u64;
        assert!(half.abs_diff(most / 2) <= 1, "{number}: {half}");
    }
    assert!(
        pause(Duration::MAX, 9, u64::MAX) > Duration::from_secs(1),
        "does not overflow"
    );
}

#[test]
fn a_lone_endpoint_is_given_a_pause() {
    let service = service(Balance::RoundRobin);
    let forward = forward(&service, moment(0)).unwrap();
    let members = members(&service, &[1]);
    let chosen = choose(&service, &members, moment(0));
    let outcome = failure(FailureKind::Connect, false);
    let attempt = Attempt {
        chosen: &chosen,
        number: 1,
        began: moment(0),
        outcome,
        grpc: None,
        replayable: true,
        retry_after: None,
        time_left: Duration::MAX,
    };
    let next = judge(
        &service,
        &forward,
        &Method::GET,
        &attempt,
        moment(1),
        u64::MAX,
        &mut (),
    );
    assert_eq!(next, PAUSED);
}

/// Fails every attempt at one endpoint, so often.
fn fail_at(service: &Service, members: &Members, index: usize, times: u32, outcome: Outcome) {
    let forward = forward(service, moment(0)).unwrap();
    for _ in 0..times {
        let others = members
            .endpoints
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        let tried = Tried(others.map(|(_, member)| member.clone()).collect());
        let chosen = pick(
            service,
            members,
            &Asks::default(),
            &tried,
            0,
            moment(0),
            &mut (),
        )
        .unwrap();
        let attempt = Attempt {
            chosen: &chosen,
            number: 9,
            began: moment(0),
            outcome,
            grpc: None,
            replayable: true,
            retry_after: None,
            time_left: Duration::MAX,
        };
        judge(
            service,
            &forward,
            &Method::GET,
            &attempt,
            moment(1),
            0,
            &mut (),
        );
    }
}

#[test]
fn failing_endpoints_are_ejected_but_never_too_many() {
    let service = service(Balance::RoundRobin);
    let members = members(&service, &[1, 1, 1, 1]);
    let out = |at| {
        members
            .endpoints
            .iter()
            .filter(|member| member.live.is_ejected(at))
            .count()
    };
    fail_at(&service, &members, 0, 4, status(503));
    assert_eq!(out(moment(1)), 0);
    fail_at(&service, &members, 0, 1, status(200));
    fail_at(&service, &members, 0, 4, failure(FailureKind::Reset, true));
    assert_eq!(out(moment(1)), 0, "a success ended the row");
    fail_at(&service, &members, 0, 1, failure(FailureKind::Tls, false));
    assert_eq!(out(moment(1)), 1);
    for index in 1..4 {
        fail_at(&service, &members, index, 50, status(502));
    }
    assert_eq!(out(moment(1)), 2, "at most half");
    assert_eq!(out(moment(30_001)), 0, "for thirty seconds");
    fail_at(&service, &members, 3, 50, status(500));
    assert!(
        !members.endpoints[3].live.is_ejected(moment(30_002)),
        "500 is the application's"
    );
}

#[test]
fn ejection_can_be_switched_off() {
    let mut service = service(Balance::RoundRobin);
    service.outlier.enabled = false;
    let members = members(&service, &[1, 1]);
    fail_at(&service, &members, 0, 50, status(503));
    assert!(!members.endpoints[0].live.is_ejected(moment(1)));
}

#[test]
fn requests_in_flight_are_bounded_and_warned_about() {
    let mut service = service(Balance::RoundRobin);
    service.requests_max = 10;
    let mut held: Vec<_> = (0..7)
        .map(|_| forward(&service, moment(0)).unwrap())
        .collect();
    assert!(!service.live.news().any());
    held.push(forward(&service, moment(0)).unwrap());
    assert!(service.live.news().any(), "eight of ten");
    held.extend((0..2).map(|_| forward(&service, moment(0)).unwrap()));
    let refused = forward(&service, moment(0)).unwrap_err();
    assert_eq!(refused.code, Code::ServiceOverloaded);
    assert_eq!(
        (
            service.live.in_flight(),
            service.live.limits().reached_total(Limit::Requests)
        ),
        (10, 1)
    );
    held.pop();
    assert!(forward(&service, moment(0)).is_ok());
    drop(held);
    assert_eq!(service.live.in_flight(), 0);
}
