//! Consistent hashing: whose key goes where, and what moves when an endpoint goes.

use std::collections::HashSet;
use std::net::SocketAddr;

use pingora_ketama::{Bucket, Continuum};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, proptest};
use weir_config::balance::{Balance, Maglev, RingHash};
use weir_config::criticality::Criticality;
use weir_config::endpoint::Endpoint;
use weir_config::limit::LimitKey;
use weir_config::units::Ratio;

use super::super::table;
use super::{Asks, Chosen, Members, NOW, Tried, eject, pick};
use crate::live::sample::{members, moment, service};
use crate::snapshot::Service;

fn ring(load_max: Option<Ratio>) -> Balance {
    let by = LimitKey::Path;
    Balance::RingHash(RingHash { by, load_max })
}

fn maglev(load_max: Option<Ratio>) -> Balance {
    Balance::Maglev(Maglev {
        by: LimitKey::Path,
        load_max,
        table: 65_537,
    })
}

fn both() -> [Balance; 2] {
    [ring(None), maglev(None)]
}

fn key(service: &Service, key: u32) -> Asks {
    Asks {
        key: Some(table::hash(
            &service.balance,
            format!("/user/{key}").as_bytes(),
        )),
        ..Asks::default()
    }
}

fn choose(service: &Service, members: &Members, asks: &Asks, tried: &Tried) -> Chosen {
    let draw = u64::from(asks.key.is_none());
    super::super::pick(service, members, asks, tried, draw, moment(NOW), &mut ()).unwrap()
}

/// The address of each key.
fn owners(service: &Service, members: &Members, keys: u32) -> Vec<String> {
    let owner = |number| {
        let chosen = choose(service, members, &key(service, number), &Tried::default());
        chosen.member.endpoint.address.clone()
    };
    (0..keys).map(owner).collect()
}

fn share(owners: &[String], address: &str) -> f64 {
    owners.iter().filter(|owner| *owner == address).count() as f64 / owners.len() as f64
}

#[test]
fn shares_are_even_and_follow_weights() {
    for (balance, tolerance) in [(ring(None), 0.2), (maglev(None), 0.05)] {
        let service = service(balance);
        let even = members(&service, &[1; 10]);
        let of_even = owners(&service, &even, 50_000);
        for member in &even.endpoints {
            let share = share(&of_even, &member.endpoint.address);
            assert!(
                (share / 0.1 - 1.0).abs() < tolerance,
                "{:?} {share}",
                service.balance
            );
        }
        let weighted = members(&service, &[6, 3, 1]);
        let of_weighted = owners(&service, &weighted, 50_000);
        for (member, wanted) in weighted.endpoints.iter().zip([0.6, 0.3, 0.1]) {
            let share = share(&of_weighted, &member.endpoint.address);
            assert!(
                (share / wanted - 1.0).abs() < tolerance,
                "{:?} {share}",
                service.balance
            );
        }
    }
}

#[test]
fn the_lightest_of_many_has_a_place() {
    let service = service(Balance::Maglev(Maglev {
        by: LimitKey::Path,
        load_max: None,
        table: 251,
    }));
    let uneven = members(&service, &[1000, 1]);
    let owners_uneven: HashSet<_> = owners(&service, &uneven, 20_000).into_iter().collect();
    assert_eq!(owners_uneven.len(), 2);
    // More endpoints than places: the table grows.
    let many = members(&service, &[1; 300]);
    let owners: HashSet<_> = owners(&service, &many, 20_000).into_iter().collect();
    assert_eq!(owners.len(), 300);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The keys of an endpoint that goes are taken by others; hardly any other key moves.
    #[test]
    fn what_goes_takes_only_its_own_keys(
        weights in prop::collection::vec(1..5_u32, 2..40),
        gone in any::<prop::sample::Index>(),
    ) {
        for (balance, moved_max) in [(ring(None), 0.0), (maglev(None), 0.08)] {
            let service = service(balance);
            let before = members(&service, &weights);
            let mut left: Vec<_> = before.endpoints.iter().map(|it| it.endpoint.clone()).collect();
            let gone = left.remove(gone.index(left.len())).address;
            let after = Members::compile(&service, &left, moment(0));
            let (old, new) = (owners(&service, &before, 2_000), owners(&service, &after, 2_000));
            let stay = old.iter().zip(&new).filter(|(old, _)| **old != gone);
            let moved = stay.filter(|(old, new)| old != new).count();
            prop_assert!(moved as f64 <= moved_max * 2_000.0, "{moved} {:?}", service.balance);
            prop_assert!(!new.contains(&gone));
        }
    }

    /// The ring is that of pingora-ketama, which is that of nginx.
    #[test]
    fn the_ring_is_the_one_of_nginx(
        weights in prop::collection::vec(1..20_u32, 1..30),
        keys in prop::collection::vec("\\PC{0,20}", 50),
    ) {
        let service = service(ring(None));
        let own = members(&service, &weights);
        let theirs = ring_of_nginx(&own);
        for key in keys {
            prop_assert!(agree(&service, &own, &theirs, &key), "{key:?}");
        }
    }
}

#[test]
fn a_small_ring_is_the_one_of_nginx_in_every_point() {
    let service = service(ring(None));
    let own = members(&service, &[3, 1, 2]);
    let theirs = ring_of_nginx(&own);
    // Some thirty keys for each point.
    for key in 0..30_000 {
        let key = format!("/user/{key}");
        assert!(agree(&service, &own, &theirs, &key), "{key}");
    }
}

fn ring_of_nginx(own: &Members) -> Continuum {
    let bucket = |it: &Endpoint| Bucket::new(it.address.parse().unwrap(), it.weight);
    let endpoints = own.endpoints.iter();
    let buckets: Vec<_> = endpoints.map(|it| bucket(&it.endpoint)).collect();
    Continuum::new(&buckets)
}

/// Whether a key has the same owner on both rings. Where points of two endpoints fall together,
/// either may have the place.
fn agree(service: &Service, own: &Members, theirs: &Continuum, key: &str) -> bool {
    let asks = Asks {
        key: Some(table::hash(&service.balance, key.as_bytes())),
        ..Asks::default()
    };
    let chosen = choose(service, own, &asks, &Tried::default());
    let owner = &chosen.member.endpoint;
    let other = theirs.node(key.as_bytes()).unwrap();
    if other == owner.address.parse::<SocketAddr>().unwrap() {
        return true;
    }
    let mut others = own.endpoints.iter().map(|it| &it.endpoint);
    let other = others.find(|it| it.address == other.to_string());
    meet(owner, other.unwrap())
}

/// Whether two endpoints have a point of the ring in common.
fn meet(one: &Endpoint, other: &Endpoint) -> bool {
    let points = |of: &Endpoint| {
        let mut base = crc32fast::Hasher::new();
        base.update(of.address.replace(':', "\0").as_bytes());
        let next = |place: &u32| {
            let mut point = base.clone();
            point.update(&place.to_le_bytes());
            Some(point.finalize())
        };
        let points = std::iter::successors(Some(0), next).skip(1);
        points
            .take(of.weight as usize * 160)
            .collect::<HashSet<u32>>()
    };
    !points(one).is_disjoint(&points(other))
}

#[test]
fn an_unfit_endpoint_loses_its_keys_and_gets_them_back() {
    for balance in both() {
        let service = service(balance);
        let members = members(&service, &[1; 5]);
        let before = owners(&service, &members, 500);
        eject(&members, 2, moment(NOW));
        let during = owners(&service, &members, 500);
        let out = &members.endpoints[2].endpoint.address;
        assert!(!during.contains(out));
        let taken = before.iter().zip(&during).filter(|(old, _)| *old == out);
        let taken: HashSet<_> = taken.map(|(_, new)| new).collect();
        assert!(
            taken.len() > 1,
            "not one neighbour takes them all: {taken:?}"
        );
        for (old, new) in before.iter().zip(&during).filter(|(old, _)| *old != out) {
            assert_eq!(old, new);
        }
        let later = moment(NOW + 30_000);
        let key = key(&service, 7);
        let draw = |at| {
            let picked =
                super::super::pick(&service, &members, &key, &Tried::default(), 0, at, &mut ());
            picked.unwrap().member.endpoint.address.clone()
        };
        assert_eq!(draw(later), before[7]);
    }
}

#[test]
fn another_attempt_goes_to_the_next_and_always_the_same() {
    for balance in both() {
        let service = service(balance);
        let members = members(&service, &[1; 4]);
        let asks = key(&service, 1);
        let mut tried = Tried::default();
        let mut order = Vec::new();
        for _ in 0..4 {
            let chosen = choose(&service, &members, &asks, &tried);
            order.push(chosen.member.endpoint.address.clone());
            tried.add(&chosen.member);
        }
        let all: HashSet<_> = order.iter().collect();
        assert_eq!(all.len(), 4, "{order:?}");
        let again = choose(&service, &members, &asks, &Tried::default());
        assert_eq!(again.member.endpoint.address, order[0]);
    }
}

#[test]
fn no_endpoint_has_more_than_its_bound() {
    for balance in [ring(Some(Ratio(1_250))), maglev(Some(Ratio(1_250)))] {
        let service = service(balance);
        let members = members(&service, &[1; 4]);
        // A hundred requests in flight, all with the same key.
        let asks = key(&service, 1);
        let mut held = Vec::new();
        for _ in 0..100 {
            let permit = service
                .live
                .enter(&service, Criticality::default(), moment(NOW))
                .unwrap();
            held.push((permit, choose(&service, &members, &asks, &Tried::default())));
        }
        let mut loads: Vec<_> = members
            .endpoints
            .iter()
            .map(|it| it.live.in_flight())
            .collect();
        loads.sort_unstable();
        assert_eq!(loads.iter().sum::<u32>(), 100);
        // 1.25 × 100 / 4, and one that a placement rounds up to.
        assert!(loads[3] <= 32, "{loads:?}");
        assert!(loads[3] >= 31, "the key's own endpoint is full: {loads:?}");
    }
}

#[test]
fn without_a_key_it_is_round_robin() {
    for balance in both() {
        let service = service(balance);
        let members = members(&service, &[1, 1, 1]);
        let none = Asks::default();
        let mut shares = [0; 3];
        for _ in 0..300 {
            let chosen = choose(&service, &members, &none, &Tried::default());
            let address = &chosen.member.endpoint.address;
            let place = members
                .endpoints
                .iter()
                .position(|it| it.endpoint.address == *address);
            shares[place.unwrap()] += 1;
        }
        assert_eq!(shares, [100, 100, 100]);
        assert_eq!(
            pick(
                &service,
                &members,
                &Tried::default(),
                0,
                moment(NOW),
                &mut ()
            )
            .unwrap()
            .choices(),
            3
        );
    }
}

#[test]
fn workers_share_one_table() {
    for balance in both() {
        let service = service(balance);
        let one = members(&service, &[1, 2, 3]);
        let two = members(&service, &[1, 2, 3]);
        let other = members(&service, &[1, 2, 4]);
        let table =
            |members: &Members| std::sync::Arc::as_ptr(members.whole.all.table.as_ref().unwrap());
        assert_eq!(table(&one), table(&two));
        assert_ne!(table(&one), table(&other));
        drop((one, two));
        // What nobody holds is forgotten.
        let again = members(&service, &[1, 2, 3]);
        assert_ne!(table(&again), table(&other));
    }
}
