//! Faults on purpose: which requests they meet, and that nothing else notices.

use weir_policy::explain::{Answer, ExplainRequest, explain};
use weir_policy::pipeline::Then;
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
    let after = match delayed.resume(snapshot, admitted.route, AT.plus(delayed.pause), &mut ()) {
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
    let entered = delayed
        .resume(&snapshot, waiting.route, AT, &mut ())
        .unwrap();
    assert_eq!(service.live.in_flight(), 1);
    let second = delayed
        .resume(&snapshot, waiting.route, AT, &mut ())
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
