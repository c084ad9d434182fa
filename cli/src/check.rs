//! `weir check`: would every proxy accept these documents?

use serde_json::{Value, json};
use weir_config::bounds::DOCUMENT_BYTES_MAX;
use weir_config::{ConfigError, ConfigErrors};
use weir_policy::compile::{self, Checked};
use weir_process::exit::Exit;

use crate::files::LocalFiles;
use crate::source::{Source, SourceError};
use crate::terminal::{self, Paint, counted};

/// Arguments of `weir check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Documents to check; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Checks every file, whatever the others are.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let mut exit = Exit::Fine;
    let mut answers = Vec::new();
    for file in &arguments.files {
        let outcome = Outcome::of(file);
        if outcome.exit().code() > exit.code() {
            exit = outcome.exit();
        }
        if arguments.json {
            answers.push(outcome.json(file));
        } else {
            outcome.print();
        }
    }
    if arguments.json {
        terminal::answer_json(&json!({ "files": answers }));
    }
    exit
}

enum Outcome {
    Invalid(Source, ConfigErrors),
    Unreadable(SourceError),
    Valid(Source, Checked),
}

impl Outcome {
    fn of(file: &str) -> Self {
        match Source::read(file, DOCUMENT_BYTES_MAX) {
            Err(error) => Self::Unreadable(error),
            Ok(source) => match compile::check(&source.text, &LocalFiles) {
                Ok(checked) => Self::Valid(source, checked),
                Err(errors) => Self::Invalid(source, errors),
            },
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Invalid(..) | Self::Unreadable(SourceError::NotText { .. }) => Exit::No,
            Self::Unreadable(SourceError::Read { .. }) => Exit::Unusable,
            Self::Valid(..) => Exit::Fine,
        }
    }

    fn print(&self) {
        let paint = Paint::for_stderr();
        match self {
            Self::Invalid(source, errors) => {
                terminal::tell(&paint.errors(&errors.render(&source.text, &source.name)));
                let count = counted(errors.0.len(), "error");
                terminal::tell(&format!("{}: {}\n", source.name, paint.bad(&count)));
            }
            Self::Unreadable(error) => terminal::tell(&format!("weir: {error}\n")),
            Self::Valid(source, checked) => {
                terminal::tell(&rendered_warnings(&checked.warnings, source, paint));
                terminal::answer(&format!("{}: {}\n", source.name, summary(checked)));
            }
        }
    }

    fn json(&self, file: &str) -> Value {
        match self {
            Self::Invalid(_, errors) => json!({ "file": file, "valid": false, "errors": errors }),
            Self::Unreadable(error) => {
                json!({ "file": file, "valid": false, "unreadable": error.to_string() })
            }
            Self::Valid(_, checked) => json!({
                "file": file,
                "valid": true,
                "warnings": checked.warnings,
                "listeners": checked.document.listeners.len(),
                "routes": checked.document.routes.len(),
                "services": checked.document.services.len(),
            }),
        }
    }
}

fn summary(checked: &Checked) -> String {
    let warnings = match checked.warnings.len() {
        0 => String::new(),
        count => format!(" ({})", counted(count, "warning")),
    };
    format!(
        "{} with {}, {} and {}{warnings}",
        Paint::for_stdout().good("valid"),
        counted(checked.document.listeners.len(), "listener"),
        counted(checked.document.routes.len(), "route"),
        counted(checked.document.services.len(), "service"),
    )
}

/// What is allowed but unwise, with its place as errors have it.
pub(crate) fn rendered_warnings(warnings: &[ConfigError], source: &Source, paint: Paint) -> String {
    let marked = warnings.iter().map(|warning| ConfigError {
        problem: format!("warning: {}", warning.problem),
        ..warning.clone()
    });
    paint.errors(&ConfigErrors(marked.collect()).render(&source.text, &source.name))
}
