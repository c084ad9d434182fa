//! The real gateway on a document, its cost per request read from outside: instructions by
//! callgrind, processor time by `/proc`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::process::{Running, Steal};
use super::request::Connections;

/// What a gateway is measured with.
#[derive(Debug, Clone)]
pub struct Load {
    /// The document; `{bind}` stands for the listener's address.
    pub document: String,
    /// Requests, sent in turn.
    pub requests: Vec<String>,
    /// Requests before anything is measured: pools are full, buffers are there.
    pub warm_up: usize,
    /// Client connections.
    pub connections: usize,
    /// Worker threads, each on a core of its own.
    pub workers: usize,
}

/// Processor time of one measured slice.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// Microseconds per request.
    pub cpu_us: f64,
    /// Share of the machine's time that its host took away.
    pub steal: f64,
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    running: Running,
    connections: Connections,
    requests: Vec<String>,
    profile: Option<PathBuf>,
}

/// Until a gateway serves; below callgrind a large document takes long.
const START_TIMEOUT: Duration = Duration::from_secs(180);

impl Gateway {
    /// Starts a gateway in a directory of its own and sends the requests of the warm-up.
    ///
    /// # Errors
    /// It does not start, or does not answer as it should.
    pub fn start(
        program: &Path,
        directory: &Path,
        load: &Load,
        callgrind: bool,
    ) -> io::Result<Gateway> {
        let (bind, admin) = (free_address()?, free_address()?);
        let config = directory.join("conf");
        std::fs::create_dir_all(&config)?;
        let document = config.join("weir.yaml");
        std::fs::write(
            &document,
            load.document.replace("{bind}", &bind.to_string()),
        )?;
        let profile = callgrind.then(|| directory.join("profile"));

        let mut command = match &profile {
            None => {
                let mut command = Running::command("taskset");
                let cores = if load.workers == 1 { "0" } else { "0,1" };
                command.args(["-c", cores]).arg(program);
                command
            }
            Some(profile) => {
                let mut command = Running::command("valgrind");
                command
                    .args(["-q", "--tool=callgrind", "--instr-atstart=no"])
                    .arg(format!("--callgrind-out-file={}", profile.display()))
                    .arg(program);
                command
            }
        };
        let log = std::fs::File::create(directory.join("gateway.log"))?;
        command
            .arg("--config")
            .arg(&document)
            .args(["--workers", &load.workers.to_string()])
            .args(["--admin", &admin.to_string()])
            .arg("--state-dir")
            .arg(directory.join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let running = Running::start(&mut command)?;
        wait_for(bind, &directory.join("gateway.log"))?;
        let mut connections = Connections::open(bind, load.connections)?;
        connections.send(&load.requests, load.warm_up.max(load.connections))?;
        Ok(Gateway {
            running,
            connections,
            requests: load.requests.clone(),
            profile,
        })
    }

    /// The processor time of so many requests.
    ///
    /// # Errors
    /// One is not answered as it should be.
    pub fn time(&mut self, requests: usize) -> io::Result<Slice> {
        let (steal, before) = (Steal::now(), self.running.cpu()?);
        self.connections.send(&self.requests, requests)?;
        let used = self.running.cpu()?.saturating_sub(before);
        Ok(Slice {
            cpu_us: used.as_secs_f64() * 1e6 / requests as f64,
            steal: Steal::now().since(steal),
        })
    }

    /// The instructions per request of so many requests; ends the gateway, since only then
    /// callgrind writes.
    ///
    /// # Errors
    /// One is not answered as it should be, or the gateway was not started below callgrind.
    pub fn instructions(mut self, requests: usize) -> io::Result<f64> {
        let profile = self.profile.take();
        let profile = profile.ok_or_else(|| io::Error::other("it does not run below callgrind"))?;
        self.switch("on")?;
        self.connections.send(&self.requests, requests)?;
        self.switch("off")?;
        self.running.stop()?;
        let text = std::fs::read_to_string(&profile)?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let total: f64 = total
            .and_then(|total| total.trim().parse().ok())
            .ok_or_else(|| io::Error::other("callgrind wrote no totals"))?;
        Ok(total / requests as f64)
    }

    fn switch(&self, to: &str) -> io::Result<()> {
        let mut command = Command::new("callgrind_control");
        let status = command
            .args(["-i", to, &self.running.id().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other("callgrind_control failed")),
        }
    }

    /// Its resident memory, bytes.
    ///
    /// # Errors
    /// It is gone.
    pub fn resident(&self) -> io::Result<u64> {
        self.running.resident()
    }

    /// Wake-ups of each thread while nothing is asked of it, over so long; only those that woke.
    ///
    /// # Errors
    /// It is gone.
    pub fn wake_ups(&self, over: Duration) -> io::Result<Vec<(String, u64)>> {
        let before = self.running.sleeps()?;
        std::thread::sleep(over);
        let woken = self.running.sleeps()?.into_iter().map(|(name, count)| {
            let before = before.get(&name).copied().unwrap_or_default();
            (name, count.saturating_sub(before))
        });
        Ok(woken.filter(|(_, count)| *count > 0).collect())
    }
}

/// A port of loopback that nobody has.
///
/// # Errors
/// There is none.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn wait_for(address: SocketAddr, log: &Path) -> io::Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let said = std::fs::read_to_string(log).unwrap_or_default();
    Err(io::Error::other(format!(
        "the gateway does not listen: {said}"
    )))
}
