//! Noticing that files changed: configuration, certificates, keys.
//!
//! The directories are watched, not the files: editors, atomic writers and mounted config maps
//! replace the file, and a watch on it would follow the old one to its grave. What counts is
//! whether size, time or inode differ from the last look, so that reading a file is no change.
//! Nothing happens while nobody changes anything, except where a watcher cannot see everything (a
//! file that is missing, a file system of another machine): there a slow poll stands behind it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::places::Places;

/// Watches a set of files.
#[derive(Debug)]
pub(crate) struct FileChanges {
    files: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
    touched: Arc<Notify>,
    /// `None` where the system has no watch left for us.
    watcher: Option<RecommendedWatcher>,
    places: Places,
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
        let watcher = watcher(&touched).inspect_err(complain).ok();
        let mut changes = Self {
            files,
            seen: Vec::new(),
            touched,
            watcher,
            places: Places::default(),
        };
        changes.watch();
        changes.seen = changes.look();
        changes
    }

    /// The files.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Waits until one of the files differs from what it was, and is quiet again. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        loop {
            // Both are as good: what decides is the look at the files.
            match self.watcher.is_some() && self.places.tell_all {
                true => self.touched.notified().await,
                false => drop(timeout(POLL, self.touched.notified()).await),
            }
            if self.look() == self.seen {
                continue;
            }
            // Writers write in pieces.
            let quiet = async { while timeout(QUIET, self.touched.notified()).await.is_ok() {} };
            let _quiet_or_time = timeout(QUIET_MAX, quiet).await;
            // Links may lead elsewhere now, and directories may be others of the same name.
            self.watch();
            self.seen = self.look();
            return;
        }
    }

    /// Watches where the files are now.
    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for directory in &self.places.directories {
            // It may be gone, and its watch with it.
            let _ = watcher.unwatch(directory);
        }
        self.places = Places::of(&self.files);
        for directory in &self.places.directories {
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                complain(&error);
                self.places.tell_all = false;
            }
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

fn watcher(touched: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let told = Arc::clone(touched);
    notify::recommended_watcher(move |event: notify::Result<Event>| {
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
    })
}

fn complain(error: &notify::Error) {
    tracing::warn!(%error, "files are polled, not watched");
}

/// How long the directory must be quiet before a change counts.
const QUIET: Duration = Duration::from_millis(100);
/// The longest that a directory which is never quiet can put off a change.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// How often the files are looked at without being told, where not every change is told.
const POLL: Duration = Duration::from_secs(10);

const _: () = assert!(QUIET.as_millis() < QUIET_MAX.as_millis());

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::os::unix::fs::symlink;

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
        assert!(changes.places.tell_all, "nothing is missing: no poll");
        fs::remove_file(&two).unwrap();
        timeout(DEADLINE, changes.changed()).await.unwrap();
        assert!(!changes.places.tell_all, "what is missing is polled");
    }

    #[tokio::test]
    async fn links_that_lead_elsewhere_are_followed() {
        let root = tempfile::tempdir().unwrap();
        let of = |name: &str| root.path().join(name);
        for release in ["1", "2"] {
            fs::create_dir(of(release)).unwrap();
            fs::write(of(release).join("weir.yaml"), release).unwrap();
        }
        let point_to = |release: &str| {
            symlink(release, of("next")).unwrap();
            fs::rename(of("next"), of("current")).unwrap();
        };
        point_to("1");
        let mut changes = FileChanges::of(vec![of("current/weir.yaml")]);
        assert!(changes.places.tell_all, "no poll");
        point_to("2");
        timeout(DEADLINE, changes.changed()).await.unwrap();
        // Where it leads now is watched, where it led before is not any more.
        fs::write(of("1/weir.yaml"), "another").unwrap();
        assert!(timeout(QUIET * 3, changes.changed()).await.is_err());
        fs::write(of("2/weir.yaml"), "another").unwrap();
        timeout(DEADLINE, changes.changed()).await.unwrap();
        // A directory in the place of another.
        fs::rename(of("2"), of("old")).unwrap();
        fs::rename(of("1"), of("2")).unwrap();
        timeout(DEADLINE, changes.changed()).await.unwrap();
        fs::write(of("2/weir.yaml"), "the last one").unwrap();
        timeout(DEADLINE, changes.changed()).await.unwrap();
    }
}
