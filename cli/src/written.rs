//! What a write did, for people: the revision, and which proxies run it.

use std::time::Duration;

use weir_config::ConfigErrors;
use weir_config::units::parse_duration;
use weir_process::exit::Exit;
use weir_protocol::RevisionNumber;

use crate::api::{Convergence, Write, Written};
use crate::source::Source;
use crate::terminal::{self, Paint, counted};

/// Arguments of every verb that writes.
#[derive(Debug, clap::Args)]
pub(crate) struct WriteArguments {
    /// Return when every proxy runs it, or after this time
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true,
          default_missing_value = "10s", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Who makes the change; kept with the revision [default: $USER]
    #[arg(long, env = "WEIR_AUTHOR", value_name = "NAME")]
    author: Option<String>,
    /// Only when this is the newest revision; 0: only when there is none
    #[arg(long, value_name = "REVISION")]
    expect: Option<RevisionNumber>,
}

impl WriteArguments {
    /// For the API.
    pub(crate) fn write(&self) -> Write {
        let user = || std::env::var("USER").ok().filter(|user| !user.is_empty());
        Write {
            wait: self.wait,
            author: self.author.clone().or_else(user),
            expect: self.expect,
        }
    }
}

/// Answers what a write did. `source` is the text that was written, where this process has it.
pub(crate) fn report(written: &Written, source: Option<&Source>, is_json: bool) -> Exit {
    if is_json {
        terminal::answer_json(written);
    } else {
        let paint = Paint::for_stdout();
        if let Some(source) = source {
            let paint = Paint::for_stderr();
            let warnings = crate::check::rendered_warnings(&written.warnings, source, paint);
            terminal::tell(&warnings);
        }
        terminal::answer(&headline(written, paint));
        if let Some(convergence) = &written.convergence {
            terminal::answer(&progress(convergence, source, paint));
        }
    }
    let is_everywhere = written.convergence.as_ref().is_none_or(|now| now.converged);
    if is_everywhere { Exit::Fine } else { Exit::No }
}

fn headline(written: &Written, paint: Paint) -> String {
    let revision = &written.revision;
    let number = paint.bold(&format!("revision {}", revision.number));
    let repeats = revision.rollback_to.map_or_else(String::new, |to| {
        format!(", the document of revision {to} again")
    });
    if written.changed {
        format!("{number} accepted{repeats}\n")
    } else {
        format!("{number} holds this document already; nothing was changed\n")
    }
}

fn progress(convergence: &Convergence, source: Option<&Source>, paint: Paint) -> String {
    let (running, pending, refused) = (
        &convergence.running,
        &convergence.pending,
        &convergence.refused,
    );
    let all = running.len() + pending.len() + refused.len();
    if all == 0 {
        return format!("  {}\n", paint.warn("no proxy is connected"));
    }
    let mut out = String::new();
    if !running.is_empty() {
        out.push_str(&format!(
            "  {}  {}\n",
            paint.good("running"),
            running.join(", ")
        ));
    }
    if !pending.is_empty() {
        out.push_str(&format!(
            "  {}  {}\n",
            paint.warn("pending"),
            pending.join(", ")
        ));
    }
    for node in refused {
        out.push_str(&format!("  {}  {}\n", paint.bad("refused"), node.node));
        let errors = ConfigErrors(node.errors.clone());
        let errors = match source {
            Some(source) => paint.errors(&errors.render(&source.text, &source.name)),
            None => format!("{errors}\n"),
        };
        out.push_str(
            &errors
                .lines()
                .map(|line| format!("    {line}\n"))
                .collect::<String>(),
        );
    }
    let proxies = if all == 1 {
        "1 proxy".to_owned()
    } else {
        format!("{all} proxies")
    };
    let sum = if convergence.converged {
        format!("every proxy runs it ({proxies})")
    } else {
        format!("{} of {proxies} run it", running.len())
    };
    out.push_str(&format!("  {sum}\n"));
    out
}

/// Renders the errors of a refused document against the text that was sent.
pub(crate) fn refused(errors: &ConfigErrors, source: &Source) {
    let paint = Paint::for_stderr();
    terminal::tell(&paint.errors(&errors.render(&source.text, &source.name)));
    let count = counted(errors.0.len(), "error");
    terminal::tell(&format!(
        "{}: {}; nothing was changed\n",
        source.name,
        paint.bad(&count)
    ));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use serde_json::json;

    use super::{headline, progress};
    use crate::api::Written;
    use crate::terminal::Paint;

    fn written(convergence: serde_json::Value) -> Written {
        serde_json::from_value(json!({
            "revision": {
                "number": 4, "digest": "d", "bytes": 1, "accepted_unix": 1, "rollback_to": 2,
                "something": "new",
            },
            "changed": true,
            "warnings": [],
            "convergence": convergence,
        }))
        .unwrap()
    }

    #[test]
    fn nodes_are_listed_by_what_they_do() {
        let paint = Paint::off();
        let it = written(json!({
            "number": 4, "converged": false, "running": ["a", "b"], "pending": ["c"],
            "refused": [{ "node": "d", "errors": [{
                "path": "routes[0]", "line": 3, "column": 5, "problem": "bad", "hint": "good" }] }],
        }));
        assert_eq!(
            headline(&it, paint),
            "revision 4 accepted, the document of revision 2 again\n"
        );
        let shown = progress(it.convergence.as_ref().unwrap(), None, paint);
        assert_eq!(
            shown,
            "  running  a, b\n  pending  c\n  refused  d\n    \
             3:5: routes[0]: bad (hint: good)\n  2 of 4 proxies run it\n"
        );
    }

    #[test]
    fn nobody_connected_is_said() {
        let it = written(json!({
            "number": 4, "converged": true, "running": [], "pending": [], "refused": [],
        }));
        let shown = progress(it.convergence.as_ref().unwrap(), None, Paint::off());
        assert_eq!(shown, "  no proxy is connected\n");
    }
}
