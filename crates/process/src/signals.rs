//! Signals of the operating system, for binaries whose signals nobody else handles (the gateway
//! leaves them to Pingora's server while that runs).
//!
//! | signal | effect |
//! |---|---|
//! | SIGTERM | drain |
//! | SIGINT | drain; a second one ends the process at once with exit code 1 |
//! | SIGHUP | reload where there is something to reload; else drain, as when a terminal closes |

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::drain::{Drain, Phase};
use crate::exit::Exit;

/// What SIGHUP calls. It runs on the thread of the signals and should hand its work over.
pub type Reload = Arc<dyn Fn() + Send + Sync>;

/// Handles signals on a thread of its own from now on, until the process ends.
pub fn spawn(drain: Drain, reload: Option<Reload>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let handlers = {
        // Registered before this returns, so that no signal finds the default action.
        let _context = runtime.enter();
        Handlers::register(drain, reload)?
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(handlers.run()))?;
    Ok(())
}

struct Handlers {
    drain: Drain,
    reload: Option<Reload>,
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Handlers {
    fn register(drain: Drain, reload: Option<Reload>) -> io::Result<Self> {
        Ok(Self {
            drain,
            reload,
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn run(mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => self.on_hangup(),
                _ = self.interrupt.recv() => self.on_interrupt(),
                _ = self.terminate.recv() => self.on_terminate("SIGTERM"),
            }
        }
    }

    fn on_hangup(&self) {
        match &self.reload {
            Some(reload) => {
                tracing::info!("SIGHUP: reloading");
                reload();
            }
            None => self.on_terminate("SIGHUP"),
        }
    }

    fn on_interrupt(&self) {
        if self.drain.phase() > Phase::Serving {
            tracing::warn!(
                active = self.drain.active(),
                "second SIGINT: ending at once"
            );
            Exit::No.leave();
        }
        tracing::info!("SIGINT: draining; once more to end at once");
        self.drain.request();
    }

    fn on_terminate(&self, name: &str) {
        tracing::info!("{name}: draining");
        self.drain.request();
    }
}
