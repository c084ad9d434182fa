//! What the control plane spends on its proxies: a real `weir-control-plane` on a real Consul, and
//! as many light nodes as are asked for.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use weir_identity::JoinToken;

use super::gateway::free_address;
use super::node::{self, Event, Mesh, Node, Received, Seen};
use super::process::{Running, Steal};
use super::series::{Effort, routed_document};

/// What one change costs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// Until the last proxy has it, milliseconds.
    pub last_ms: f64,
    /// Until the API says that all of them run it, milliseconds; of a revision only.
    pub answered_ms: f64,
    /// Processor time of the control plane, milliseconds.
    pub cpu_ms: f64,
    /// Bytes of its streams, before TLS.
    pub bytes: f64,
}

/// What was measured with so many proxies.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Proxies.
    pub proxies: usize,
    /// Processor time for one more proxy to enrol, connect and get everything, milliseconds.
    pub join_cpu_ms: f64,
    /// What goes to all proxies because of that, bytes before TLS.
    pub join_bytes: f64,
    /// Of these, memberships: lines.
    pub join_memberships: f64,
    /// A document of a hundred routes; median.
    pub small: Change,
    /// A document of a thousand routes; median.
    pub large: Change,
    /// An instance fails, or is well again; median.
    pub membership: Change,
    /// Processor time per second while nothing changes, milliseconds.
    pub rest_cpu_ms: f64,
    /// The same of Consul.
    pub rest_consul_ms: f64,
    /// Resident memory of the control plane, bytes.
    pub resident: u64,
    /// The largest share of time that the machine's host took away in one of the changes.
    pub steal: f64,
}

/// Sizes of the documents that are pushed, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sizes {
    /// Of the one with a hundred routes.
    pub small: usize,
    /// Of the one with a thousand.
    pub large: usize,
}

/// Services that the proxies' instances belong to.
pub const SERVICES: usize = 20;
/// Nodes that join at once.
const JOINING: usize = 16;
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(90);
/// What is measured at rest.
const REST: Duration = Duration::from_secs(10);
/// How often each change is made.
const TIMES: usize = 5;

type Fault = Box<dyn std::error::Error + Send + Sync>;

struct Stand {
    api: SocketAddr,
    consul: Running,
    control_plane: Running,
    mesh: Mesh,
    nodes: Vec<Node>,
    events: mpsc::UnboundedReceiver<Event>,
    tell: mpsc::UnboundedSender<Event>,
    received: Arc<Received>,
    serial: u64,
    steal: f64,
}

/// Measures fleets of these sizes, smallest first; the nodes of one stay for the next.
///
/// # Errors
/// A program does not start, or something is not as it should be.
pub fn measure(
    effort: &Effort,
    sizes: &[usize],
    directory: &Path,
) -> Result<(Vec<Fleet>, Sizes), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut stand = Stand::start(&effort.programs, directory).await?;
        let documents = Sizes {
            small: document(100, 0).len(),
            large: document(1_000, 0).len(),
        };
        stand.push(&document(100, 0)).await?;
        let mut fleets = Vec::new();
        for &size in sizes {
            let fleet = stand.fleet(size).await?;
            eprintln!("{fleet:?}");
            fleets.push(fleet);
        }
        Ok((fleets, documents))
    })
}

/// A document of so many routes to the services of the mesh; another for each serial number.
fn document(routes: usize, serial: u64) -> String {
    let listener = "listeners: { web: { bind: \"127.0.0.1:0\" } }\n";
    let service = |nr: usize| format!("  s{nr}: {{ mesh: s{nr} }}\n");
    let document = routed_document(listener, routes, SERVICES, service);
    format!("# {serial}\n{document}")
}

impl Stand {
    async fn start(programs: &Path, directory: &Path) -> Result<Stand, Fault> {
        let (consul, agent) = start_consul(directory)?;
        wait_for(|| get(agent, "/v1/health/service/consul").is_ok_and(|it| it.contains("CheckID")))
            .await?;
        let (api, address) = (free_address()?, free_address()?);
        let data = directory.join("control-plane");
        let mut command = Running::command(programs.join("weir-control-plane"));
        command
            .args(["--api", &api.to_string(), "--mesh", &address.to_string()])
            .args(["--consul", &format!("http://{agent}")])
            .arg("--data-dir")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.join("control-plane.log"))?);
        let control_plane = Running::start(&mut command)?;
        wait_for(|| get(api, "/readyz").is_ok_and(|it| it.starts_with("HTTP/1.1 200"))).await?;
        let token = JoinToken::parse(&std::fs::read_to_string(data.join("join-token"))?)?;
        let (tell, events) = mpsc::unbounded_channel();
        Ok(Stand {
            api,
            consul,
            control_plane,
            mesh: Mesh {
                address,
                token: Arc::new(token),
            },
            nodes: Vec::new(),
            events,
            tell,
            received: Arc::default(),
            serial: 0,
            steal: 0.0,
        })
    }

    async fn fleet(&mut self, size: usize) -> Result<Fleet, Fault> {
        let more = (size - self.nodes.len()).max(1) as f64;
        let (bytes, memberships) = self.received();
        let before = self.control_plane.cpu()?;
        self.grow(size).await?;
        let joined = self.control_plane.cpu()?.saturating_sub(before);
        let (bytes, memberships) = (self.received().0 - bytes, self.received().1 - memberships);
        self.steal = 0.0;

        let (rest, rest_consul) = self.rest().await?;
        let mut fleet = Fleet {
            proxies: size,
            join_cpu_ms: ms(joined) / more,
            join_bytes: bytes as f64 / more,
            join_memberships: memberships as f64 / more,
            small: Change::default(),
            large: Change::default(),
            membership: Change::default(),
            rest_cpu_ms: rest,
            rest_consul_ms: rest_consul,
            resident: 0,
            steal: 0.0,
        };
        fleet.small = self.revisions(100, rest).await?;
        fleet.large = self.revisions(1_000, rest).await?;
        fleet.membership = self.memberships(rest).await?;
        fleet.resident = self.control_plane.resident()?;
        fleet.steal = self.steal;
        Ok(fleet)
    }

    /// Lets nodes join, and waits until each knows every instance of its own service's.
    async fn grow(&mut self, size: usize) -> Result<(), Fault> {
        let first = self.nodes.len();
        let mut joining: JoinSet<Result<(usize, Node), Fault>> = JoinSet::new();
        let mut joined: Vec<(usize, Node)> = Vec::new();
        for index in first..size {
            if joining.len() >= JOINING
                && let Some(done) = joining.join_next().await
            {
                joined.push(done??);
            }
            let (mesh, tell) = (self.mesh.clone(), self.tell.clone());
            let received = Arc::clone(&self.received);
            joining.spawn(async move {
                let service = service_of(index);
                let node = node::join(&mesh, index, &service, tell, received).await?;
                Ok((index, node))
            });
        }
        while let Some(done) = joining.join_next().await {
            joined.push(done??);
        }
        joined.sort_by_key(|(index, _)| *index);
        self.nodes.extend(joined.into_iter().map(|(_, node)| node));
        // The whole fleet knows the whole fleet: as many of each service as there are.
        let expected = |service: &str| {
            (0..size)
                .filter(|index| service_of(*index) == service)
                .count()
        };
        let mut complete = vec![vec![false; SERVICES.min(size)]; size];
        let mut missing = size * SERVICES.min(size);
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while missing > 0 {
            let event = tokio::time::timeout_at(deadline, self.events.recv()).await;
            let event = event.map_err(|_| format!("{missing} memberships did not come"))?;
            let Some(Event { node, seen, .. }) = event else {
                return Err("nobody follows".into());
            };
            match seen {
                Seen::Membership { service, healthy } if healthy == expected(&service) => {
                    let index: usize = service.trim_start_matches('s').parse()?;
                    if let Some(cell) = complete[node].get_mut(index)
                        && !std::mem::replace(cell, true)
                    {
                        missing -= 1;
                    }
                }
                Seen::Ended(why) => return Err(format!("node {node}: {why}").into()),
                Seen::Membership { .. } | Seen::Revision(_) => {}
            }
        }
        Ok(())
    }

    /// Processor time per second of control plane and Consul while nothing changes.
    async fn rest(&mut self) -> Result<(f64, f64), Fault> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (own, consul) = (self.control_plane.cpu()?, self.consul.cpu()?);
        tokio::time::sleep(REST).await;
        let own = self.control_plane.cpu()?.saturating_sub(own);
        let consul = self.consul.cpu()?.saturating_sub(consul);
        let seconds = REST.as_secs_f64();
        Ok((ms(own) / seconds, ms(consul) / seconds))
    }

    /// Applies a document of so many routes several times.
    async fn revisions(&mut self, routes: usize, rest: f64) -> Result<Change, Fault> {
        let mut changes = Vec::new();
        for _ in 0..TIMES {
            self.serial += 1;
            let text = document(routes, self.serial);
            self.drain();
            let measuring = self.begin()?;
            let number = self.push(&text).await?;
            let answered_ms = ms(measuring.at.elapsed());
            let count = self.nodes.len();
            let last = self
                .wait_all(count, |seen| *seen == Seen::Revision(number))
                .await?;
            changes.push(Change {
                answered_ms,
                ..self.finish(measuring, last, rest).await?
            });
        }
        Ok(median(&changes))
    }

    /// Lets the instance of the first node fail and be well again several times.
    async fn memberships(&mut self, rest: f64) -> Result<Change, Fault> {
        let mut changes = Vec::new();
        let size = self.nodes.len();
        let all = (0..size)
            .filter(|index| service_of(*index) == service_of(0))
            .count();
        for turn in 0..2 * TIMES {
            let is_well = turn % 2 == 1;
            self.drain();
            let measuring = self.begin()?;
            self.nodes[0].healthy.send_replace(is_well);
            let wanted = Seen::Membership {
                service: service_of(0),
                healthy: all - usize::from(!is_well),
            };
            let last = self.wait_all(size, |seen| *seen == wanted).await?;
            changes.push(self.finish(measuring, last, rest).await?);
        }
        Ok(median(&changes))
    }

    /// Bytes and memberships so far.
    fn received(&self) -> (u64, u64) {
        let all = &self.received;
        (all.bytes.load(Relaxed), all.memberships.load(Relaxed))
    }

    fn drain(&mut self) {
        while self.events.try_recv().is_ok() {}
    }

    fn begin(&self) -> io::Result<Measuring> {
        Ok(Measuring {
            cpu: self.control_plane.cpu()?,
            received: self.received().0,
            steal: Steal::now(),
            at: Instant::now(),
        })
    }

    async fn finish(&mut self, began: Measuring, last: Instant, rest: f64) -> io::Result<Change> {
        // What follows the last line belongs to the change as well.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let took = began.at.elapsed();
        let cpu = self.control_plane.cpu()?.saturating_sub(began.cpu);
        self.steal = self.steal.max(Steal::now().since(began.steal));
        Ok(Change {
            last_ms: ms(last.saturating_duration_since(began.at)),
            answered_ms: 0.0,
            cpu_ms: (ms(cpu) - rest * took.as_secs_f64()).max(0.0),
            bytes: (self.received().0 - began.received) as f64,
        })
    }

    /// Applies a document and waits until every node has answered; gives its number.
    async fn push(&self, text: &str) -> Result<u64, Fault> {
        let (api, body) = (self.api, text.to_owned());
        let path = format!("/v1/config?wait={}s", DEADLINE.as_secs());
        let asked = tokio::task::spawn_blocking(move || call(api, "PUT", &path, &body));
        let answer = asked.await??;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let written: serde_json::Value =
            serde_json::from_str(body).map_err(|error| format!("{error}: {answer}"))?;
        match written["convergence"]["converged"].as_bool() {
            Some(true) => {}
            _ => return Err(format!("not all run it: {answer:.400}").into()),
        }
        let number = written["revision"]["number"].as_u64();
        number.ok_or_else(|| format!("no number: {answer:.400}").into())
    }

    /// Waits until so many nodes have seen something, and gives when the last one did.
    async fn wait_all(
        &mut self,
        count: usize,
        wanted: impl Fn(&Seen) -> bool,
    ) -> Result<Instant, Fault> {
        let mut have = vec![false; count];
        let mut missing = count;
        let mut last = Instant::now();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while missing > 0 {
            let event = tokio::time::timeout_at(deadline, self.events.recv()).await;
            let event = event.map_err(|_| format!("{missing} of {count} nodes did not see it"))?;
            let Some(Event { node, seen, at }) = event else {
                return Err("nobody follows".into());
            };
            if let Seen::Ended(why) = &seen {
                return Err(format!("node {node}: {why}").into());
            }
            if wanted(&seen) && !std::mem::replace(&mut have[node], true) {
                missing -= 1;
                last = at;
            }
        }
        Ok(last)
    }
}

struct Measuring {
    cpu: Duration,
    received: u64,
    steal: Steal,
    at: Instant,
}

fn service_of(index: usize) -> String {
    format!("s{}", index % SERVICES)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn median(changes: &[Change]) -> Change {
    let of = |field: fn(&Change) -> f64| super::report::median(changes.iter().map(field));
    Change {
        last_ms: of(|it| it.last_ms),
        answered_ms: of(|it| it.answered_ms),
        cpu_ms: of(|it| it.cpu_ms),
        bytes: of(|it| it.bytes),
    }
}

fn start_consul(directory: &Path) -> io::Result<(Running, SocketAddr)> {
    let mut ports = Vec::new();
    for _ in 0..4 {
        ports.push(free_address()?);
    }
    let data = directory.join("consul");
    std::fs::create_dir_all(&data)?;
    let mut command = Running::command("consul");
    command
        .args(["agent", "-server", "-bootstrap-expect=1", "-node=scale"])
        .args(["-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=warn"])
        .args(["-grpc-port=-1", "-dns-port=-1"])
        .arg("-hcl=performance { raft_multiplier = 1 } disable_update_check = true")
        .arg(format!("-data-dir={}", data.display()))
        .arg(format!("-http-port={}", ports[0].port()))
        .arg(format!("-server-port={}", ports[1].port()))
        .arg(format!("-serf-lan-port={}", ports[2].port()))
        .arg(format!("-serf-wan-port={}", ports[3].port()))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(directory.join("consul.log"))?);
    Ok((Running::start(&mut command)?, ports[0]))
}

async fn wait_for(is_there: impl Fn() -> bool) -> Result<(), Fault> {
    let deadline = Instant::now() + DEADLINE;
    while !is_there() {
        if Instant::now() > deadline {
            return Err("a program did not become ready".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    call(address, "GET", path, "")
}

/// One HTTP/1.0 exchange: head and body of the answer as text.
fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(DEADLINE + Duration::from_secs(10)))?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/yaml\r\nContent-Length: {length}\r\n\r\n"
    );
    connection.write_all(head.as_bytes())?;
    connection.write_all(body.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}
