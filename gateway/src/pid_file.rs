//! The file with the process id, for scripts that send signals.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A written file; removed when dropped, unless a newer gateway has written its own id meanwhile.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    text: String,
}

impl PidFile {
    /// Writes the id of this process.
    pub(crate) fn write(path: PathBuf) -> io::Result<Self> {
        let text = format!("{}\n", std::process::id());
        fs::write(&path, &text)?;
        Ok(Self { path, text })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn it_goes_with_the_process_and_not_with_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let ours = PidFile::write(path.clone()).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
        drop(ours);
        assert!(!path.exists());
        let ours = PidFile::write(path.clone()).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(ours);
        assert!(path.exists());
    }
}
