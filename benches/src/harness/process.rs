//! Starting programs on a core, stopping them by their id, and noticing Ctrl-C.
//!
//! Nothing outlives the harness: what it started ends when the [`Process`] is dropped, errors and
//! Ctrl-C lead there by way of `Result`, and the kernel kills a program whose parent was killed
//! (`setpriv --pdeathsig`, so no unsafe code is needed for it).

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::procfs;

/// The core that the proxies share; one of them is loaded at a time.
pub const PROXY_CORE: usize = 0;
/// The core of origin, load generator and harness.
pub const LOAD_CORE: usize = 1;

/// What to start and where.
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    core: usize,
    log: PathBuf,
}

impl Launch {
    /// On that core, with standard error (and standard output, unless it is taken) in the file
    /// `log`.
    #[must_use]
    pub fn of(program: impl Into<PathBuf>, core: usize, log: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            core,
            log: log.into(),
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts it; standard output goes to the log as well.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(self) -> Result<Process> {
        let log = self.open_log()?;
        self.spawn(log.into())
    }

    /// Starts it and hands out its standard output.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_piped(self) -> Result<(Process, ChildStdout)> {
        let mut process = self.spawn(Stdio::piped())?;
        let output = process
            .child
            .stdout
            .take()
            .context("standard output was piped")?;
        Ok((process, output))
    }

    fn open_log(&self) -> Result<File> {
        let log = File::options().create(true).append(true).open(&self.log);
        log.with_context(|| format!("cannot write {}", self.log.display()))
    }

    fn spawn(self, output: Stdio) -> Result<Process> {
        let is_path = self.program.components().count() > 1;
        if is_path && !self.program.is_file() {
            bail!("{} is not there", self.program.display());
        }
        let log = self.open_log()?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "taskset", "-c"])
            .arg(self.core.to_string())
            .arg(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("WEIR_") {
                command.env_remove(variable);
            }
        }
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start {}", self.program.display()))?;
        let name = self.program.file_name().unwrap_or_default();
        Ok(Process {
            name: name.to_string_lossy().into_owned(),
            child,
            log: self.log,
        })
    }
}

/// A started program; dropping it stops it.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// When it has: how, and the last lines that it wrote.
    pub fn check_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended: {status}\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// Waits until it has ended by itself; ends it when the deadline passes or on Ctrl-C.
    ///
    /// # Errors
    /// When it fails or does not end.
    pub fn wait(&mut self, deadline: Duration) -> Result<()> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!("{} failed: {status}\n{}", self.name, self.tail());
            }
            if Instant::now() > end {
                self.stop();
                bail!(
                    "{} did not end within {deadline:?}\n{}",
                    self.name,
                    self.tail()
                );
            }
            pause(Duration::from_millis(5))?;
        }
    }

    /// Sends a signal to the process alone, while it lives.
    pub fn signal(&mut self, signal: Signal) {
        // As long as it was not waited for its id is its own.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.id()), signal);
        }
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Asks it to end, and kills it and what it started when it does not within a few seconds.
    pub fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let tree = procfs::trees(&[self.id()]);
        self.signal(Signal::SIGTERM);
        let end = Instant::now() + STOP_DEADLINE;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        // A worker may outlive its master; the ids were taken a moment ago.
        for pid in tree.into_iter().skip(1).filter(|pid| lives(*pid)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lives(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A loopback address that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?)
}

/// Sleeps, and returns early with an error on Ctrl-C.
///
/// # Errors
/// On Ctrl-C or SIGTERM.
pub fn pause(duration: Duration) -> Result<()> {
    let end = Instant::now() + duration;
    loop {
        if INTERRUPTED.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(20)));
    }
}

/// Tries again until it succeeds.
///
/// # Errors
/// The last failure, when the deadline passes.
pub fn eventually<T>(deadline: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > end => {
                return Err(error.context(format!("not within {deadline:?}")));
            }
            Err(_) => pause(Duration::from_millis(10))?,
        }
    }
}

/// From now on Ctrl-C and SIGTERM make [`pause`] fail instead of ending the process at once.
///
/// # Errors
/// When the signals cannot be caught.
pub fn catch_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        anyhow::Ok((
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ))
    })?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            INTERRUPTED.store(true, Ordering::Relaxed);
        })?;
    Ok(())
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
const STOP_DEADLINE: Duration = Duration::from_secs(2);
const TAIL_LINES: usize = 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::{LOAD_CORE, Launch, eventually, free_address, lives};
    use crate::harness::procfs;

    #[test]
    fn a_dropped_process_takes_its_children_along() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let shell = Launch::of("/bin/sh", 0, log)
            .args(["-c", "trap '' TERM; sleep 60 & wait; wait"])
            .start()
            .unwrap();
        let tree = eventually(Duration::from_secs(20), || {
            let tree = procfs::trees(&[shell.id()]);
            anyhow::ensure!(tree.len() == 2, "{tree:?}");
            Ok(tree)
        })
        .unwrap();
        drop(shell);
        eventually(Duration::from_secs(20), || {
            anyhow::ensure!(!tree.iter().any(|pid| lives(*pid)), "{tree:?}");
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn an_early_end_is_told_with_what_it_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let mut shell = Launch::of("/bin/sh", 0, directory.path().join("log"))
            .args(["-c", "echo no such port >&2; exit 3"])
            .start()
            .unwrap();
        let error = shell.wait(Duration::from_secs(20)).unwrap_err().to_string();
        assert!(
            error.contains("no such port") && error.contains('3'),
            "{error}"
        );
    }

    #[test]
    fn free_addresses_are_on_loopback() {
        assert!(free_address().unwrap().ip().is_loopback());
        assert_eq!(LOAD_CORE, 1);
    }
}
