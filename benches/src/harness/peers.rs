//! The proxies: how each is configured for a scenario, started, seen to be ready and reloaded.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::harness::http;
use crate::harness::process::{Process, eventually, free_address, pause};
use crate::harness::procfs;
use crate::harness::scenario::{Peer, RELOAD_ROUTES, ROUTES, Scenario};
use crate::harness::stage::Stage;

mod bare;
mod envoy;
mod haproxy;
mod nginx;
mod weir;

/// A running proxy, or the two of a pair of sidecars; dropping it stops them.
pub struct Running {
    /// Which one.
    pub peer: Peer,
    /// Where it takes requests.
    pub address: SocketAddr,
    /// Resident memory after it was ready, bytes.
    pub resident_at_rest: u64,
    processes: Vec<Process>,
    // A control plane beside them; idle, not measured.
    _helpers: Vec<Process>,
    logs: Vec<PathBuf>,
    reload: Option<Reload>,
}

/// How it is told of a new configuration.
enum Reload {
    /// This file is replaced, and that is all.
    Replace(PathBuf),
    /// This file is replaced, and then the process gets a signal.
    Signal(PathBuf, Signal),
}

/// What a proxy is configured for.
struct Order<'a> {
    stage: &'a Stage,
    scenario: Scenario,
    /// Where it is to listen.
    address: SocketAddr,
    /// A directory of its own.
    directory: PathBuf,
    /// In answers of [`Scenario::Reload`], field `x-generation`.
    generation: u32,
}

/// What a module of a proxy gives back.
struct Started {
    processes: Vec<Process>,
    helpers: Vec<Process>,
    logs: Vec<PathBuf>,
    reload: Option<Reload>,
}

impl Started {
    fn one(process: Process, logs: Vec<PathBuf>, reload: Option<Reload>) -> Self {
        Self {
            processes: vec![process],
            helpers: Vec::new(),
            logs,
            reload,
        }
    }
}

/// Starts a proxy for a scenario and waits until it is ready.
///
/// # Errors
/// When it is not there, does not start or does not get ready.
pub fn start(peer: Peer, scenario: Scenario, stage: &Stage) -> Result<Running> {
    let order = Order {
        stage,
        scenario,
        address: free_address()?,
        directory: stage.fresh_directory(peer.id())?,
        generation: 0,
    };
    let started = match peer {
        Peer::Weir | Peer::WeirOther => weir::start(peer, &order),
        Peer::Nginx => nginx::start(&order),
        Peer::Haproxy => haproxy::start(&order),
        Peer::Envoy => envoy::start(&order),
        Peer::Pingora | Peer::Hyper | Peer::Epoll => bare::start(peer, &order),
    };
    let started = started?;
    let mut running = Running {
        peer,
        address: order.address,
        resident_at_rest: 0,
        processes: started.processes,
        _helpers: started.helpers,
        logs: started.logs,
        reload: started.reload,
    };
    wait_until_ready(&mut running, &order)?;
    running.resident_at_rest = running.resident_bytes();
    Ok(running)
}

fn wait_until_ready(running: &mut Running, order: &Order<'_>) -> Result<()> {
    let end = Instant::now() + READY_DEADLINE;
    loop {
        running.check_runs()?;
        match is_ready(order) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => {
                let tails: Vec<String> = running.processes.iter().map(Process::tail).collect();
                return Err(error.context(format!("not ready\n{}", tails.join("\n"))));
            }
            Err(_) => pause(Duration::from_millis(10))?,
        }
    }
}

fn is_ready(order: &Order<'_>) -> Result<()> {
    let scenario = order.scenario;
    if scenario.is_tls() || scenario == Scenario::Ws {
        TcpStream::connect(order.address)?;
        return Ok(());
    }
    let bearer = format!("Bearer {}", order.stage.token.jwt);
    let headers = match scenario {
        Scenario::Jwt => vec![("authorization", bearer.as_str())],
        Scenario::Pair => vec![("host", "app")],
        _ => Vec::new(),
    };
    let path = match scenario {
        Scenario::Routes | Scenario::Reload => crate::harness::scenario::route_path(0),
        _ => "/1k".to_owned(),
    };
    let answer = http::send(order.address, "GET", &path, &headers, "")?;
    ensure!(answer.status == 200, "it answers {}", answer.status);
    Ok(())
}

impl Running {
    /// The processes that are measured; children of theirs are too.
    #[must_use]
    pub fn roots(&self) -> Vec<i32> {
        self.processes.iter().map(Process::id).collect()
    }

    /// Resident memory now, bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        procfs::resident_bytes(&self.roots())
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check_runs(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::check_runs)
    }

    /// Empties its access logs, so that they do not fill the disk. All append to them.
    pub fn empty_logs(&self) {
        for log in &self.logs {
            // One that was not written yet is not there.
            if let Ok(file) = File::options().write(true).open(log) {
                let _ = file.set_len(0);
            }
        }
    }

    /// Writes a configuration of 10,000 routes that [`Running::reload`] puts in force: ahead, so
    /// that making it takes no time from those that are measured.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_reload(&self, stage: &Stage, generation: u32) -> Result<()> {
        let order = Order {
            stage,
            scenario: Scenario::Reload,
            address: self.address,
            directory: stage.path(self.peer.id()),
            generation,
        };
        let text = match self.peer {
            Peer::Weir | Peer::WeirOther => weir::document(&order)?,
            Peer::Nginx => nginx::configuration(&order)?,
            Peer::Haproxy => haproxy::configuration(&order)?,
            Peer::Envoy => envoy::routes_file(&order).to_string(),
            Peer::Pingora | Peer::Hyper | Peer::Epoll => String::new(),
        };
        fs::write(new_configuration(stage, generation), text)?;
        Ok(())
    }

    /// Puts what was written in force and waits until it is seen in an answer. Gives how long that
    /// took.
    ///
    /// # Errors
    /// When it is not within some seconds.
    pub fn reload(&mut self, stage: &Stage, generation: u32) -> Result<Duration> {
        let reload = self.reload.as_ref().context("it has no configuration")?;
        let (Reload::Replace(file) | Reload::Signal(file, _)) = reload;
        let new = new_configuration(stage, generation);
        let began = Instant::now();
        fs::rename(&new, file)?;
        let signal = match reload {
            Reload::Replace(_) => None,
            Reload::Signal(_, signal) => Some(*signal),
        };
        let mut signal_due = began;
        let path = crate::harness::scenario::route_path(0);
        eventually(RELOAD_DEADLINE, || {
            if let Some(signal) = signal
                && Instant::now() >= signal_due
            {
                self.processes[0].signal(signal);
                signal_due += SIGNAL_AGAIN;
            }
            let answer = http::send(self.address, "GET", &path, &[], "")?;
            let seen = answer.header("x-generation").unwrap_or("none");
            ensure!(
                seen == generation.to_string(),
                "generation {seen} is in force"
            );
            Ok(())
        })?;
        Ok(began.elapsed())
    }
}

/// Where a new configuration waits: beside the directory that is watched, on the same file system.
fn new_configuration(stage: &Stage, generation: u32) -> PathBuf {
    stage.path(&format!("new-configuration-{generation}"))
}

impl Order<'_> {
    /// The origin's address in this scenario.
    fn origin(&self) -> String {
        match self.scenario {
            Scenario::Grpc => self.stage.http2,
            Scenario::Ws => self.stage.websocket,
            _ => self.stage.http1,
        }
        .to_string()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// How many routes there are; 0: one for everything.
    fn routes(&self) -> usize {
        match self.scenario {
            Scenario::Routes => ROUTES,
            Scenario::Reload => RELOAD_ROUTES,
            _ => 0,
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

const READY_DEADLINE: Duration = Duration::from_secs(30);
const RELOAD_DEADLINE: Duration = Duration::from_secs(20);
/// A master that is still busy with the reload before may miss a signal.
const SIGNAL_AGAIN: Duration = Duration::from_secs(3);
/// Open files of a proxy: 10,000 clients, and origins.
const FILES: &str = "16384";
