//! Levels, zones and slow starts: who gets how much, and when others help.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use weir_config::balance::{Balance, Maglev, RingHash, Sticky};
use weir_config::bounds::{ENDPOINT_WEIGHT_MAX, ENDPOINTS_MAX};
use weir_config::criticality::Criticality;
use weir_config::endpoint::Endpoint;
use weir_config::health::{HealthCheck, Probe};
use weir_config::limit::LimitKey;
use weir_config::resilience::{Breaker, BreakerScope};
use weir_config::units::Ratio;

use super::super::random::mix;
use super::super::{Member, pick};
use super::{Asks, Away, Chosen, Members, NOW, Tried, eject};
use crate::health::HealthPlan;
use crate::live::sample::{breaker, moment, outlier, service};
use crate::moment::Moment;
use crate::refusal::Code;
use crate::resilience::{Came, Grounds};
use crate::snapshot::{Service, SubsetId};

const REQUESTS: u64 = 20_000;

/// Endpoints by level and zone, and how many of each.
fn endpoints(places: &[(u8, &str, usize)]) -> Vec<Endpoint> {
    let mut all = Vec::new();
    for (priority, zone, count) in places {
        for _ in 0..*count {
            all.push(Endpoint {
                priority: *priority,
                zone: (*zone).to_owned(),
                ..Endpoint::plain(format!("10.0.0.{}:80", all.len()))
            });
        }
    }
    all
}

fn choose(service: &Service, members: &Members, draw: u64, at: Moment) -> Chosen {
    let (asks, tried) = (Asks::default(), Tried::default());
    pick(service, members, &asks, &tried, mix(draw), at, &mut ()).unwrap()
}

/// The share of each endpoint in percent, at this moment.
fn shares(service: &Service, members: &Members, at: Moment) -> Vec<f64> {
    let mut counts = vec![0_u64; members.endpoints.len()];
    for request in 0..REQUESTS {
        let chosen = choose(service, members, request, at);
        let same = |it: &Arc<Member>| Arc::ptr_eq(it, &chosen.member);
        counts[members.endpoints.iter().position(same).unwrap()] += 1;
    }
    let percent = |count: &u64| *count as f64 * 100.0 / REQUESTS as f64;
    counts.iter().map(percent).collect()
}

fn assert_shares(shares: &[f64], expected: &[f64]) {
    let close = shares
        .iter()
        .zip(expected)
        .all(|(one, other)| (one - other).abs() < 1.5);
    assert!(
        close && shares.len() == expected.len(),
        "{shares:?} is not {expected:?}"
    );
}

/// Takes an endpoint out, if the share allows it.
fn ejected(service: &Service, member: &Member, at: Moment) -> bool {
    let place = (member.endpoint.address.as_str(), &*member.live);
    let grounds = Grounds::Consecutive;
    service.live.eject(&outlier(), place, grounds, at)
}

fn out(service: &Service, members: &Members, index: usize) {
    let member = &members.endpoints[index];
    assert!(ejected(service, member, moment(NOW)), "{index}");
}

#[test]
fn a_lower_level_helps_gradually() {
    let service = service(Balance::Random);
    let all = endpoints(&[(0, "", 4), (5, "", 4)]);
    let members = Members::compile(&service, &all, moment(NOW));
    let now = moment(NOW);
    assert_shares(
        &shares(&service, &members, now),
        &[25.0, 25.0, 25.0, 25.0, 0.0, 0.0, 0.0, 0.0],
    );
    // Three of four are able to carry 1.4 × 75 %: everything.
    out(&service, &members, 0);
    let all_of_three = 100.0 / 3.0;
    assert_shares(
        &shares(&service, &members, now),
        &[
            0.0,
            all_of_three,
            all_of_three,
            all_of_three,
            0.0,
            0.0,
            0.0,
            0.0,
        ],
    );
    // Two carry 1.4 × 50 %.
    out(&service, &members, 1);
    assert_shares(
        &shares(&service, &members, now),
        &[0.0, 0.0, 35.0, 35.0, 7.5, 7.5, 7.5, 7.5],
    );
    out(&service, &members, 2);
    assert_shares(
        &shares(&service, &members, now),
        &[0.0, 0.0, 0.0, 35.0, 16.25, 16.25, 16.25, 16.25],
    );
    out(&service, &members, 3);
    assert_shares(
        &shares(&service, &members, now),
        &[0.0, 0.0, 0.0, 0.0, 25.0, 25.0, 25.0, 25.0],
    );
    let chosen = choose(&service, &members, 1, now);
    assert_eq!(chosen.away, Some(Away::Level));
    // They come back by time alone.
    let later = moment(NOW + 31_000);
    assert_shares(
        &shares(&service, &members, later)[4..],
        &[0.0, 0.0, 0.0, 0.0],
    );
}

#[test]
fn nobody_is_fit_and_everybody_helps() {
    let service = service(Balance::RoundRobin);
    let all = endpoints(&[(0, "", 2), (1, "", 2)]);
    let members = Members::compile(&service, &all, moment(NOW));
    for index in 0..4 {
        eject(&members, index, moment(NOW));
    }
    assert_shares(&shares(&service, &members, moment(NOW)), &[25.0; 4]);
}

#[test]
fn the_own_zone_keeps_what_it_can_carry() {
    let mut service = service(Balance::Random);
    service.zone = Some("a".into());
    let of = |places: &[(u8, &str, usize)], service: &Service| {
        let members = Members::compile(service, &endpoints(places), moment(NOW));
        let shares = shares(service, &members, moment(NOW));
        let own = members.endpoints.iter().zip(&shares);
        own.filter(|(it, _)| it.endpoint.zone == "a")
            .map(|(_, share)| share)
            .sum::<f64>()
    };
    for (places, expected) in [
        (&[(0, "a", 3), (0, "b", 3), (0, "c", 3)][..], 100.0),
        // 1.4 × 2/8 × 3 zones.
        (&[(0, "a", 2), (0, "b", 3), (0, "c", 3)], 100.0),
        // 1.4 × 1/10 × 2 zones.
        (&[(0, "a", 1), (0, "b", 9)], 28.0),
        (&[(0, "b", 9)], 0.0),
        (&[(0, "a", 2)], 100.0),
        // Those of no known zone are no zone of their own.
        (&[(0, "a", 1), (0, "", 9)], 14.0),
    ] {
        let own = of(places, &service);
        assert!(
            (own - expected).abs() < 1.5,
            "{places:?}: {own} is not {expected}"
        );
    }
    service.overprovisioning = Ratio::WHOLE;
    let own = of(&[(0, "a", 2), (0, "b", 3), (0, "c", 3)], &service);
    assert!((own - 75.0).abs() < 1.5, "{own}");
    service.zone = None;
    let own = of(&[(0, "a", 3), (0, "b", 3)], &service);
    assert!(
        (own - 50.0).abs() < 1.5,
        "who knows no zone prefers none: {own}"
    );
}

#[test]
fn a_zone_that_fails_spills_over() {
    let mut service = service(Balance::Random);
    service.zone = Some("a".into());
    let all = endpoints(&[(0, "a", 2), (0, "b", 2)]);
    let members = Members::compile(&service, &all, moment(NOW));
    let now = moment(NOW);
    assert_shares(&shares(&service, &members, now), &[50.0, 50.0, 0.0, 0.0]);
    // One of three that are fit: 1.4 × 1/3 × 2 zones = 93 %.
    out(&service, &members, 0);
    assert_shares(&shares(&service, &members, now), &[0.0, 93.3, 3.3, 3.3]);
    out(&service, &members, 1);
    assert_shares(&shares(&service, &members, now), &[0.0, 0.0, 50.0, 50.0]);
    assert_eq!(choose(&service, &members, 1, now).away, Some(Away::Zone));
}

#[test]
fn another_attempt_leaves_the_zone_rather_than_repeat() {
    let mut service = service(Balance::RoundRobin);
    service.zone = Some("a".into());
    let all = endpoints(&[(0, "a", 1), (0, "b", 1), (1, "a", 1)]);
    let members = Members::compile(&service, &all, moment(NOW));
    let mut tried = Tried::default();
    for expected in [None, Some(Away::Zone), Some(Away::Level)] {
        let asks = Asks::default();
        let chosen = pick(&service, &members, &asks, &tried, 1, moment(NOW), &mut ()).unwrap();
        assert_eq!(chosen.away, expected);
        tried.add(&chosen.member);
    }
}

#[test]
fn a_new_endpoint_gets_its_share_little_by_little() {
    for balance in [
        Balance::LeastRequest,
        Balance::PeakEwma,
        Balance::Random,
        Balance::RoundRobin,
    ] {
        let mut service = service(balance);
        service.slow_start = Some(Duration::from_secs(30));
        let all = endpoints(&[(0, "", 4)]);
        let before = Members::compile(&service, &all[..3], moment(NOW));
        let third = 100.0 / 3.0;
        assert_shares(&shares(&service, &before, moment(NOW)), &[third; 3]);
        let members = Members::compile(&service, &all, moment(NOW));
        drop(before);
        let share = |millis: u64| shares(&service, &members, moment(NOW + millis))[3];
        let method = service.balance.as_str();
        let (start, half, full) = (share(0), share(15_000), share(30_000));
        // A tenth of its weight beside three whole ones is 3.2 %, half of it is 14.3 %.
        assert!((2.0..4.5).contains(&start), "{method}: {start}");
        assert!((11.5..16.0).contains(&half), "{method}: {half}");
        assert!((23.5..26.5).contains(&full), "{method}: {full}");
    }
}

#[test]
fn who_recovers_starts_slowly_too() {
    let mut service = service(Balance::Random);
    service.slow_start = Some(Duration::from_secs(30));
    let mut all = endpoints(&[(0, "", 4)]);
    let members = Members::compile(&service, &all, moment(NOW));
    out(&service, &members, 0);
    assert!(shares(&service, &members, moment(NOW + 30_000))[0] < 4.5);
    let checked = &members.endpoints[1].live;
    let plan = HealthPlan::compile(&HealthCheck::of(Probe::Tcp(())));
    let passes = |passed, millis| {
        for _ in 0..plan.fall.max(plan.rise) {
            checked.check(passed, &plan, moment(NOW + millis));
        }
    };
    passes(true, 0);
    assert_eq!(checked.since(), None, "the first check changes nothing");
    passes(false, 0);
    assert_eq!(
        shares(&service, &members, moment(NOW + 90_000))[1],
        0.0,
        "a check says so"
    );
    passes(true, 90_000);
    assert!(shares(&service, &members, moment(NOW + 90_000))[1] < 4.5);
    // Discovery says so.
    all[2].healthy = false;
    let members = Members::compile(&service, &all, moment(NOW + 200_000));
    assert_eq!(shares(&service, &members, moment(NOW + 200_000))[2], 0.0);
    all[2].healthy = true;
    let members = Members::compile(&service, &all, moment(NOW + 200_000));
    assert!(shares(&service, &members, moment(NOW + 200_000))[2] < 4.5);
    assert_shares(
        &shares(&service, &members, moment(NOW + 300_000)),
        &[25.0; 4],
    );
}

#[test]
fn who_returns_while_a_request_is_still_there_starts_slowly() {
    let mut service = service(Balance::Random);
    service.slow_start = Some(Duration::from_secs(30));
    let all = endpoints(&[(0, "", 2)]);
    let before = Members::compile(&service, &all, moment(NOW));
    let mut draws = 0..;
    let second = |chosen: &Chosen| Arc::ptr_eq(&chosen.member, &before.endpoints[1]);
    let busy = draws.find_map(|draw| {
        let chosen = choose(&service, &before, draw, moment(NOW));
        second(&chosen).then_some(chosen)
    });
    let without = Members::compile(&service, &all[..1], moment(NOW));
    drop(before);
    let members = Members::compile(&service, &all, moment(NOW + 50_000));
    drop(without);
    let returned = &members.endpoints[1].live;
    assert!(Arc::ptr_eq(returned, &busy.as_ref().unwrap().member.live));
    let share = shares(&service, &members, moment(NOW + 50_000))[1];
    assert!((6.0..12.0).contains(&share), "{share}");
    let kept = shares(&service, &members, moment(NOW + 80_000))[1];
    assert!((48.0..52.0).contains(&kept), "{kept}");
}

/// Endpoints come, go, fail and recover: whoever is chosen is there, and was not tried while there
/// was another; shares are whole; nothing stays in flight.
#[test]
fn churn() {
    for seed in 0..40_u64 {
        let mut dice = seed;
        let mut roll = |bound: u64| {
            dice = mix(dice);
            dice % bound
        };
        let methods = [
            Balance::LeastRequest,
            Balance::PeakEwma,
            Balance::Random,
            Balance::RoundRobin,
        ];
        let mut service = service(methods[roll(4) as usize].clone());
        service.zone = (roll(2) == 0).then(|| "a".into());
        service.slow_start = (roll(2) == 0).then(|| Duration::from_secs(10));
        let pool = endpoints(&[(0, "a", 4), (0, "b", 4), (1, "a", 3), (2, "", 3)]);
        let mut now = NOW;
        let mut members = Members::compile(&service, &pool, moment(now));
        let mut held: Vec<Chosen> = Vec::new();
        for _ in 0..300 {
            now += roll(2_000);
            match roll(8) {
                0 => {
                    let mut some = pool.clone();
                    some.retain(|_| roll(3) > 0);
                    for endpoint in &mut some {
                        endpoint.healthy = roll(5) > 0;
                    }
                    members = Members::compile(&service, &some, moment(now));
                }
                1 if !members.endpoints.is_empty() => {
                    let index = roll(members.endpoints.len() as u64) as usize;
                    ejected(&service, &members.endpoints[index], moment(now));
                }
                2 => held.clear(),
                _ => {
                    let mut tried = Tried::default();
                    for attempt in 0..members.endpoints.len().min(4) {
                        let draw = roll(u64::MAX);
                        let picked = pick(
                            &service,
                            &members,
                            &Asks::default(),
                            &tried,
                            draw,
                            moment(now),
                            &mut (),
                        );
                        let chosen = picked.unwrap();
                        let here = members
                            .endpoints
                            .iter()
                            .any(|it| Arc::ptr_eq(it, &chosen.member));
                        assert!(here, "seed {seed}");
                        let fit = |it: &&Arc<Member>| it.is_fit(moment(now)) && !tried.has(it);
                        let another = members.endpoints.iter().any(|it| fit(&it));
                        assert!(
                            !another || !tried.has(&chosen.member),
                            "seed {seed}, {attempt}"
                        );
                        tried.add(&chosen.member);
                        held.push(chosen);
                    }
                }
            }
        }
        held.clear();
        assert!(
            members.endpoints.iter().all(|it| it.live.in_flight() == 0),
            "seed {seed}"
        );
    }
}

fn methods() -> [Balance; 6] {
    let by = LimitKey::Path;
    let ring = RingHash {
        by: by.clone(),
        load_max: None,
    };
    let maglev = Maglev {
        by,
        load_max: None,
        table: 65_537,
    };
    [
        Balance::LeastRequest,
        Balance::Maglev(maglev),
        Balance::PeakEwma,
        Balance::Random,
        Balance::RingHash(ring),
        Balance::RoundRobin,
    ]
}

/// The endpoint of each request, by its place in the list; where the method hashes, each request
/// has a key of its own.
fn asked(service: &Service, members: &Members, subset: Option<SubsetId>, dice: u64) -> Vec<usize> {
    let one = |request: u64| {
        let asks = Asks {
            key: service.balance.key().map(|_| mix(!request)),
            subset,
            ..Asks::default()
        };
        let (draw, tried) = (mix(request ^ dice), Tried::default());
        let chosen = pick(service, members, &asks, &tried, draw, moment(NOW), &mut ()).unwrap();
        let mut members = members.endpoints.iter();
        let same = |it: &Arc<Member>| Arc::ptr_eq(it, &chosen.member);
        members.position(same).unwrap()
    };
    (0..REQUESTS).map(one).collect()
}

fn share_from(asked: &[usize], first: usize) -> f64 {
    let there = asked.iter().filter(|index| **index >= first).count();
    there as f64 * 100.0 / asked.len() as f64
}

#[test]
fn every_method_respects_levels() {
    for balance in methods() {
        let service = service(balance);
        let method = service.balance.as_str();
        let all = endpoints(&[(0, "", 4), (1, "", 4)]);
        let members = Members::compile(&service, &all, moment(NOW));
        let first = asked(&service, &members, None, 0);
        assert_eq!(share_from(&first, 4), 0.0, "{method}");
        assert_eq!(BTreeSet::from_iter(first.iter().copied()).len(), 4);
        out(&service, &members, 0);
        out(&service, &members, 1);
        let then = asked(&service, &members, None, 0);
        let spilled = share_from(&then, 4);
        assert!((spilled - 30.0).abs() < 1.5, "{method}: {spilled}");
        assert!(then.iter().all(|index| *index > 1), "{method}");
        if service.balance.key().is_some() {
            // A key of one that is fit stays there, or goes where its level cannot carry it.
            let moved = first.iter().zip(&then);
            let moved = moved.filter(|(old, new)| old != new && **old > 1 && **new < 4);
            let moved = moved.count() as f64 / REQUESTS as f64;
            assert!(moved < 0.02, "{method}: {moved}");
            assert_eq!(asked(&service, &members, None, 1 << 40), then, "{method}");
        }
    }
}

#[test]
fn a_subset_has_levels_of_its_own() {
    for balance in methods() {
        let mut service = service(balance);
        let labels = [("version".to_owned(), "v2".to_owned())];
        service.subsets = vec![labels.into_iter().collect()];
        let mut all = endpoints(&[(0, "", 2), (3, "", 2), (7, "", 2)]);
        for endpoint in &mut all[2..] {
            endpoint.labels = service.subsets[0].iter().cloned().collect();
        }
        let members = Members::compile(&service, &all, moment(NOW));
        let method = service.balance.as_str();
        let whole = asked(&service, &members, None, 0);
        assert!(whole.iter().all(|index| *index < 2), "{method}");
        let subset = asked(&service, &members, Some(SubsetId(0)), 0);
        let expected = |index: &usize| (2..4).contains(index);
        assert!(subset.iter().all(expected), "{method}");
        assert_eq!(BTreeSet::from_iter(subset).len(), 2, "{method}");
    }
}

#[test]
fn an_open_breaker_is_no_help_to_its_level() {
    let mut service = service(Balance::Random);
    service.breaker = Some(Breaker {
        scope: BreakerScope::Endpoint,
        consecutive: 1,
        ..breaker()
    });
    let all = endpoints(&[(0, "", 2), (1, "", 2)]);
    let members = Members::compile(&service, &all, moment(NOW));
    let now = moment(NOW);
    assert_shares(&shares(&service, &members, now), &[50.0, 50.0, 0.0, 0.0]);
    let plan = service.breaker_of(BreakerScope::Endpoint).unwrap();
    let trip = |index: usize, at: Moment| {
        let others = members.endpoints.iter().enumerate();
        let others = others.filter(|(other, _)| *other != index);
        let tried = Tried(others.map(|(_, member)| member.clone()).collect());
        let chosen = pick(&service, &members, &Asks::default(), &tried, 1, at, &mut ()).unwrap();
        let came = Came {
            failed: true,
            slow: false,
        };
        chosen.settle(plan, &service.live, came, at);
    };
    trip(0, now);
    // It is fit, and gets nothing; seen with the next look at the shares.
    let soon = moment(NOW + 100);
    assert_shares(&shares(&service, &members, soon), &[0.0, 70.0, 15.0, 15.0]);
    trip(1, soon);
    let soon = moment(NOW + 200);
    assert_shares(&shares(&service, &members, soon), &[0.0, 0.0, 50.0, 50.0]);
    trip(2, soon);
    trip(3, soon);
    let soon = moment(NOW + 300);
    let refused = pick(
        &service,
        &members,
        &Asks::default(),
        &Tried::default(),
        1,
        soon,
        &mut (),
    );
    assert_eq!(refused.unwrap_err().code, Code::BreakerOpen);
}

#[test]
fn panic_is_of_a_level_and_only_when_the_others_cannot_help() {
    let service = service(Balance::Random);
    let at = moment(NOW);
    // One of four is less than half, but the next level is whole.
    let all = endpoints(&[(0, "", 4), (1, "", 4)]);
    let members = Members::compile(&service, &all, at);
    for index in 0..3 {
        eject(&members, index, at);
    }
    let helped = shares(&service, &members, at);
    assert_shares(&helped[..4], &[0.0, 0.0, 0.0, 35.0]);
    // The next level has one left as well: both use all they have.
    for index in 4..7 {
        eject(&members, index, at);
    }
    let later = moment(NOW + 100);
    assert_shares(&shares(&service, &members, later), &[12.5; 8]);
    // Half is enough.
    let service = self::service(Balance::Random);
    let all = endpoints(&[(0, "", 2), (1, "", 2)]);
    let members = Members::compile(&service, &all, at);
    eject(&members, 0, at);
    eject(&members, 2, at);
    assert_shares(&shares(&service, &members, at), &[0.0, 70.0, 0.0, 30.0]);
}

#[test]
fn shares_hold_at_the_bounds_of_weights() {
    let mut service = service(Balance::Random);
    service.zone = Some("z0".into());
    service.overprovisioning = Ratio(10_000);
    let mut all = Vec::new();
    for number in 0..ENDPOINTS_MAX {
        all.push(Endpoint {
            weight: ENDPOINT_WEIGHT_MAX,
            zone: format!("z{number}"),
            ..Endpoint::plain(format!("10.1.{}.{}:80", number / 250, number % 250))
        });
    }
    let members = Members::compile(&service, &all, moment(NOW));
    let said = members.division(&service, &Asks::default(), moment(NOW));
    assert_eq!(
        said.unwrap(),
        "its requests go to priority 0 in zone \"z0\" by 100.0 %, \
         priority 0 outside of zone \"z0\" by 0.0 %"
    );
}

#[test]
fn a_session_stays_away_from_its_zone() {
    let mut service = service(Balance::RoundRobin);
    service.zone = Some("a".into());
    service.sticky = Some(Sticky {
        cookie: "s".to_owned(),
        ttl: None,
        key: None,
    });
    let all = endpoints(&[(0, "a", 1), (1, "b", 1)]);
    let members = Members::compile(&service, &all, moment(NOW));
    let asks = Asks {
        session: Some(members.endpoints[1].session),
        ..Asks::default()
    };
    let tried = Tried::default();
    let chosen = pick(&service, &members, &asks, &tried, 1, moment(NOW), &mut ()).unwrap();
    assert_eq!(chosen.member.endpoint.address, all[1].address);
    assert_eq!(chosen.away, None);
    // Nothing is divided here.
    let members = Members::compile(&service, &all[1..], moment(NOW));
    let chosen = pick(&service, &members, &asks, &tried, 1, moment(NOW), &mut ()).unwrap();
    assert_eq!(chosen.away, None, "it has not left");
    let chosen = choose(&service, &members, 1, moment(NOW));
    assert_eq!(chosen.away, Some(Away::Zone));
}

#[test]
fn one_level_panics_as_if_there_were_no_zones() {
    let mut service = service(Balance::Random);
    service.zone = Some("a".into());
    service.overprovisioning = Ratio(3_000);
    let all = endpoints(&[(0, "a", 2), (0, "b", 1)]);
    let members = Members::compile(&service, &all, moment(NOW));
    eject(&members, 0, moment(NOW));
    eject(&members, 2, moment(NOW));
    // The one that is fit is able to carry three times its share, but less than half is fit.
    assert_shares(&shares(&service, &members, moment(NOW)), &[50.0, 50.0, 0.0]);
}

#[test]
fn other_levels_are_other_chances() {
    let service = service(Balance::RoundRobin);
    let all = endpoints(&[(0, "", 1), (1, "", 1), (2, "", 2)]);
    let members = Members::compile(&service, &all, moment(NOW));
    assert_eq!(choose(&service, &members, 1, moment(NOW)).choices(), 4);
}

#[test]
fn a_bound_on_load_is_of_what_a_level_gets() {
    let mut service = service(Balance::RingHash(RingHash {
        by: LimitKey::Path,
        load_max: Some(Ratio(1_250)),
    }));
    service.requests_max = 100;
    let all = endpoints(&[(0, "", 4), (1, "", 4)]);
    let members = Members::compile(&service, &all, moment(NOW));
    out(&service, &members, 0);
    out(&service, &members, 1);
    let class = Criticality::Default;
    let enter = |_| service.live.enter(&service, class, moment(NOW)).unwrap();
    let _permits: Vec<_> = (0..100).map(enter).collect();
    let with_key = |key| {
        let asks = Asks {
            key: Some(key),
            ..Asks::default()
        };
        let tried = Tried::default();
        pick(&service, &members, &asks, &tried, 1, moment(NOW), &mut ()).unwrap()
    };
    let spilled = |key: &u64| with_key(*key).away == Some(Away::Level);
    let key = (0..).map(mix).find(spilled).unwrap();
    // 30 of 100 for four endpoints: 9.375 each, rounded up.
    let first = with_key(key);
    let mut held = vec![with_key(key)];
    while Arc::ptr_eq(&held[held.len() - 1].member, &first.member) {
        held.push(with_key(key));
    }
    assert_eq!(held.len(), 10, "the first and nine more, and one elsewhere");
}

#[test]
fn two_choices_compare_by_what_counts_of_the_weights() {
    let mut service = service(Balance::LeastRequest);
    service.slow_start = Some(Duration::from_secs(30));
    let all = endpoints(&[(0, "", 2)]);
    let before = Members::compile(&service, &all[..1], moment(NOW));
    let members = Members::compile(&service, &all, moment(NOW));
    drop(before);
    // Five requests at the old one are less than one at a tenth of the new one.
    (0..5).for_each(|_| members.endpoints[0].live.begin());
    members.endpoints[1].live.begin();
    let shares_now = shares(&service, &members, moment(NOW));
    assert!(shares_now[1] < 1.0, "{shares_now:?}");
    let later = moment(NOW + 30_000);
    assert!(shares(&service, &members, later)[1] > 99.0);
}

#[test]
fn many_new_endpoints_share_with_one_old_one_by_their_small_weights() {
    for balance in [Balance::Random, Balance::RoundRobin] {
        let mut service = service(balance);
        service.slow_start = Some(Duration::from_secs(30));
        let all = endpoints(&[(0, "", 10)]);
        let before = Members::compile(&service, &all[..1], moment(NOW));
        let members = Members::compile(&service, &all, moment(NOW));
        drop(before);
        let shares_now = shares(&service, &members, moment(NOW));
        // One against nine tenths is 52.6 %; a little less, as not every draw can wait.
        assert!((40.0..55.0).contains(&shares_now[0]), "{shares_now:?}");
        // All of them new: each like the others, however little counts.
        let fresh = endpoints(&[(0, "x", 20)]).split_off(10);
        let replaced = Members::compile(&service, &fresh, moment(NOW));
        drop(members);
        assert_shares(&shares(&service, &replaced, moment(NOW)), &[10.0; 10]);
    }
}
