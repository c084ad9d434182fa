//! Faults on purpose, copies and fallbacks: which requests they meet, and what notices.

use weir_policy::explain::{Answer, ExplainRequest, explain};
use weir_policy::pipeline::{self, Then};
use weir_policy::refusal::Code;
use weir_policy::shaping::GaveUp;
use weir_policy::snapshot::Snapshot;

use crate::bench::{AT, Ask, ask, gateway, service_of};

const FAULTY: &str = r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services:
  s: { endpoints: ["127.0.0.1:1"], limits: { requests: 1 }, breaker: { consecutive: 1 } }
routes:
  - { path: /delay, to: s, fault: { delay: 250ms } }
  - { path: /abort, to: s, fault: { abort: 418 } }
  - { path: /both, to: s, fault: { delay: 1s, abort: 503 } }
  - { path: /some, to: s, fault: { delay: { for: 5ms, share: 10% }, abort: { share: 1% } } }
  - { path: /aimed, to: s, fault: { headers: { x-tester: ann }, abort: 500 } }
  - { path: /late, to: s, fault: { delay: 1s }, timeouts: { total: 1s } }
  - { path: /fixed, respond: { status: 200 }, fault: { delay: 1s } }
  - { path: /first, to: s, limit: 1/m, fault: { abort: 500 } }
"#;

/// What comes of a request at once, and what after its delay.
fn fate(snapshot: &Snapshot, ask: &Ask) -> (String, Option<String>) {
    let admitted = match ask.admit(snapshot) {
        Ok(admitted) => admitted,
        Err(refusal) => return (format!("{} {}", refusal.status(), refusal.code), None),
    };
    let Then::Delayed(delayed) = &admitted.then else {
        return (service_of(snapshot, &admitted), None);
    };
    let later = AT.plus(delayed.pause);
    let resumed = delayed.resume(snapshot, &admitted, later, &mut ());
    let after = match resumed.map(|(then, _)| then) {
        Ok(Then::Forward(forward)) => snapshot.service(forward.service).name.to_string(),
        Ok(Then::Answer(response)) => response.status().to_string(),
        Ok(Then::Delayed(_)) => "waits again".to_owned(),
        Err(refusal) => refusal.to_string(),
    };
    (service_of(snapshot, &admitted), Some(after))
}

#[test]
fn faults_meet_the_requests_they_are_meant_for() {
    let snapshot = gateway(FAULTY);
    let teapot = "418 I'm a teapot fault-injected";
    for (line, now, after) in [
        ("GET /delay", "waits 250ms", Some("s")),
        ("GET /abort", teapot, None),
        ("GET /both", "waits 1s", Some("fault-injected (503)")),
        ("GET /aimed", "s", None),
        ("GET /late", "waits 1s", Some("total-timeout (504)")),
        ("GET /fixed", "waits 1s", Some("200 OK")),
    ] {
        let fate = fate(&snapshot, &ask(line));
        assert_eq!((fate.0.as_str(), fate.1.as_deref()), (now, after), "{line}");
    }
    let aimed = |value| fate(&snapshot, &ask("GET /aimed").header("x-tester", value)).0;
    assert_eq!(aimed("ann"), "500 Internal Server Error fault-injected");
    assert_eq!(aimed("bob"), "s");
}

#[test]
fn shares_are_drawn_and_the_same_draw_has_the_same_fate() {
    let snapshot = gateway(FAULTY);
    let (mut delayed, mut aborted) = (0, 0);
    for draw in 0..10_000 {
        let mut ask = ask("GET /some");
        ask.draw = draw;
        let fate = fate(&snapshot, &ask);
        assert_eq!(fate, self::fate(&snapshot, &ask));
        delayed += u32::from(fate.0.starts_with("waits"));
        let told = [Some(fate.0), fate.1];
        aborted += u32::from(
            told.iter()
                .flatten()
                .any(|it| it.contains("fault-injected")),
        );
    }
    assert!((900..1_100).contains(&delayed), "{delayed}");
    assert!((70..130).contains(&aborted), "{aborted}");
}

#[test]
fn neither_breaker_nor_places_notice_a_fault() {
    let snapshot = gateway(FAULTY);
    let service = &snapshot.services[0];
    let waiting = ask("GET /delay").admit(&snapshot).unwrap();
    assert_eq!(service.live.in_flight(), 0, "who waits holds no place");
    for _ in 0..10 {
        assert!(ask("GET /abort").admit(&snapshot).is_err());
    }
    let Then::Delayed(delayed) = &waiting.then else {
        panic!("{waiting:?}")
    };
    let entered = delayed.resume(&snapshot, &waiting, AT, &mut ()).unwrap();
    assert_eq!(service.live.in_flight(), 1);
    let second = delayed
        .resume(&snapshot, &waiting, AT, &mut ())
        .unwrap_err();
    assert_eq!(second.code.as_str(), "service-overloaded");
    drop(entered);
    assert_eq!(service.live.in_flight(), 0);
    assert_eq!(service.live.budget().counts(AT).0, 1, "one request came by");
}

#[test]
fn limits_come_before_faults() {
    let snapshot = gateway(FAULTY);
    let first = ask("GET /first").admit(&snapshot).unwrap_err();
    assert_eq!(first.code.as_str(), "fault-injected");
    let second = ask("GET /first").admit(&snapshot).unwrap_err();
    assert_eq!(second.code.as_str(), "rate-limited");
}

#[test]
fn an_explanation_tells_of_faults_and_waits_for_none() {
    let snapshot = gateway(FAULTY);
    let explained = |path: &str| {
        let url = path.to_owned();
        let request = ExplainRequest {
            url,
            ..ExplainRequest::default()
        };
        explain(&snapshot, &request, |_| None, AT).unwrap()
    };
    let both = explained("/both");
    let said: Vec<_> = both
        .steps
        .iter()
        .filter(|step| step.area == "fault")
        .map(|step| (step.said.as_str(), step.at.line))
        .collect();
    let expected = [
        ("100% are delayed by 1s: this one as well", 8),
        ("100% are answered with 503: this one as well", 8),
    ];
    assert_eq!(said, expected);
    let Answer::Refused { code, status, .. } = &both.answer else {
        panic!("{both}")
    };
    assert_eq!((code.as_str(), *status), ("fault-injected", 503));
    assert!(matches!(
        explained("/delay").answer,
        Answer::Forwarded { .. }
    ));
    assert!(explained("/delay").upstream.is_some());
    let aimed = explained("/aimed").to_string();
    assert!(
        aimed.contains("none: the request has not the headers"),
        "{aimed}"
    );
    assert_eq!(snapshot.services[0].live.in_flight(), 0);
}

#[test]
fn a_header_condition_that_cannot_be_compiled_is_told() {
    let yaml = FAULTY.replace("x-tester: ann", "x-tester: { regex: \"a)|(b\" }");
    let document = crate::bench::compiled(&yaml, &weir_policy::snapshot::Role::Gateway);
    let errors = document.unwrap_err();
    assert_eq!(errors.0.len(), 1, "{errors}");
    assert_eq!(errors.0[0].path, "routes[4].fault.headers.x-tester");
}

const COPIED: &str = r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services:
  s: { endpoints: ["127.0.0.1:1"] }
  shadow: { endpoints: ["127.0.0.1:2"], limits: { requests: 1 } }
  other: { endpoints: ["127.0.0.1:3"] }
routes:
  - { path: /all, to: s, mirror: shadow }
  - { path: /some, to: s, mirror: [{ to: shadow, share: 10% }, { to: other, share: 20% }] }
  - { path: /none, to: s, mirror: { to: shadow, share: 0% } }
"#;

/// The services that get a copy.
fn copies(snapshot: &Snapshot, ask: &Ask, draw: u64) -> Vec<String> {
    let admitted = ask.admit(snapshot).unwrap();
    let mut note = ();
    let copies = pipeline::copies(snapshot, &admitted, draw, &mut note);
    let name = |id| snapshot.service(id).name.to_string();
    copies.map(|copy| name(copy.service())).collect()
}

#[test]
fn copies_are_drawn_each_for_itself_and_never_of_upgrades() {
    let snapshot = gateway(COPIED);
    assert_eq!(copies(&snapshot, &ask("GET /all"), 7), ["shadow"]);
    assert!(copies(&snapshot, &ask("GET /none"), 7).is_empty());
    let upgrade = ask("GET /all")
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    assert!(copies(&snapshot, &upgrade, 7).is_empty());
    let (mut shadow, mut other, mut both) = (0, 0, 0);
    for draw in 0..10_000 {
        let copies = copies(&snapshot, &ask("GET /some"), draw);
        shadow += u32::from(copies.iter().any(|it| it == "shadow"));
        other += u32::from(copies.iter().any(|it| it == "other"));
        both += u32::from(copies.len() == 2);
    }
    assert!((900..1_100).contains(&shadow), "{shadow}");
    assert!((1_800..2_200).contains(&other), "{other}");
    assert!((140..260).contains(&both), "{both}");
}

#[test]
fn a_copy_takes_a_place_at_its_own_service() {
    let snapshot = gateway(COPIED);
    let admitted = ask("GET /all").admit(&snapshot).unwrap();
    let copy = pipeline::copies(&snapshot, &admitted, 0, &mut ())
        .next()
        .unwrap();
    assert_eq!(copy.mark, "/all");
    let place = copy.enter(&snapshot, AT).unwrap();
    assert_eq!(place.retry.attempts, 0, "a copy is sent once");
    assert_eq!(
        copy.enter(&snapshot, AT).unwrap_err().code,
        Code::ServiceOverloaded
    );
    assert!(
        ask("GET /all").admit(&snapshot).is_ok(),
        "the request does not notice"
    );
}

const FALLING: &str = r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services:
  s: { endpoints: ["127.0.0.1:1"], limits: { requests: 1 } }
  other: { endpoints: ["127.0.0.1:2"], protocol: http2, timeouts: { response: 3s } }
routes:
  - { path: /to, to: s, fallback: { to: other }, timeouts: { response: 1s } }
  - { path: /fixed, to: s, fallback: { respond: { status: 200 }, statuses: [404] } }
  - { path: /none, to: s }
"#;

#[test]
fn what_is_given_up_falls_back_where_that_is_safe() {
    use Code::{
        BodyTooLarge, ConnectFailed, NoEndpoint, TotalTimeout, UpstreamReset, UpstreamTimeout,
    };
    let snapshot = gateway(FALLING);
    let status = |status: u16| GaveUp::Status(status.try_into().unwrap());
    let refused = GaveUp::Refused;
    let (sent, unsent) = ((true, true), (false, true));
    for (line, why, request, expected) in [
        ("GET /to", refused(UpstreamReset), sent, Some("other")),
        ("GET /to", refused(UpstreamTimeout), sent, Some("other")),
        ("GET /to", refused(NoEndpoint), unsent, Some("other")),
        ("GET /to", status(503), sent, Some("other")),
        ("GET /to", status(500), sent, None),
        ("GET /to", status(200), sent, None),
        // What the other service must not see.
        ("POST /to", status(503), sent, None),
        ("POST /to", refused(UpstreamReset), sent, None),
        ("POST /to", refused(ConnectFailed), unsent, Some("other")),
        ("GET /to", status(503), (true, false), None),
        ("POST /to", refused(ConnectFailed), (false, false), None),
        // Nobody waits any longer, or it is the client's own fault.
        ("GET /to", refused(TotalTimeout), sent, None),
        ("GET /to", refused(BodyTooLarge), unsent, None),
        // A fixed answer sends nothing.
        (
            "POST /fixed",
            refused(UpstreamReset),
            (true, false),
            Some("200 OK"),
        ),
        ("POST /fixed", refused(TotalTimeout), sent, Some("200 OK")),
        ("POST /fixed", status(404), (true, false), Some("200 OK")),
        ("POST /fixed", status(503), sent, None),
        ("POST /fixed", refused(BodyTooLarge), sent, None),
        ("GET /none", refused(UpstreamReset), sent, None),
    ] {
        let ask = ask(line);
        let mut admitted = ask.admit(&snapshot).unwrap();
        let then = pipeline::fall_back(&snapshot, &admitted, &ask.method, why, request, AT);
        let told = then.map(|then| {
            admitted.then = then;
            service_of(&snapshot, &admitted)
        });
        assert_eq!(told.as_deref(), expected, "{line} {why:?} {request:?}");
    }
}

#[test]
fn a_request_falls_back_once_and_by_the_deadlines_of_the_other_service() {
    let snapshot = gateway(FALLING);
    let held = ask("GET /to").admit(&snapshot).unwrap();
    assert_eq!(service_of(&snapshot, &held), "s");
    let second = ask("GET /to").admit(&snapshot).unwrap();
    assert_eq!(service_of(&snapshot, &second), "other");
    let why = GaveUp::Refused(Code::ServiceOverloaded);
    assert_eq!(second.fallback, Some(why));
    let Then::Forward(forward) = &second.then else {
        panic!("{second:?}")
    };
    assert_eq!(forward.timeouts.response, std::time::Duration::from_secs(3));
    let method = &http::Method::GET;
    let again = pipeline::fall_back(&snapshot, &second, method, why, (false, true), AT);
    assert!(again.is_none(), "{again:?}");
    assert_eq!(
        service_of(&snapshot, &ask("GET /fixed").admit(&snapshot).unwrap()),
        "200 OK"
    );
    assert_eq!(ask("GET /none").outcome(&snapshot), "service-overloaded");
    // The other service cannot be upgraded to.
    let upgrade = ask("GET /to")
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    assert_eq!(upgrade.outcome(&snapshot), "service-overloaded");
}

#[test]
fn an_explanation_tells_of_copies_and_fallbacks() {
    let explained = |yaml: &str, url: &str| {
        let request = ExplainRequest {
            url: url.into(),
            ..ExplainRequest::default()
        };
        explain(&gateway(yaml), &request, |_| None, AT)
            .unwrap()
            .to_string()
    };
    let copied = explained(COPIED, "/all");
    assert!(
        copied.contains("mirror    100% are copied to `shadow`: this one as well"),
        "{copied}"
    );
    assert!(explained(COPIED, "/none").contains("`shadow`: not this one"));
    let falling = explained(FALLING, "/to");
    let said = "`other` answers when the service gave up, or with [502, 503, 504]";
    assert!(falling.contains(said), "{falling}");
}

#[test]
fn services_that_shaping_mentions_must_be_there() {
    let yaml = FALLING
        .replace("fallback: { to: other }", "fallback: { to: othr }")
        .replace(
            "- { path: /none, to: s }",
            "- { path: /none, to: s, mirror: [s, t] }",
        );
    let errors = crate::bench::compiled(&yaml, &weir_policy::snapshot::Role::Gateway).unwrap_err();
    let told = errors
        .0
        .iter()
        .map(|error| format!("{}: {}", error.path, error.problem));
    let told: Vec<_> = told.collect();
    let expected = [
        "routes[0].fallback.to: there is no service `othr`",
        "routes[2].mirror[1].to: there is no service `t`",
    ];
    assert_eq!(told, expected);
}
