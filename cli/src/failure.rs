//! Why a verb could not do what it was asked, and with which exit code it ends then.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use weir_process::exit::Exit;

use crate::api::ApiError;
use crate::source::SourceError;
use crate::terminal;

/// Why a verb ends without its answer.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The control plane is not reachable, or refuses.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The system gives no runtime for network I/O.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// A file that the user named cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file that the user named cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Api(ApiError::Problem(problem)) if problem.is_a_no() => Exit::No,
            _ => Exit::Unusable,
        }
    }
}

/// Says what went wrong, where something did, and gives the exit code.
pub(crate) fn finish(result: Result<Exit, Failure>, is_json: bool) -> Exit {
    let failure = match result {
        Ok(exit) => return exit,
        Err(failure) => failure,
    };
    match &failure {
        Failure::Api(ApiError::Problem(problem)) if is_json => terminal::answer_json(problem),
        other => terminal::tell(&format!("weir: {other}\n")),
    }
    failure.exit()
}
