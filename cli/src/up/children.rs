//! The processes of `weir up`: started, watched, ended in order, and never left behind.
//!
//! Each is in a process group of its own, so that Ctrl-C reaches `weir up` alone and the order of
//! the end is ours. Each is tied to this process by the system, so that it ends even when this
//! process is killed; since that tie is to a thread, all of this runs on the main one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child as Process, Command};

use super::programs::{Program, Stage};

/// All processes that were started.
#[derive(Debug, Default)]
pub(super) struct Children {
    all: Vec<Child>,
}

#[derive(Debug)]
struct Child {
    name: &'static str,
    stage: Stage,
    log: PathBuf,
    process: Process,
}

/// A process that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) name: &'static str,
    /// `exit status: 2`, `signal: 9 (SIGKILL)`.
    pub(super) how: String,
    pub(super) log: PathBuf,
}

impl Children {
    /// Starts a program; its output goes to the log.
    pub(super) fn start(&mut self, program: &Program, log: PathBuf) -> io::Result<()> {
        let output = OpenOptions::new().create(true).append(true).open(&log)?;
        // A log is of one run.
        output.set_len(0)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["tied", "--parent", &std::process::id().to_string(), "--"])
            .arg(&program.path)
            .args(&program.arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true);
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            if name.starts_with("WEIR_") && !name.starts_with("WEIR_LOG_") {
                // What is meant for one of them would reach all.
                command.env_remove(&variable);
            }
        }
        let process = command.spawn()?;
        self.all.push(Child {
            name: program.name,
            stage: program.stage,
            log,
            process,
        });
        Ok(())
    }

    /// Name, process id and log of each.
    pub(super) fn list(&self) -> impl Iterator<Item = (&'static str, Option<u32>, &Path)> {
        self.all
            .iter()
            .map(|child| (child.name, child.process.id(), child.log.as_path()))
    }

    /// A process that has ended by now.
    pub(super) fn ended(&mut self) -> Option<Ended> {
        self.all
            .iter_mut()
            .find_map(|child| match child.process.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(child.ended(&Ok(status))),
                Err(error) => Some(child.ended(&Err(error))),
            })
    }

    /// Waits until one ends. There must be one.
    pub(super) async fn first_end(&mut self) -> Ended {
        let waits = self
            .all
            .iter_mut()
            .map(|child| Box::pin(child.process.wait()));
        let (status, index, others) = select_all(waits).await;
        drop(others);
        self.all[index].ended(&status)
    }

    /// Asks every process of a stage to end. Waits until they have.
    pub(super) async fn end(&mut self, stage: Stage) {
        let of_stage = self.all.iter_mut().filter(|child| child.stage == stage);
        let ends = of_stage.map(|child| async {
            child.signal(Signal::SIGTERM);
            // It ended, or cannot be waited for; `kill` sees to the latter.
            let _ended = child.process.wait().await;
        });
        join_all(ends).await;
    }

    /// Ends at once what has not ended of a stage. Gives the names.
    pub(super) async fn kill(&mut self, stage: Stage) -> Vec<&'static str> {
        let mut killed = Vec::new();
        for child in self.all.iter_mut().filter(|child| child.stage == stage) {
            if matches!(child.process.try_wait(), Ok(None)) {
                child.signal(Signal::SIGKILL);
                let _ended = child.process.wait().await;
                killed.push(child.name);
            }
        }
        killed
    }
}

impl Child {
    fn signal(&self, signal: Signal) {
        // An id is only told as long as the process was not reaped, so no stranger is hit.
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id {
            let _just_ended = kill(Pid::from_raw(id), signal);
        }
    }

    fn ended(&self, status: &io::Result<ExitStatus>) -> Ended {
        let how = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Ended {
            name: self.name,
            how,
            log: self.log.clone(),
        }
    }
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|error| format!("cannot be read: {error}"));
    let lines: Vec<&str> = text.lines().collect();
    let mut out = format!("the last lines of {}:\n", log.display());
    for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
        out.push_str(&format!("  | {line}\n"));
    }
    out
}

/// How long the processes of one stage have to end by themselves.
pub(super) const END_TIMEOUT: Duration = Duration::from_secs(10);
const TAIL_BYTES: u64 = 32 * 1024;
const TAIL_LINES: usize = 15;
