//! One more attempt beside those under way: when it may be made, and what is learned of it.

use http::Method;

use super::*;
use crate::resilience::{HedgePlan, Withheld, hedge, hedging, learn, overtaken};

fn plan() -> HedgePlan {
    HedgePlan {
        after: Duration::from_millis(100),
        attempts: 1,
    }
}

/// A request that is on its way, and may be hedged.
fn under_way(service: &Service) -> Forward {
    forward(service, moment(0)).unwrap()
}

fn tried(members: &Members, indices: &[usize]) -> Tried {
    let mut tried = Tried::default();
    for index in indices {
        tried.add(&members.endpoints[*index]);
    }
    tried
}

#[test]
fn only_what_may_be_sent_twice_is_hedged() {
    let service = service(Balance::RoundRobin);
    let mut forward = under_way(&service);
    assert_eq!(
        hedging(&forward, &Method::GET, false),
        None,
        "off by default"
    );
    forward.retry.hedge = Some(plan());
    for (method, upgrade, hedged) in [
        (Method::GET, false, true),
        (Method::HEAD, false, true),
        (Method::PUT, false, true),
        (Method::DELETE, false, true),
        (Method::POST, false, false),
        (Method::PATCH, false, false),
        (Method::GET, true, false),
    ] {
        assert_eq!(
            hedging(&forward, &method, upgrade).is_some(),
            hedged,
            "{method}"
        );
    }
    forward.call = Some(crate::grpc::Flavour::Grpc);
    assert_eq!(
        hedging(&forward, &Method::GET, false),
        None,
        "a call may be a stream"
    );
}

#[test]
fn it_goes_to_another_endpoint_that_is_fit_or_nowhere() {
    let service = service(Balance::RoundRobin);
    let members = members(&service, &[1, 1]);
    let forward = under_way(&service);
    let hedged = |tried: &Tried| hedge(&service, &forward, &members, tried, 0, moment(0));
    for first in [0, 1] {
        let hedged = hedged(&tried(&members, &[first])).unwrap();
        let other = &members.endpoints[1 - first];
        assert!(std::sync::Arc::ptr_eq(&hedged.chosen.member, other));
    }
    let all = tried(&members, &[0, 1]);
    assert_eq!(hedged(&all).unwrap_err(), Withheld::Endpoint);
    let before = service.live.budget().counts(moment(0));
    assert_eq!(before.1, 2, "what is not sent costs nothing");
}

#[test]
fn it_takes_a_place_of_its_own_and_gives_it_back() {
    let mut service = service(Balance::RoundRobin);
    service.requests_max = 2;
    let members = members(&service, &[1, 1]);
    let (forward, tried) = (under_way(&service), tried(&members, &[0]));
    let hedged = || hedge(&service, &forward, &members, &tried, 0, moment(0));
    let first = hedged().unwrap();
    assert_eq!(service.live.in_flight(), 2);
    assert_eq!(
        hedged().unwrap_err(),
        Withheld::Limits,
        "one past the limit"
    );
    assert_eq!(service.live.in_flight(), 2, "nothing is left behind");
    drop(first);
    assert_eq!(service.live.in_flight(), 1);
    assert!(hedged().is_ok());
    drop(forward);
    assert_eq!(service.live.in_flight(), 0);
    assert_eq!(members.endpoints[1].live.in_flight(), 0);
}

#[test]
fn it_spends_from_the_retry_budget() {
    let service = service(Balance::RoundRobin);
    let members = members(&service, &[1, 1]);
    let (forward, tried) = (under_way(&service), tried(&members, &[0]));
    let hedged = || hedge(&service, &forward, &members, &tried, 0, moment(0));
    // Three a second are always allowed.
    for number in 0..30 {
        assert!(hedged().is_ok(), "{number}");
    }
    assert_eq!(hedged().unwrap_err(), Withheld::Budget);
    assert_eq!(service.live.in_flight(), 1, "the request itself");
}

#[test]
fn nothing_is_hedged_while_the_breaker_is_not_closed() {
    let mut service = service(Balance::RoundRobin);
    service.breaker = Some(breaker());
    let members = members(&service, &[1, 1]);
    let (forward, tried) = (under_way(&service), tried(&members, &[0]));
    let hedged = || hedge(&service, &forward, &members, &tried, 0, moment(0));
    assert!(hedged().is_ok());
    for _ in 0..breaker().consecutive {
        let chosen = choose(&service, &members, moment(0));
        learn(
            &service,
            &forward,
            &ended(&chosen, status(500)),
            moment(0),
            &mut (),
        );
    }
    assert_eq!(service.live.breaker().state(), BreakerState::Open);
    assert_eq!(hedged().unwrap_err(), Withheld::Breaker);
}

#[test]
fn what_lost_has_not_failed_but_is_known_to_be_slow() {
    let mut service = service(Balance::PeakEwma);
    service.breaker = Some(breaker());
    let members = members(&service, &[1, 1]);
    let endpoint = &members.endpoints[0];
    for _ in 0..20 {
        let lost = choose(&service, &members, moment(0));
        overtaken(&lost, Duration::from_millis(100), moment(100));
    }
    assert_eq!(service.live.breaker().state(), BreakerState::Closed);
    assert!(!endpoint.live.is_ejected(moment(100)));
    let known = endpoint.live.latency.cost(0, moment(100));
    assert_eq!(known, 100_000.0, "microseconds");
    overtaken(
        &choose(&service, &members, moment(0)),
        Duration::from_millis(1),
        moment(100),
    );
    assert_eq!(
        endpoint.live.latency.cost(0, moment(100)),
        known,
        "at least"
    );
}

fn ended(chosen: &Chosen, outcome: Outcome) -> Attempt<'_> {
    Attempt {
        chosen,
        number: 1,
        began: moment(0),
        outcome,
        grpc: None,
        replayable: true,
        retry_after: None,
        time_left: Duration::MAX,
    }
}
