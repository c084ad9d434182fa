//! Names, families and memory, without a name server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn found(addresses: &[&str], ttl: u64) -> Family {
    let addresses = addresses.iter().map(|text| ip(text)).collect();
    Ok((addresses, Duration::from_secs(ttl)))
}

const NOTHING: Miss = Miss::Negative { named: true };
const UNKNOWN: Miss = Miss::Negative { named: false };
const FAILED: Miss = Miss::Failed(NetError::Timeout);

#[test]
fn search_domains_come_first_for_names_with_few_dots() {
    let search = [name("shop.test."), name("test.")];
    let check = |written: &str, ndots, expected: &[&str]| {
        let names = candidates(&name(written), &search, ndots);
        let names: Vec<String> = names.iter().map(Name::to_ascii).collect();
        assert_eq!(names, expected, "{written} with ndots {ndots}");
    };
    check("users", 1, &["users.shop.test.", "users.test.", "users."]);
    check(
        "users.a",
        1,
        &["users.a.", "users.a.shop.test.", "users.a.test."],
    );
    check(
        "users.a",
        2,
        &["users.a.shop.test.", "users.a.test.", "users.a."],
    );
    check("users.", 5, &["users."]);
    let names = candidates(&name("users"), &[], 1);
    assert_eq!(names, [name("users.")]);
}

#[test]
fn a_name_that_becomes_too_long_is_passed_over() {
    let label = "x".repeat(63);
    let long = name(&format!("{label}.{label}.{label}"));
    let names = candidates(&long, &[name(&format!("{label}.test."))], 5);
    assert_eq!(names.len(), 1);
}

#[test]
fn a_family_that_fails_keeps_its_addresses() {
    let known = || Known::of(&[ip("10.0.0.1"), ip("::1")]);
    let check = |v4: Family, v6: Family, expected: &[&str], incomplete: bool| {
        let (known, host) = merge(v4, v6, known());
        let host = host.unwrap_or_else(|miss| panic!("{miss:?}"));
        let expected: Vec<IpAddr> = expected.iter().map(|text| ip(text)).collect();
        assert_eq!(host.addresses, expected);
        assert_eq!(host.incomplete.is_some(), incomplete);
        assert_eq!([known.v4, known.v6].concat(), expected);
        assert_eq!(host.ttl, Duration::from_secs(7));
    };
    check(
        found(&["10.0.0.2"], 7),
        found(&["::2"], 9),
        &["10.0.0.2", "::2"],
        false,
    );
    check(
        found(&["10.0.0.2"], 7),
        Err(FAILED),
        &["10.0.0.2", "::1"],
        true,
    );
    check(Err(FAILED), found(&["::2"], 7), &["10.0.0.1", "::2"], true);
    check(found(&["10.0.0.2"], 7), Err(NOTHING), &["10.0.0.2"], false);
    check(Err(UNKNOWN), found(&["::2"], 7), &["::2"], false);
}

#[test]
fn a_family_that_never_had_addresses_is_not_missed() {
    let (_, host) = merge(found(&["10.0.0.1"], 1), Err(FAILED), Known::default());
    assert!(host.is_ok_and(|host| host.incomplete.is_none()));
}

#[test]
fn failures_weigh_more_than_negative_answers() {
    let miss = |v4: Miss, v6: Miss| {
        let (known, host) = merge(Err(v4), Err(v6), Known::of(&[ip("10.0.0.1")]));
        assert_eq!(known.v4.len(), 1, "nothing is forgotten");
        host.err().unwrap()
    };
    assert!(matches!(miss(FAILED, NOTHING), Miss::Failed(_)));
    assert!(matches!(miss(UNKNOWN, FAILED), Miss::Failed(_)));
    assert!(matches!(
        miss(UNKNOWN, NOTHING),
        Miss::Negative { named: true }
    ));
    assert!(matches!(
        miss(UNKNOWN, UNKNOWN),
        Miss::Negative { named: false }
    ));
}
