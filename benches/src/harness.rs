//! `weir-bench`: real proxies beside each other on equal work.
//!
//! [`run`] starts the origin and, scenario by scenario, all proxies that can take part; it loads
//! one at a time with `weir-load` and reads from the kernel what that cost. What was measured is
//! written as a report with plots, and as JSON with every single slice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::harness::results::Results;
use crate::harness::rounds::Effort;
use crate::harness::scenario::{Peer, Scenario};
use crate::harness::stage::{Stage, Tools};

pub mod goals;
pub mod http;
pub mod idle;
pub mod load;
pub mod peers;
pub mod plots;
pub mod process;
pub mod procfs;
pub mod reload;
pub mod report;
pub mod results;
pub mod rounds;
pub mod scenario;
pub mod stage;
pub mod statistics;
pub mod template;

/// Measures Weir beside other proxies on equal work.
#[derive(Debug, Parser)]
#[command(name = "weir-bench")]
pub struct Options {
    /// What to measure, separated by commas; by default everything.
    #[arg(long, value_delimiter = ',', value_parser = scenarios)]
    pub scenarios: Vec<Vec<Scenario>>,
    /// Which proxies take part, separated by commas; by default all. Weir always does.
    #[arg(long, value_delimiter = ',')]
    pub peers: Vec<Peer>,
    /// Interleaved rounds of each scenario.
    #[arg(long, default_value_t = 6)]
    pub rounds: usize,
    /// Seconds of a slice; a round has two for each proxy.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Directory for report, plots and results.
    #[arg(long, default_value = "target/bench")]
    pub out: PathBuf,
    /// Put the report in benches/RESULTS.md and the plots in benches/plots.
    #[arg(long)]
    pub publish: bool,
    /// Count system calls per request too, by strace in a run of its own.
    #[arg(long)]
    pub system_calls: bool,
    /// Directory of weir-gateway, weir-sidecar and weir-control-plane.
    #[arg(long, default_value = "target/dist")]
    pub weir_dir: PathBuf,
    /// Directory of another build of them, which takes part as a peer.
    #[arg(long)]
    pub other_weir_dir: Option<PathBuf>,
    /// Directory of peer-pingora, peer-hyper and peer-epoll.
    #[arg(long, default_value = "target/peers/release")]
    pub peers_dir: PathBuf,
    /// Envoy's binary.
    #[arg(long, default_value = "target/bench-deps/envoy")]
    pub envoy: PathBuf,
    /// Directory of weir-load and weir-bench-origin; by default that of this program.
    #[arg(long)]
    pub tools_dir: Option<PathBuf>,
}

/// A scenario, or all of them.
fn scenarios(name: &str) -> Result<Vec<Scenario>, String> {
    use clap::ValueEnum as _;
    if name == "all" {
        return Ok(Scenario::ALL.to_vec());
    }
    let known = || Scenario::ALL.map(Scenario::id).join(", ");
    let scenario = Scenario::from_str(name, false);
    scenario
        .map(|scenario| vec![scenario])
        .map_err(|_| format!("one of all, {}", known()))
}

/// Measures, and writes what was found.
///
/// # Errors
/// What keeps it from measuring, and Ctrl-C. Proxies that fail are left out and said to.
pub fn run(options: &Options) -> Result<()> {
    for program in ["setpriv", "taskset"] {
        let found = Command::new(program).arg("--version").output();
        found.with_context(|| format!("{program} is missing (apt-get install util-linux)"))?;
    }
    ensure!(
        cores() >= 2,
        "two cores are needed: one for the proxies, one for the load"
    );
    ensure!(
        options.other_weir_dir.is_some() || !options.peers.contains(&Peer::WeirOther),
        "--peers weir-other needs --other-weir-dir, the directory of that build"
    );
    process::catch_signals()?;
    pin_to_load_core()?;
    // Inherited by everything that is started: 10,000 connections need as many descriptors.
    crate::raise_descriptor_limit();
    let peers = chosen_peers(options);
    let mut wanted: Vec<Scenario> = options.scenarios.iter().flatten().copied().collect();
    if wanted.is_empty() {
        wanted = Scenario::ALL.to_vec();
    }
    let tools = tools(options)?;
    let now = OffsetDateTime::now_utc();
    let mut results = Results {
        date: now.format(format_description!(
            "[year]-[month]-[day] [hour]:[minute] UTC"
        ))?,
        command: command_line(),
        machine: machine(),
        versions: versions(&tools, &peers),
        rounds: options.rounds,
        seconds: options.seconds,
        ..Results::default()
    };
    let directory = options.out.join(now.format(format_description!(
        "[year]-[month]-[day]-[hour][minute][second]"
    ))?);
    fs::create_dir_all(&directory)?;
    let effort = Effort {
        rounds: options.rounds,
        seconds: options.seconds,
        system_calls: options.system_calls,
    };
    let stage = Stage::start(tools)?;
    for scenario in Scenario::ALL.into_iter().filter(|it| wanted.contains(it)) {
        eprintln!("{}", scenario.title());
        match scenario {
            Scenario::Idle => results.idle = Some(idle::run(&peers, &stage)?),
            Scenario::Reload => results.reload = Some(reload::run(&peers, &stage, options.rounds)?),
            _ => results
                .scenarios
                .push(rounds::run(scenario, &peers, &stage, effort)?),
        }
        // After each, so that an interrupted run leaves what it had.
        write(&results, &directory)?;
    }
    let text = report::report(&results, "");
    println!("{text}");
    eprintln!("written to {}", directory.display());
    if options.publish {
        publish(&results, Path::new("benches"))?;
    }
    Ok(())
}

fn write(results: &Results, directory: &Path) -> Result<()> {
    fs::write(
        directory.join("results.json"),
        serde_json::to_string_pretty(results)?,
    )?;
    fs::write(directory.join("report.md"), report::report(results, ""))?;
    for (name, svg) in plots::plots(results) {
        fs::write(directory.join(name), svg)?;
    }
    Ok(())
}

/// Replaces the newest section of `RESULTS.md`; the older ones stay as they are.
fn publish(results: &Results, benches: &Path) -> Result<()> {
    let file = benches.join("RESULTS.md");
    let page = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    fs::write(&file, published(&page, &report::report(results, "plots/"))?)?;
    let plots = benches.join("plots");
    fs::create_dir_all(&plots)?;
    for (name, svg) in plots::plots(results) {
        fs::write(plots.join(name), svg)?;
    }
    eprintln!("published in {}", file.display());
    Ok(())
}

/// The page with the report between the markers. What was there goes below them if it is of another
/// day, without the plots, which are not of that day any more.
fn published(page: &str, report: &str) -> Result<String> {
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| {
        let (old, after) = rest.split_once(END)?;
        Some((before, old.trim(), after))
    });
    let (before, old, after) =
        parts.with_context(|| format!("RESULTS.md has no lines {BEGIN} and {END}"))?;
    let report = report.trim();
    let mut kept = String::new();
    if !old.is_empty() && day(old) != day(report) {
        kept =
            old.lines()
                .filter(|line| !line.starts_with("!["))
                .fold(String::new(), |text, line| {
                    let blank = line.is_empty() && text.ends_with("\n\n");
                    if blank { text } else { text + line + "\n" }
                });
        kept = format!("\n\n{}", kept.trim_end());
    }
    Ok(format!("{before}{BEGIN}\n\n{report}\n\n{END}{kept}{after}"))
}

/// `## 2026-11-21` of a section.
fn day(section: &str) -> &str {
    section.get(..13).unwrap_or(section)
}

fn chosen_peers(options: &Options) -> Vec<Peer> {
    let all = Peer::ALL.into_iter();
    let chosen = all.filter(|peer| match peer {
        Peer::Weir => true,
        Peer::WeirOther => options.other_weir_dir.is_some(),
        _ => options.peers.is_empty() || options.peers.contains(peer),
    });
    chosen.collect()
}

fn tools(options: &Options) -> Result<Tools> {
    let own = std::env::current_exe()?;
    let own = own
        .parent()
        .context("this program is in a directory")?
        .to_owned();
    let directory = options.tools_dir.clone().unwrap_or(own);
    let tools = Tools {
        load: directory.join("weir-load"),
        origin: directory.join("weir-bench-origin"),
        weir: absolute(&options.weir_dir)?,
        other_weir: options
            .other_weir_dir
            .as_deref()
            .map(absolute)
            .transpose()?,
        peers: absolute(&options.peers_dir)?,
        envoy: absolute(&options.envoy)?,
    };
    let builds = [Some(&tools.weir), tools.other_weir.as_ref()];
    let gateways = builds.into_iter().flatten();
    let gateways: Vec<_> = gateways.map(|build| build.join("weir-gateway")).collect();
    for program in [&tools.load, &tools.origin].into_iter().chain(&gateways) {
        ensure!(
            program.is_file(),
            "{} is not there: `make bench` builds it",
            program.display()
        );
    }
    Ok(tools)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}

fn command_line() -> String {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(program) = words.first_mut() {
        "weir-bench".clone_into(program);
    }
    words.join(" ")
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("an unknown processor", |it| {
        it.trim_start_matches([' ', '\t', ':'])
    });
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {} cores, Linux {}", cores(), kernel.trim())
}

/// All that are there, not only the one that this process keeps to.
fn cores() -> usize {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    procfs::cores(&stat)
}

fn versions(tools: &Tools, peers: &[Peer]) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for peer in peers {
        let said = match peer {
            Peer::Weir | Peer::WeirOther => {
                said(&tools.weir(*peer).join("weir-gateway"), "--version")
            }
            Peer::Nginx => said(Path::new("nginx"), "-v"),
            Peer::Haproxy => said(Path::new("haproxy"), "-v"),
            Peer::Envoy => said(&tools.envoy, "--version"),
            Peer::Pingora => locked("pingora-proxy"),
            Peer::Hyper => locked("hyper"),
            Peer::Epoll => continue,
        };
        let version = said.as_deref().and_then(first_version).unwrap_or("unknown");
        versions.insert(peer.title().to_owned(), version.to_owned());
    }
    versions
}

fn said(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let both = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&both).into_owned())
}

/// The version of a crate that the minimal proxies are built with.
fn locked(name: &str) -> Option<String> {
    version_in(&fs::read_to_string("benches/peers/Cargo.lock").ok()?, name)
}

fn version_in(lock: &str, name: &str) -> Option<String> {
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split_once('"').map(|(version, _)| version.to_owned())
}

/// The first word part that has the form `1.2.3…`.
fn first_version(text: &str) -> Option<&str> {
    text.split([' ', '/', '\n']).find(|word| {
        word.matches('.').count() >= 2 && word.starts_with(|it: char| it.is_ascii_digit())
    })
}

/// The harness waits on the core of the load, so that it never disturbs a proxy.
fn pin_to_load_core() -> Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(process::LOAD_CORE)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?;
    Ok(())
}

const BEGIN: &str = "<!-- newest: begin -->";
const END: &str = "<!-- newest: end -->";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Scenario, first_version, published, scenarios, version_in};

    #[test]
    fn all_means_all() {
        assert_eq!(scenarios("all").unwrap(), Scenario::ALL);
        assert_eq!(scenarios("h1").unwrap(), [Scenario::H1]);
        assert!(scenarios("h3").unwrap_err().contains("reload"));
    }

    #[test]
    fn versions_of_crates_are_found_in_a_lock_file() {
        let lock = "[[package]]\nname = \"hyper\"\nversion = \"1.12.0\"\nsource = \"x\"\n";
        assert_eq!(version_in(lock, "hyper").as_deref(), Some("1.12.0"));
        assert_eq!(version_in(lock, "h2"), None);
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let cases = [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17",
                "2.6.12-1+deb12u4",
            ),
            (
                "\nenvoy  version: 9e55809/1.40.0/Clean/RELEASE/BoringSSL\n",
                "1.40.0",
            ),
            ("weir-gateway 0.1.0\n", "0.1.0"),
        ];
        for (text, version) in cases {
            assert_eq!(first_version(text), Some(version));
        }
        assert_eq!(first_version("none"), None);
    }

    #[test]
    fn publishing_replaces_a_section_of_the_same_day_alone() {
        let page = "# Results\n\n<!-- newest: begin -->\n<!-- newest: end -->\n\n## Before\n";
        let once = published(page, "## 2026-11-21 10:00\n").unwrap();
        let wanted = "# Results\n\n<!-- newest: begin -->\n\n## 2026-11-21 10:00\n\n\
                      <!-- newest: end -->\n\n## Before\n";
        assert_eq!(once, wanted);
        let again = published(&once, "## 2026-11-21 11:00\n").unwrap();
        assert_eq!(again, wanted.replace("10:00", "11:00"));
        assert!(published("# Results\n", "## New\n").is_err());
    }

    #[test]
    fn publishing_on_another_day_keeps_what_was_there_without_its_plots() {
        let page = "<!-- newest: begin -->\n\n## 2026-11-21 10:00\n\nold\n\n![x](plots/x.svg)\n\n\
                    ### more\n\n<!-- newest: end -->\n\n## Before\n";
        let text = published(page, "## 2026-11-22 10:00\n").unwrap();
        let wanted = "<!-- newest: begin -->\n\n## 2026-11-22 10:00\n\n<!-- newest: end -->\n\n\
                      ## 2026-11-21 10:00\n\nold\n\n### more\n\n## Before\n";
        assert_eq!(text, wanted);
    }
}
