//! Limits as a route asks them: keys, sharing, reloads, and a seeded simulation of one bucket.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use weir_config::limit::{Limit, LimitKey};
use weir_config::position::{Located, Position};
use weir_config::units::Rate;

use super::RouteLimit;
use crate::auth::Claims;
use crate::balance::random::mix;
use crate::key::KeyInputs;
use crate::live::Live;
use crate::moment::Moment;

fn limit(count: u32, per: Duration, burst: Option<u32>, by: LimitKey) -> Limit {
    let rate = Located {
        value: Rate { count, per },
        at: Position::default(),
    };
    Limit {
        rate,
        burst,
        by,
        shared: None,
        at: Position::default(),
    }
}

fn moment(nanos: u64) -> Moment {
    Moment {
        nanos,
        unix_seconds: 0,
    }
}

fn inputs<'a>(client: &str, headers: &'a HeaderMap) -> KeyInputs<'a> {
    KeyInputs {
        route: "r",
        client: client.parse().unwrap(),
        path: "/",
        query: None,
        headers,
        claims: None,
        peer: None,
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn refusals_say_how_long_to_wait_and_asking_costs_nothing() {
    let live = Live::default();
    let limit = RouteLimit::compile(&limit(2, SECOND, None, LimitKey::Client), "r", &live);
    let headers = HeaderMap::new();
    let (one, other) = (inputs("10.0.0.1", &headers), inputs("10.0.0.2", &headers));
    let now = moment(5_000_000_000);
    assert_eq!(limit.peek(&one, now), Ok(()));
    assert_eq!(limit.check(&one, now), Ok(()));
    assert_eq!(limit.check(&one, now), Ok(()));
    assert_eq!(limit.peek(&one, now), Err(Duration::from_millis(500)));
    assert_eq!(limit.check(&one, now), Err(Duration::from_millis(500)));
    assert_eq!(
        limit.check(&other, now),
        Ok(()),
        "another client has its own bucket"
    );
    let later = now.plus(Duration::from_millis(400));
    assert_eq!(limit.check(&one, later), Err(Duration::from_millis(100)));
    assert_eq!(
        limit.check(&one, now.plus(Duration::from_millis(500))),
        Ok(())
    );
}

#[test]
fn ipv6_clients_are_counted_by_64_and_mapped_ones_as_ipv4() {
    let live = Live::default();
    let limit = RouteLimit::compile(&limit(1, SECOND, None, LimitKey::Client), "r", &live);
    let headers = HeaderMap::new();
    let now = moment(1);
    assert!(limit.check(&inputs("2001:db8::1", &headers), now).is_ok());
    assert!(
        limit
            .check(&inputs("2001:db8::ffff:2", &headers), now)
            .is_err()
    );
    assert!(
        limit
            .check(&inputs("2001:db8:0:1::1", &headers), now)
            .is_ok()
    );
    assert!(limit.check(&inputs("10.1.2.3", &headers), now).is_ok());
    assert!(
        limit
            .check(&inputs("::ffff:10.1.2.3", &headers), now)
            .is_err()
    );
}

#[test]
fn missing_and_doubled_headers_are_counted_together() {
    let live = Live::default();
    let by = LimitKey::Header("x-api-key".to_owned());
    let limit = RouteLimit::compile(&limit(1, SECOND, None, by), "r", &live);
    let now = moment(1);
    let check = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-api-key", value.parse().unwrap());
        }
        limit.check(&inputs("10.0.0.1", &headers), now).is_ok()
    };
    assert!(check(&["a"]));
    assert!(!check(&["a"]));
    assert!(check(&["b"]));
    assert!(check(&[]), "the first without a key");
    assert!(!check(&[]));
    assert!(!check(&["a", "1"]), "doubling the header buys no bucket");
    assert!(!check(&["a", "2"]));
}

#[test]
fn claims_and_peers_are_keys() {
    let live = Live::default();
    let by_claim = RouteLimit::compile(
        &limit(1, SECOND, None, LimitKey::Claim("sub".into())),
        "r",
        &live,
    );
    let by_peer = RouteLimit::compile(&limit(1, SECOND, None, LimitKey::Peer), "r", &live);
    let headers = HeaderMap::new();
    let claims = |sub: &str| {
        let mut claims = Claims::default();
        claims.payload.insert("sub".to_owned(), sub.into());
        claims
    };
    let (ann, bob, nobody) = (claims("ann"), claims("bob"), Claims::default());
    let with = |claims, peer| KeyInputs {
        claims,
        peer,
        ..inputs("10.0.0.1", &headers)
    };
    let now = moment(1);
    assert!(by_claim.check(&with(Some(&ann), None), now).is_ok());
    assert!(by_claim.check(&with(Some(&ann), None), now).is_err());
    assert!(by_claim.check(&with(Some(&bob), None), now).is_ok());
    assert!(by_claim.check(&with(None, None), now).is_ok());
    assert!(
        by_claim.check(&with(Some(&nobody), None), now).is_err(),
        "absent as well"
    );
    assert!(
        by_peer
            .check(&with(None, Some("spiffe://weir.internal/service/a")), now)
            .is_ok()
    );
    assert!(
        by_peer
            .check(&with(None, Some("spiffe://weir.internal/service/a")), now)
            .is_err()
    );
    assert!(
        by_peer
            .check(&with(None, Some("spiffe://weir.internal/service/b")), now)
            .is_ok()
    );
}

#[test]
fn buckets_outlive_reloads_and_are_shared_by_name_only() {
    let live = Live::default();
    let own = limit(5, SECOND, None, LimitKey::Route);
    let first = RouteLimit::compile(&own, "r", &live);
    let again = RouteLimit::compile(&own, "r", &live);
    assert!(
        Arc::ptr_eq(&first.limiter, &again.limiter),
        "an unchanged limit keeps its buckets"
    );
    let other = RouteLimit::compile(&own, "s", &live);
    assert!(!Arc::ptr_eq(&first.limiter, &other.limiter));
    let faster = RouteLimit::compile(&limit(6, SECOND, None, LimitKey::Route), "r", &live);
    assert!(
        !Arc::ptr_eq(&first.limiter, &faster.limiter),
        "a changed quota starts anew"
    );
    let shared = Limit {
        shared: Some("r".to_owned()),
        ..own.clone()
    };
    let one = RouteLimit::compile(&shared, "r", &live);
    let two = RouteLimit::compile(&shared, "s", &live);
    assert!(Arc::ptr_eq(&one.limiter, &two.limiter));
    assert!(!Arc::ptr_eq(&one.limiter, &first.limiter));
}

/// Random arrivals against a model that keeps every admitted time: in no window were more let
/// through than burst + rate × window, and none was refused that the model would have let through.
#[test]
fn simulation_agrees_with_a_token_bucket() {
    for seed in 0..200_u64 {
        let mut random = mix(seed);
        let mut draw = |bound: u64| {
            random = mix(random);
            random % bound
        };
        let count = 1 + draw(20) as u32;
        let burst = 1 + draw(10) as u32;
        let live = Live::default();
        let limit = RouteLimit::compile(
            &limit(count, SECOND, Some(burst), LimitKey::Route),
            "r",
            &live,
        );
        let interval = 1_000_000_000_u64.div_ceil(u64::from(count));
        let headers = HeaderMap::new();
        let inputs = inputs("10.0.0.1", &headers);
        // The model counts in nanoseconds of credit.
        let (mut credit, mut before) = (interval * u64::from(burst), 1_000_u64);
        let mut now = before;
        for step in 0..300 {
            now += draw(3 * interval / 2);
            credit = (credit + (now - before)).min(interval * u64::from(burst));
            before = now;
            let expected = if credit >= interval {
                Ok(())
            } else {
                Err(Duration::from_nanos(interval - credit))
            };
            let at = moment(now);
            assert_eq!(
                limit.peek(&inputs, at),
                expected,
                "peek: seed {seed}, step {step}"
            );
            assert_eq!(
                limit.check(&inputs, at),
                expected,
                "seed {seed}, step {step}"
            );
            if expected.is_ok() {
                credit -= interval;
            }
        }
    }
}

#[test]
fn threads_on_one_route_limit_admit_exactly_the_burst() {
    let live = Live::default();
    let limit = RouteLimit::compile(&limit(100, SECOND, Some(50), LimitKey::Client), "r", &live);
    let admitted = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let headers = HeaderMap::new();
                for client in 0..20 {
                    let address = format!("10.0.0.{client}");
                    for _ in 0..40 {
                        if limit.check(&inputs(&address, &headers), moment(77)).is_ok() {
                            admitted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 20 * 50);
}
