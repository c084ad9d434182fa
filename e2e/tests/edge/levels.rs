//! Levels, zones and slow start: how requests are divided, seen from outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Recorded, Reply, Script, Upstream};

/// Upstreams that answer with their number.
fn numbered(count: usize) -> Vec<Upstream> {
    (0..count)
        .map(|number| Upstream::start(Reply::ok(number.to_string())))
        .collect()
}

/// How often each answer came.
async fn answers(gateway: &Lone, requests: usize) -> BTreeMap<String, usize> {
    let mut client = Client::http1().connect(&gateway.url("/")).await.unwrap();
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        let answer = client.get("/x").await.unwrap();
        assert_eq!(answer.status, 200, "{answer}");
        *counts.entry(answer.text()).or_default() += 1;
    }
    counts
}

/// Waits until these and no others answer.
async fn only(gateway: &Lone, expected: &[&str]) {
    let are_they = async || {
        let seen = answers(gateway, 20).await;
        if seen.keys().eq(expected) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    };
    eventually(DEADLINE, are_they).await;
}

/// Attempts that went elsewhere, for this reason.
async fn away(gateway: &Lone, reason: &str) -> f64 {
    let labels = [("service", "app"), ("reason", reason)];
    let metrics = gateway.metrics().await;
    metrics.sum("weir_upstream_attempts_away_total", &labels)
}

/// What the gateway says would happen to a request.
async fn explained(gateway: &Lone) -> String {
    let question = json!({ "url": gateway.url("/x") }).to_string();
    let url = gateway.admin_url("/explain");
    let answer = Client::http1().post(&url, &[], question).await.unwrap();
    let explanation: Value = answer.json();
    let steps = explanation["steps"].as_array().unwrap().iter();
    let said = steps.map(|step| step["said"].as_str().unwrap().to_owned());
    said.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_own_zone_comes_first_and_spills_over_in_proportion() {
    let mut upstreams = numbered(4);
    let endpoint = |index: usize, zone: &str| {
        format!(
            "{{ address: \"{}\", zone: {zone} }}",
            upstreams[index].addr()
        )
    };
    let yaml = format!(
        "
        services:
          app:
            endpoints: [{}, {}, {}, {}]
            overprovisioning: 1
            outlier: {{ consecutive: 1, ejection: 1h, ejection_max: 1h }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        endpoint(0, "eu-a"),
        endpoint(1, "eu-a"),
        endpoint(2, "eu-b"),
        endpoint(3, "eu-b"),
    );
    let gateway = Place::new()
        .arg("--zone=eu-a")
        .arg("--workers=1")
        .start(&yaml)
        .await;
    let counts = answers(&gateway, 40).await;
    assert!(counts.keys().eq(["0", "1"]), "{counts:?}");
    assert_eq!(away(&gateway, "zone").await, 0.0);

    // Half of the zone fails, and no request does: one of the three that are left stands for two
    // thirds of what comes from one of two zones.
    upstreams.remove(0).stop();
    let ejected = [("service", "app"), ("state", "ejected")];
    eventually(DEADLINE, async || {
        answers(&gateway, 5).await;
        let metrics = gateway.metrics().await;
        metrics.one("weir_upstream_endpoints", &ejected) == 1.0
    })
    .await;
    let before = away(&gateway, "zone").await;
    let counts = answers(&gateway, 300).await;
    let own = counts["1"];
    // 200 expected; six standard deviations of a fair draw are 49.
    assert!((150..=250).contains(&own), "{counts:?}");
    assert!(
        counts["2"].abs_diff(counts["3"]) <= 1,
        "in turn: {counts:?}"
    );
    let left = away(&gateway, "zone").await - before;
    assert_eq!(left, (300 - own) as f64);
    let said = explained(&gateway).await;
    let division = "its requests go to priority 0 in zone \"eu-a\" by 66.7 %, \
                    priority 0 outside of zone \"eu-a\" by 33.3 %";
    assert!(said.contains(division), "{said}");

    // Then all of it: the others take everything.
    upstreams.remove(0).stop();
    only(&gateway, &["2", "3"]).await;
}

#[tokio::test]
async fn a_lower_level_takes_over_and_gives_back() {
    // The second and third answer their checks as they are told.
    let fit: Vec<_> = (0..3).map(|_| Arc::new(AtomicBool::new(true))).collect();
    let upstreams: Vec<_> = (0..3)
        .map(|number| {
            let fit = Arc::clone(&fit[number]);
            Upstream::start(Script::by(move |request: &Recorded| {
                match request.path.as_str() {
                    "/healthz" if fit.load(Ordering::Relaxed) => Reply::status(204),
                    "/healthz" => Reply::status(503),
                    _ => Reply::ok(number.to_string()),
                }
            }))
        })
        .collect();
    let yaml = format!(
        "
        services:
          app:
            endpoints:
              - \"{}\"
              - \"{}\"
              - {{ address: \"{}\", priority: 3 }}
            balance: random
            health: {{ http: /healthz, interval: 1s, timeout: 1s, fall: 2, rise: 1 }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        upstreams[0].addr(),
        upstreams[1].addr(),
        upstreams[2].addr(),
    );
    let gateway = Place::new().arg("--workers=1").start(&yaml).await;
    let counts = answers(&gateway, 40).await;
    assert!(counts.keys().eq(["0", "1"]), "{counts:?}");
    assert_eq!(away(&gateway, "level").await, 0.0);

    // Half of the first level is left: it carries 1.4 times that.
    fit[1].store(false, Ordering::Relaxed);
    only(&gateway, &["0", "2"]).await;
    let counts = answers(&gateway, 300).await;
    // 210 expected; six standard deviations of a fair draw are 48.
    assert!((160..=260).contains(&counts["0"]), "{counts:?}");
    let said = explained(&gateway).await;
    let division = "its requests go to priority 0 by 70.0 %, priority 3 by 30.0 %";
    assert!(said.contains(division), "{said}");
    assert!(away(&gateway, "level").await > 0.0);

    // Nothing of it is left.
    fit[0].store(false, Ordering::Relaxed);
    only(&gateway, &["2"]).await;
    // It comes back, and gets everything again.
    fit[0].store(true, Ordering::Relaxed);
    fit[1].store(true, Ordering::Relaxed);
    only(&gateway, &["0", "1"]).await;
    let before = away(&gateway, "level").await;
    answers(&gateway, 20).await;
    assert_eq!(away(&gateway, "level").await, before);
}

#[tokio::test]
async fn a_new_endpoint_starts_slowly() {
    let upstreams = numbered(2);
    let place = Place::new().arg("--workers=1");
    let list = place.directory().join("app.yaml");
    let entry = |index: usize| format!("- \"{}\"\n", upstreams[index].addr());
    std::fs::write(&list, entry(0)).unwrap();
    let document = |slow_start: &str| {
        format!(
            "
            services: {{ app: {{ file: \"{}\"{slow_start} }} }}
            routes: [{{ path: \"/*\", to: app }}]
            ",
            list.display()
        )
    };
    let gateway = place.start(&document(", slow_start: 1h")).await;
    only(&gateway, &["0"]).await;
    std::fs::write(&list, entry(0) + &entry(1)).unwrap();
    only(&gateway, &["0", "1"]).await;
    // A tenth of its weight: one request of eleven.
    let counts = answers(&gateway, 330).await;
    let new = counts["1"];
    // 30 expected; six standard deviations of a fair draw are 31.
    assert!((1..=61).contains(&new), "{counts:?}");
    let said = explained(&gateway).await;
    let slow = format!(
        "{} is fit, and starts slowly: 10 % of its weight",
        upstreams[1].addr()
    );
    assert!(said.contains(&slow), "{said}");

    // It is older than this by now: a document does not begin it anew.
    gateway.rewrite(&document(", slow_start: 1ms"));
    eventually(DEADLINE, async || gateway.applied().await == 2.0).await;
    let counts = answers(&gateway, 40).await;
    assert_eq!((counts["0"], counts["1"]), (20, 20), "in turn");
    let said = explained(&gateway).await;
    assert!(!said.contains("starts slowly"), "{said}");
}

#[tokio::test]
async fn a_slow_start_ends() {
    let upstreams = numbered(2);
    let place = Place::new().arg("--workers=1");
    let list = place.directory().join("app.yaml");
    let entry = |index: usize| format!("- \"{}\"\n", upstreams[index].addr());
    std::fs::write(&list, entry(0)).unwrap();
    let yaml = format!(
        "
        services: {{ app: {{ file: \"{}\", slow_start: 2s, balance: least-request }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        list.display()
    );
    let gateway = place.start(&yaml).await;
    only(&gateway, &["0"]).await;
    std::fs::write(&list, entry(0) + &entry(1)).unwrap();
    only(&gateway, &["0", "1"]).await;
    // Half of the requests, give or take six standard deviations.
    let whole = async || {
        let counts = answers(&gateway, 200).await;
        match counts["1"] {
            58..=142 => Ok(()),
            _ => Err(format!("{counts:?}")),
        }
    };
    eventually(DEADLINE, whole).await;
    let no_ramp = async || !explained(&gateway).await.contains("starts slowly");
    eventually(DEADLINE, no_ramp).await;
}
