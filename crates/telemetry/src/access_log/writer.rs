//! The thread that writes lines to their target.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::{AccessLogError, LogTarget};
use crate::sharded::Counter;

/// What workers and the owner of the log send to the writer.
#[derive(Debug)]
pub(super) enum Message {
    /// Say when everything before this is written.
    Flush(SyncSender<()>),
    /// Write these.
    Lines(Lines),
    /// Look whether the file is to be opened again.
    Wake,
}

/// A filled buffer.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u64,
    /// Where the empty buffer goes afterwards.
    pub(super) home: SyncSender<Vec<u8>>,
}

pub(super) struct Writer {
    out: Out,
    reopen: Arc<AtomicBool>,
    dropped: Arc<Counter>,
    complained: Option<Instant>,
}

enum Out {
    File { path: PathBuf, file: File },
    Stdout(io::Stdout),
}

impl Writer {
    /// Opens the target; `None` when the log is off.
    pub(super) fn open(
        target: LogTarget,
        reopen: Arc<AtomicBool>,
        dropped: Arc<Counter>,
    ) -> Result<Option<Self>, AccessLogError> {
        let out = match target {
            LogTarget::Off => return Ok(None),
            LogTarget::Stdout => Out::Stdout(io::stdout()),
            LogTarget::File(path) => match append_to(&path) {
                Ok(file) => Out::File { path, file },
                Err(source) => return Err(AccessLogError::Open { path, source }),
            },
        };
        Ok(Some(Self {
            out,
            reopen,
            dropped,
            complained: None,
        }))
    }

    /// Writes until every sender is gone.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        for message in messages {
            if self.reopen.swap(false, Relaxed) {
                self.open_again();
            }
            match message {
                Message::Flush(done) => {
                    let _ = done.try_send(());
                }
                Message::Lines(lines) => self.write(lines),
                Message::Wake => {}
            }
        }
    }

    fn write(&mut self, lines: Lines) {
        let Lines {
            mut bytes,
            count,
            home,
        } = lines;
        if let Err(error) = self.out.write(&bytes) {
            self.dropped.add(0, count);
            self.complain("access log lines could not be written", &error);
        }
        if bytes.capacity() <= KEPT_BYTES_MAX {
            bytes.clear();
            // A worker that has buffers enough, or has ended, does not want this one.
            let _ = home.try_send(bytes);
        }
    }

    /// Keeps the old file when the new one cannot be opened.
    fn open_again(&mut self) {
        if let Out::File { path, file } = &mut self.out {
            match append_to(path) {
                Ok(opened) => *file = opened,
                Err(error) => self.complain("access log could not be opened again", &error),
            }
        }
    }

    /// One complaint per minute: a full disk must not fill the log as well.
    fn complain(&mut self, what: &str, error: &io::Error) {
        if self
            .complained
            .is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL)
        {
            self.complained = Some(Instant::now());
            tracing::warn!(%error, "{what}");
        }
    }
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File { file, .. } => file.write_all(bytes),
            Self::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    // Addresses of clients are nothing for every user of the machine.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

/// A larger buffer, grown by an odd line, is freed instead of used again.
const KEPT_BYTES_MAX: usize = 128 * 1024;

const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
