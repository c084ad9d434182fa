//! What a running process has used, from its clock and from `/proc`.
//!
//! Nothing outlives who measures: a program ends when its [`Running`] is dropped, and the kernel
//! kills it when the thread that started it is gone without that (`setpriv --pdeathsig`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// A program that ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Running {
    /// A command that starts this program, for [`Running::start`].
    #[must_use]
    pub fn command(program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Starts what [`Running::command`] made, to live no longer than the calling thread.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Running> {
        let shown = format!("{command:?}");
        let child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{shown}: {error}")))?;
        Ok(Running { child })
    }

    /// Its id. Of a program that replaces itself with another (`setpriv`, `taskset`, `valgrind`),
    /// the id is the other's.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end and waits; kills it when it does not.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let _ = Command::new("kill").arg(self.id().to_string()).status();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        self.child.wait()
    }

    /// The time that its threads were on a processor so far.
    ///
    /// # Errors
    /// It is gone.
    pub fn cpu(&self) -> io::Result<Duration> {
        cpu_of(self.id())
    }

    /// Its resident memory, bytes.
    ///
    /// # Errors
    /// It is gone.
    pub fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        Ok(field(&status, "VmRSS:") * 1024)
    }

    /// How often its threads have gone to sleep so far, each of which is followed by a wake-up; by
    /// the name of the thread.
    ///
    /// # Errors
    /// It is gone.
    pub fn sleeps(&self) -> io::Result<BTreeMap<String, u64>> {
        let mut sleeps = BTreeMap::new();
        for task in tasks(self.id())? {
            // A thread may end meanwhile.
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            *sleeps.entry(name.trim().to_owned()).or_default() +=
                field(&status, "voluntary_ctxt_switches:");
        }
        Ok(sleeps)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// The time that the threads of a process were on a processor, to the nanosecond; those that have
/// ended count as well (the sum over `/proc/…/task` would lose them).
fn cpu_of(id: u32) -> io::Result<Duration> {
    let id = i32::try_from(id).map_err(io::Error::other)?;
    let clock = clock_getcpuclockid(Pid::from_raw(id))?;
    Ok(Duration::from(clock_gettime(clock)?))
}

fn tasks(id: u32) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(format!("/proc/{id}/task"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}

/// The number after a name in `/proc/…/status`; 0 when there is none.
fn field(status: &str, name: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

/// What the machine's host took away, as a share of all time between two readings.
#[derive(Debug, Clone, Copy)]
pub struct Steal {
    stolen: u64,
    all: u64,
}

impl Steal {
    /// Reads `/proc/stat`.
    #[must_use]
    pub fn now() -> Steal {
        Steal::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(stat: &str) -> Steal {
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; what follows is within user.
        Steal {
            stolen: ticks.get(7).copied().unwrap_or_default(),
            all: ticks.iter().take(8).sum(),
        }
    }

    /// The share since an earlier reading, 0 to 1.
    #[must_use]
    pub fn since(self, before: Steal) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}

/// How long a program has to end by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn steal_is_a_share_of_all_time() {
        let before = Steal::parse("cpu  100 0 100 700 0 0 0 100 0 0\ncpu0 1 2 3");
        let after = Steal::parse("cpu  150 0 150 750 0 0 0 150 7 0\ncpu0 1 2 3");
        assert!((after.since(before) - 0.25).abs() < 1e-9);
        assert!(Steal::parse("").since(before).abs() < 1e-9);
    }

    #[test]
    fn a_process_can_be_read() {
        let mut running = Running::start(Running::command("sleep").arg("60")).unwrap();
        assert!(running.resident().unwrap() > 0);
        assert!(running.cpu().unwrap() < Duration::from_secs(1));
        running.sleeps().unwrap();
        assert!(!running.stop().unwrap().success());
        assert_eq!(field("VmRSS:\t  12 kB\nx: 1", "VmRSS:"), 12);
        assert_eq!(field("", "VmRSS:"), 0);
    }

    /// The test below, in the process that is going to be killed.
    const KILLED: &str = "WEIR_TEST_KILLED";

    #[test]
    fn what_was_started_ends_when_its_starter_is_killed() {
        if std::env::var_os(KILLED).is_some() {
            let running = Running::start(Running::command("sleep").arg("60")).unwrap();
            // `setpriv` has become `sleep` by then, so the kernel has been told.
            while comm(running.id()) != "sleep" {
                std::thread::sleep(Duration::from_millis(1));
            }
            println!("\nstarted {}", running.id());
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        let mut starter = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("scale::process::tests::what_was_started_ends_when_its_starter_is_killed")
            .env(KILLED, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(starter.stdout.take().unwrap()).lines();
        let mut told = lines.map(|line| line.unwrap());
        let id = told.find_map(|line| line.strip_prefix("started ").map(str::to_owned));
        let id = id.unwrap().parse().unwrap();
        assert_eq!(comm(id), "sleep");
        starter.kill().unwrap();
        starter.wait().unwrap();
        let deadline = Instant::now() + STOP_TIMEOUT;
        // It may stay as a zombie where nobody waits for orphans.
        while comm(id) == "sleep" && !state(id).starts_with('Z') {
            assert!(Instant::now() < deadline, "{id} is still there");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn comm(id: u32) -> String {
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        name.trim().to_owned()
    }

    fn state(id: u32) -> String {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        state.unwrap_or("Z (gone)").trim().to_owned()
    }
}
