//! What the kernel tells of directories, by inotify, and what of it concerns somebody.
//!
//! Directories may be busy with files that are none of ours: a log beside the configuration, an
//! origin's documents. So the kernel is asked only for what can give a name other content. Opening,
//! reading and writing are not asked for: a file that is written in place tells when it is closed,
//! and one that is never closed tells nothing. What is told of names that nobody watches is thrown
//! away unseen, many at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::future::pending;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// Names in directories.
pub(crate) type Names = BTreeMap<PathBuf, BTreeSet<OsString>>;

/// Events of names in directories.
#[derive(Debug)]
pub(crate) struct Events {
    queue: AsyncFd<Queue>,
    watches: HashMap<WatchDescriptor, BTreeSet<OsString>>,
    /// When the queue may be read next.
    next: Instant,
    /// How often the queue was read.
    #[cfg(test)]
    pub(crate) wake_ups: u64,
}

/// A directory that cannot be watched.
#[derive(Debug)]
pub(crate) struct Unwatched {
    pub(crate) directory: PathBuf,
    pub(crate) error: Errno,
}

impl Events {
    /// Of nothing yet. Must be called inside a tokio runtime with I/O.
    pub(crate) fn new() -> std::io::Result<Self> {
        let queue = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        #[expect(
            unsafe_code,
            reason = "the runtime waits for a descriptor that it does not own"
        )]
        // SAFETY: the descriptor is open and the same until `Queue` is dropped, and the `AsyncFd`
        // owns that and drops it last.
        let queue = unsafe { AsyncFd::register_with_interest(Queue(queue), Interest::READABLE) };
        Ok(Self {
            queue: queue.map_err(std::io::Error::from)?,
            watches: HashMap::new(),
            next: Instant::now(),
            #[cfg(test)]
            wake_ups: 0,
        })
    }

    /// Watches these names and no others. What was watched before and still is, by path and as the
    /// same directory, is watched without a gap.
    ///
    /// # Errors
    /// One of the directories that cannot be watched; the others are.
    pub(crate) fn watch(&mut self, names: &Names) -> Result<(), Unwatched> {
        let mut watches: HashMap<_, BTreeSet<OsString>> = HashMap::with_capacity(names.len());
        let mut result = Ok(());
        for (directory, names) in names {
            match self
                .queue
                .get_ref()
                .0
                .add_watch(directory.as_path(), CONTENT)
            {
                // The same directory may have several paths.
                Ok(watch) => watches
                    .entry(watch)
                    .or_default()
                    .extend(names.iter().cloned()),
                Err(error) => {
                    let directory = directory.clone();
                    result = Err(Unwatched { directory, error });
                }
            }
        }
        for watch in self.watches.keys().filter(|old| !watches.contains_key(old)) {
            // It is gone already if the directory is.
            let _ = self.queue.get_ref().0.rm_watch(*watch);
        }
        self.watches = watches;
        result
    }

    /// Waits until something happened to a watched name, or may have. Cancel safe.
    pub(crate) async fn told(&mut self) {
        loop {
            // After a quiet time the first event is heard at once, those behind it together.
            if Instant::now() < self.next {
                sleep_until(self.next).await;
            }
            let Ok(mut ready) = self.queue.readable().await else {
                // The runtime ends.
                return pending().await;
            };
            self.next = Instant::now() + PAUSE;
            #[cfg(test)]
            {
                self.wake_ups += 1;
            }
            let mut is_told = false;
            for _ in 0..READS_MAX {
                match ready.get_inner().0.read_events() {
                    Ok(events) => is_told |= events.iter().any(|event| self.concerns(event)),
                    Err(Errno::EINTR) => {}
                    Err(error) => {
                        ready.clear_ready();
                        // Anything else than an empty queue: look to be sure.
                        is_told |= error != Errno::EAGAIN;
                        break;
                    }
                }
            }
            if is_told {
                return;
            }
        }
    }

    fn concerns(&self, event: &InotifyEvent) -> bool {
        // Events were lost, or the file system is gone.
        let anything = AddWatchFlags::IN_Q_OVERFLOW | AddWatchFlags::IN_UNMOUNT;
        if event.mask.intersects(anything) {
            return true;
        }
        let Some(names) = self.watches.get(&event.wd) else {
            return false;
        };
        match &event.name {
            Some(name) => names.contains(name),
            // Of the directory itself. That its watch ended is no news: it was told why.
            None => !event.mask.contains(AddWatchFlags::IN_IGNORED),
        }
    }
}

#[derive(Debug)]
struct Queue(Inotify);

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What can give a name in a directory other content. Links, also hard ones, are created.
/// Permissions and times are no content (IN_ATTRIB), and pieces of it are none yet (IN_MODIFY).
const CONTENT: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);
/// The least time between two reads of the queue, whatever happens in the directories.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);
/// How often the queue is read in a row, 4 KiB at a time: as much as the 16,384 events that a queue
/// holds by default take up with names of up to 47 bytes. The rest is read after a pause.
const READS_MAX: usize = 256;
