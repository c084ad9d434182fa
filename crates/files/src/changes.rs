//! Which files changed, and when they are whole again.
//!
//! The directories are watched, not the files: editors, atomic writers and mounted config maps
//! replace the file, and a watch on it would follow the old one to its grave. What counts is
//! whether size, time or inode differ from the last look. Files are looked at when something
//! happened to a name on the way to one of them, not for what else is in the directory.
//! Nothing happens while nobody changes anything, except where a watcher cannot see everything (a
//! file that is missing, a file system of another machine): there a slow poll stands behind it.
//!
//! A file that is written in place has changed when its writer closes it. Pieces that are written
//! before are seen when something else gives reason to look, as they were by a poll; a writer that
//! never closes is not heard of. Editors and tools close, or replace the file.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::events::{Events, PAUSE};
use crate::places::Places;

/// Watches a set of files.
#[derive(Debug)]
pub struct FileChanges {
    files: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
    /// `None` where the system has no watch left for us.
    events: Option<Events>,
    /// There is reason to look.
    is_told: bool,
    is_complained: bool,
    places: Places,
    /// How often the files were looked at.
    #[cfg(test)]
    looks: u64,
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
    /// Begins to watch; changes from here on are noticed. Must be called inside a tokio runtime
    /// with I/O and time.
    #[must_use]
    pub fn of(files: Vec<PathBuf>) -> Self {
        let complain = |error: &_| tracing::warn!(%error, "files are polled, not watched");
        let mut changes = Self {
            files,
            seen: Vec::new(),
            events: Events::new().inspect_err(complain).ok(),
            is_told: false,
            is_complained: false,
            places: Places::default(),
            #[cfg(test)]
            looks: 0,
        };
        changes.watch();
        changes.seen = changes.look();
        changes
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Waits until one of the files differs from what it was, and is quiet again. Cancel safe.
    pub async fn changed(&mut self) {
        loop {
            if !self.is_told {
                self.told().await;
                self.is_told = true;
            }
            // What was missing may have come, links may lead elsewhere, and directories may be
            // others of the same name: what happens after this look happens where we watch.
            self.watch();
            if self.look() == self.seen {
                self.is_told = false;
                continue;
            }
            // Writers write several files, and some a file several times.
            let quiet = async {
                match &mut self.events {
                    Some(events) => while timeout(QUIET, events.told()).await.is_ok() {},
                    None => sleep(QUIET).await,
                }
            };
            let _quiet_or_time = timeout(QUIET_MAX, quiet).await;
            self.watch();
            self.seen = self.look();
            self.is_told = false;
            return;
        }
    }

    /// Waits until there is reason to look.
    async fn told(&mut self) {
        match &mut self.events {
            Some(events) if self.places.tell_all => events.told().await,
            // Both are as good: what decides is the look at the files.
            Some(events) => drop(timeout(POLL, events.told()).await),
            None => sleep(POLL).await,
        }
    }

    /// Watches where the files are now.
    fn watch(&mut self) {
        let Some(events) = &mut self.events else {
            return;
        };
        let mut places = Places::of(&self.files);
        for _ in 0..WALKS_MAX {
            let watched = events.watch(&places.names);
            // What changed on the way before it was watched was not told of.
            let walked = std::mem::replace(&mut places, Places::of(&self.files));
            if walked != places {
                continue;
            }
            if let Err(unwatched) = &watched {
                let directory = unwatched.directory.display();
                let error = unwatched.error;
                if !self.is_complained {
                    tracing::warn!(%directory, %error, "files are polled, not watched");
                }
                places.tell_all = false;
            }
            self.is_complained = watched.is_err();
            self.places = places;
            return;
        }
        // Something moves all the time: watched as far as it goes, and polled.
        places.tell_all = false;
        self.places = places;
    }

    fn look(&mut self) -> Vec<Option<Stamp>> {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        self.files.iter().map(|file| stamp(file)).collect()
    }
}

/// Waits a little for a file that is being written: replacing it can leave a moment without one.
pub async fn settle() {
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

/// How long nothing must happen to the files before a change counts.
const QUIET: Duration = Duration::from_millis(100);
/// The longest that files which are never quiet can put off a change.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// How often the files are looked at without being told, where not every change is told.
const POLL: Duration = Duration::from_secs(10);
/// How often the way to the files is walked to find it as it was when it was watched.
const WALKS_MAX: usize = 3;

const _: () = assert!(QUIET.as_millis() < QUIET_MAX.as_millis());
// An event within the quiet time is heard within it.
const _: () = assert!(PAUSE.as_millis() < QUIET.as_millis());

#[cfg(test)]
mod tests;
