//! `weir schema`: the JSON Schema of the document.

use std::path::PathBuf;

use weir_process::exit::Exit;

use crate::failure::{Failure, finish};
use crate::terminal;

/// Arguments of `weir schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where it goes; without it, standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes it.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    finish(schema(arguments), false)
}

fn schema(arguments: &Arguments) -> Result<Exit, Failure> {
    let text = weir_config::schema::text();
    match &arguments.output {
        None => terminal::answer(&text),
        Some(path) => std::fs::write(path, text).map_err(|source| Failure::Write {
            path: path.clone(),
            source,
        })?,
    }
    Ok(Exit::Fine)
}
