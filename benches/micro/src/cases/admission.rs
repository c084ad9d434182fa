//! Admission, by what guards the route; all five phases; the limit alone.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::{Response, StatusCode};
use weir_config::auth::Algorithm;
use weir_config::endpoint::Endpoint;
use weir_policy::auth::Local;
use weir_policy::balance::{Members, Tried};
use weir_policy::key::KeyInputs;
use weir_policy::moment::Moment;
use weir_policy::pipeline::{self, Attempt, Next, Outcome, Then};
use weir_policy::rewrite::Remote;
use weir_policy::snapshot::Snapshot;

use super::Work;
use crate::documents;
use crate::request::{AT, Asked};

/// What guards the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// A token that was seen before, then a rate limit by its subject.
    Both,
    /// A rate limit by client.
    Limit,
    /// Nothing.
    Nothing,
    /// A token (ES256) that was never seen: its signature is verified.
    TokenCold,
    /// A token that was seen before.
    TokenWarm,
}

const DOCUMENT: &str = r#"
listeners: { web: { bind: "127.0.0.1:0" } }
issuers:
  shop:
    issuer: "https://id.example"
    jwks: "https://id.example/jwks.json"
    audience: shop-api
    algorithms: [ES256]
services:
  orders: { endpoints: ["127.0.0.1:1", "127.0.0.1:2"] }
routes:
  - { path: "/plain/{id}", to: orders }
  - { path: "/limit/{id}", to: orders, limit: { rate: 1000000/s, by: client } }
  - { path: "/token/{id}", to: orders, auth: { jwt: shop } }
  - { path: "/both/{id}", to: orders, auth: { jwt: shop }, limit: { rate: 1000000/s, by: claim.sub } }
"#;

/// The public half of a key that was made for this and thrown away.
const KEYS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "micro", "alg": "ES256",
    "x": "KI1_X1_qCJFTDTKN_D-lqJPO_LG1Fnl-m3Dv77pMyv4",
    "y": "gp1tgS_wFG_9bAHAEwdZ7WHuLTEGlFyiGj80oTCMrvM"}]}"#;

/// Of the issuer `https://id.example` for `shop-api`, subject `user-17`, until the year 2096.
const TOKEN: &str = concat!(
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6Im1pY3JvIn0.",
    "eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJzaG9wLWFwaSIsInN1YiI6InVzZXItMTciLCJzY29wZSI6",
    "Im9yZGVyczpyZWFkIG9yZGVyczp3cml0ZSIsImlhdCI6MTgwMDAwMDAwMCwiZXhwIjo0MDAwMDAwMDAwfQ.",
    "qUZ9CiPmy2x1YLG5i7k_0Ry8tK9x3yTQMnGyBTEZE6pmQ6_C8nti70nWJGMngeGfSGktlm_PnKgvYLPp6xdX9Q",
);

fn snapshot() -> Snapshot {
    let snapshot = documents::gateway(DOCUMENT);
    let keys = &snapshot.issuers[0].live;
    let usable = keys.install(KEYS.as_bytes(), &[Algorithm::Es256]);
    assert_eq!(usable.expect("a key set"), 1);
    snapshot
}

fn asked(guard: Guard) -> Asked {
    let path = match guard {
        Guard::Both => "/both/17",
        Guard::Limit => "/limit/17",
        Guard::Nothing => "/plain/17",
        Guard::TokenCold | Guard::TokenWarm => "/token/17",
    };
    let asked = Asked::new("shop.example", path);
    match guard {
        Guard::Both | Guard::TokenCold | Guard::TokenWarm => {
            asked.with("authorization", &format!("Bearer {TOKEN}"))
        }
        Guard::Limit | Guard::Nothing => asked,
    }
}

/// A microsecond later, so that no limit is ever reached.
fn tick(at: &mut Moment) -> Moment {
    *at = at.plus(Duration::from_micros(1));
    *at
}

pub(super) fn admit(guard: Guard) -> Work {
    let (snapshot, asked) = (snapshot(), asked(guard));
    let (mut local, mut at, mut draw) = (Local::default(), AT, 0_u64);
    Box::new(move || {
        if guard == Guard::TokenCold {
            local = Local::default();
        }
        draw = draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let view = asked.view();
        let at = tick(&mut at);
        let admitted = pipeline::admit(&snapshot, &mut local, &view, at, draw, &mut ());
        drop(black_box(admitted.expect("admitted")));
    })
}

pub(super) fn phases(guard: Guard) -> Work {
    let (snapshot, asked) = (snapshot(), asked(guard));
    let endpoints = ["127.0.0.1:1", "127.0.0.1:2"].map(Endpoint::plain);
    let members = Members::compile(&snapshot.services[0], &endpoints, AT);
    let remote = Remote::from(asked.remote);
    let (mut local, mut at, mut draw) = (Local::default(), AT, 0_u64);
    let answer = || {
        let answer = Response::builder()
            .header("content-type", "application/json")
            .header("content-length", "1024")
            .header("date", "Sat, 21 Nov 2026 12:00:00 GMT")
            .header("server", "micro");
        answer.body(()).expect("a response").into_parts().0
    };
    let answer = answer();
    Box::new(move || {
        draw = draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let began = tick(&mut at);
        let view = asked.view();
        let admitted = pipeline::admit(&snapshot, &mut local, &view, began, draw, &mut ());
        let admitted = admitted.expect("admitted");
        let Then::Forward(forward) = &admitted.then else {
            panic!("it is answered");
        };
        let tried = Tried::default();
        let chosen = pipeline::choose(&snapshot, forward, &members, &tried, draw, began, &mut ());
        let chosen = chosen.expect("an endpoint");
        let mut head = asked.head();
        pipeline::prepare(&snapshot, &admitted, false, &remote, &mut head);
        black_box(&head);
        let attempt = Attempt {
            chosen: &chosen,
            number: 1,
            began,
            outcome: Outcome::Response {
                status: StatusCode::OK,
            },
            grpc: None,
            replayable: true,
            retry_after: None,
            time_left: Duration::from_secs(10),
        };
        let ended = tick(&mut at);
        let next = pipeline::judge(
            &snapshot,
            forward,
            &asked.method,
            &attempt,
            ended,
            draw,
            &mut (),
        );
        assert_eq!(next, Next::Deliver);
        let mut answer = answer.clone();
        let filled = admitted.filled.as_deref();
        pipeline::settle(&snapshot, admitted.route, None, filled, &mut answer);
        black_box(&answer);
    })
}

pub(super) fn limit(keys: u32) -> Work {
    let (snapshot, asked) = (snapshot(), asked(Guard::Limit));
    let (mut at, mut nr) = (AT, 0_u32);
    let mut check = move || {
        nr = (nr + 1) % keys;
        let inputs = KeyInputs {
            route: "limit",
            client: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + nr)),
            path: &asked.path,
            query: None,
            headers: &asked.headers,
            claims: None,
            peer: None,
        };
        let verdict = snapshot.routes[1].limits[0].check(&inputs, tick(&mut at));
        assert!(black_box(verdict).is_ok());
    };
    // Every key has its bucket.
    (0..keys).for_each(|_| check());
    Box::new(check)
}
