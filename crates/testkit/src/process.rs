//! Starting real binaries, waiting until they are ready, and leaving none behind.
//!
//! A child leads a session of its own, which is killed as a whole when the [`Process`] is dropped,
//! so that children of the child go too, whatever groups they made. The kernel kills the child as
//! well when the test process dies without running destructors.
//!
//! An ended child stays a zombie until the drop: as long as it is not reaped, neither its id nor
//! that of its session can be given to anybody else, so no signal ever hits a stranger.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::client::Client;

pub use nix::sys::signal::Signal;

/// Where cargo put that binary of this workspace.
///
/// `WEIR_BIN_DIR` overrides the place, for runs against release builds.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let directory = match std::env::var_os("WEIR_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => profile_directory(),
    };
    let path = directory.join(name);
    assert!(
        path.is_file(),
        "{} is not there: run `cargo build --workspace --bins` first",
        path.display()
    );
    path
}

/// What to start. Every `WEIR_…` variable of the environment is taken away first: a test says
/// all it depends on.
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl Launch {
    /// A binary of this workspace, see [`binary`].
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self::program(binary(name))
    }

    /// Any other program: a path, or a name to be found in `PATH`.
    #[must_use]
    pub fn program(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            directory: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// One more variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The working directory; without it, the temporary directory that also has the logs.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When the program cannot be started at all.
    #[must_use]
    pub fn start(self) -> Process {
        let logs = tempfile::tempdir().expect("the temporary directory is writable");
        let name = self.program.file_name().map_or_else(
            || "program".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let output = |file: &str| File::create(logs.path().join(file)).expect("it is ours");
        let mut command = Command::new(&self.program);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("WEIR_") {
                command.env_remove(variable);
            }
        }
        command
            .args(self.arguments)
            .envs(self.variables)
            .current_dir(self.directory.as_deref().unwrap_or(logs.path()))
            .stdin(Stdio::null())
            .stdout(output(STDOUT))
            .stderr(output(STDERR));
        let child = spawn_bound_to_this_process(command)
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        Process {
            name,
            child,
            logs,
            status: None,
        }
    }
}

/// When a process counts as ready.
pub enum Ready {
    /// A GET of this URL answers with a status below 400.
    Url(String),
    /// Somebody accepts connections there.
    Tcp(SocketAddr),
}

/// A started program. Dropping it kills its whole session; a panicking test prints its last lines.
pub struct Process {
    name: String,
    child: Child,
    logs: TempDir,
    status: Option<ExitStatus>,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All of standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read_lossy(&self.logs.path().join(STDOUT))
    }

    /// All of standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read_lossy(&self.logs.path().join(STDERR))
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.poll_exit().is_none()
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// At the deadline, or as soon as the process ends, with the last lines that it wrote.
    pub async fn wait_ready(&mut self, ready: &Ready, deadline: Duration) {
        let end = Instant::now() + deadline;
        let client = Client::http1().deadline(Duration::from_secs(1));
        loop {
            if let Some(status) = self.poll_exit() {
                panic!(
                    "{} ended before it was ready: {status}\n{}",
                    self.name,
                    self.tail()
                );
            }
            let is_ready = match ready {
                Ready::Url(url) => client
                    .get(url)
                    .await
                    .is_ok_and(|answer| answer.status.as_u16() < 400),
                Ready::Tcp(address) => tokio::net::TcpStream::connect(address).await.is_ok(),
            };
            if is_ready {
                return;
            }
            assert!(
                Instant::now() < end,
                "{} was not ready within {deadline:?}\n{}",
                self.name,
                self.tail()
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Sends a signal to the process alone, not to its children.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            kill(self.pid(), signal).expect("the process has not been reaped");
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// At the deadline, with the last lines that it wrote.
    pub async fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.poll_exit() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "{} did not end within {deadline:?}\n{}",
                self.name,
                self.tail()
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// SIGTERM and wait.
    ///
    /// # Panics
    /// At the deadline.
    pub async fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_exit(deadline).await
    }

    /// Processes that it started, directly or not, and that are still there: what must be empty
    /// after a clean end.
    #[must_use]
    pub fn descendants(&self) -> Vec<u32> {
        session_members(self.id())
            .into_iter()
            .filter(|&member| member != self.id())
            .collect()
    }

    /// Resident memory in bytes, from `/proc`; 0 when it has ended.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok());
        kibibytes.unwrap_or(0) * 1024
    }

    /// The last lines of both outputs, for messages.
    #[must_use]
    pub fn tail(&self) -> String {
        let last = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
        };
        format!(
            "--- {name} stdout ---\n{}\n--- {name} stderr ---\n{}\n---",
            last(&self.stdout()),
            last(&self.stderr()),
            name = self.name
        )
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.id()).expect("Linux process ids fit an i32"))
    }

    fn poll_exit(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            self.status = match waitid(Id::Pid(self.pid()), flags).expect("it is our child") {
                WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw(code << 8)),
                WaitStatus::Signaled(_, signal, _) => Some(ExitStatus::from_raw(signal as i32)),
                _ => None,
            };
        }
        self.status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for member in session_members(self.id()) {
            let _ = kill(
                Pid::from_raw(i32::try_from(member).unwrap_or(i32::MAX)),
                Signal::SIGKILL,
            );
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
    }
}

/// Every living process of that session, zombies not counted.
fn session_members(session: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The command name in parentheses may itself hold spaces and parentheses.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut fields = fields.split_whitespace();
        let state = fields.next();
        let of_session = fields.nth(2).and_then(|field| field.parse::<u32>().ok());
        state.is_some_and(|state| state != "Z") && of_session == Some(session)
    })
    .collect()
}

/// The kernel's parent-death signal is bound to the *thread* that forked, and test threads are
/// short-lived; so one thread that lives as long as the process does all the forking.
fn spawn_bound_to_this_process(mut command: Command) -> std::io::Result<Child> {
    type Job = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();

    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for (mut command, reply) in jobs {
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("a thread can be started");
        Mutex::new(sender)
    });
    let parent = nix::unistd::getpid();
    #[expect(
        unsafe_code,
        reason = "pre_exec is the only way to run code between fork and exec"
    )]
    // SAFETY: setsid, prctl, getppid and the comparison are async-signal-safe and allocate nothing.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the line above.
            if nix::unistd::getppid() != parent {
                return Err(std::io::Error::from(nix::errno::Errno::ESRCH));
            }
            Ok(())
        });
    }
    let (reply, answer) = mpsc::channel();
    let job = (command, reply);
    spawner
        .lock()
        .expect("no holder panics")
        .send(job)
        .expect("the spawner never ends");
    answer.recv().expect("the spawner answers every job")
}

/// Test executables live in `target/PROFILE/deps`, binaries one above.
fn profile_directory() -> PathBuf {
    let executable = std::env::current_exe().expect("Linux knows the running executable");
    let directory = executable
        .parent()
        .expect("an executable is in a directory");
    if directory.ends_with("deps") {
        directory
            .parent()
            .expect("deps is inside the profile directory")
            .to_owned()
    } else {
        directory.to_owned()
    }
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
const TAIL_LINES: usize = 60;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::{Launch, Ready, Signal, session_members};
    use crate::eventually::eventually;
    use crate::ports::free_addr;
    use std::os::unix::process::ExitStatusExt;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Launch {
        Launch::program("/bin/sh").args(["-c", script])
    }

    #[tokio::test]
    async fn output_and_exit_status_are_kept() {
        let mut process = shell("echo out $KEY; echo err >&2; exit 3")
            .env("KEY", "value")
            .start();
        assert_eq!(process.wait_exit(DEADLINE).await.code(), Some(3));
        assert_eq!(process.stdout(), "out value\n");
        assert_eq!(process.stderr(), "err\n");
        assert!(!process.is_running());
    }

    #[tokio::test]
    async fn a_signal_reaches_it() {
        let mut process = shell("exec sleep 60").start();
        assert!(process.is_running());
        assert!(process.resident_bytes() > 0);
        let status = process.terminate(DEADLINE).await;
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
    }

    #[tokio::test]
    async fn children_in_other_groups_go_with_it() {
        // `set -m` gives the background job a process group of its own.
        let process = shell("set -m; sleep 60 & echo started; wait").start();
        eventually(DEADLINE, async || process.stdout().contains("started")).await;
        let session = process.id();
        assert_eq!(process.descendants().len(), 1);
        drop(process);
        eventually(DEADLINE, async || session_members(session).is_empty()).await;
    }

    #[tokio::test]
    #[should_panic(expected = "ended before it was ready")]
    async fn an_early_end_is_told_at_once() {
        let mut process = shell("echo broken >&2; exit 1").start();
        process.wait_ready(&Ready::Tcp(free_addr()), DEADLINE).await;
    }

    /// Runs this very test in a second process, which starts a program and is then killed without
    /// a chance to clean up.
    #[tokio::test]
    async fn nothing_outlives_a_killed_test_process() {
        const ROLE: &str = "TESTKIT_STARTS_A_PROGRAM";
        if std::env::var_os(ROLE).is_some() {
            let program = shell("exec sleep 60").start();
            eprintln!("started={}", program.id());
            return std::future::pending().await;
        }
        let name = "process::tests::nothing_outlives_a_killed_test_process";
        let test = Launch::program(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ROLE, "1")
            .start();
        let started = eventually(DEADLINE, async || {
            let output = test.stderr();
            let line = output
                .lines()
                .find_map(|line| line.strip_prefix("started="))?;
            line.trim().parse::<u32>().ok()
        })
        .await;
        assert_eq!(session_members(started), [started]);
        test.signal(Signal::SIGKILL);
        eventually(DEADLINE, async || session_members(started).is_empty()).await;
    }
}
