//! `weir diff`: what would change if a document were applied.

use std::time::Duration;

use serde_json::json;
use similar::TextDiff;
use weir_config::bounds::DOCUMENT_BYTES_MAX;
use weir_process::exit::Exit;

use crate::api::{Access, Api, block_on};
use crate::failure::{Failure, finish};
use crate::source::Source;
use crate::terminal::{self, Paint};

/// Arguments of `weir diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The document; `-` is standard input
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    access: Access,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Exit code 0 when nothing differs, 1 when something does.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    finish(diff(arguments), arguments.json)
}

fn diff(arguments: &Arguments) -> Result<Exit, Failure> {
    let source = Source::read(&arguments.file, DOCUMENT_BYTES_MAX)?;
    let api = Api::new(&arguments.access)?;
    let in_force = block_on(async { Ok(api.in_force().await?) })?;
    let (number, text) = in_force.map_or((0, String::new()), |it| (it.number, it.text));
    let title = match number {
        0 => "nothing applied yet".to_owned(),
        number => format!("revision {number}, in force"),
    };
    let diff = unified(&text, &source.text, &title, &source.name);
    let is_same = diff.is_empty();
    if arguments.json {
        terminal::answer_json(&json!({ "revision": number, "same": is_same, "diff": diff }));
    } else if is_same {
        terminal::tell(&format!(
            "{} is revision {number}, which is in force\n",
            source.name
        ));
    } else {
        terminal::answer(&painted(&diff, Paint::for_stdout()));
    }
    Ok(if is_same { Exit::Fine } else { Exit::No })
}

/// A unified diff; empty when nothing differs.
fn unified(old: &str, new: &str, old_title: &str, new_title: &str) -> String {
    if old == new {
        return String::new();
    }
    TextDiff::configure()
        .timeout(THOROUGH_FOR)
        .diff_lines(old, new)
        .unified_diff()
        .header(old_title, new_title)
        .to_string()
}

fn painted(diff: &str, paint: Paint) -> String {
    let mut out = String::with_capacity(diff.len());
    for line in diff.lines() {
        out.push_str(&match line.as_bytes().first() {
            Some(b'+') => paint.good(line),
            Some(b'-') => paint.bad(line),
            Some(b'@') => paint.dim(line),
            _ => line.to_owned(),
        });
        out.push('\n');
    }
    out
}

/// After this time the diff is finished without looking for the shortest one.
const THOROUGH_FOR: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::unified;

    #[test]
    fn lines_that_differ_are_shown_with_their_surroundings() {
        assert_eq!(unified("a\nb\n", "a\nb\n", "old", "new"), "");
        assert_eq!(
            unified("a\nb\n", "a\nc\n", "old", "new"),
            "--- old\n+++ new\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
        );
    }
}
