//! The examples decode, and the schema agrees with the decoder about them and about everything else
//! that the tests have documents of.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::Path;

use weir_config::{Document, schema};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every example by name. More than these may be there.
fn examples() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut examples: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .map(|name| (name.clone(), read(&format!("examples/{name}"))))
        .collect();
    examples.sort();
    let known = [
        "auth-and-limits",
        "canary",
        "edge-tls",
        "mesh",
        "resilience",
        "two-services",
    ];
    for name in known {
        assert!(
            examples
                .iter()
                .any(|(it, _)| it.strip_suffix(".yaml") == Some(name)),
            "{name}"
        );
    }
    examples
}

fn validator() -> jsonschema::Validator {
    let schema = schema::schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

#[test]
fn every_example_decodes_and_fits_the_schema() {
    let validator = validator();
    for (name, text) in examples() {
        if let Err(errors) = Document::from_yaml(&text) {
            panic!("{}", errors.render(&text, &name));
        }
        let instance = schema::instance(&text).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&instance)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
    }
}

/// The names an example mentions exist: what `weir check` would refuse is no example.
#[test]
fn examples_mention_what_they_have() {
    for (name, text) in examples() {
        let document = Document::from_yaml(&text).unwrap();
        let issuers: Vec<&str> = document
            .issuers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let listeners: Vec<&str> = document
            .listeners
            .iter()
            .map(|(name, _)| name.as_str())
            .chain(["mesh"])
            .collect();
        for route in &document.routes {
            for (key, destination) in route.action.destinations() {
                let service = document.service(&destination.service);
                assert!(service.is_some(), "{name}: {key}");
            }
            assert!(
                route
                    .listeners
                    .iter()
                    .all(|it| listeners.contains(&it.as_str())),
                "{name}"
            );
            let jwt = route.auth.as_ref().and_then(|auth| auth.jwt.as_ref());
            assert!(
                jwt.is_none_or(|jwt| issuers.contains(&jwt.as_str())),
                "{name}"
            );
        }
    }
}

/// What the schema refuses, the decoder must refuse too; the other way round a schema cannot say
/// everything. Checked over every document of the error tests.
#[test]
fn the_schema_refuses_nothing_that_decodes() {
    let validator = validator();
    let mut both = 0;
    for area in [
        "issuers",
        "listeners",
        "routes",
        "services",
        "shaping",
        "yaml",
    ] {
        for case in read(&format!("tests/errors/{area}.txt"))
            .split("### ")
            .skip(1)
        {
            let (title, rest) = case.split_once('\n').unwrap();
            let text = rest.split_once(">>>\n").unwrap().0;
            assert!(Document::from_yaml(text).is_err(), "{title}");
            let Ok(instance) = schema::instance(text) else {
                continue;
            };
            both += usize::from(!validator.is_valid(&instance));
        }
    }
    // Most of what is wrong an editor can show while it is being typed.
    assert!(
        both >= 30,
        "the schema refuses only {both} of the bad documents"
    );
}

#[test]
fn the_schema_accepts_every_short_form() {
    let validator = validator();
    for text in [
        "{}",
        "access_log: off",
        "services: { a: { endpoints: \"a:1\", outlier: false, retry: false } }",
        "services: { a: { consul: a }, b: { consul: { name: b } }, c: { file: c.yaml } }",
        "routes: { path: { prefix: /x }, to: a, methods: GET, limit: 5/10s }",
        "routes: [{ path: /, to: [a, { service: b }], headers: { x: true, y: 1 } }]",
        "routes: [{ path: /, to: a, fault: { delay: 5ms, abort: 500 } }]",
        "routes: [{ path: /, to: a, mirror: b, fallback: { respond: { status: 200 } } }]",
        "routes: [{ path: /, redirect: { path: /x }, clients: [10.0.0.1, \"::1\"] }]",
        "issuers: { a: { issuer: i, audience: [a], jwks: { file: k } } }",
        "listeners: { a: { bind: \"[::]:80\", header_bytes_max: 2048, tls: { self_signed: a } } }",
    ] {
        if let Err(errors) = Document::from_yaml(text) {
            panic!("{}", errors.render(text, "test"));
        }
        let instance = schema::instance(text).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&instance)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{text}: {errors:#?}");
    }
}
