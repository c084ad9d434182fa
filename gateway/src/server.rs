//! The process, run by Pingora's server: it keeps the table of listening sockets, takes it over
//! from the process before, and hands it over to the next. The signals are ours, because Pingora's
//! own way of ending waits for fixed times, and hands over to nobody when nobody is there.
//!
//! | signal | effect |
//! |---|---|
//! | SIGTERM | drain |
//! | SIGINT | drain; a second one ends the process at once with exit code 1 |
//! | SIGHUP | read configuration and certificate files again, reopen the access log |
//! | SIGQUIT | hand the listening sockets over to a gateway started with `--upgrade`, then drain |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{
    ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
};
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep};
use weir_policy::snapshot::Role;
use weir_process::drain::{Drain, Phase};
use weir_process::exit::Exit;
use weir_process::signals;
use weir_proxy::feed::file::check;
use weir_proxy::node::state_dir::{StateDir, StateDirError};
use weir_telemetry::logging::LogControl;

use crate::args::GatewayArgs;
use crate::control::{self, Shared};
use crate::pid_file::PidFile;

/// Why the process cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// The file for the process id cannot be written.
    #[error("--pid-file {}: {source}", path.display())]
    PidFile { path: PathBuf, source: io::Error },
    /// The state directory cannot be made.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// The system gives no thread or runtime.
    #[error("cannot start the control thread: {0}")]
    Thread(#[source] io::Error),
    /// The path is none that a socket can have.
    #[error("--upgrade-socket {}: at most {UPGRADE_PATH_BYTES_MAX} bytes of UTF-8", path.display())]
    UpgradeSocket { path: PathBuf },
}

/// Runs the gateway until it ends.
pub(crate) fn run(args: GatewayArgs, log: LogControl) -> Result<Exit, ServerError> {
    let upgrade_socket = upgrade_socket(&args)?;
    // The gateway that runs ends once it has handed over: it must not hand over to one that cannot
    // serve.
    if args.upgrade
        && let Some(file) = &args.config
        && let Err(error) = check(file, &Role::Gateway, &StateDir::at(args.state_directory()))
    {
        eprintln!("{error}");
        return Ok(Exit::No);
    }
    let conf = ServerConf {
        upgrade_sock: upgrade_socket.clone(),
        threads: 1,
        work_stealing: false,
        // The drain is ours and done, or goes on, when the server ends.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let options = Opt {
        upgrade: args.upgrade,
        ..Opt::default()
    };
    let mut server = Server::new_with_opt_and_conf(Some(options), conf);
    if args.upgrade {
        tracing::info!(
            socket = upgrade_socket,
            "waiting for the sockets of the gateway before"
        );
    }
    // Ends the process with code 1 when nobody hands over.
    server.bootstrap();

    let pid_file = args.pid_file.clone().map(|path| {
        PidFile::write(path.clone()).map_err(|source| ServerError::PidFile { path, source })
    });
    let _pid_file = pid_file.transpose()?;

    let drain = Drain::new();
    let hangup = Arc::new(Notify::new());
    let (table_sender, table) = oneshot::channel();
    let (handed_over_sender, handed_over) = watch::channel(false);
    let (ended_sender, ended) = watch::channel(false);
    let phases = server.watch_execution_phase();
    let shared = Shared {
        drain: drain.clone(),
        hangup: hangup.clone(),
        handed_over,
        phases,
        table,
    };
    let control = spawn_control(args, log, shared, ended_sender)?;
    server.add_service(Sockets {
        table: Some(table_sender),
    });
    let watch = Signals {
        drain: drain.clone(),
        hangup,
        ended: ended.clone(),
        upgrade_socket,
    };
    server.run(RunArgs {
        shutdown_signal: Box::new(watch),
    });

    // Every end but a hand-over begins with the control thread. Not left to the service, whose
    // runtime is gone by now, perhaps before it was told.
    if !*ended.borrow() {
        handed_over_sender.send_replace(true);
        drain.request();
    }
    // After a hand-over the server is gone, and what is under way still comes to its end here.
    if let Err(error) = signals::spawn(drain, None) {
        tracing::warn!(%error, "signals are not heard any more");
    }
    // A control thread that panicked has said so.
    Ok(control.join().unwrap_or(Exit::Unusable))
}

/// Where sockets are handed over; its directory is made.
fn upgrade_socket(args: &GatewayArgs) -> Result<String, ServerError> {
    let path = args.upgrade_path();
    let text = path
        .to_str()
        .filter(|text| text.len() <= UPGRADE_PATH_BYTES_MAX);
    let Some(text) = text else {
        return Err(ServerError::UpgradeSocket { path });
    };
    if args.upgrade
        && args.upgrade_socket.is_none()
        && let Some(directory) = path.parent()
    {
        StateDir::at(directory).ensure()?;
    }
    Ok(text.to_owned())
}

fn spawn_control(
    args: GatewayArgs,
    log: LogControl,
    shared: Shared,
    ended: watch::Sender<bool>,
) -> Result<JoinHandle<Exit>, ServerError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(weir_process::priority::after_requests)
        .build()
        .map_err(ServerError::Thread)?;
    let run = move || {
        let exit = runtime.block_on(control::run(args, log, shared));
        ended.send_replace(true);
        // Look-ups of names may hang in threads that cannot be stopped.
        runtime.shutdown_background();
        exit
    };
    std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(run)
        .map_err(ServerError::Thread)
}

/// Pingora's view of the gateway: a service that wants the table of sockets.
struct Sockets {
    table: Option<oneshot::Sender<ListenFds>>,
}

#[async_trait]
impl ServiceWithDependents for Sockets {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        if let (Some(table), Some(fds)) = (self.table.take(), fds) {
            let _ = table.send(fds);
        }
        ready.notify_ready();
    }

    fn name(&self) -> &str {
        "gateway"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// Our signals.
struct Signals {
    drain: Drain,
    hangup: Arc<Notify>,
    ended: watch::Receiver<bool>,
    upgrade_socket: String,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let mut handlers = match Handlers::register() {
            Ok(handlers) => handlers,
            Err(error) => {
                tracing::error!(%error, "signals cannot be heard");
                self.drain.request();
                self.ended().await;
                return ShutdownSignal::FastShutdown;
            }
        };
        loop {
            tokio::select! {
                () = self.ended() => return ShutdownSignal::FastShutdown,
                _ = handlers.terminate.recv() => {
                    tracing::info!("SIGTERM: draining");
                    self.drain.request();
                }
                _ = handlers.interrupt.recv() => self.on_interrupt(),
                _ = handlers.hangup.recv() => self.hangup.notify_one(),
                _ = handlers.quit.recv() => {
                    if self.drain.phase() == Phase::Serving && self.somebody_waits().await {
                        tracing::info!("SIGQUIT: handing listening sockets over");
                        return ShutdownSignal::GracefulUpgrade;
                    }
                }
            }
        }
    }
}

impl Signals {
    /// Waits until the control thread has ended; its sender gone is an end as well.
    async fn ended(&self) {
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    fn on_interrupt(&self) {
        if self.drain.phase() > Phase::Serving {
            tracing::warn!("second SIGINT: ending at once");
            Exit::No.leave();
        }
        tracing::info!("SIGINT: draining; once more to end at once");
        self.drain.request();
    }

    /// Whether a new process waits for our sockets. Pingora would end this process even if not.
    async fn somebody_waits(&self) -> bool {
        let deadline = Instant::now() + HAND_OVER_PATIENCE;
        while !is_listened_on(Path::new(&self.upgrade_socket)) {
            if Instant::now() > deadline {
                let socket = &self.upgrade_socket;
                tracing::error!(
                    socket,
                    "SIGQUIT ignored: no gateway waits; start one with --upgrade first"
                );
                return false;
            }
            sleep(HAND_OVER_POLL).await;
        }
        true
    }
}

struct Handlers {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
}

impl Handlers {
    fn register() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }
}

/// Whether a process listens on this Unix socket, asked of the kernel: connecting would count as
/// the hand-over. A file that was left behind by a process that ended is in no table.
fn is_listened_on(path: &Path) -> bool {
    let Ok(table) = std::fs::read_to_string("/proc/net/unix") else {
        // Without the table, the file has to do.
        return path.exists();
    };
    table.lines().any(|line| {
        let mut fields = line.split_whitespace();
        let flags = fields
            .nth(3)
            .and_then(|flags| u32::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & LISTENING != 0)
            && fields.nth(3).is_some_and(|bound| Path::new(bound) == path)
    })
}

/// `SO_ACCEPTCON` in `/proc/net/unix`.
const LISTENING: u32 = 0x0001_0000;
/// How long SIGQUIT waits for the new process to be there.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(5);
const HAND_OVER_POLL: Duration = Duration::from_millis(50);
/// The path of a Unix socket ends with a zero byte in 108.
const UPGRADE_PATH_BYTES_MAX: usize = 107;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_a_socket_that_is_listened_on_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("upgrade.sock");
        assert!(!is_listened_on(&path));
        let listener = UnixListener::bind(&path).unwrap();
        assert!(is_listened_on(&path));
        drop(listener);
        assert!(path.exists() && !is_listened_on(&path));
    }
}
