//! Why `weir up` does not come up, or does not stay up.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use weir_process::exit::Exit;
use weir_protocol::RevisionNumber;

use super::children::{Ended, tail};
use super::document::RebindError;
use crate::api::ApiError;
use crate::source::SourceError;

/// Why everything is drained.
#[derive(Debug, Error)]
pub(super) enum UpError {
    /// The control plane refuses, or cannot be reached although it was ready.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A process ended by itself.
    #[error("{} ended unexpectedly ({})\n{}", .0.name, .0.how, tail(&.0.log).trim_end())]
    Died(Ended),
    /// The document to run is not valid; its errors.
    #[error("the document is not valid\n{}", .0.trim_end())]
    Document(String),
    /// Another `weir up` uses the directory.
    #[error("another weir up runs with the state in {}; use --state-dir", .0.display())]
    Locked(PathBuf),
    /// The services of the shop did not join.
    #[error("the services did not appear in the mesh; see the logs of their sidecars")]
    NoEndpoint,
    /// A proxy does not run the document.
    #[error("not every proxy runs revision {revision}; see weir status, and their logs")]
    NotConverged {
        /// The revision.
        revision: RevisionNumber,
    },
    /// A process lives but does not become ready.
    #[error("{name} is not ready: {url} does not answer 200\n{}", tail(log).trim_end())]
    NotReady {
        /// The process.
        name: &'static str,
        /// What was asked.
        url: String,
        /// Its log.
        log: PathBuf,
    },
    /// Ports that cannot be used; nothing was started for them.
    #[error("{}", .0.join("\nweir up: "))]
    Ports(Vec<String>),
    /// A listener cannot be put where a flag wants it.
    #[error("{flag}: {source}")]
    Rebind {
        /// The flag.
        flag: &'static str,
        /// Why.
        source: RebindError,
    },
    /// The system does not let us watch signals.
    #[error("cannot watch signals: {0}")]
    Signals(io::Error),
    /// The document of `--config` cannot be read.
    #[error("--config: {0}")]
    Source(#[from] SourceError),
    /// A program cannot be started.
    #[error("cannot start {}: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory of the state cannot be used.
    #[error("cannot use the state directory {}: {source}", path.display())]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An address that no URL can be made of.
    #[error("{url} is not a URL that can be asked")]
    Url {
        /// What was tried.
        url: String,
    },
}

impl UpError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Died(_)
            | Self::Document(_)
            | Self::NoEndpoint
            | Self::NotConverged { .. }
            | Self::NotReady { .. } => Exit::No,
            _ => Exit::Unusable,
        }
    }
}
