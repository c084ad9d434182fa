//! A lone gateway's configuration: one file, put in force at the start and whenever it changes.
//! A broken file is reported and changes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use weir_config::bounds::DOCUMENT_BYTES_MAX;
use weir_config::{ConfigErrors, Document};
use weir_files::{FileChanges, settle};
use weir_policy::compile::compile_with;
use weir_policy::live::Live;
use weir_policy::snapshot::Role;

use crate::files::LocalFiles;
use crate::node::state_dir::{StateDir, read_bounded};
use crate::store::{Candidate, Store};
use crate::tls::TlsFiles;

/// Why a file is not in force.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It was refused; the errors for a person.
    #[error("{rendered}")]
    Refused {
        /// Every error with its line and a caret under the place.
        rendered: String,
        /// The same as data.
        errors: ConfigErrors,
    },
}

/// The feed.
#[derive(Debug)]
pub struct FileFeed {
    path: PathBuf,
    store: Arc<Store>,
    /// Told by SIGHUP.
    reload: Arc<Notify>,
}

impl FileFeed {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(path: PathBuf, store: Arc<Store>, reload: Arc<Notify>) -> Self {
        Self {
            path,
            store,
            reload,
        }
    }

    /// Puts the file in force as it is now; does nothing when it is in force already.
    ///
    /// # Errors
    /// An unreadable file, or every error in it.
    pub async fn load(&self) -> Result<(), FileError> {
        let text = match read(&self.path) {
            // Replacing a file can leave a moment without one.
            Err(FileError::Unreadable { .. }) => {
                settle().await;
                read(&self.path)?
            }
            read => read?,
        };
        let text: Arc<str> = text.into();
        if self
            .store
            .current()
            .is_some_and(|current| current.candidate.text == text)
        {
            return Ok(());
        }
        let label = label_of(&text).into();
        let candidate = Candidate {
            text: Arc::clone(&text),
            label,
            number: 0,
        };
        match self.store.apply(candidate).await {
            Ok(_) => Ok(()),
            Err(errors) => Err(refused(&text, &self.path, errors)),
        }
    }

    /// Follows the file for as long as the process lives.
    pub async fn follow(&self) {
        let mut changes = FileChanges::of(vec![self.path.clone()]);
        // What changed between the first load and the watch.
        let mut first = true;
        loop {
            if !std::mem::take(&mut first) {
                tokio::select! {
                    () = changes.changed() => {}
                    () = self.reload.notified() => {}
                }
            }
            if let Err(error) = self.load().await {
                let path = self.path.display();
                tracing::error!(%path, "configuration refused, nothing changed\n{error}");
            }
        }
    }
}

/// Checks a file as it would be checked to be put in force, certificate files included, and
/// changes nothing: before the sockets of a running gateway are taken over, for instance.
///
/// # Errors
/// As [`FileFeed::load`], except that addresses are not tried.
pub fn check(path: &Path, role: &Role, state: &StateDir) -> Result<(), FileError> {
    let text = read(path)?;
    let checked = Document::from_yaml(&text)
        .and_then(|document| {
            let files = LocalFiles::default();
            compile_with(Arc::new(document), role, "check", &Live::default(), &files)
        })
        .and_then(|snapshot| TlsFiles::new(state.clone()).resolve(&snapshot, SystemTime::now()));
    match checked {
        Ok(_) => Ok(()),
        Err(errors) => Err(refused(&text, path, errors)),
    }
}

fn refused(text: &str, path: &Path, errors: ConfigErrors) -> FileError {
    let rendered = errors.render(text, &path.display().to_string());
    FileError::Refused { rendered, errors }
}

fn read(path: &Path) -> Result<String, FileError> {
    let unreadable = |source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let bytes = read_bounded(path, DOCUMENT_BYTES_MAX as u64).map_err(unreadable)?;
    String::from_utf8(bytes)
        .map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// What a document that has no number is called. The prefix keeps it from looking like one.
#[must_use]
pub fn label_of(text: &str) -> String {
    let digest = digest_of(text);
    format!("sha256:{}", digest.get(..12).unwrap_or_default())
}

/// SHA-256 of a text, lowercase hexadecimal.
#[must_use]
pub fn digest_of(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_digests_that_are_no_numbers() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(""), empty);
        assert_eq!(label_of(""), "sha256:e3b0c44298fc");
    }
}
