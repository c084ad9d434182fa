//! Choosing an endpoint, by method and number of endpoints.

use std::hint::black_box;
use std::time::Duration;

use http::StatusCode;
use weir_config::endpoint::Endpoint;
use weir_policy::auth::Local;
use weir_policy::balance::{Members, Tried};
use weir_policy::pipeline::{self, Attempt, Forward, Outcome, Then};
use weir_policy::snapshot::Snapshot;

use super::Work;
use crate::documents;
use crate::request::{AT, Asked};

/// How it is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// The fewer requests in flight of two.
    LeastRequest,
    /// By a table.
    Maglev,
    /// The lower latency of two.
    PeakEwma,
    /// By chance.
    Random,
    /// By a ring.
    RingHash,
    /// In turn.
    RoundRobin,
}

impl Method {
    fn written(self) -> &'static str {
        match self {
            Method::LeastRequest => "least-request",
            Method::Maglev => "{ maglev: { by: header.x-user } }",
            Method::PeakEwma => "peak-ewma",
            Method::Random => "random",
            Method::RingHash => "{ ring-hash: { by: header.x-user } }",
            Method::RoundRobin => "round-robin",
        }
    }
}

/// Requests of different users that follow each other.
const USERS: usize = 64;

pub(super) fn choose(method: Method, count: u16) -> Work {
    let snapshot = documents::gateway(&format!(
        r#"
        listeners: {{ web: {{ bind: "127.0.0.1:0" }} }}
        services: {{ orders: {{ dns: "orders:80", balance: {} }} }}
        routes: [{{ path: "/*", to: orders }}]
        "#,
        method.written()
    ));
    let endpoints: Vec<_> = (0..count)
        .map(|nr| Endpoint::plain(format!("10.0.{}.{}:80", nr / 256, nr % 256)))
        .collect();
    let members = Members::compile(&snapshot.services[0], &endpoints, AT);
    let forwards: Vec<_> = (0..USERS).map(|user| forward(&snapshot, user)).collect();
    if method == Method::PeakEwma {
        observe(&snapshot, &forwards[0], &members);
    }
    let (tried, mut draw, mut next) = (Tried::default(), 0_u64, 0);
    Box::new(move || {
        next = (next + 1) % USERS;
        draw = draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let forward = &forwards[next];
        let chosen = pipeline::choose(&snapshot, forward, &members, &tried, draw, AT, &mut ());
        drop(black_box(chosen.expect("an endpoint")));
    })
}

fn forward(snapshot: &Snapshot, user: usize) -> Forward {
    let asked = Asked::new("shop.example", "/").with("x-user", &format!("user-{user}"));
    let admitted = pipeline::admit(
        snapshot,
        &mut Local::default(),
        &asked.view(),
        AT,
        0,
        &mut (),
    );
    match admitted.expect("admitted").then {
        Then::Forward(forward) => forward,
        Then::Answer(_) | Then::Delayed(_) => panic!("it goes nowhere"),
    }
}

/// Lets every endpoint have answered, so that there are latencies to compare.
fn observe(snapshot: &Snapshot, forward: &Forward, members: &Members) {
    for nr in 0..4 * members.endpoints.len() as u64 {
        let draw = nr.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let tried = Tried::default();
        let chosen = pipeline::choose(snapshot, forward, members, &tried, draw, AT, &mut ());
        let chosen = chosen.expect("an endpoint");
        let attempt = Attempt {
            chosen: &chosen,
            number: 1,
            began: AT,
            outcome: Outcome::Response {
                status: StatusCode::OK,
            },
            grpc: None,
            replayable: true,
            retry_after: None,
            time_left: Duration::from_secs(10),
        };
        let ended = AT.plus(Duration::from_micros(500 + nr % 97));
        let method = http::Method::GET;
        let _ = pipeline::judge(snapshot, forward, &method, &attempt, ended, draw, &mut ());
    }
}
