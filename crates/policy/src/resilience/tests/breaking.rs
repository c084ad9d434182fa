//! What opens the breaker of a service, and what it then does to requests.

use std::time::Duration;

use http::Method;
use weir_config::service::Balance;
use weir_config::units::Percent;

use super::{AT_ONCE, failure, first, gives_up, status};
use crate::live::sample::{breaker, forward, moment, service};
use crate::pipeline::{FailureKind, Next};
use crate::refusal::Code;
use crate::resilience::BreakerState;

#[test]
fn the_breaker_opens_refuses_probes_and_closes() {
    let mut service = service(Balance::RoundRobin);
    service.breaker = Some(breaker());
    let state = || service.live.breaker().state();
    for count in 0..5 {
        assert_eq!(state(), BreakerState::Closed, "after {count}");
        let forward = forward(&service, moment(0)).unwrap();
        assert_eq!(
            first(&service, &forward, Method::GET, status(500)),
            Next::Deliver
        );
    }
    assert_eq!(
        (state(), service.live.breaker().opened_total()),
        (BreakerState::Open, 1)
    );
    let refused = forward(&service, moment(1_010)).unwrap_err();
    assert_eq!(refused.code, Code::BreakerOpen);
    assert_eq!(refused.retry_after, Some(Duration::from_secs(4)));
    assert_eq!(
        service.live.in_flight(),
        0,
        "a refused request holds nothing"
    );

    // The first request after the pause is the probe; the next one has to wait for it.
    let probe = forward(&service, moment(5_010)).unwrap();
    assert_eq!(state(), BreakerState::HalfOpen);
    assert_eq!(
        forward(&service, moment(5_011)).unwrap_err().code,
        Code::BreakerOpen
    );
    drop(probe);
    let probe = forward(&service, moment(5_012)).unwrap();
    assert_eq!(
        first(&service, &probe, Method::GET, status(204)),
        Next::Deliver
    );
    assert_eq!(state(), BreakerState::Closed);
    drop(probe);
    assert!(forward(&service, moment(5_013)).is_ok());
}

#[test]
fn an_open_breaker_stops_retries() {
    let mut service = service(Balance::RoundRobin);
    service.breaker = Some(breaker());
    let outcome = failure(FailureKind::Connect, false);
    let forwards: Vec<_> = (0..6)
        .map(|_| forward(&service, moment(0)).unwrap())
        .collect();
    for (count, forward) in forwards.iter().enumerate() {
        let expected = if count < 4 {
            AT_ONCE
        } else {
            gives_up(Code::ConnectFailed)
        };
        assert_eq!(
            first(&service, forward, Method::GET, outcome),
            expected,
            "{count}"
        );
    }
}

#[test]
fn a_ratio_opens_the_breaker_once_there_is_enough() {
    let mut service = service(Balance::RoundRobin);
    let mut settings = breaker();
    settings.consecutive = 0;
    settings.ratio = Some(Percent(50_000));
    service.breaker = Some(settings);
    for count in 0..19 {
        let forward = forward(&service, moment(0)).unwrap();
        first(
            &service,
            &forward,
            Method::GET,
            status(if count % 2 == 0 { 500 } else { 200 }),
        );
    }
    assert_eq!(
        service.live.breaker().state(),
        BreakerState::Closed,
        "19 are too few"
    );
    let forward = forward(&service, moment(0)).unwrap();
    first(&service, &forward, Method::GET, status(503));
    assert_eq!(service.live.breaker().state(), BreakerState::Open);
}
