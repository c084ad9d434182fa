//! The directory where a proxy keeps what must outlive it: its certificate, its last good
//! configuration, development certificates. One directory belongs to one proxy.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A file of the state directory cannot be read or written; its path or permissions must change.
#[derive(Debug, thiserror::Error)]
#[error("state file {}: {source}", path.display())]
pub struct StateDirError {
    path: PathBuf,
    source: io::Error,
}

/// The directory. Clones name the same one.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// The directory at this path; it is made, for its owner only, when something is written.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Makes the directory when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn ensure(&self) -> Result<(), StateDirError> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0);
        made.map_err(|source| StateDirError {
            path: self.0.clone(),
            source,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file that only its owner reads, whole or not at all, and survives a power cut.
    ///
    /// # Errors
    /// What the system says; the file is then as it was.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), StateDirError> {
        self.ensure()?;
        let path = self.0.join(name);
        let beside = self.0.join(format!("{name}.new"));
        let written = (|| {
            // Left behind by a process that ended half-way.
            let _ = fs::remove_file(&beside);
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        })();
        written.map_err(|source| StateDirError { path, source })
    }

    /// Reads a file; `None` when it is not there.
    ///
    /// # Errors
    /// What the system says, also for a file of more than `bytes_max`.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, StateDirError> {
        let path = self.0.join(name);
        match read_bounded(&path, bytes_max) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateDirError { path, source }),
        }
    }
}

/// Reads a file of at most this size; a larger one is an error.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() as u64 > bytes_max {
        let reason = format!("larger than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_private_replaced_whole_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::at(directory.path().join("a/b"));
        assert!(state.read("x", 10).unwrap().is_none());
        state.write("x", b"one").unwrap();
        // What a process that was killed while writing leaves behind is no obstacle.
        fs::write(state.path().join("x.new"), "half").unwrap();
        state.write("x", b"two").unwrap();
        assert_eq!(state.read("x", 3).unwrap().unwrap(), b"two");
        assert!(
            state
                .read("x", 2)
                .unwrap_err()
                .to_string()
                .contains("larger than 2 bytes")
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state.path().join("x")), 0o600);
        assert_eq!(mode(state.path()), 0o700);
    }
}
