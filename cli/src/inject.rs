//! `weir inject`: the sidecar into Kubernetes manifests, by the code of the admission webhook.

use std::path::PathBuf;

use serde_json::json;
use weir_control_plane::inject::InjectOptions;
use weir_control_plane::inject::manifest::{MANIFEST_BYTES_MAX, ManifestError, inject_manifest};
use weir_process::exit::Exit;

use crate::failure::{Failure, finish};
use crate::source::Source;
use crate::terminal;

/// Arguments of `weir inject`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The manifests; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    filename: String,
    /// Where the result goes; without it, standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    options: InjectOptions,
    /// Say as JSON what was done, on standard error
    #[arg(long)]
    json: bool,
}

/// The manifests go to stdout, what was done to stderr.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    finish(inject(arguments), false)
}

fn inject(arguments: &Arguments) -> Result<Exit, Failure> {
    let source = Source::read(&arguments.filename, MANIFEST_BYTES_MAX)?;
    let injected = match inject_manifest(&source.text, &arguments.options) {
        Ok(injected) => injected,
        Err(error) => {
            complain(&error, &source.name, arguments.json);
            return Ok(Exit::No);
        }
    };
    match &arguments.output {
        None => terminal::answer(&injected.yaml),
        Some(path) => std::fs::write(path, &injected.yaml).map_err(|source| Failure::Write {
            path: path.clone(),
            source,
        })?,
    }
    if arguments.json {
        let notes = json!({ "injected": injected.injected, "notes": injected.notes });
        terminal::tell(&format!("{notes}\n"));
    } else {
        for note in &injected.notes {
            terminal::tell(&format!("{note}\n"));
        }
        if injected.notes.is_empty() {
            terminal::tell(&format!("{}: no workload in it\n", source.name));
        }
    }
    Ok(Exit::Fine)
}

fn complain(error: &ManifestError, file: &str, is_json: bool) {
    let errors: Vec<String> = match error {
        ManifestError::Workloads(errors) => errors.iter().map(ToString::to_string).collect(),
        other => vec![other.to_string()],
    };
    if is_json {
        terminal::tell(&format!("{}\n", json!({ "injected": 0, "errors": errors })));
        return;
    }
    for error in errors {
        terminal::tell(&format!("{file}: {error}\n"));
    }
    terminal::tell("nothing was written\n");
}
