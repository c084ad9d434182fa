//! The generated files: what each holds comes from the code, so it cannot say something else.

use std::fmt::Write as _;
use std::path::Path;

use crate::{dependencies, reasons};

/// Text in a hand-written file between these two lines is generated.
const BEGIN: &str = "<!-- generated: begin -->";
/// See [`BEGIN`].
const END: &str = "<!-- generated: end -->";

/// How a file is made.
enum Content {
    /// The whole file.
    Whole(String),
    /// The part between the two marks.
    Part(String),
}

/// Writes every generated file. Returns their paths.
///
/// # Errors
/// A file that cannot be read or written.
pub fn write(root: &Path) -> std::io::Result<Vec<String>> {
    let mut written = Vec::new();
    for (path, content) in files() {
        let full = root.join(path);
        if let Some(directory) = full.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(&full, expected(&full, &content)?)?;
        written.push(path.to_owned());
    }
    Ok(written)
}

/// The generated files that are not what they would be if generated now.
///
/// # Errors
/// A file that cannot be read.
pub fn stale(root: &Path) -> std::io::Result<Vec<String>> {
    let mut stale = Vec::new();
    for (path, content) in files() {
        let full = root.join(path);
        if !full.exists() || std::fs::read_to_string(&full)? != expected(&full, &content)? {
            stale.push(path.to_owned());
        }
    }
    Ok(stale)
}

fn files() -> Vec<(&'static str, Content)> {
    let mut schema =
        serde_json::to_string_pretty(&weir_config::schema::schema()).unwrap_or_default();
    schema.push('\n');
    vec![
        ("ARCHITECTURE.md", Content::Part(dependencies::markdown())),
        ("config/schema/weir.schema.json", Content::Whole(schema)),
        (
            "docs/reference/configuration.md",
            Content::Whole(weir_config::reference::markdown()),
        ),
        ("docs/reference/metrics.md", Content::Whole(metrics())),
        (
            "docs/reference/reasons.md",
            Content::Whole(reasons::markdown()),
        ),
        (
            "docs/reference/refusals.md",
            Content::Whole(weir_policy::refusal::reference_markdown()),
        ),
    ]
}

fn expected(path: &Path, content: &Content) -> std::io::Result<String> {
    match content {
        Content::Whole(text) => Ok(text.clone()),
        Content::Part(part) => {
            let text = std::fs::read_to_string(path)?;
            let missing = || std::io::Error::other(format!("{BEGIN} … {END} are missing"));
            let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
            let (_, after) = rest.split_once(END).ok_or_else(missing)?;
            Ok(format!("{before}{BEGIN}\n{part}{END}{after}"))
        }
    }
}

fn metrics() -> String {
    let mut out = String::from(
        "# Metrics\n\nEvery process serves them at `/metrics` of its admin address (the control plane: \
         of its API), as Prometheus text.\n\n| name | kind | labels | says |\n|---|---|---|---|\n",
    );
    for metric in weir_telemetry::names::ALL {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind,
            metric.labels.join(", "),
            metric.help
        );
    }
    out
}
