//! Who is chosen: the four methods, fitness, panic, and requests that try again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use weir_config::balance::Balance;
use weir_config::endpoint::Endpoint;
use weir_config::units::Percent;

use super::random::mix;
use super::{Asks, Away, Chosen, Members, Tried};
use crate::live::sample::{members, moment, outlier, service};
use crate::moment::Moment;
use crate::note::Note;
use crate::refusal::{Code, Refusal};
use crate::snapshot::Service;

mod hashing;
mod places;
mod sessions;

const NOW: u64 = 1_000;

fn pick(
    service: &Service,
    members: &Members,
    tried: &Tried,
    draw: u64,
    at: Moment,
    note: &mut impl Note,
) -> Result<Chosen, Refusal> {
    super::pick(service, members, &Asks::default(), tried, draw, at, note)
}

fn choose(service: &Service, members: &Members, tried: &Tried, draw: u64) -> Chosen {
    pick(service, members, tried, draw, moment(NOW), &mut ()).unwrap()
}

/// How often each endpoint is chosen in so many requests that end at once.
fn shares(service: &Service, members: &Members, requests: u64) -> Vec<u64> {
    let mut shares = vec![0; members.endpoints.len()];
    for request in 0..requests {
        let chosen = choose(service, members, &Tried::default(), mix(request));
        let place = members
            .endpoints
            .iter()
            .position(|member| member.endpoint.address == chosen.member.endpoint.address);
        shares[place.unwrap()] += 1;
    }
    shares
}

fn eject(members: &Members, index: usize, at: Moment) {
    members.endpoints[index].live.ejection.eject(&outlier(), at);
}

#[test]
fn no_endpoint_is_refused() {
    for balance in [
        Balance::LeastRequest,
        Balance::PeakEwma,
        Balance::Random,
        Balance::RoundRobin,
    ] {
        let service = service(balance.clone());
        let none = Members::compile(&service, &[], moment(0));
        let refused = pick(&service, &none, &Tried::default(), 1, moment(NOW), &mut ());
        assert_eq!(refused.unwrap_err().code, Code::NoEndpoint);
    }
}

#[test]
fn round_robin_gives_exact_shares() {
    let service = service(Balance::RoundRobin);
    assert_eq!(
        shares(&service, &members(&service, &[1, 1, 1]), 300),
        [100, 100, 100]
    );
    assert_eq!(
        shares(&service, &members(&service, &[5, 1, 1]), 700),
        [500, 100, 100]
    );
    assert_eq!(
        shares(&service, &members(&service, &[95, 5]), 2_000),
        [1_900, 100]
    );
}

#[test]
fn round_robin_spreads_the_turns_of_one_that_is_out() {
    let service = service(Balance::RoundRobin);
    let members = members(&service, &[1, 1, 1, 1]);
    eject(&members, 1, moment(NOW));
    assert_eq!(shares(&service, &members, 300), [100, 0, 100, 100]);
}

#[test]
fn random_follows_weights() {
    let service = service(Balance::Random);
    let shares = shares(&service, &members(&service, &[8, 1, 1]), 10_000);
    assert!((7_700..8_300).contains(&shares[0]), "{shares:?}");
    assert!((800..1_200).contains(&shares[1]), "{shares:?}");
}

#[test]
fn the_same_draw_chooses_the_same() {
    for balance in [Balance::LeastRequest, Balance::PeakEwma, Balance::Random] {
        let service = service(balance.clone());
        let members = members(&service, &[3, 2, 1, 1, 1]);
        for draw in (0..50).map(mix) {
            let one = choose(&service, &members, &Tried::default(), draw)
                .member
                .clone();
            let two = choose(&service, &members, &Tried::default(), draw)
                .member
                .clone();
            assert_eq!(one.endpoint.address, two.endpoint.address);
        }
    }
}

#[test]
fn least_request_prefers_the_idle_one() {
    let service = service(Balance::LeastRequest);
    let two = members(&service, &[1, 1]);
    // With two endpoints both are always drawn: the idle one wins every time.
    let busy = choose(&service, &two, &Tried::default(), 7);
    for draw in (0..100).map(mix) {
        let chosen = choose(&service, &two, &Tried::default(), draw);
        assert_ne!(chosen.member.endpoint.address, busy.member.endpoint.address);
    }
    drop(busy);
    // Held requests spread as the weights say.
    let weighted = members(&service, &[3, 1]);
    let held: Vec<_> = (0..400)
        .map(|draw| choose(&service, &weighted, &Tried::default(), mix(draw)))
        .collect();
    let first = weighted.endpoints[0].live.in_flight();
    assert!(
        (295..=305).contains(&first),
        "{first} of 400 at weight 3 to 1"
    );
    drop(held);
    assert_eq!(
        weighted.endpoints[0].live.in_flight(),
        0,
        "dropping gives back"
    );
}

#[test]
fn peak_ewma_avoids_the_slow_one() {
    let service = service(Balance::PeakEwma);
    let members = members(&service, &[1, 1, 1]);
    for (member, millis) in members.endpoints.iter().zip([1, 1, 200]) {
        member
            .live
            .latency
            .observe(Duration::from_millis(millis), moment(NOW));
    }
    assert_eq!(
        shares(&service, &members, 900)[2],
        0,
        "each pair has a faster one"
    );
    let only_slow = Tried(members.endpoints[..2].iter().cloned().collect());
    let chosen = choose(&service, &members, &only_slow, 3);
    assert_eq!(chosen.member.endpoint.address, "10.0.0.3:80");
}

#[test]
fn tried_endpoints_come_last() {
    for balance in [
        Balance::LeastRequest,
        Balance::PeakEwma,
        Balance::Random,
        Balance::RoundRobin,
    ] {
        let service = service(balance.clone());
        let members = members(&service, &[1000, 1, 1]);
        for draw in (0..60).map(mix) {
            let mut tried = Tried::default();
            for _ in 0..3 {
                let chosen = choose(&service, &members, &tried, draw);
                assert!(
                    !tried.has(&chosen.member),
                    "{balance:?}: another while there is one"
                );
                tried.add(&chosen.member);
            }
            // All were tried: one of them again rather than none.
            let chosen = choose(&service, &members, &tried, draw);
            assert!(tried.has(&chosen.member));
        }
    }
}

#[test]
fn a_request_is_not_lost_when_the_membership_changes_under_it() {
    let service = service(Balance::RoundRobin);
    let before = members(&service, &[1, 1]);
    let mut tried = Tried::default();
    tried.add(&before.endpoints[0]);
    let after = members(&service, &[1, 1, 1]);
    assert!(tried.has(&after.endpoints[0]), "known by its address");
    drop(before);
    assert!(tried.has(&after.endpoints[0]));
    assert_eq!(service.live.endpoints().len(), 3);
    drop((after, tried));
    let fewer = members(&service, &[1]);
    assert_eq!(
        service.live.endpoints().len(),
        1,
        "what nobody holds is forgotten"
    );
    drop(fewer);
}

#[test]
fn unhealthy_endpoints_are_left_alone_until_panic() {
    for balance in [
        Balance::LeastRequest,
        Balance::PeakEwma,
        Balance::Random,
        Balance::RoundRobin,
    ] {
        let service = service(balance.clone());
        let endpoints: Vec<Endpoint> = (1..=4)
            .map(|number| Endpoint {
                healthy: number > 1,
                ..Endpoint::plain(format!("10.0.0.{number}:80"))
            })
            .collect();
        let members = Members::compile(&service, &endpoints, moment(0));
        assert_eq!(shares(&service, &members, 400)[0], 0, "{balance:?}");
        eject(&members, 1, moment(NOW));
        let shares_now = shares(&service, &members, 400);
        assert_eq!(
            shares_now[..2],
            [0, 0],
            "{balance:?}: half is fit, no panic yet"
        );
        eject(&members, 2, moment(NOW));
        let shares_now = shares(&service, &members, 400);
        assert!(
            shares_now.iter().all(|share| *share > 40),
            "{balance:?} in panic: {shares_now:?}"
        );
        eject(&members, 3, moment(NOW));
        assert!(
            shares(&service, &members, 400)
                .iter()
                .all(|share| *share > 40),
            "{balance:?}"
        );
    }
}

#[test]
fn ejection_ends_by_itself() {
    let service = service(Balance::RoundRobin);
    let members = members(&service, &[1, 1, 1]);
    eject(&members, 0, moment(NOW));
    assert_eq!(shares(&service, &members, 30)[0], 0);
    let later = moment(NOW + 30_000);
    let picked: Vec<_> = (0..3)
        .map(|draw| pick(&service, &members, &Tried::default(), draw, later, &mut ()).unwrap())
        .map(|chosen| chosen.member.endpoint.address.clone())
        .collect();
    assert!(picked.contains(&"10.0.0.1:80".to_owned()), "{picked:?}");
}

#[test]
fn panic_of_zero_never_uses_unfit_endpoints() {
    let mut service = service(Balance::Random);
    service.outlier.panic = Percent(0);
    let members = members(&service, &[1, 1]);
    eject(&members, 0, moment(NOW));
    assert_eq!(shares(&service, &members, 50)[0], 0);
    eject(&members, 1, moment(NOW));
    let refused = pick(
        &service,
        &members,
        &Tried::default(),
        1,
        moment(NOW),
        &mut (),
    );
    assert_eq!(refused.unwrap_err().code, Code::NoEndpoint);
}

#[test]
fn the_choice_is_told() {
    let service = service(Balance::RoundRobin);
    let members = members(&service, &[1]);
    let mut recorder = crate::note::Recorder::default();
    let tried = Tried(members.endpoints.iter().cloned().collect());
    pick(&service, &members, &tried, 0, moment(NOW), &mut recorder).unwrap();
    let said = &recorder.steps[0].said;
    assert_eq!(
        said,
        "10.0.0.1:80 by round-robin, one of 1, though it was tried before"
    );
}

#[test]
fn members_can_be_shared_and_sent() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Members>();
    is_shared::<Chosen>();
    is_shared::<crate::pipeline::Permit>();
}
