//! Commands that come to an end: the verbs of `weir`, curl, openssl, bash.

use std::time::Duration;

use weir_testkit::process::{Launch, Process};

/// How a command ended and what it wrote.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard output, when the exit code is 0.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn fine(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }

    /// Standard output as JSON, whatever the exit code.
    ///
    /// # Panics
    /// When it is not JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started or does not end within [`COMMAND_DEADLINE`].
pub async fn run(launch: Launch) -> Finished {
    let mut process = launch.start();
    let status = process.wait_exit(COMMAND_DEADLINE).await;
    finished(&process, status.code())
}

/// Runs a program that is looked for in `PATH`.
///
/// # Panics
/// See [`run`].
pub async fn program(name: &str, arguments: &[&str]) -> Finished {
    run(Launch::program(name).args(arguments)).await
}

/// Runs a verb of `weir` that needs no control plane.
///
/// # Panics
/// See [`run`].
pub async fn weir(arguments: &[&str]) -> Finished {
    run(Launch::of("weir").args(arguments)).await
}

fn finished(process: &Process, code: Option<i32>) -> Finished {
    Finished {
        code,
        stdout: process.stdout(),
        stderr: process.stderr(),
    }
}

/// How long a command may take.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
