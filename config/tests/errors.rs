//! Every class of error, as a person sees it: path, line, column, words, caret and hint.
//!
//! The cases stand in `errors/*.txt`: after `### title` the document, after `>>>` what is said
//! about it. With `WEIR_UPDATE=1` the second halves are written anew; read the difference before
//! keeping it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::Path;

use weir_config::bounds::{DOCUMENT_BYTES_MAX, ERRORS_MAX};
use weir_config::{Document, Position};

fn check(area: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/errors/{area}.txt"));
    let expected = std::fs::read_to_string(&path).unwrap();
    let mut actual = String::new();
    for case in expected.split("### ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let text = rest.split_once(">>>\n").map_or(rest, |(text, _)| text);
        let errors = Document::from_yaml(text).expect_err(title);
        assert!(!errors.0.is_empty(), "{title}");
        assert!(errors.0.is_sorted_by_key(|error| error.at), "{title}");
        let rendered = errors.render(text, "weir.yaml");
        actual.push_str(&format!("### {title}\n{text}>>>\n{rendered}"));
    }
    if std::env::var_os("WEIR_UPDATE").is_some() {
        std::fs::write(&path, actual).unwrap();
        return;
    }
    assert!(
        actual == expected,
        "{area}.txt differs; this is what is said now:\n{actual}"
    );
}

#[test]
fn yaml() {
    check("yaml");
}

#[test]
fn listeners() {
    check("listeners");
}

#[test]
fn services() {
    check("services");
}

#[test]
fn routes() {
    check("routes");
}

#[test]
fn shaping() {
    check("shaping");
}

#[test]
fn issuers() {
    check("issuers");
}

fn first_problem(text: &str) -> String {
    Document::from_yaml(text).unwrap_err().0.remove(0).problem
}

#[test]
fn a_text_that_is_too_large() {
    let text = " ".repeat(DOCUMENT_BYTES_MAX + 1);
    assert!(first_problem(&text).contains("at most 8388608"));
}

#[test]
fn aliases_that_multiply() {
    // "Billion laughs": nine levels of nine aliases each.
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (from, to) in ["ab", "bc", "cd", "de", "ef", "fg", "gh", "hi"].map(|s| s.split_at(1)) {
        let aliases = vec![format!("*{from}"); 9].join(", ");
        text.push_str(&format!("{to}: &{to} [{aliases}]\n"));
    }
    assert!(first_problem(&text).contains("keys and values, those that aliases repeat included"));

    let long = "x".repeat(1024 * 1024);
    let text = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 100].join(", "));
    assert!(first_problem(&text).contains("aliases repeat more than"));

    let deep = "[".repeat(20) + &"]".repeat(20);
    let text = format!("a: &a {deep}\nb: {}*a{}\n", "[".repeat(20), "]".repeat(20));
    assert!(first_problem(&text).contains("nested deeper"));
}

#[test]
fn more_errors_than_are_shown() {
    let text: String = (0..ERRORS_MAX + 7)
        .map(|n| format!("key{n}: 1\n"))
        .collect();
    let errors = Document::from_yaml(&text).unwrap_err().0;
    assert_eq!(errors.len(), ERRORS_MAX + 1);
    let last = errors.last().unwrap();
    assert_eq!(
        (last.problem.as_str(), last.at),
        ("7 more errors are not shown", Position::default())
    );
}

#[test]
fn errors_travel_as_json() {
    let errors = Document::from_yaml("routs: []").unwrap_err();
    let json = serde_json::to_value(&errors).unwrap();
    assert_eq!(json[0]["path"], "routs");
    assert_eq!(
        (&json[0]["line"], &json[0]["column"]),
        (&1.into(), &1.into())
    );
    let back: weir_config::ConfigErrors = serde_json::from_value(json).unwrap();
    assert_eq!(back, errors);
    assert!(
        errors
            .to_string()
            .starts_with("1:1: routs: unknown key `routs` (hint: did you mean")
    );
}
