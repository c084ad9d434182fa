//! The document of the design, as written there, and what every short form stands for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::Duration;

use http::HeaderName;

use weir_config::auth::Jwks;
use weir_config::balance::{Balance, RingHash};
use weir_config::criticality::Criticality;
use weir_config::document::{AccessLogTarget, Forwarded};
use weir_config::edge_rules::{InterimResponses, Paths, Underscores};
use weir_config::grpc::GrpcStatus;
use weir_config::limit::LimitKey;
use weir_config::listener::Listener;
use weir_config::pattern::{HostPattern, PathPattern, Segment, ValuePattern};
use weir_config::proxy_protocol::ProxyProtocol;
use weir_config::resilience::{BreakerScope, Outlier, Retry, Timeouts};
use weir_config::route::{Action, Destination, RedirectQuery, Route};
use weir_config::service::{Service, Source};
use weir_config::template::Variable;
use weir_config::units::{Percent, Rate, Ratio, Size};
use weir_config::version::{AfterSunset, VersionBy};
use weir_config::{Document, Position};

const SAMPLE: &str = r#"listeners:
  web: { bind: "0.0.0.0:8080" }

services:
  users:  { endpoints: ["10.0.0.5:5000"] }
  orders: { consul: orders }     # or dns:, kubernetes:, file: … (Consul at CONSUL_HTTP_ADDR)
  orders-v2: { endpoints: ["10.0.0.6:5001", "10.0.0.7:5001"], balance: peak-ewma }

routes:
  - { path: "/user/*",  to: users }
  - path: "/order/{id}"
    methods: [GET]
    auth: { jwt: shop }
    limit: { rate: 100/s, by: claim.sub }
    to: [{ service: orders, weight: 95 }, { service: orders-v2, weight: 5 }]

issuers:
  shop: { issuer: "https://id.example", jwks: "https://id.example/jwks.json", audience: shop-api }
"#;

fn at(line: u32, column: u32) -> Position {
    Position { line, column }
}

fn decode(text: &str) -> Document {
    Document::from_yaml(text).unwrap_or_else(|errors| panic!("{}", errors.render(text, "test")))
}

/// One service, given as what stands behind its name.
fn service(text: &str) -> Service {
    decode(&format!("services: {{ it: {text} }}"))
        .services
        .remove(0)
        .1
}

/// One route with a path and a service already said.
fn route(text: &str) -> Route {
    decode(&format!("routes: [{{ path: /, to: it, {text} }}]"))
        .routes
        .remove(0)
}

fn path(text: &str) -> PathPattern {
    decode(&format!("routes: [{{ path: {text}, to: it }}]"))
        .routes
        .remove(0)
        .path
        .value
}

#[test]
fn the_sample_of_the_design() {
    let document = decode(SAMPLE);

    let (name, listener) = &document.listeners[0];
    assert_eq!((name.value.as_str(), name.at), ("web", at(2, 3)));
    assert_eq!(listener.at, at(2, 8));
    assert_eq!(listener.bind, "0.0.0.0:8080".parse().unwrap());
    assert_eq!(listener.header_bytes_max, Size::kib(32));
    assert_eq!(listener.uri_bytes_max, Size::kib(8));
    assert_eq!(listener.protocols, []);
    assert_eq!(listener.client_rate_min, Size::kib(1));
    assert_eq!(listener.paths, Paths::default());
    assert_eq!(listener.headers_with_underscores, Underscores::Drop);
    assert_eq!(listener.interim_responses, InterimResponses::Forward);
    assert_eq!(listener.idle_timeout, Duration::from_secs(75));

    let names: Vec<&str> = document
        .services
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["users", "orders", "orders-v2"]);
    let Source::Endpoints(endpoints) = &document.services[0].1.source else {
        panic!()
    };
    assert_eq!(endpoints[0].address, "10.0.0.5:5000");
    assert_eq!(endpoints[0].at, at(5, 25));
    let Source::Consul { name, tag, .. } = &document.services[1].1.source else {
        panic!()
    };
    assert_eq!(
        (name.value.as_str(), name.at, tag),
        ("orders", at(6, 21), &None)
    );
    assert_eq!(document.services[2].1.balance, Balance::PeakEwma);
    assert!(document.services[2].1.outlier.enabled);

    let [first, second] = document.routes.as_slice() else {
        panic!()
    };
    assert_eq!(first.at, at(10, 5));
    assert_eq!(first.path.value, PathPattern::Prefix("/user".into()));
    assert_eq!(first.path.at, at(10, 13));
    let Action::To(to) = &first.action else {
        panic!()
    };
    assert_eq!(
        (to[0].service.as_str(), to[0].weight, to[0].at),
        ("users", 1, at(10, 29))
    );

    assert_eq!(second.at, at(11, 5));
    let segments = vec![
        Segment::Literal("order".into()),
        Segment::Parameter("id".into()),
    ];
    assert_eq!(
        second.path.value,
        PathPattern::Template {
            segments,
            below: false
        }
    );
    assert_eq!(second.methods[0].value, http::Method::GET);
    assert_eq!(
        second.auth.as_ref().unwrap().jwt.as_ref().unwrap().value,
        "shop"
    );
    let limit = &second.limits[0];
    assert_eq!(
        limit.rate.value,
        Rate {
            count: 100,
            per: Duration::from_secs(1)
        }
    );
    assert_eq!(limit.by, LimitKey::Claim("sub".into()));
    assert_eq!(limit.at, at(14, 12));
    let Action::To(to) = &second.action else {
        panic!()
    };
    assert_eq!(
        (to[1].service.as_str(), to[1].weight, to[1].at),
        ("orders-v2", 5, at(15, 43))
    );

    let (_, issuer) = &document.issuers[0];
    assert_eq!(issuer.audience, ["shop-api"]);
    assert_eq!(issuer.algorithms.len(), 3);
    assert_eq!(issuer.leeway, Duration::from_secs(30));
    let Jwks::Url(url) = &issuer.jwks else {
        panic!()
    };
    assert_eq!(
        (url.value.as_str(), url.at),
        ("https://id.example/jwks.json", at(18, 47))
    );
}

#[test]
fn places_in_block_style() {
    let document = decode(
        "# a comment\n\
         services:\n\
         \x20 users:\n\
         \x20   endpoints:\n\
         \x20     - 10.0.0.5:5000\n\
         \x20     - address: 10.0.0.6:5000\n\
         \x20       weight: 3\n\
         \x20   timeouts: &slow\n\
         \x20     connect: 1s\n\
         \x20 orders:\n\
         \x20   mesh: orders\n\
         \x20   timeouts: *slow\n",
    );
    let users = &document.services[0].1;
    assert_eq!(users.at, at(4, 5));
    let Source::Endpoints(endpoints) = &users.source else {
        panic!()
    };
    assert_eq!((endpoints[0].at, endpoints[1].at), (at(5, 9), at(6, 9)));
    assert_eq!(endpoints[1].weight, 3);
    assert_eq!(users.timeouts.at, at(8, 15));
    // What an alias repeats stands where its anchor is: that is the place to change it.
    assert_eq!(document.services[1].1.timeouts, users.timeouts);
}

#[test]
fn places_of_flow_maps_over_several_lines() {
    let document = decode("services: {\n  users: {\n    dns: \"users:80\"\n  }\n}\n");
    assert_eq!(document.services[0].1.at, at(2, 10));
}

#[test]
fn forms_of_names_to_look_up() {
    use weir_config::dns::DnsTarget;
    let eight = (1..=8).map(|port| format!("\"10.0.0.1:{port}\""));
    let eight = eight.collect::<Vec<_>>().join(", ");
    for (text, shown, server_name) in [
        (
            "\"Users.Internal:80\"",
            "users.internal:80",
            "users.internal",
        ),
        (
            "\"users.internal.:80\"",
            "users.internal.:80",
            "users.internal",
        ),
        ("\"[::1]:80\"", "[::1]:80", "::1"),
        ("{ address: \"users:80\" }", "users:80", "users"),
        (
            "{ srv: _http._tcp.users.internal. }",
            "SRV _http._tcp.users.internal.",
            "users.internal",
        ),
        (
            "{ srv: users.service.consul, name_servers: [\"127.0.0.1:8600\", \"[::1]:53\"] }",
            "SRV users.service.consul at 127.0.0.1:8600, [::1]:53",
            "users.service.consul",
        ),
    ] {
        let Source::Dns(dns) = service(&format!("{{ dns: {text} }}")).source else {
            panic!("{text}")
        };
        assert_eq!(dns.to_string(), shown, "{text}");
        assert_eq!(dns.server_name(), server_name, "{text}");
        assert_eq!(
            matches!(dns.target, DnsTarget::Srv(_)),
            shown.starts_with("SRV")
        );
    }
    let many = service(&format!(
        "{{ dns: {{ srv: users, name_servers: [{eight}] }} }}"
    ));
    assert!(matches!(many.source, Source::Dns(dns) if dns.name_servers.len() == 8));
}

#[test]
fn forms_of_a_path() {
    let literal = |text: &str| Segment::Literal(text.into());
    let parameter = |text: &str| Segment::Parameter(text.into());
    let template = |segments, below| PathPattern::Template { segments, below };
    for (text, expected) in [
        ("/x", PathPattern::Exact("/x".into())),
        ("/", PathPattern::Exact("/".into())),
        ("/x/", PathPattern::Exact("/x/".into())),
        ("/*", PathPattern::Prefix(String::new())),
        ("/x/*", PathPattern::Prefix("/x".into())),
        (
            "\"/o/{id}\"",
            template(vec![literal("o"), parameter("id")], false),
        ),
        (
            "\"/{a}/x/*\"",
            template(vec![parameter("a"), literal("x")], true),
        ),
        ("{ exact: \"/x/*\" }", PathPattern::Exact("/x/*".into())),
        ("{ prefix: / }", PathPattern::Prefix(String::new())),
        ("{ prefix: /x }", PathPattern::Prefix("/x".into())),
        ("{ prefix: /x/ }", PathPattern::Prefix("/x".into())),
        (
            "{ template: \"/o/{id}\" }",
            template(vec![literal("o"), parameter("id")], false),
        ),
        (
            "{ regex: \"/[a-z]+\" }",
            PathPattern::Regex("/[a-z]+".into()),
        ),
    ] {
        assert_eq!(path(text), expected, "{text}");
        if text.starts_with('/') || text.starts_with('"') {
            let short = text.trim_matches('"');
            assert_eq!(path(text).to_string(), short);
            assert_eq!(short.parse(), Ok(expected));
        }
    }
}

#[test]
fn forms_of_a_route() {
    let it = route("hosts: Shop.Example, methods: [GET, POST], clients: 10.0.0.0/8");
    assert_eq!(it.hosts[0].value, HostPattern::Exact("shop.example".into()));
    assert_eq!(it.methods.len(), 2);
    assert_eq!(it.clients, ["10.0.0.0/8".parse().unwrap()]);

    let it = route("hosts: [\"*\", \"*.a.b\", 127.0.0.1, \"[::1]\"], clients: [\"::1\"]");
    assert_eq!(it.hosts[0].value, HostPattern::Any);
    assert_eq!(it.hosts[1].value, HostPattern::Suffix("a.b".into()));
    assert_eq!(it.clients, ["::1/128".parse().unwrap()]);

    let it = route(
        "headers: { X-A: one, x-b: true, x-c: false, x-d: { prefix: p }, x-e: { present: false },
                    x-f: 7 }, query: { q: { regex: \"a|b\" } }",
    );
    let headers: Vec<_> = it
        .headers
        .iter()
        .map(|(name, value)| (name.value.as_str(), value.clone()))
        .collect();
    assert_eq!(
        headers,
        [
            ("x-a", ValuePattern::Exact("one".into())),
            ("x-b", ValuePattern::Present),
            ("x-c", ValuePattern::Absent),
            ("x-d", ValuePattern::Prefix("p".into())),
            ("x-e", ValuePattern::Absent),
            ("x-f", ValuePattern::Exact("7".into())),
        ]
    );
    assert_eq!(it.query[0].1, ValuePattern::Regex("a|b".into()));

    let it = route("cookies: { Beta: \"2\", seen: true, lang: { prefix: de } }");
    let cookies: Vec<_> = it
        .cookies
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    assert_eq!(
        cookies,
        [
            ("Beta", ValuePattern::Exact("2".into())),
            ("seen", ValuePattern::Present),
            ("lang", ValuePattern::Prefix("de".into())),
        ]
    );

    let it =
        route("limit: [{ rate: 5/10s, burst: 9 }, { rate: 1/s, by: header.X-Key, shared: s }]");
    assert_eq!(it.limits[0].burst, Some(9));
    assert_eq!(it.limits[0].by, LimitKey::Route);
    assert_eq!(it.limits[1].by, LimitKey::Header("x-key".into()));
    assert_eq!(it.limits[1].shared.as_deref(), Some("s"));

    let it = route("auth: { jwt: shop, claims: { scope: orders:read, role: [a, b], level: 3 } }");
    let claims: Vec<_> = it
        .auth
        .unwrap()
        .claims
        .into_iter()
        .map(|rule| (rule.claim, rule.any_of.join("|")))
        .collect();
    let expected = [("scope", "orders:read"), ("role", "a|b"), ("level", "3")];
    assert_eq!(
        claims,
        expected.map(|(claim, values)| (claim.to_owned(), values.to_owned()))
    );

    let it = route("request_headers: { set: { x-a: 1 }, add: { x-b: two }, remove: [x-c, x-d] }");
    assert_eq!(it.request_headers.set[0].1.as_fixed(), Some("1"));
    assert_eq!(it.request_headers.add[0].0, "x-b");
    assert_eq!(it.request_headers.remove.len(), 2);

    let it = route("criticality: sheddable");
    assert_eq!(it.criticality, Some(Criticality::Sheddable));
    let it = route("response_bytes_max: 5KiB");
    assert_eq!(it.response_bytes_max, Some(Size::kib(5)));
    let it = route("response_headers: { set: { x-a: \"{claim.sub} of {route.name}\" } }");
    let filled = &it.response_headers.set[0].1;
    let variables: Vec<_> = filled.variables().collect();
    assert_eq!(
        variables,
        [&Variable::Claim("sub".into()), &Variable::RouteName]
    );
    assert_eq!(filled.to_string(), "{claim.sub} of {route.name}");

    let it =
        route("rewrite: { path: { regex: \"/a/(.*)\", with: /b/$1 }, host: \"{path.t}.b:80\" }");
    let rewrite = it.rewrite.unwrap();
    let path = rewrite.path.unwrap();
    assert_eq!(path.regex.as_deref(), Some("/a/(.*)"));
    assert_eq!(path.with.as_fixed(), Some("/b/$1"));
    assert_eq!(rewrite.host.unwrap().to_string(), "{path.t}.b:80");
    let it = route("rewrite: { path: /b, host: B.Example }");
    let rewrite = it.rewrite.unwrap();
    assert_eq!(rewrite.path.unwrap().with.as_fixed(), Some("/b"));
    assert_eq!(rewrite.host.unwrap().as_fixed(), Some("b.example"));

    let it = route("retry: false, timeouts: { total: 1m }, body_bytes_max: 1GiB");
    assert_eq!(it.retry.attempts, Some(0));
    assert_eq!(it.timeouts.total, Some(Duration::from_secs(60)));
    assert_eq!(it.body_bytes_max, Some(Size(1 << 30)));
}

#[test]
fn forms_of_a_fault() {
    let it = route("fault: { delay: 250ms, abort: 502 }").fault.unwrap();
    let delay = it.delay.unwrap();
    assert_eq!(delay.pause, Duration::from_millis(250));
    assert_eq!(delay.share, Percent::WHOLE);
    let abort = it.abort.unwrap();
    assert_eq!((abort.status, abort.share), (502, Percent::WHOLE));
    assert!(it.headers.is_empty());

    let it = route(
        "fault: { headers: { X-Test: me }, delay: { for: 1m, share: 12.5% }, abort: { share: 1% } }",
    );
    let it = it.fault.unwrap();
    assert_eq!(it.headers[0].0.value, "x-test");
    assert_eq!(it.delay.unwrap().share, Percent(12_500));
    assert_eq!(it.abort.unwrap().status, 503);
    assert!(route("").fault.is_none());
}

#[test]
fn forms_of_mirrors_and_fallbacks() {
    use weir_config::fallback::Instead;
    let it = route("mirror: shadow").mirrors.remove(0);
    assert_eq!((it.service.as_str(), it.share), ("shadow", Percent::WHOLE));
    assert_eq!(
        (it.lag_bytes_max, it.timeout),
        (Size::kib(64), Duration::from_secs(15))
    );
    let it = route("mirror: [a, { to: b, share: 5%, lag_bytes_max: 0, timeout: 1s }]").mirrors;
    assert_eq!(
        (it[1].share, it[1].lag_bytes_max),
        (Percent::whole_percent(5), Size(0))
    );

    let it = route("fallback: { to: other }").fallback.unwrap();
    assert_eq!(it.statuses, [502, 503, 504]);
    assert!(matches!(it.instead, Instead::To(service) if service.value == "other"));
    let it = route("fallback: { respond: { status: 200, body: sorry }, statuses: 500 }");
    let it = it.fallback.unwrap();
    assert_eq!(it.statuses, [500]);
    assert!(matches!(it.instead, Instead::Respond(respond) if respond.status == 200));
}

#[test]
fn forms_of_an_action() {
    let action = |text: &str| {
        decode(&format!("routes: [{{ path: /, {text} }}]"))
            .routes
            .remove(0)
            .action
    };
    let Action::To(to) = action("to: [a, { service: b, weight: 0 }]") else {
        panic!()
    };
    assert_eq!((to[0].weight, to[1].weight), (1, 0));
    assert!(to[0].labels.is_empty());
    let Action::To(to) = action("to: { service: a, labels: { version: v2 } }") else {
        panic!()
    };
    assert_eq!(to[0].labels, [("version".to_owned(), "v2".to_owned())]);
    let Action::Respond(respond) = action("respond: { status: 204 }") else {
        panic!()
    };
    assert_eq!((respond.status, respond.body.as_fixed()), (204, Some("")));
    assert_eq!(respond.content_type, "text/plain; charset=utf-8");
    let Action::Redirect(redirect) = action("redirect: { scheme: https }") else {
        panic!()
    };
    assert_eq!(
        (redirect.status, redirect.scheme.as_deref()),
        (308, Some("https"))
    );
    let Action::Redirect(short) = action("redirect: https") else {
        panic!()
    };
    assert_eq!(short.scheme, redirect.scheme);
    assert_eq!((short.query, short.status), (RedirectQuery::Keep, 308));
    let long = "{ host: \"{path.t}.a\", prefix: /b, query: drop }";
    let written = "{ by: header.API-Version, default: v2, of: { v1: { to: a, deprecated: 2024-01-01, \
                   sunset: 2026-12-31T23:59:59Z, after_sunset: refuse, link: /x }, v2: [a, b] } }";
    let Action::Versions(versions) = action(&format!("versions: {written}")) else {
        panic!()
    };
    let by = HeaderName::from_static("api-version");
    assert_eq!(versions.by.value, VersionBy::Header(by));
    assert_eq!(versions.default.as_ref().unwrap().value, "v2");
    let (_, one) = &versions.of[0];
    assert_eq!(one.deprecated.as_ref().unwrap().unix_seconds, 1_704_067_200);
    assert_eq!(
        one.sunset.as_ref().unwrap().to_string(),
        "2026-12-31T23:59:59Z"
    );
    assert_eq!(one.after_sunset, AfterSunset::Refuse);
    assert_eq!(one.link.as_deref(), Some("/x"));
    let (_, two) = &versions.of[1];
    assert_eq!((two.to.len(), two.after_sunset), (2, AfterSunset::Serve));
    let keys: Vec<_> = Action::Versions(versions.clone())
        .destinations()
        .map(|(key, it)| format!("{key} {}", it.service.value))
        .collect();
    assert_eq!(
        keys,
        [
            "versions.of.v1.to[0] a",
            "versions.of.v2.to[0] a",
            "versions.of.v2.to[1] b"
        ]
    );
    let below = decode(&format!("routes: [{{ path: /x/*, redirect: {long} }}]"));
    let Action::Redirect(long) = below.routes[0].action.clone() else {
        panic!()
    };
    assert_eq!(long.prefix.unwrap().as_fixed(), Some("/b"));
    assert_eq!(long.query, RedirectQuery::Drop);
}

#[test]
fn forms_of_a_service() {
    let it = service("{ consul: { name: Orders, tag: blue, datacenter: dc1 } }");
    let Source::Consul {
        name,
        tag,
        datacenter,
    } = it.source
    else {
        panic!()
    };
    assert_eq!((name.as_str(), tag.as_deref()), ("Orders", Some("blue")));
    assert_eq!(datacenter.as_deref(), Some("dc1"));

    let it =
        service("{ endpoints: { address: \"[::1]:80\", zone: a, priority: 1, labels: { v: 2 } } }");
    let Source::Endpoints(endpoints) = it.source else {
        panic!()
    };
    assert_eq!(
        (endpoints[0].zone.as_str(), endpoints[0].priority),
        ("a", 1)
    );
    assert_eq!(endpoints[0].labels["v"], "2");
    assert!(endpoints[0].healthy);

    let it = service("{ dns: users.internal:80, outlier: false, retry: { attempts: 3 } }");
    assert!(!it.outlier.enabled);
    assert_eq!(it.retry.attempts, Some(3));

    let it = service("{ mesh: a, timeouts: { grpc: 1m }, retry: { grpc_statuses: [aborted] } }");
    assert_eq!(it.timeouts.grpc, Some(Duration::from_secs(60)));
    assert_eq!(it.retry.grpc_statuses, Some(vec![GrpcStatus::Aborted]));

    let it = service("{ mesh: users, outlier: true, breaker: { ratio: 12.5% }, tls: {} }");
    assert_eq!(
        it.outlier,
        Outlier {
            at: it.outlier.at,
            ..Outlier::default()
        }
    );
    let breaker = it.breaker.unwrap();
    assert_eq!(
        (breaker.ratio, breaker.consecutive),
        (Some(Percent(12_500)), 5)
    );
    assert!(it.tls.is_some());
    let limits = (it.limits.requests, it.limits.pending, it.limits.connections);
    assert_eq!(limits, (4096, 1024, 1024), "what is in force unless told");

    let it = service("{ mesh: a, limits: { requests: 7, pending: 0, connections: 1 } }");
    let limits = (it.limits.requests, it.limits.pending, it.limits.connections);
    assert_eq!(limits, (7, 0, 1));

    let it = service("{ mesh: a, response_bytes_max: 1MiB, retry: { retry_after_max: 5s } }");
    assert_eq!(it.response_bytes_max, Some(Size::kib(1024)));
    assert_eq!(it.retry.retry_after_max, Some(Duration::from_secs(5)));

    let it = service(
        "{ mesh: a, breaker: { slow_after: 1s, slow_ratio: 30%, scope: endpoint }, \
         outlier: { failure_share: 25%, volume_min: 7, window: 3s }, \
         limits: { adaptive: { min: 3, max: 9 } } }",
    );
    let breaker = it.breaker.unwrap();
    assert_eq!(breaker.slow_after, Some(Duration::from_secs(1)));
    assert_eq!(breaker.slow_ratio, Percent::whole_percent(30));
    assert_eq!(breaker.scope, BreakerScope::Endpoint);
    let outlier = (
        it.outlier.failure_share,
        it.outlier.volume_min,
        it.outlier.window,
    );
    let expected = (Some(Percent::whole_percent(25)), 7, Duration::from_secs(3));
    assert_eq!(outlier, expected);
    let adaptive = it.limits.adaptive.unwrap();
    assert_eq!((adaptive.min, adaptive.max), (3, Some(9)));
    let it = service("{ mesh: a, limits: { adaptive: true } }");
    let adaptive = it.limits.adaptive.unwrap();
    assert_eq!((adaptive.min, adaptive.max), (10, None));

    let it = service("{ file: endpoints.yaml }");
    assert!(matches!(it.source, Source::File(_)));
}

/// One listener with an address already said.
fn listener(text: &str) -> Listener {
    decode(&format!(
        "listeners: {{ a: {{ bind: \"127.0.0.1:1\"{text} }} }}"
    ))
    .listeners
    .remove(0)
    .1
}

#[test]
fn forms_of_connections_that_are_passed_on() {
    let names = |to: &[Destination]| -> Vec<(String, u32)> {
        let name = |to: &Destination| (to.service.value.clone(), to.weight);
        to.iter().map(name).collect()
    };
    assert_eq!(listener("").tcp, None);
    let tcp = |text: &str| listener(&format!(", tcp: {{ {text} }}")).tcp.unwrap();
    let one = tcp("to: db");
    assert_eq!(names(&one.to), [("db".to_owned(), 1)]);
    assert_eq!(one.idle_timeout, Duration::from_secs(3600));
    let two = tcp("to: [a, { service: b, weight: 9 }], idle_timeout: 5m");
    assert_eq!(names(&two.to), [("a".to_owned(), 1), ("b".to_owned(), 9)]);
    assert_eq!(two.idle_timeout, Duration::from_secs(300));

    let sni = listener(", sni: { hosts: [a.example, \"*.b.example\", \"*\"], to: db }").sni;
    let hosts: Vec<_> = sni[0].hosts.iter().map(|host| host.value.clone()).collect();
    assert_eq!(
        hosts,
        [
            HostPattern::Exact("a.example".into()),
            HostPattern::Suffix("b.example".into()),
            HostPattern::Any
        ]
    );
    assert_eq!(names(&sni[0].to), [("db".to_owned(), 1)]);
    assert_eq!(sni[0].idle_timeout, Duration::from_secs(3600));

    let both = "{ bind: \"127.0.0.1:1\", tcp: { to: x }, sni: { hosts: b, to: x } }";
    let errors = Document::from_yaml(&format!("listeners: {{ a: {both} }}")).unwrap_err();
    assert_eq!(
        errors.0[0].problem,
        "without `tls`, every connection is for `sni`"
    );
}

#[test]
fn connections_of_a_listener_are_bounded() {
    let unwritten = listener("");
    assert_eq!(unwritten.connections_max, 10_000);
    assert_eq!(unwritten.client_connections_max, 1_000);
    assert_eq!(
        listener(", client_connections_max: 20").client_connections_max,
        20
    );
}

#[test]
fn forms_of_the_proxy_protocol() {
    assert_eq!(listener("").proxy_protocol, None);
    let from = |text: &str| listener(text).proxy_protocol.unwrap().from;
    let networks = [
        "10.0.0.0/8".parse().unwrap(),
        "192.0.2.1/32".parse().unwrap(),
    ];
    assert_eq!(
        from(", proxy_protocol: { from: 10.0.0.0/8 }"),
        networks[..1]
    );
    assert_eq!(
        from(", proxy_protocol: { from: [10.0.0.0/8, 192.0.2.1] }"),
        networks
    );

    assert_eq!(service("{ dns: \"a:1\" }").proxy_protocol, None);
    for (word, version) in [("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)] {
        let written = service(&format!("{{ dns: \"a:1\", proxy_protocol: {word} }}"));
        assert_eq!(written.proxy_protocol, Some(version));
    }
}

#[test]
fn ways_to_balance() {
    let balance = |text: &str| service(&format!("{{ mesh: a, balance: {text} }}")).balance;
    assert_eq!(service("{ mesh: a }").balance, Balance::RoundRobin);
    assert_eq!(balance("least-request"), Balance::LeastRequest);
    assert_eq!(
        balance("{ ring-hash: header.X-User }"),
        Balance::RingHash(RingHash {
            by: LimitKey::Header("x-user".into()),
            load_max: None
        })
    );
    assert_eq!(
        balance("{ ring-hash: { by: path, load_max: 1.25 } }").load_max(),
        Some(Ratio(1_250))
    );
    let Balance::Maglev(maglev) = balance("{ maglev: { by: claim.sub, table: 251 } }") else {
        panic!()
    };
    assert_eq!(
        (maglev.by, maglev.table),
        (LimitKey::Claim("sub".into()), 251)
    );
    for (key, expected) in [
        ("client", LimitKey::Client),
        ("cookie.User", LimitKey::Cookie("User".into())),
        ("query.user", LimitKey::Query("user".into())),
    ] {
        assert_eq!(
            balance(&format!("{{ maglev: {key} }}")).key(),
            Some(&expected)
        );
    }
    let it = service("{ mesh: a }");
    assert_eq!((it.slow_start, it.prefer_zone), (None, true));
    assert_eq!(it.overprovisioning, Ratio(1_400));
    let most = service("{ mesh: a, overprovisioning: 10 }").overprovisioning;
    assert_eq!(most, Ratio(10_000));
    let it = service("{ mesh: a, slow_start: 30s, prefer_zone: false, overprovisioning: 1 }");
    assert_eq!(it.slow_start, Some(Duration::from_secs(30)));
    assert_eq!((it.prefer_zone, it.overprovisioning), (false, Ratio::WHOLE));
    let sticky = service("{ mesh: a, sticky: { cookie: s, ttl: 1h, key: 0123456789abcdef } }");
    let sticky = sticky.sticky.unwrap();
    assert_eq!(sticky.ttl, Some(Duration::from_secs(3600)));
    assert_eq!(sticky.key.unwrap().0, "0123456789abcdef");
    assert_eq!(
        service("{ mesh: a, sticky: s }").sticky.unwrap().cookie,
        "s"
    );
}

#[test]
fn forms_of_the_rest() {
    let log = |text: &str| decode(&format!("access_log: {text}")).access_log.to;
    assert_eq!(log("off"), AccessLogTarget::Off);
    assert_eq!(log("stdout"), AccessLogTarget::Stdout);
    assert_eq!(
        log("{ file: /var/log/weir }"),
        AccessLogTarget::File("/var/log/weir".into())
    );
    assert_eq!(decode("{}").access_log.to, AccessLogTarget::Stdout);

    assert_eq!(decode("{}").forwarded, Forwarded::XForwarded);
    assert_eq!(decode("forwarded: both").forwarded, Forwarded::Both);
    assert_eq!((decode("{}").via, decode("via: false").via), (true, false));

    let jwks = |text: &str| {
        let text = format!("issuers: {{ it: {{ issuer: i, audience: [a, b], jwks: {text} }} }}");
        decode(&text).issuers.remove(0).1.jwks
    };
    assert_eq!(jwks("{ file: keys.json }"), Jwks::File("keys.json".into()));
    let Jwks::Service { service, path } = jwks("{ service: users }") else {
        panic!()
    };
    assert_eq!(
        (service.as_str(), path.as_str()),
        ("users", "/.well-known/jwks.json")
    );
    let Jwks::Service { path, .. } = jwks("{ service: users, path: /keys }") else {
        panic!()
    };
    assert_eq!(path, "/keys");
    assert!(matches!(jwks("\"http://127.0.0.1:9/keys\""), Jwks::Url(_)));
}

#[test]
fn what_is_in_force_when_nothing_is_written() {
    let timeouts = Timeouts::defaults();
    assert_eq!(
        timeouts.connect,
        Some(weir_config::service::CONNECT_TIMEOUT_DEFAULT)
    );
    assert_eq!(timeouts.response, Some(Duration::from_secs(15)));
    assert_eq!(timeouts.total, None);
    assert_eq!(Timeouts::default().connect, None);
    let retry = Retry::defaults();
    assert_eq!(retry.attempts, Some(1));
    assert_eq!(retry.budget, Some(Percent::whole_percent(20)));
    assert_eq!(
        route("").retry,
        Retry {
            attempts: None,
            ..Retry::default()
        }
    );
}

#[test]
fn constructors_agree_with_the_decoder() {
    let mut decoded = decode("listeners: { a: { bind: \"127.0.0.1:1\" } }")
        .listeners
        .remove(0)
        .1;
    decoded.at = Position::default();
    assert_eq!(decoded, Listener::on("127.0.0.1:1".parse().unwrap()));

    let mut decoded = service("{ mesh: users }");
    let Source::Mesh(name) = &mut decoded.source else {
        panic!()
    };
    name.at = Position::default();
    decoded.at = Position::default();
    assert_eq!(decoded, Service::from_source(decoded.source.clone()));

    let mut decoded = route("");
    let made = Route::to("/".parse().unwrap(), "it");
    decoded.at = Position::default();
    decoded.path.at = Position::default();
    decoded.action = made.action.clone();
    assert_eq!(decoded, made);
}

#[test]
fn a_list_of_endpoints_alone() {
    use weir_config::endpoint::Endpoint;
    let endpoints = Endpoint::list_from_yaml(
        "- 10.0.0.1:80\n- { address: a.b:80, identity: spiffe://weir.internal/service/a }\n",
    )
    .unwrap();
    assert_eq!(endpoints[0], Endpoint::plain("10.0.0.1:80"));
    assert_eq!(
        endpoints[1].identity.as_deref(),
        Some("spiffe://weir.internal/service/a")
    );
    assert_eq!(Endpoint::list_from_yaml("[]").unwrap(), []);
    let errors = Endpoint::list_from_yaml("[\"10.0.0.1\"]").unwrap_err();
    assert_eq!(errors.0[0].path, "[0]");
}

#[test]
fn compression_is_short_or_told_in_full() {
    use weir_config::compress::{Compress, Effort, Encoding};
    let compress = |text: &str| route(&format!("compress: {text}")).compress.unwrap();
    assert_eq!(compress("true").types, Compress::default().types);
    assert!(compress("true").enabled && !compress("false").enabled);
    let told =
        compress("{ encodings: [gzip, br], bytes_min: 2KiB, types: [text/*], effort: small }");
    assert_eq!(told.encodings, [Encoding::Gzip, Encoding::Brotli]);
    assert_eq!((told.bytes_min, told.effort), (Size::kib(2), Effort::Small));
    assert_eq!(told.types, ["text/*"]);
    for (text, hint) in [
        ("{ encodings: [gzip, gzip] }", "listed twice"),
        ("{ encodings: [lzma] }", "lzma"),
        ("{ encodings: [] }", "encodings"),
        ("{ types: [json] }", "media type"),
        ("{ bytes_min: 2GiB }", "1GiB"),
    ] {
        let text = format!("routes: [{{ path: /, to: it, compress: {text} }}]");
        let errors = Document::from_yaml(&text)
            .unwrap_err()
            .render(&text, "test");
        assert!(errors.contains(hint), "{errors}");
    }
}

#[test]
fn forms_of_the_cache() {
    let store = |text: &str| decode(text).cache;
    let it = store("{}");
    assert_eq!(
        (it.bytes_max, it.object_bytes_max),
        (Size::mib(256), Size::mib(8))
    );
    let it = store("cache: { bytes_max: 16MiB, object_bytes_max: 1MiB }");
    assert_eq!(
        (it.bytes_max, it.object_bytes_max),
        (Size::mib(16), Size::mib(1))
    );
    assert_eq!(route("").cache, None);
    let it = route("cache: {}").cache.unwrap();
    assert_eq!(it.wait, Duration::from_secs(5));
    assert!(it.stale_if_error.is_zero() && it.headers.is_empty());
    let it = route(
        "cache: { query: { ignore: [utm_source] }, headers: X-Country, stale_if_error: 1h,
                  wait: 0s }",
    );
    let it = it.cache.unwrap();
    assert_eq!(it.query.ignore, ["utm_source"]);
    assert_eq!(it.headers, ["x-country"]);
    assert_eq!(
        (it.stale_if_error, it.wait),
        (Duration::from_secs(3600), Duration::ZERO)
    );
    let it = route("cache: { query: { only: [] } }").cache.unwrap();
    assert_eq!(it.query.only, Some(Vec::new()));
}

#[test]
fn health_checks_are_short_or_told_in_full() {
    use weir_config::health::{HealthCheck, Probe};
    let health = |text: &str| {
        let text = format!("{{ endpoints: [\"a:1\"], health: {text} }}");
        service(&text).health.unwrap()
    };
    let short = health("/healthz");
    let full = HealthCheck::of(Probe::Http("/healthz".to_owned()));
    assert_eq!(
        HealthCheck {
            at: full.at,
            ..short
        },
        full
    );
    assert_eq!(health("{ tcp: true }").probe, Probe::Tcp(()));
    assert_eq!(health("{ grpc: \"\" }").probe, Probe::Grpc(String::new()));
    let told = health(
        "{ http: /up, host: a.example, statuses: [200, 401], interval: 10s, timeout: 3s, \
         fall: 5, rise: 1 }",
    );
    assert_eq!(
        (told.fall, told.rise, told.interval),
        (5, 1, Duration::from_secs(10))
    );
    for (text, said) in [
        ("{ http: /up, interval: 99ms, timeout: 50ms }", "interval"),
        ("{ http: /up, interval: 1s, timeout: 2s }", "still run"),
        (
            "{ tcp: true, statuses: [200] }",
            "belong to a check by `http`",
        ),
        ("{ tcp: false }", "true"),
        ("{ tcp: true, http: /up }", "one of"),
        ("{ http: /up, fall: 101 }", "100"),
        ("healthz", "/"),
    ] {
        let text = format!("services: {{ it: {{ endpoints: [\"a:1\"], health: {text} }} }}");
        let errors = Document::from_yaml(&text)
            .unwrap_err()
            .render(&text, "test");
        assert!(errors.contains(said), "{said}: {errors}");
    }
}
