//! Sessions: whose cookie leads where, and what it does not tell.

use http::HeaderMap;
use weir_config::balance::{Balance, Secret, Sticky};

use super::super::session;
use super::{Asks, Chosen, Members, NOW, Tried, eject};
use crate::live::sample::{members, moment, service};
use crate::snapshot::Service;

fn sticky() -> Service {
    let mut service = service(Balance::RoundRobin);
    service.sticky = Some(Sticky {
        cookie: "weir-session".to_owned(),
        ttl: None,
        key: None,
    });
    service
}

fn choose(service: &Service, members: &Members, session: Option<u64>, tried: &Tried) -> Chosen {
    let asks = Asks {
        session,
        ..Asks::default()
    };
    super::super::pick(service, members, &asks, tried, 0, moment(NOW), &mut ()).unwrap()
}

#[test]
fn a_client_stays_while_its_endpoint_is_fit() {
    let service = sticky();
    let members = members(&service, &[1, 1, 1]);
    let first = choose(&service, &members, None, &Tried::default());
    let name = Some(first.member.session);
    for _ in 0..10 {
        let chosen = choose(&service, &members, name, &Tried::default());
        assert_eq!(
            chosen.member.endpoint.address,
            first.member.endpoint.address
        );
    }
    // Tried and failed: another one.
    let mut tried = Tried::default();
    tried.add(&first.member);
    let other = choose(&service, &members, name, &tried);
    assert_ne!(other.member.session, first.member.session);
    let index = members
        .endpoints
        .iter()
        .position(|it| it.session == first.member.session);
    eject(&members, index.unwrap(), moment(NOW));
    let other = choose(&service, &members, name, &Tried::default());
    assert_ne!(other.member.session, first.member.session);
    // A name that nobody has is no obstacle.
    choose(&service, &members, Some(1), &Tried::default());
}

#[test]
fn a_name_is_stable_and_depends_on_the_key() {
    let sticky = |key: Option<&str>| Sticky {
        cookie: "c".to_owned(),
        ttl: None,
        key: key.map(|key| Secret(key.to_owned())),
    };
    let name = |key, address| session::name_of("users", &sticky(key), address);
    // Fixed for ever: other gateways, and those of the next version, must read it.
    assert_eq!(
        name(None, "10.0.0.1:80"),
        name(Some("users"), "10.0.0.1:80")
    );
    assert_eq!(name(Some("0123456789abcdef"), "10.0.0.1:80"), EXPECTED);
    assert_ne!(name(None, "10.0.0.1:80"), name(None, "10.0.0.2:80"));
    assert!(!format!("{:?}", sticky(Some("0123456789abcdef"))).contains("0123"));
}

#[test]
fn cookies_of_others_are_no_sessions() {
    let sticky = sticky().sticky.unwrap();
    let named = |cookie: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", cookie.parse().unwrap());
        session::named(&sticky, &headers)
    };
    assert_eq!(named("a=1; weir-session=00000000000000ff"), Some(255));
    for none in [
        "weir-session=ff",
        "weir-session=+0000000000000ff",
        "weir-session=00000000000000fg",
        "weir-session=000000000000000ff",
        "weir-session=",
        "x-weir-session=00000000000000ff",
    ] {
        assert_eq!(named(none), None, "{none}");
    }
}

#[test]
fn the_cookie_is_out_of_reach_of_scripts() {
    let mut sticky = sticky().sticky.unwrap();
    let text = |sticky: &Sticky, secure| {
        let value = session::cookie(sticky, 255, secure).unwrap();
        value.to_str().unwrap().to_owned()
    };
    assert_eq!(
        text(&sticky, false),
        "weir-session=00000000000000ff; Path=/; HttpOnly; SameSite=Lax"
    );
    sticky.ttl = Some(std::time::Duration::from_secs(3600));
    assert_eq!(
        text(&sticky, true),
        "weir-session=00000000000000ff; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"
    );
}

/// As `sha256sum` has it of the key's length in eight bytes, the key and the address.
const EXPECTED: u64 = 0x1cde07e3ebc73e90;
