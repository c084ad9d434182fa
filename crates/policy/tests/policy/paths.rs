//! The tables of `docs/concepts/paths.md` are what the code does.

use weir_config::Document;
use weir_policy::route::path::{Rules, normalise};

const PAGE: &str = include_str!("../../../../docs/concepts/paths.md");

/// The cells of every row that begins with code.
fn rows() -> Vec<Vec<String>> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &str| {
        let row = row.replace("\\|", "\u{1}");
        let cells = row
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace('\u{1}', "|"));
        cells.collect()
    };
    rows.map(cells).collect()
}

fn check(rules: Rules, written: &str, is: &str) {
    let normal = normalise(written.trim_matches('`'), rules);
    match is {
        "400" => assert!(normal.is_err(), "{written}: {normal:?}"),
        is => assert_eq!(normal.as_deref(), Ok(is.trim_matches('`')), "{written}"),
    }
}

#[test]
fn without_options() {
    let rows = rows();
    let plain: Vec<_> = rows.iter().filter(|row| row[0].starts_with("`/")).collect();
    assert!(plain.len() > 30);
    for row in plain {
        check(Rules::EDGE, &row[0], &row[1]);
    }
}

#[test]
fn with_options() {
    let rows = rows();
    let optional: Vec<_> = rows
        .iter()
        .filter(|row| !row[0].starts_with("`/"))
        .collect();
    assert!(optional.len() > 5);
    for row in optional {
        let option = row[0].trim_matches('`');
        let yaml = format!("listeners: {{ web: {{ bind: \"[::]:80\", paths: {{ {option} }} }} }}");
        let document = Document::from_yaml(&yaml).unwrap();
        check(
            Rules::from(&document.listeners[0].1.paths),
            &row[1],
            &row[2],
        );
    }
}
