//! Noticing that files changed: configuration, certificates, keys.
//!
//! The directories are watched, not the files: editors, atomic writers and mounted config maps
//! replace the file, and a watch on it would follow the old one to its grave. What counts is
//! whether size, time or inode differ from the last look, so that reading a file is no change. A
//! slow poll stands behind the watcher for what it cannot see (network file systems, links into
//! other directories).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// Watches a set of files.
#[derive(Debug)]
pub(crate) struct FileChanges {
    files: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
    touched: Arc<Notify>,
    /// Held for its thread; `None` where the system has no watch left for us.
    _watcher: Option<RecommendedWatcher>,
}

/// What tells one content of a file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    seconds: i64,
    nanos: i64,
}

impl FileChanges {
    /// Begins to watch; changes from here on are noticed.
    pub(crate) fn of(files: Vec<PathBuf>) -> Self {
        let touched = Arc::new(Notify::new());
        let watcher = watch(&files, &touched)
            .inspect_err(|error| tracing::warn!(%error, "files are polled, not watched"))
            .ok();
        let seen = files.iter().map(|file| stamp(file)).collect();
        Self {
            files,
            seen,
            touched,
            _watcher: watcher,
        }
    }

    /// The files.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Waits until one of the files differs from what it was, and is quiet again. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        loop {
            // Both are as good: what decides is the look at the files.
            let _told_or_time = timeout(POLL, self.touched.notified()).await;
            if self.look() == self.seen {
                continue;
            }
            // Writers write in pieces.
            let quiet = async { while timeout(QUIET, self.touched.notified()).await.is_ok() {} };
            let _quiet_or_time = timeout(QUIET_MAX, quiet).await;
            self.seen = self.look();
            return;
        }
    }

    fn look(&self) -> Vec<Option<Stamp>> {
        self.files.iter().map(|file| stamp(file)).collect()
    }
}

/// Waits a little for a file that is being written: replacing it can leave a moment without one.
pub(crate) async fn settle() {
    sleep(QUIET).await;
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(file).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        bytes: metadata.size(),
        seconds: metadata.mtime(),
        nanos: metadata.mtime_nsec(),
    })
}

fn watch(files: &[PathBuf], touched: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let told = Arc::clone(touched);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error means that events were lost: look to be sure. Reading, also of other files in
        // the directory, is no reason to look.
        let is_reading = event.is_ok_and(|event| match event.kind {
            EventKind::Access(AccessKind::Close(mode)) => mode != AccessMode::Write,
            EventKind::Access(_) => true,
            _ => false,
        });
        if !is_reading {
            told.notify_one();
        }
    })?;
    let directories: BTreeSet<&Path> = files.iter().map(|file| directory_of(file)).collect();
    for directory in directories {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// How long the directory must be quiet before a change counts.
const QUIET: Duration = Duration::from_millis(100);
/// The longest that a directory which is never quiet can put off a change.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// How often the files are looked at without being told.
const POLL: Duration = Duration::from_secs(10);

const _: () = assert!(QUIET.as_millis() < QUIET_MAX.as_millis());

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn writing_replacing_and_appearing_are_changes_and_reading_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        fs::write(&one, "1").unwrap();
        let mut changes = FileChanges::of(vec![one.clone(), two.clone()]);
        fs::read(&one).unwrap();
        fs::write(directory.path().join("other"), "x").unwrap();
        assert!(timeout(QUIET * 3, changes.changed()).await.is_err());

        fs::write(&one, "11").unwrap();
        timeout(DEADLINE, changes.changed()).await.unwrap();
        let beside = directory.path().join("beside");
        fs::write(&beside, "22").unwrap();
        fs::rename(&beside, &one).unwrap();
        timeout(DEADLINE, changes.changed()).await.unwrap();
        fs::write(&two, "").unwrap();
        timeout(DEADLINE, changes.changed()).await.unwrap();
        fs::remove_file(&two).unwrap();
        timeout(DEADLINE, changes.changed()).await.unwrap();
    }
}
