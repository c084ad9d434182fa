//! `weir rollback`: an earlier revision's document becomes the next revision.

use weir_process::exit::Exit;
use weir_protocol::RevisionNumber;

use crate::api::{Access, Api, block_on};
use crate::failure::{Failure, finish};
use crate::written;

/// Arguments of `weir rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The revision to go back to; without it, the one before the newest
    #[arg(long, value_name = "REVISION")]
    to: Option<RevisionNumber>,
    #[command(flatten)]
    write: written::WriteArguments,
    #[command(flatten)]
    access: Access,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Asks for it and tells what came of it.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    finish(rollback(arguments), arguments.json)
}

fn rollback(arguments: &Arguments) -> Result<Exit, Failure> {
    let api = Api::new(&arguments.access)?;
    let written =
        block_on(async { Ok(api.rollback(arguments.to, &arguments.write.write()).await?) })?;
    Ok(written::report(&written, None, arguments.json))
}
