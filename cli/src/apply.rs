//! `weir apply`: a document becomes the next revision.

use weir_config::ConfigErrors;
use weir_config::bounds::DOCUMENT_BYTES_MAX;
use weir_process::exit::Exit;

use crate::api::{Access, Api, ApiError, block_on};
use crate::failure::{Failure, finish};
use crate::source::Source;
use crate::written;

/// Arguments of `weir apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The document; `-` is standard input
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    write: written::WriteArguments,
    #[command(flatten)]
    access: Access,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Sends the document and tells what came of it.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    finish(apply(arguments), arguments.json)
}

fn apply(arguments: &Arguments) -> Result<Exit, Failure> {
    let source = Source::read(&arguments.file, DOCUMENT_BYTES_MAX)?;
    let api = Api::new(&arguments.access)?;
    let written = block_on(async { Ok(api.apply(&source.text, &arguments.write.write()).await) })?;
    match written {
        Ok(written) => Ok(written::report(&written, Some(&source), arguments.json)),
        Err(ApiError::Problem(problem)) if !problem.errors.is_empty() && !arguments.json => {
            written::refused(&ConfigErrors(problem.errors), &source);
            Ok(Exit::No)
        }
        Err(error) => Err(error.into()),
    }
}
