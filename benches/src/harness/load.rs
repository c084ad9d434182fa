//! Running `weir-load`, the load generator, and reading what it says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::harness::process::{LOAD_CORE, Launch, Process, pause};
use crate::harness::statistics::Summary;

/// What a run of the load generator found; only verified responses are requests.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Responses that were verified to their last byte.
    pub requests: u64,
    /// What went wrong, by kind.
    #[serde(default)]
    pub errors: BTreeMap<String, u64>,
    /// How long was counted.
    pub seconds: f64,
    /// Requests per second.
    pub rate: f64,
    /// Times from the (intended) moment of a request to the end of its response.
    pub latency_us: Latency,
    /// How many connections were opened.
    #[serde(default)]
    pub connections_opened: u64,
    /// Of the errors those on a connection that the server had closed while it was idle.
    #[serde(default)]
    pub closed_before_answer: u64,
    /// Requests that began more than a millisecond after their moment.
    #[serde(default)]
    pub late: u64,
}

/// Percentiles, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub mean: f64,
}

impl Outcome {
    /// What came of the same load several times: counts are sums, connections those of the time
    /// with most, rates and latencies medians.
    #[must_use]
    pub fn together<'a>(times: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let median = |of: fn(&Self) -> f64| {
            let summary = Summary::of(times.clone().map(of));
            summary.map_or(f64::NAN, |it| it.median)
        };
        let mut all = Self {
            rate: median(|it| it.rate),
            latency_us: Latency {
                p50: median(|it| it.latency_us.p50),
                p90: median(|it| it.latency_us.p90),
                p99: median(|it| it.latency_us.p99),
                p999: median(|it| it.latency_us.p999),
                max: median(|it| it.latency_us.max),
                mean: median(|it| it.latency_us.mean),
            },
            ..Self::default()
        };
        for time in times {
            all.requests += time.requests;
            all.seconds += time.seconds;
            all.connections_opened = all.connections_opened.max(time.connections_opened);
            all.closed_before_answer += time.closed_before_answer;
            all.late += time.late;
            for (kind, count) in &time.errors {
                *all.errors.entry(kind.clone()).or_default() += count;
            }
        }
        all
    }

    /// All that went wrong.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The kinds of what went wrong, with their counts.
    #[must_use]
    pub fn failures_text(&self) -> String {
        let kinds = self.errors.iter().filter(|(_, count)| **count > 0);
        let kinds: Vec<String> = kinds
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        kinds.join(", ")
    }
}

/// A load generator that is not started.
#[derive(Clone, Debug)]
pub struct Load {
    program: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
}

impl Load {
    /// Against that address, with what the scenario says.
    #[must_use]
    pub fn of(program: &Path, log: &Path, target: SocketAddr, arguments: &[String]) -> Self {
        let mut all = vec!["--target".to_owned(), target.to_string()];
        all.extend_from_slice(arguments);
        Self {
            program: program.to_owned(),
            log: log.to_owned(),
            arguments: all,
        }
    }

    /// As fast as the answers come (closed loop).
    ///
    /// # Errors
    /// When it cannot run; not when requests fail.
    pub fn closed(&self, seconds: f64) -> Result<Outcome> {
        self.run(&["--duration".to_owned(), seconds.to_string()], seconds)
    }

    /// That many requests each second, whatever the answers do (open loop).
    ///
    /// # Errors
    /// When it cannot run; not when requests fail.
    pub fn at_rate(&self, rate: f64, seconds: f64) -> Result<Outcome> {
        self.run(&Self::rated(rate, seconds), seconds)
    }

    /// The same in the background, until it is [ended](Background::finish).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn at_rate_in_background(&self, rate: f64, seconds: f64) -> Result<Background> {
        self.background(&Self::rated(rate, seconds))
    }

    /// Opens that many connections, makes a request on each and holds them until it is ended.
    ///
    /// # Errors
    /// When not all could be opened within the deadline.
    pub fn hold(&self, connections: usize) -> Result<Background> {
        let background = self.background(&[
            "--idle".to_owned(),
            "--connections".to_owned(),
            connections.to_string(),
            "--duration".to_owned(),
            HOLD_MAX.as_secs().to_string(),
        ])?;
        let line = background.line(HOLD_DEADLINE)?;
        let ready: Ready = serde_json::from_str(&line).with_context(|| line.clone())?;
        ensure!(
            ready.ready && ready.open == connections,
            "only {} of {connections} connections are open",
            ready.open
        );
        Ok(background)
    }

    fn rated(rate: f64, seconds: f64) -> [String; 6] {
        [
            "--rate".to_owned(),
            rate.to_string(),
            "--duration".to_owned(),
            seconds.to_string(),
            "--warm-up".to_owned(),
            WARM_UP_SECONDS.to_string(),
        ]
    }

    fn run(&self, more: &[String], seconds: f64) -> Result<Outcome> {
        let mut background = self.background(more)?;
        let patience = Duration::from_secs_f64(seconds + WARM_UP_SECONDS) + PATIENCE;
        background.process.wait(patience)?;
        background.outcome()
    }

    fn background(&self, more: &[String]) -> Result<Background> {
        let launch = Launch::of(&self.program, LOAD_CORE, &self.log);
        let launch = launch.args(self.arguments.clone()).args(more.to_vec());
        let (process, output) = launch.start_piped()?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || read_lines(output, &sender));
        Ok(Background { process, lines })
    }
}

/// A load generator that runs.
pub struct Background {
    process: Process,
    lines: Receiver<String>,
}

impl Background {
    /// Asks it to end and gives what it found until then.
    ///
    /// # Errors
    /// When it does not end or prints nothing.
    pub fn finish(mut self) -> Result<Outcome> {
        self.process.signal(Signal::SIGTERM);
        self.process.wait(PATIENCE)?;
        self.outcome()
    }

    /// The last line that it prints; it has ended.
    fn outcome(&self) -> Result<Outcome> {
        let lines: Vec<String> = self.lines.iter().collect();
        let line = lines.last().with_context(|| {
            format!(
                "the load generator printed nothing\n{}",
                self.process.tail()
            )
        })?;
        serde_json::from_str(line).with_context(|| format!("not an outcome: {line}"))
    }

    fn line(&self, deadline: Duration) -> Result<String> {
        let end = Instant::now() + deadline;
        loop {
            match self.lines.try_recv() {
                Ok(line) => return Ok(line),
                Err(mpsc::TryRecvError::Disconnected) => {
                    bail!("the load generator ended\n{}", self.process.tail())
                }
                Err(mpsc::TryRecvError::Empty) if Instant::now() > end => {
                    bail!("the load generator was not ready within {deadline:?}")
                }
                Err(mpsc::TryRecvError::Empty) => pause(Duration::from_millis(10))?,
            }
        }
    }
}

#[derive(Deserialize)]
struct Ready {
    ready: bool,
    open: usize,
}

fn read_lines(output: ChildStdout, lines: &mpsc::Sender<String>) {
    // Bounded, whatever is started: an outcome has a few hundred bytes.
    for line in BufReader::new(output.take(OUTPUT_BYTES_MAX)).lines() {
        let Ok(line) = line else { return };
        if lines.send(line).is_err() {
            return;
        }
    }
}

/// Not counted at the beginning of a run at a fixed rate: connections are opened in it.
const WARM_UP_SECONDS: f64 = 0.4;
/// How much longer than asked a run may take.
const PATIENCE: Duration = Duration::from_secs(20);
const HOLD_DEADLINE: Duration = Duration::from_secs(90);
const HOLD_MAX: Duration = Duration::from_secs(600);
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Load, Outcome};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    fn printing(directory: &tempfile::TempDir, script: &str) -> Load {
        let program: PathBuf = directory.path().join("load");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, executable).unwrap();
        let log = directory.path().join("log");
        Load::of(&program, &log, "127.0.0.1:1".parse().unwrap(), &[])
    }

    const OUTCOME: &str = r#"{"requests":10,"errors":{"connect":0,"status":2,"io":1},"seconds":1.0,
        "rate":10.0,"bytes":5,"statuses":{"200":10},"connections_opened":1,"late":0,"latency_us":
        {"p50":1.0,"p90":2.0,"p99":3.0,"p999":4.0,"max":5.0,"mean":1.5}}"#;

    #[test]
    fn the_last_line_is_the_outcome() {
        let directory = tempfile::tempdir().unwrap();
        let line = OUTCOME.replace('\n', " ");
        let script = format!("echo '{{\"ready\":true,\"open\":3}}'; echo '{line}'");
        let outcome = printing(&directory, &script).closed(0.1).unwrap();
        assert_eq!(outcome.requests, 10);
        assert_eq!(outcome.failures(), 3);
        assert_eq!(outcome.failures_text(), "1 io, 2 status");
    }

    #[test]
    fn no_outcome_is_an_error_with_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let silent = printing(&directory, "echo broken >&2").closed(0.1);
        assert!(format!("{:#}", silent.unwrap_err()).contains("broken"));
        let failing = printing(&directory, "exit 3").closed(0.1);
        assert!(failing.unwrap_err().to_string().contains("failed"));
    }

    #[test]
    fn connections_are_held_until_it_is_told_to_end() {
        let directory = tempfile::tempdir().unwrap();
        let line = OUTCOME.replace('\n', " ");
        let hold = format!(
            "trap \"echo '{}'; exit 0\" TERM; echo '{{\"ready\":true,\"open\":3}}'; \
             while :; do sleep 0.05; done",
            line.replace('"', "\\\"")
        );
        let load = printing(&directory, &hold);
        assert!(load.hold(4).is_err(), "only three are open");
        let outcome: Outcome = load.hold(3).unwrap().finish().unwrap();
        assert_eq!(outcome.requests, 10);
    }
}
