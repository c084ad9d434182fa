//! The wishes to end: SIGINT (Ctrl-C), SIGTERM, and SIGHUP when the terminal closes.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for such a wish.
#[derive(Debug)]
pub(super) struct Stop {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on none of them ends the process by itself.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next wish.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
