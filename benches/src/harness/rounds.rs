//! Interleaved rounds of load.
//!
//! All proxies of a scenario run; one at a time is loaded, in an order that rotates from round to
//! round, so that whatever the machine does hits all of them alike. A slice in which much time was
//! stolen is taken again, twice at most.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::harness::load::Load;
use crate::harness::peers::{self, Running};
use crate::harness::process::{LOAD_CORE, Launch, pause};
use crate::harness::procfs::{self, StealClock};
use crate::harness::results::{LeftOut, Pace, PeerResults, ScenarioResults, Slice, as_f64};
use crate::harness::scenario::{Peer, ROUTES, Scenario, route_path};
use crate::harness::stage::Stage;
use crate::harness::statistics::two_digits;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds.
    pub rounds: usize,
    /// Seconds of a slice.
    pub seconds: f64,
    /// Count system calls too, in a run of its own.
    pub system_calls: bool,
}

/// Measures a scenario.
///
/// # Errors
/// When the origin or the load generator fails, and on Ctrl-C. A proxy that fails is left out.
pub fn run(
    scenario: Scenario,
    peers: &[Peer],
    stage: &Stage,
    effort: Effort,
) -> Result<ScenarioResults> {
    let (running, mut left_out) = start_all(scenario, peers, stage)?;
    let before = procfs::busy_and_all();
    pause(BUSY_WATCH)?;
    let busy = procfs::busy_share(before, procfs::busy_and_all());
    let arguments = load_arguments(scenario, stage)?;
    let mut entries = Vec::new();
    for mut proxy in running {
        let log = stage.path("load.log");
        let load = Load::of(&stage.tools.load, &log, proxy.address, &arguments);
        match trial(&mut proxy, &load) {
            Ok(rate) => {
                let results = PeerResults {
                    peer: proxy.peer,
                    resident_at_rest: proxy.resident_at_rest,
                    resident_after: 0,
                    system_calls: None,
                    slices: Vec::new(),
                };
                entries.push(Entry {
                    proxy,
                    load,
                    rate,
                    results,
                });
            }
            Err(error) => {
                pause(Duration::ZERO)?;
                eprintln!("  {} is left out: {error:#}", proxy.peer.title());
                let (peer, reason) = (proxy.peer, format!("failed: {error:#}"));
                left_out.push(LeftOut { peer, reason });
            }
        }
    }
    let slowest = entries
        .iter()
        .map(|entry| entry.rate)
        .fold(f64::INFINITY, f64::min);
    let rate = if slowest.is_finite() {
        two_digits(slowest / 2.0)
    } else {
        0.0
    };
    let count = entries.len();
    for round in 0..effort.rounds {
        eprint!("  round {}:", round + 1);
        for turn in 0..count {
            entries[(round + turn) % count].round(round, rate, effort)?;
        }
        eprintln!();
    }
    if effort.system_calls {
        for entry in &mut entries {
            entry.results.system_calls = entry.count_system_calls(stage);
        }
    }
    for entry in &mut entries {
        entry.results.resident_after = entry.proxy.resident_bytes();
    }
    let peers = entries.into_iter().map(|entry| entry.results).collect();
    Ok(ScenarioResults {
        scenario,
        load: shown_arguments(&arguments, stage),
        rate,
        busy,
        peers,
        left_out,
    })
}

/// Starts every proxy that can take part; the others come back with the reason.
///
/// # Errors
/// On Ctrl-C.
pub fn start_all(
    scenario: Scenario,
    peers: &[Peer],
    stage: &Stage,
) -> Result<(Vec<Running>, Vec<LeftOut>)> {
    let (mut running, mut left_out) = (Vec::new(), Vec::new());
    for &peer in peers {
        if let Some(reason) = peer.unable(scenario) {
            left_out.push(LeftOut {
                peer,
                reason: reason.to_owned(),
            });
            continue;
        }
        match peers::start(peer, scenario, stage) {
            Ok(proxy) => running.push(proxy),
            Err(error) => {
                pause(Duration::ZERO)?;
                eprintln!("  {} is left out: {error:#}", peer.title());
                left_out.push(LeftOut {
                    peer,
                    reason: first_line(&error),
                });
            }
        }
    }
    Ok((running, left_out))
}

/// The report has room for a line; all of it was printed.
fn first_line(error: &anyhow::Error) -> String {
    let text = format!("did not start: {error:#}");
    text.lines().next().unwrap_or_default().to_owned()
}

/// A first short load, which warms up and tells the throughput.
fn trial(proxy: &mut Running, load: &Load) -> Result<f64> {
    let outcome = load.closed(TRIAL_SECONDS)?;
    proxy.check_runs()?;
    proxy.empty_logs();
    let failures = outcome.failures_text();
    ensure!(
        outcome.failures() == 0,
        "{failures} of {} requests",
        outcome.requests
    );
    ensure!(outcome.requests > 0, "no request was answered");
    Ok(outcome.rate)
}

struct Entry {
    proxy: Running,
    load: Load,
    rate: f64,
    results: PeerResults,
}

impl Entry {
    fn round(&mut self, round: usize, rate: f64, effort: Effort) -> Result<()> {
        eprint!(" {}", self.proxy.peer.id());
        for pace in [Pace::Closed, Pace::Rate] {
            for _ in 0..TRIES {
                let slice = self.slice(round, pace, rate, effort.seconds)?;
                let good = !slice.is_disturbed();
                self.results.slices.push(slice);
                if good {
                    break;
                }
                eprint!("*");
            }
        }
        Ok(())
    }

    fn slice(&mut self, round: usize, pace: Pace, rate: f64, seconds: f64) -> Result<Slice> {
        let roots = self.proxy.roots();
        let steal = StealClock::start();
        let switches = procfs::voluntary_switches(&roots);
        let before = procfs::cpu(&roots);
        let outcome = match pace {
            Pace::Closed => self.load.closed(seconds)?,
            Pace::Rate => self.load.at_rate(rate, seconds)?,
        };
        let cpu = procfs::cpu(&roots).since(before);
        let switches = procfs::voluntary_switches(&roots).saturating_sub(switches);
        let stolen = steal.share();
        self.proxy.check_runs()?;
        self.proxy.empty_logs();
        if outcome.failures() > 0 {
            eprint!(" ({})", outcome.failures_text());
        }
        Ok(Slice {
            round,
            pace,
            stolen,
            cpu,
            switches,
            outcome,
        })
    }

    /// System calls per request, by `strace -c` beside a load; none where strace cannot.
    fn count_system_calls(&self, stage: &Stage) -> Option<f64> {
        let summary = stage.path("strace");
        let mut launch = Launch::of("strace", LOAD_CORE, stage.path("strace.log"))
            .args(["-c", "-f", "-o"])
            .arg(summary.display().to_string());
        for pid in procfs::trees(&self.proxy.roots()) {
            launch = launch.args(["-p".to_owned(), pid.to_string()]);
        }
        let mut strace = launch.start().ok()?;
        pause(Duration::from_millis(500)).ok()?;
        let outcome = self.load.closed(TRIAL_SECONDS).ok()?;
        strace.signal(nix::sys::signal::Signal::SIGINT);
        // It passes the signal's end on as its own.
        let _ = strace.wait(Duration::from_secs(5));
        let calls = total_calls(&fs::read_to_string(summary).ok()?)?;
        (outcome.requests > 0).then(|| as_f64(calls) / as_f64(outcome.requests))
    }
}

/// The count in the line `100.00 … total` of `strace -c`.
fn total_calls(summary: &str) -> Option<u64> {
    let line = summary
        .lines()
        .rev()
        .find(|line| line.trim_end().ends_with("total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// What `weir-load` is told in a scenario.
///
/// # Errors
/// When the origin does not tell its bodies.
pub fn load_arguments(scenario: Scenario, stage: &Stage) -> Result<Vec<String>> {
    let mut arguments = Vec::new();
    let mut say = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
    let (connections, protocol) = match scenario {
        Scenario::Large => ("32", "h1"),
        Scenario::Connections => ("16", "h1"),
        Scenario::H2 | Scenario::Grpc => ("8", "h2"),
        Scenario::Ws => ("64", "ws"),
        _ => ("64", "h1"),
    };
    say(&["--protocol", protocol]);
    // How many are idle is said where they are opened.
    if scenario != Scenario::Idle {
        say(&["--connections", connections]);
    }
    if protocol == "h2" {
        say(&["--streams", "8"]);
    }
    if scenario.is_tls() {
        let authority = stage.tls.authority.display().to_string();
        say(&["--tls", "--ca", &authority, "--server-name", "localhost"]);
    }
    if scenario == Scenario::Connections {
        say(&["--new-connection"]);
    }
    match scenario {
        Scenario::Ws => {
            say(&["--message-bytes", "128", "--path", "/"]);
            return Ok(arguments);
        }
        Scenario::Grpc => {
            let body = stage.path("grpc-request");
            fs::write(&body, GRPC_REQUEST)?;
            let body = body.display().to_string();
            say(&["--grpc", "--method", "POST", "--path", "/bench.Echo/Unary"]);
            say(&["--body-file", &body]);
        }
        Scenario::Large => say(&["--path", "/100k"]),
        Scenario::Routes | Scenario::Reload => {
            let count = if scenario == Scenario::Routes {
                ROUTES
            } else {
                RELOAD_PATHS
            };
            let step = if scenario == Scenario::Routes {
                1
            } else {
                RELOAD_PATH_STEP
            };
            let paths: String = (0..count)
                .map(|index| route_path(index * step) + "\n")
                .collect();
            let file = stage.path("paths");
            fs::write(&file, paths)?;
            let file = file.display().to_string();
            say(&["--paths-file", &file]);
        }
        Scenario::Jwt => {
            let header = format!("authorization: Bearer {}", stage.token.jwt);
            say(&["--path", "/1k", "--header", &header]);
        }
        Scenario::Pair => say(&["--path", "/1k", "--host", "app"]),
        _ => say(&["--path", "/1k"]),
    }
    let body = expected_body(scenario, stage)?.display().to_string();
    say(&["--expect-status", "200", "--expect-file", &body]);
    Ok(arguments)
}

/// The origin writes the body of an answer to a file.
fn expected_body(scenario: Scenario, stage: &Stage) -> Result<PathBuf> {
    let name = match scenario {
        Scenario::Large => "100k",
        Scenario::Grpc => "grpc",
        _ => "1k",
    };
    let file = stage.path(&format!("body-{name}"));
    let printed = Command::new(&stage.tools.origin)
        .args(["--print", name])
        .output();
    let printed = printed.context("the origin cannot print a body")?;
    ensure!(
        printed.status.success(),
        "the origin cannot print the body {name}"
    );
    fs::write(&file, printed.stdout)?;
    Ok(file)
}

/// The arguments for the report: without the token and the temporary directory.
fn shown_arguments(arguments: &[String], stage: &Stage) -> String {
    let directory = stage.path("").display().to_string();
    let shown = arguments.iter().map(|argument| {
        if argument.starts_with("authorization:") {
            "'authorization: Bearer …'".to_owned()
        } else {
            argument.replace(&directory, "")
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Groups what was left out by its reason.
#[must_use]
pub fn by_reason(left_out: &[LeftOut]) -> BTreeMap<&str, Vec<Peer>> {
    let mut grouped: BTreeMap<&str, Vec<Peer>> = BTreeMap::new();
    for entry in left_out {
        grouped.entry(&entry.reason).or_default().push(entry.peer);
    }
    grouped
}

const BUSY_WATCH: Duration = Duration::from_secs(1);
const TRIAL_SECONDS: f64 = 1.0;
const TRIES: usize = 3;
/// A message of two bytes: field 1, varint 1; before it the compression flag and the length.
const GRPC_REQUEST: [u8; 7] = [0, 0, 0, 0, 2, 8, 1];
/// Paths that are asked for while 10,000 routes are reloaded: each tenth route.
const RELOAD_PATHS: usize = 1_000;
const RELOAD_PATH_STEP: usize = 10;

#[cfg(test)]
mod tests {
    use super::{by_reason, total_calls};
    use crate::harness::results::LeftOut;
    use crate::harness::scenario::Peer;

    #[test]
    fn the_total_of_strace_is_read() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n\
             ------ ----------- ----------- --------- --------- ----------------\n \
             51.03    0.010322           5      2000           recvfrom\n\
             ------ ----------- ----------- --------- --------- ----------------\n\
             100.00    0.020228           5      4002       102 total\n";
        assert_eq!(total_calls(summary), Some(4002));
        assert_eq!(total_calls("strace: not permitted\n"), None);
    }

    #[test]
    fn the_same_reason_is_said_once() {
        let out = |peer, reason: &str| LeftOut {
            peer,
            reason: reason.to_owned(),
        };
        let left_out = [
            out(Peer::Hyper, "a"),
            out(Peer::Envoy, "b"),
            out(Peer::Epoll, "a"),
        ];
        let grouped = by_reason(&left_out);
        assert_eq!(grouped["a"], [Peer::Hyper, Peer::Epoll]);
        assert_eq!(grouped["b"], [Peer::Envoy]);
    }
}
