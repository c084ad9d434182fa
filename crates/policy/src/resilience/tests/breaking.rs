//! What opens the breaker of a service, and what it then does to requests.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use weir_config::balance::Balance;
use weir_config::resilience::{Breaker, BreakerScope};
use weir_config::units::Percent;

use super::{AT_ONCE, choose, fail_at, failure, first, gives_up, status, took_first};
use crate::balance::{Asks, Tried, pick};
use crate::live::EndpointLive;
use crate::live::sample::{breaker, forward, members, moment, service};
use crate::pipeline::{FailureKind, Next};
use crate::refusal::Code;
use crate::resilience::{BreakerLive, BreakerState};

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
        (state(), service.live.breakers_opened()),
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

#[test]
fn slow_answers_open_the_breaker_and_slow_probes_keep_it_open() {
    let mut service = service(Balance::RoundRobin);
    let mut settings = breaker();
    settings.slow_after = Some(Duration::from_millis(100));
    settings.slow_ratio = Percent(25_000);
    service.breaker = Some(settings);
    let state = || service.live.breaker().state();
    let answer = |at: u64, took: u64| {
        let forward = forward(&service, moment(at)).unwrap();
        took_first(&service, &forward, moment(at), Duration::from_millis(took));
    };
    // As slow as is allowed, and one of five too slow.
    (0..40).for_each(|_| answer(0, 100));
    for _ in 0..8 {
        (0..4).for_each(|_| answer(0, 9));
        answer(0, 101);
    }
    assert_eq!(state(), BreakerState::Closed);
    // The window is another, and a quarter is too slow.
    (0..15).for_each(|_| answer(20_000, 99));
    (0..4).for_each(|_| answer(20_000, 101));
    assert_eq!(state(), BreakerState::Closed, "nineteen are too few");
    answer(20_000, 101);
    assert_eq!(state(), BreakerState::Open);
    answer(25_102, 101);
    assert_eq!(state(), BreakerState::Open, "the probe was slow");
    answer(30_300, 99);
    assert_eq!(state(), BreakerState::Closed);
    assert_eq!(service.live.breakers_opened(), 2);
}

#[test]
fn an_endpoint_with_an_open_breaker_is_left_out_and_probed() {
    let mut service = service(Balance::RoundRobin);
    service.outlier.enabled = false;
    service.breaker = Some(Breaker {
        scope: BreakerScope::Endpoint,
        ..breaker()
    });
    let members = members(&service, &[1, 1]);
    let [one, two] = [0, 1].map(|index| &members.endpoints[index].live);
    let pick = |at| {
        pick(
            &service,
            &members,
            &Asks::default(),
            &Tried::default(),
            0,
            at,
            &mut (),
        )
    };
    fail_at(&service, &members, 0, 5, status(500));
    let state = |live: &EndpointLive| live.breaker().map(BreakerLive::state);
    assert_eq!(state(one), Some(BreakerState::Open));
    assert_eq!(service.live.breaker().state(), BreakerState::Closed);
    for _ in 0..6 {
        let chosen = pick(moment(10)).unwrap();
        assert!(Arc::ptr_eq(&chosen.member.live, two));
    }
    // All open: nothing gets through, panic or not.
    fail_at(&service, &members, 1, 5, status(500));
    let refused = pick(moment(2_001)).unwrap_err();
    assert_eq!(refused.code, Code::BreakerOpen);
    assert_eq!(refused.retry_after, Some(Duration::from_secs(3)));
    assert_eq!(service.live.breakers_opened(), 2);
    // One probe for each; the third has to wait.
    let probes = [pick(moment(5_001)).unwrap(), pick(moment(5_001)).unwrap()];
    assert!(!Arc::ptr_eq(&probes[0].member.live, &probes[1].member.live));
    assert_eq!(pick(moment(5_001)).unwrap_err().code, Code::BreakerOpen);
    drop(probes);
    assert!(pick(moment(5_002)).is_ok(), "nothing came of the probes");
}

/// 4xx are the client's; one that leaves is no answer at all.
#[test]
fn faults_of_clients_open_no_breaker_and_eject_nobody() {
    let mut service = service(Balance::RoundRobin);
    service.breaker = Some(Breaker {
        consecutive: 1,
        ratio: Some(Percent(1)),
        volume_min: 1,
        ..breaker()
    });
    service.outlier.consecutive = 1;
    service.outlier.failure_share = Some(Percent(1));
    service.outlier.volume_min = 1;
    let lone = members(&service, &[1]);
    for code in (400..500).chain([100, 200, 304]) {
        fail_at(&service, &lone, 0, 2, status(code));
    }
    // A client that left: the attempt was begun and never judged.
    let forward = forward(&service, moment(0)).unwrap();
    drop((choose(&service, &lone, moment(0)), forward));
    assert_eq!(service.live.breaker().state(), BreakerState::Closed);
    assert!(!lone.endpoints[0].live.is_ejected(moment(1)));
    assert_eq!(service.live.news().take(), []);
}
