//! The access log: one JSON line per finished request, or connection that was passed on.
//!
//! Each worker formats into a buffer of its own and hands full buffers to one writer thread
//! through a bounded queue. When the target is too slow for that, lines are dropped and counted: a
//! line never holds up a request.

mod buffer;
mod json;
mod record;
mod tunnel_record;
mod writer;

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

pub use buffer::LogBuffer;
pub use record::AccessRecord;
pub use tunnel_record::TunnelRecord;

use crate::names::ACCESS_LOG_DROPPED;
use crate::registry::Registry;
use crate::sharded::Counter;
use writer::{Message, Writer};

/// Where access-log lines go.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum LogTarget {
    /// Appended to a file, which [`AccessLog::reopen`] opens anew after a rotation.
    File(PathBuf),
    /// Nowhere; requests then do not even format a line.
    Off,
    /// Standard output.
    #[default]
    Stdout,
}

impl FromStr for LogTarget {
    type Err = Infallible;

    /// `stdout` (or `-`), `off`, or the path of a file.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "stdout" | "-" => Self::Stdout,
            "off" => Self::Off,
            path => Self::File(path.into()),
        })
    }
}

/// Why an access log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The file cannot be opened for appending; its path or its permissions must change.
    #[error("cannot open access log {}: {source}", path.display())]
    Open {
        /// The path of the file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The writer thread could not be started: the system is out of threads.
    #[error("cannot start the thread that writes the access log: {0}")]
    Thread(std::io::Error),
}

/// The access log of a process. Clones share it; the writer ends with the last of them.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Option<SyncSender<Message>>,
    reopen: Arc<AtomicBool>,
    dropped_queue_full: Arc<Counter>,
}

impl AccessLog {
    /// Opens the target and starts the writer thread.
    pub fn start(target: LogTarget, registry: &Registry) -> Result<Self, AccessLogError> {
        let dropped = registry.family(&ACCESS_LOG_DROPPED);
        let reopen = Arc::new(AtomicBool::new(false));
        let write_failed = dropped.with(&["write_failed"]);
        let queue = match Writer::open(target, Arc::clone(&reopen), write_failed)? {
            None => None,
            Some(writer) => {
                let (queue, messages) = sync_channel(QUEUE_BUFFERS_MAX);
                std::thread::Builder::new()
                    .name("access-log".to_owned())
                    .spawn(move || writer.run(&messages))
                    .map_err(AccessLogError::Thread)?;
                Some(queue)
            }
        };
        Ok(Self {
            queue,
            reopen,
            dropped_queue_full: dropped.with(&["queue_full"]),
        })
    }

    /// A buffer for the requests of one worker. The worker calls [`LogBuffer::flush`] about four
    /// times per second, so that lines do not wait for the buffer to fill.
    pub fn buffer(&self, worker: usize) -> LogBuffer {
        LogBuffer::new(
            self.queue.clone(),
            worker,
            Arc::clone(&self.dropped_queue_full),
        )
    }

    /// Opens the file again before the next line is written, after something has moved it away.
    pub fn reopen(&self) {
        self.reopen.store(true, Relaxed);
        if let Some(queue) = &self.queue {
            // A full queue wakes the writer as well.
            let _ = queue.try_send(Message::Wake);
        }
    }

    /// Waits until everything handed over so far is written, at most for `wait`. Says whether it
    /// is. For the end of the process; buffers are to be flushed before.
    pub fn flush(&self, wait: Duration) -> bool {
        let Some(queue) = &self.queue else {
            return true;
        };
        let deadline = Instant::now() + wait;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        loop {
            match queue.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(_)) if Instant::now() >= deadline => return false,
                Err(TrySendError::Full(again)) => message = again,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        written
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .is_ok()
    }
}

/// Filled buffers that may wait for the writer: 1 MiB of ordinary lines.
const QUEUE_BUFFERS_MAX: usize = 16;

#[cfg(test)]
mod tests;
