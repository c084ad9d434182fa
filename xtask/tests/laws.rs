//! The laws of the repository hold.

#![allow(clippy::expect_used, reason = "tests")]

use weir_xtask::{dependencies, generate, reasons, root, tidy, tracked};

#[test]
fn dependency_table_holds() {
    let found = dependencies::violations(&root()).expect("manifests can be read");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn source_files_are_tidy() {
    let found = tidy::violations(&root()).expect("sources can be read");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn tracked_files_are_whole() {
    let found = tracked::violations(&root()).expect("tracked files can be read");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_reason_has_its_own_word_and_a_test_that_sees_it() {
    let found = reasons::violations(&root()).expect("list, schema and tests can be read");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn generated_files_are_current() {
    let stale = generate::stale(&root()).expect("generated files can be read");
    assert!(
        stale.is_empty(),
        "run `make generate`; stale: {}",
        stale.join(", ")
    );
}
