//! Files that a document names beside certificates and keys: read while it is compiled, and
//! remembered, so that a change of one is noticed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use weir_policy::compile::{FileText, Files};

use crate::node::state_dir::read_bounded;

/// Files by their path, with the SHA-256 of what was in them.
pub(crate) type Seen = BTreeMap<PathBuf, [u8; 32]>;

/// The files of this machine.
#[derive(Debug, Default)]
pub(crate) struct LocalFiles {
    seen: Mutex<Seen>,
}

impl LocalFiles {
    /// What was read.
    pub(crate) fn into_seen(self) -> Seen {
        // Nothing under this lock can leave the map half changed.
        self.seen
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files for LocalFiles {
    fn text(&self, path: &Path, bytes_max: usize) -> FileText {
        let bytes = match read_bounded(path, bytes_max as u64) {
            Ok(bytes) => bytes,
            Err(error) => return FileText::Unreadable(error.to_string()),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(path.to_owned(), Sha256::digest(&bytes).into());
        match String::from_utf8(bytes) {
            Ok(text) => FileText::Text(text.into()),
            Err(_) => FileText::Unreadable("it is not UTF-8 text".to_owned()),
        }
    }
}

/// Whether one of the files has something else in it by now, or cannot be read.
pub(crate) fn have_changed(seen: &Seen, bytes_max: usize) -> bool {
    seen.iter().any(|(path, digest)| {
        let now = read_bounded(path, bytes_max as u64);
        let now: Option<[u8; 32]> = now.ok().map(|bytes| Sha256::digest(&bytes).into());
        now.as_ref() != Some(digest)
    })
}
