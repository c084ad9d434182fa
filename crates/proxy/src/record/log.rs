//! The access log of one worker: its buffer, and when to hand it over.

use std::cell::{Cell, RefCell};

use weir_telemetry::access_log::{AccessLog, LogBuffer};

/// The log buffer of a worker and whether a flush is under way.
#[derive(Debug, Default)]
pub(crate) struct LogState {
    buffer: RefCell<Option<LogBuffer>>,
    enabled: Cell<bool>,
    flushing: Cell<bool>,
}

impl LogState {
    /// Writes to this log from now on; what the old one holds is handed over.
    pub(crate) fn replace(&self, log: &AccessLog, worker: usize) {
        let buffer = log.buffer(worker);
        self.enabled.set(buffer.enabled());
        self.buffer.replace(Some(buffer));
    }

    pub(crate) fn enabled(&self) -> bool {
        self.enabled.get()
    }

    /// Hands full and half-full buffers to the writer.
    pub(crate) fn flush(&self) {
        self.flushing.set(false);
        if let Some(buffer) = &mut *self.buffer.borrow_mut() {
            buffer.flush();
        }
    }

    /// Writes a line when the log is on. Says whether a flush is to be arranged.
    pub(crate) fn write(&self, line: impl FnOnce(&mut LogBuffer)) -> bool {
        if !self.enabled.get() {
            return false;
        }
        let mut buffer = self.buffer.borrow_mut();
        let Some(buffer) = &mut *buffer else {
            return false;
        };
        line(buffer);
        !self.flushing.replace(true)
    }
}
