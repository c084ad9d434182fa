//! The exposition as a scraper sees it: parsed line by line and compared with what was counted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::names;
use crate::request_metrics::StatusClass;

/// Samples by `name{labels}` as printed, and the type of each family. Panics on whatever the text
/// format does not allow.
fn parse(text: &str) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (keyword, name, rest) = (
                words.next().unwrap(),
                words.next().unwrap(),
                words.next().unwrap(),
            );
            if keyword == "TYPE" {
                assert!(
                    types.insert(name.to_owned(), rest.to_owned()).is_none(),
                    "{name} twice"
                );
            } else {
                assert_eq!(keyword, "HELP");
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        assert!(
            types.contains_key(name) || base.is_some_and(|base| types.contains_key(base)),
            "no type for {name}"
        );
        if let Some(labels) = series.strip_prefix(name).filter(|rest| !rest.is_empty()) {
            let labels = labels.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
            assert!(
                labels.split("\",").all(|pair| pair.contains("=\"")),
                "{labels}"
            );
        }
        let before = samples.insert(series.to_owned(), value.parse().unwrap());
        assert!(before.is_none(), "{series} twice");
    }
    (samples, types)
}

#[test]
fn what_was_counted_is_exposed() {
    let registry = Registry::new(2);
    registry
        .family(&names::REFUSALS)
        .with(&["no_route"])
        .add(0, 2);
    registry
        .family(&names::REFUSALS)
        .with(&["no_route"])
        .add(1, 1);
    registry
        .family(&names::REFUSALS)
        .with(&["odd \"name\"\\\n"])
        .add(1, 1);
    registry.single(&names::CONFIG_REVISION).set(0, 17);
    registry.single(&names::PUSH_CONVERGENCE).observe(0, 1_500);
    registry
        .single(&names::PUSH_CONVERGENCE)
        .observe(1, 60_000_000);
    registry.sampled(&names::ENDPOINTS, |emit| {
        emit(&["users", "fit"], 3.0);
        emit(&["users", "ejected"], 1.0);
    });
    let requests = registry.requests().with("web", "users", "users");
    requests.record(1, StatusClass::Success, 3_000, 5, 7);

    let (samples, types) = parse(&registry.encode());
    for (series, value) in [
        ("weir_http_refusals_total{code=\"no_route\"}", 3.0),
        (
            "weir_http_refusals_total{code=\"odd \\\"name\\\"\\\\\\n\"}",
            1.0,
        ),
        ("weir_config_revision_number", 17.0),
        (
            "weir_control_plane_push_convergence_seconds_bucket{le=\"0.001\"}",
            0.0,
        ),
        (
            "weir_control_plane_push_convergence_seconds_bucket{le=\"0.002\"}",
            1.0,
        ),
        (
            "weir_control_plane_push_convergence_seconds_bucket{le=\"30\"}",
            1.0,
        ),
        (
            "weir_control_plane_push_convergence_seconds_bucket{le=\"+Inf\"}",
            2.0,
        ),
        ("weir_control_plane_push_convergence_seconds_sum", 60.0015),
        ("weir_control_plane_push_convergence_seconds_count", 2.0),
        (
            "weir_upstream_endpoints{service=\"users\",state=\"ejected\"}",
            1.0,
        ),
        (
            "weir_http_requests_total{listener=\"web\",route=\"users\",service=\"users\",\
             status=\"2xx\"}",
            1.0,
        ),
        (
            "weir_http_request_duration_seconds_bucket{route=\"users\",service=\"users\",\
             le=\"0.005\"}",
            1.0,
        ),
        (
            "weir_http_response_body_bytes_total{route=\"users\",service=\"users\"}",
            7.0,
        ),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    let kinds: BTreeSet<_> = types.values().map(String::as_str).collect();
    assert_eq!(kinds, BTreeSet::from(["counter", "gauge", "histogram"]));
}

#[test]
fn every_name_can_be_registered_and_exposed() {
    fn touch<T: Cell>(registry: &Registry, named: &Named<T>) {
        registry.family(named).with(&vec!["x"; named.labels.len()]);
    }
    let registry = Registry::new(1);
    touch(&registry, &names::CONNECTIONS_CLOSED);
    touch(&registry, &names::BUILD_INFO);
    touch(&registry, &names::UPSTREAM_RESPONSE_START);
    let (_, types) = parse(&registry.encode());
    for description in ALL {
        if let Some(kind) = types.get(description.name) {
            assert_eq!(kind, description.kind, "{}", description.name);
        }
    }
    assert!(types.contains_key(names::BUILD_INFO.name));
}

#[test]
fn asking_twice_gives_the_same_metric() {
    let registry = Registry::new(4);
    let again = registry.clone();
    assert!(Arc::ptr_eq(
        &registry.single(&names::CONFIG_APPLIED),
        &again.single(&names::CONFIG_APPLIED)
    ));
}
