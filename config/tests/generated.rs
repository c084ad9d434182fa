//! The generated files are current.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::Path;

fn check(path: &str, content: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let file = root.join(path);
    if std::env::var_os("WEIR_UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        return;
    }
    let current = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        current == content,
        "{path} is not current: run `cargo run -p weir-xtask -- generate`, \
         or `WEIR_UPDATE=1 cargo test -p weir-config`"
    );
}

#[test]
fn schema_file() {
    check(
        "config/schema/weir.schema.json",
        &weir_config::schema::text(),
    );
}

#[test]
fn reference_page() {
    check(
        "docs/reference/configuration.md",
        &weir_config::reference::markdown(),
    );
}
