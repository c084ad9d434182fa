//! What a request costs does not depend on how many routes there are.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Version;
use weir_config::Document;
use weir_policy::auth::Local;
use weir_policy::compile::compile;
use weir_policy::live::Live;
use weir_policy::pipeline;
use weir_policy::request::RequestView;
use weir_policy::snapshot::{ListenerId, Role, Snapshot};

use crate::bench::{AT, Ask, ask};

/// So many routes, ten on each host; half of them are templates with conditions on a cookie beside
/// the same without, and one of ten has versions.
fn document(routes: usize) -> Document {
    let mut yaml = String::from("listeners: { web: { bind: \"127.0.0.1:0\" } }\nservices:\n");
    for service in 0..100 {
        let line = format!(
            "  s{service}: {{ endpoints: [\"127.0.0.1:{}\"] }}",
            service + 1
        );
        writeln!(yaml, "{line}").unwrap();
    }
    yaml.push_str("routes:\n");
    for route in 0..routes {
        let (host, service) = (route / 10, route % 100);
        let what = match route % 10 {
            0 => format!(
                "path: \"/{{v}}/api/*\", versions: {{ by: path.v, of: {{ v1: s{service} }} }}"
            ),
            nr if nr % 2 == 0 => {
                format!(
                    "path: \"/api/{}/{{id}}\", cookies: {{ a: x }}, to: s{service}",
                    nr / 2
                )
            }
            nr => format!("path: \"/api/{}/{{id}}\", to: s{service}", nr / 2),
        };
        writeln!(yaml, "  - {{ hosts: [h{host}.example], {what} }}").unwrap();
    }
    Document::from_yaml(&yaml).unwrap()
}

fn compiled(document: Document) -> (Snapshot, Duration) {
    let began = Instant::now();
    let role = Role::Gateway;
    let snapshot = compile(Arc::new(document), &role, "big", &Live::default()).unwrap();
    (snapshot, began.elapsed())
}

/// Requests spread over all hosts and kinds of routes.
fn requests(routes: usize) -> Vec<Ask> {
    let one = |nr: usize| {
        let host = format!("h{}.example", nr * 7919 % routes.div_ceil(10));
        let line = match nr % 3 {
            0 => "GET /v1/api/x/y".to_owned(),
            _ => format!("GET /api/{}/17", nr % 4 + 1),
        };
        let request = ask(&line).header("host", &host);
        match nr % 2 {
            0 => request.header("cookie", "session=0123456789; a=y"),
            _ => request,
        }
    };
    (0..256).map(one).collect()
}

/// Time of one admission, the best of several rounds.
fn cost(snapshot: &Snapshot, requests: &[Ask]) -> Duration {
    let mut local = Local::default();
    let mut round = || {
        let began = Instant::now();
        for request in requests {
            let view = RequestView {
                listener: ListenerId(0),
                method: &request.method,
                secure: false,
                authority: None,
                path: &request.target,
                query: None,
                headers: &request.headers,
                version: Version::HTTP_11,
                remote: request.remote,
                peer: None,
                body_bytes: None,
            };
            let admitted = pipeline::admit(snapshot, &mut local, &view, AT, 0, &mut ());
            assert!(admitted.is_ok(), "{request:?}: {admitted:?}");
        }
        began.elapsed() / u32::try_from(requests.len()).unwrap()
    };
    (0..50).map(|_| round()).min().unwrap()
}

#[test]
fn ten_thousand_routes_on_a_thousand_hosts() {
    let (few, _) = compiled(document(10));
    let (many, took) = compiled(document(10_000));
    let most = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });
    assert!(took < most, "compiled in {took:?}");
    let cost = [(&few, 10), (&many, 10_000)].map(|(it, routes)| cost(it, &requests(routes)));
    println!(
        "compiled in {took:?}; a request costs {:?} of 10 routes, {:?} of 10,000",
        cost[0], cost[1]
    );
    // Caches hold less of the larger one; a walk over its routes would cost hundreds of times more.
    assert!(
        cost[1] < cost[0] * 10 + Duration::from_micros(2),
        "{cost:?}"
    );
    if !cfg!(debug_assertions) {
        assert!(cost[1] < Duration::from_micros(2), "{cost:?}");
    }
}
