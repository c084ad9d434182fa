//! One worker: a thread with its own runtime, listeners, connections and pools. Nothing here is
//! shared with another worker except what policy keeps live and the sharded metrics.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::Response;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use weir_config::bounds::SERVICES_MAX;
use weir_config::endpoint::Endpoint;
use weir_policy::auth::Local;
use weir_policy::balance::Members;
use weir_process::memory;
use weir_telemetry::Registry;
use weir_telemetry::access_log::AccessLog;
use weir_telemetry::termination::Termination;

use crate::alarm::Alarms;
use crate::cache::Cache;
use crate::checks::Checks;
use crate::clock::{Clock, Dice};
use crate::engine::{Binding, Installation};
use crate::exchange::Copies;
use crate::header_maps::HeaderMaps;
use crate::listen::Gate;
use crate::membership::Roster;
use crate::own::{self, OwnError};
use crate::pool::Pool;
use crate::record::{LogState, WorkerMetrics};
use crate::respond::Decisions;
use crate::serve::{ClientConnection, LEAVE_IDLE_AFTER};

mod installed;

pub(crate) use installed::{Bounds, Entry, Installed};

/// What the engine asks of a worker.
pub(crate) enum Command {
    /// Run this; `sockets` are the new listening sockets by the address that was asked for.
    Install {
        installation: Arc<Installation>,
        sockets: Vec<(SocketAddr, std::net::TcpListener)>,
        done: oneshot::Sender<()>,
    },
    /// These are the endpoints of a service now.
    Members {
        service: Arc<str>,
        endpoints: Arc<[Endpoint]>,
        /// Keeps tables that are about to be looked for.
        warm: Option<Arc<Members>>,
    },
    /// Write the access log here.
    Log(AccessLog),
    /// Stop accepting, let exchanges end; answered when they have, or after `within`.
    Drain {
        within: Duration,
        done: oneshot::Sender<()>,
    },
    /// Send a request of Weir's own.
    Request {
        service: String,
        request: Box<http::Request<Bytes>>,
        answer: oneshot::Sender<Result<Response<Bytes>, OwnError>>,
    },
    /// End now.
    Stop,
}

/// Numbers other threads may read.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerStats {
    pub(crate) connections: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) exchanges: AtomicU64,
}

impl WorkerStats {
    /// Only the worker writes, so this needs no atomic read-modify-write.
    pub(crate) fn add(cell: &AtomicU64, change: i64) {
        cell.store(cell.load(Relaxed).wrapping_add_signed(change), Relaxed);
    }
}

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) clock: Rc<Clock>,
    pub(crate) dice: Dice,
    pub(crate) local: RefCell<Local>,
    pub(crate) pool: Pool,
    pub(crate) alarms: Alarms,
    pub(crate) copies: Rc<Copies>,
    pub(crate) header_maps: HeaderMaps,
    pub(crate) log: LogState,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) decisions: Arc<Decisions>,
    /// Shared by all workers.
    pub(crate) cache: Arc<Cache>,
    checks: Checks,
    pub(crate) stats: Arc<WorkerStats>,
    /// The worker is about to be dropped: what ends now was drained.
    pub(crate) stopping: Cell<bool>,
    /// How exchanges end that are dropped now.
    pub(crate) ends_as: Cell<Option<Termination>>,
    /// What the HTTP/2 stream that runs now sends before its response.
    pub(crate) interim: RefCell<Vec<Response<()>>>,
    registry: Registry,
    roster: RefCell<Roster>,
    installed: RefCell<Option<Rc<Installed>>>,
    gates: RefCell<HashMap<SocketAddr, Rc<Gate>>>,
    connections: RefCell<HashMap<u64, Weak<ClientConnection>>>,
    /// Connections that are being passed on.
    tunnels: Cell<i64>,
    /// They have been waited for long enough, and upgraded connections with them.
    pub(crate) tunnels_end: Notify,
    /// What tunnels read into, one at a time.
    scratch: RefCell<Vec<u8>>,
    next_connection: Cell<u64>,
    /// Connections that have not shown their protocol yet.
    greeting: Cell<i64>,
    connection_closed: Notify,
    sweeping: Cell<bool>,
    /// How many connections have fallen asleep since memory was last given back.
    slept: Cell<u32>,
    giving_back: Cell<bool>,
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        registry: &Registry,
        log: &AccessLog,
        (decisions, cache): (Arc<Decisions>, Arc<Cache>),
        stats: Arc<WorkerStats>,
    ) -> Rc<Self> {
        let worker = Self {
            index,
            clock: Rc::new(Clock::new()),
            dice: Dice::new(),
            local: RefCell::default(),
            pool: Pool::default(),
            alarms: Alarms::default(),
            copies: Rc::default(),
            header_maps: HeaderMaps::default(),
            log: LogState::default(),
            metrics: WorkerMetrics::new(registry),
            decisions,
            cache,
            checks: Checks::default(),
            stats,
            stopping: Cell::new(false),
            ends_as: Cell::new(None),
            interim: RefCell::default(),
            registry: registry.clone(),
            roster: RefCell::default(),
            installed: RefCell::default(),
            gates: RefCell::default(),
            connections: RefCell::default(),
            tunnels: Cell::new(0),
            tunnels_end: Notify::new(),
            scratch: RefCell::default(),
            next_connection: Cell::new(0),
            greeting: Cell::new(0),
            connection_closed: Notify::new(),
            sweeping: Cell::new(false),
            slept: Cell::new(0),
            giving_back: Cell::new(false),
        };
        worker.log.replace(log, index);
        Rc::new(worker)
    }

    /// Obeys until told to stop, or until the engine is gone.
    pub(crate) async fn run(self: &Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Install {
                    installation,
                    sockets,
                    done,
                } => {
                    self.install(&installation, sockets);
                    let _ = done.send(());
                }
                Command::Members {
                    service,
                    endpoints,
                    warm,
                } => {
                    self.set_members(&service, endpoints);
                    drop(warm);
                }
                Command::Log(log) => self.log.replace(&log, self.index),
                Command::Drain { within, done } => self.drain(within, done),
                Command::Request {
                    service,
                    request,
                    answer,
                } => {
                    let worker = Rc::clone(self);
                    tokio::task::spawn_local(async move {
                        let _ = answer.send(own::request(&worker, &service, *request).await);
                    });
                }
                Command::Stop => break,
            }
        }
        self.stopping.set(true);
        self.gates.borrow_mut().clear();
    }

    /// Compiles and puts in force, without waiting for anything.
    pub(crate) fn install(
        self: &Rc<Self>,
        installation: &Installation,
        sockets: Vec<(SocketAddr, std::net::TcpListener)>,
    ) -> Rc<Installed> {
        let roster = self.roster.borrow();
        let installed = Installed::new(installation, &roster, self);
        drop(roster);
        self.installed.replace(Some(Rc::clone(&installed)));
        for (address, socket) in sockets {
            match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => Gate::open(self, address, socket),
                // The socket was bound and listens; only the runtime can refuse it.
                Err(error) => tracing::error!(%error, %address, "cannot accept connections"),
            }
        }
        let mut gates = self.gates.borrow_mut();
        gates.retain(|address, gate| {
            match installation
                .bindings
                .iter()
                .find(|binding| binding.address == *address)
            {
                Some(binding) => {
                    gate.enter(Entry::new(&installed, binding, &self.registry));
                    true
                }
                None => {
                    gate.close(Leaving::Listener);
                    let connections = self.live_connections().into_iter();
                    connections
                        .filter(|connection| Rc::ptr_eq(&connection.gate, gate))
                        .for_each(|connection| connection.leave(Leaving::Listener));
                    false
                }
            }
        });
        drop(gates);
        self.checks.follow(self, &installed);
        installed.retire_lanes(&self.pool);
        installed
    }

    /// An entry of the listener without a socket, for driving the engine in tests.
    pub(crate) fn entry(&self, installed: &Rc<Installed>, binding: &Binding) -> Rc<Entry> {
        Entry::new(installed, binding, &self.registry)
    }

    /// Adds a gate; it gets its entry at once, in `install`.
    pub(crate) fn add_gate(&self, gate: Rc<Gate>) {
        self.gates.borrow_mut().insert(gate.address, gate);
    }

    fn set_members(self: &Rc<Self>, service: &str, endpoints: Arc<[Endpoint]>) {
        let mut roster = self.roster.borrow_mut();
        if roster.len() >= SERVICES_MAX && !roster.contains_key(service) {
            // More names than a document may have: those of old documents go.
            let installed = self.installed.borrow();
            let known = |name: &str| {
                let services = installed
                    .iter()
                    .flat_map(|installed| &installed.snapshot.services);
                services.into_iter().any(|service| &*service.name == name)
            };
            roster.retain(|name, _| known(name));
        }
        roster.insert(service.to_owned(), endpoints);
        drop(roster);
        let roster = self.roster.borrow();
        if let Some(installed) = &*self.installed.borrow() {
            installed.set_members(service, &roster, &self.pool);
            self.checks.follow(self, installed);
            installed.retire_lanes(&self.pool);
        }
    }

    fn drain(self: &Rc<Self>, within: Duration, done: oneshot::Sender<()>) {
        for (_, gate) in self.gates.borrow_mut().drain() {
            gate.close(Leaving::Process);
        }
        for connection in self.live_connections() {
            connection.leave(Leaving::Process);
        }
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let until = tokio::time::Instant::now() + within;
            // What was accepted a moment ago may be about to send its request.
            let greeted = async {
                while worker.greeting.get() > 0 {
                    worker.connection_closed.notified().await;
                }
            };
            let _ = tokio::time::timeout(LEAVE_IDLE_AFTER.min(within), greeted).await;
            let gone = async {
                while !worker.connections.borrow().is_empty() || worker.tunnels.get() > 0 {
                    worker.connection_closed.notified().await;
                }
            };
            let _ = tokio::time::timeout_at(until, gone).await;
            // What is left is ended now, while somebody records it.
            worker.tunnels_end.notify_waiters();
            for connection in worker.live_connections() {
                connection.cut_off();
            }
            let ended = async {
                while !worker.connections.borrow().is_empty() || worker.tunnels.get() > 0 {
                    worker.connection_closed.notified().await;
                }
            };
            let _ = tokio::time::timeout(CUT_OFF_TIME_MAX, ended).await;
            worker.log.flush();
            let _ = done.send(());
        });
    }

    /// The configuration in force.
    pub(crate) fn installed(&self) -> Option<Rc<Installed>> {
        self.installed.borrow().clone()
    }

    /// A number for a new connection.
    pub(crate) fn connection_id(&self) -> u64 {
        let id = self.next_connection.get();
        self.next_connection.set(id + 1);
        id
    }

    /// So many more connections have not shown their protocol yet.
    pub(crate) fn greeting(&self, change: i64) {
        self.greeting.set(self.greeting.get() + change);
        if change < 0 {
            self.connection_closed.notify_one();
        }
    }

    /// A buffer for what is passed on at once. Nobody may hold it over an `await`.
    pub(crate) fn scratch(&self) -> RefMut<'_, Vec<u8>> {
        let mut scratch = self.scratch.borrow_mut();
        if scratch.is_empty() {
            scratch.resize(SCRATCH_BYTES, 0);
        }
        scratch
    }

    /// So many more connections are being passed on. Each counts as an exchange to its end, so that
    /// draining waits for it.
    pub(crate) fn tunnels(&self, change: i64) {
        self.tunnels.set(self.tunnels.get() + change);
        WorkerStats::add(&self.stats.connections, change);
        WorkerStats::add(&self.stats.in_flight, change);
        if change > 0 {
            WorkerStats::add(&self.stats.exchanges, change);
        } else {
            self.connection_closed.notify_one();
        }
    }

    pub(crate) fn connected(&self, connection: &Rc<ClientConnection>) {
        self.connections
            .borrow_mut()
            .insert(connection.id, Rc::downgrade(connection));
        WorkerStats::add(&self.stats.connections, 1);
    }

    pub(crate) fn disconnected(&self, id: u64) {
        self.connections.borrow_mut().remove(&id);
        WorkerStats::add(&self.stats.connections, -1);
        self.connection_closed.notify_one();
    }

    pub(crate) fn live_connections(&self) -> Vec<Rc<ClientConnection>> {
        self.connections
            .borrow()
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Flushes the log in a moment.
    pub(crate) fn flush_log_later(self: &Rc<Self>) {
        if self.stopping.get() {
            self.log.flush();
            return;
        }
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(LOG_FLUSH_AFTER).await;
            worker.log.flush();
        });
    }

    /// A connection of a client gave its buffers back. After many have, so does the worker.
    pub(crate) fn slept(self: &Rc<Self>) {
        self.slept.set(self.slept.get() + 1);
        if self.slept.get() < SLEPT_WORTH_IT || self.giving_back.replace(true) {
            return;
        }
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(GIVE_BACK_AFTER).await;
            worker.slept.set(0);
            worker.giving_back.set(false);
            memory::give_back();
        });
    }

    /// Sweeps idle connections as long as there are any: an idle process never wakes up.
    pub(crate) fn sweep_later(self: &Rc<Self>) {
        if self.stopping.get() || self.sweeping.replace(true) {
            return;
        }
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                // Exchanges of connections that live on may have freed much.
                memory::give_back_soon();
                if !worker.pool.sweep(worker.clock.now().nanos) {
                    break;
                }
            }
            worker.sweeping.set(false);
        });
    }
}

/// Why connections are asked to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Their listener was taken out of the configuration.
    Listener,
    /// The process ends.
    Process,
}

/// Fewer connections hold too little for it.
const SLEPT_WORTH_IT: u32 = 64;
/// Others follow: they are waited for. Nor is it done more often.
const GIVE_BACK_AFTER: Duration = Duration::from_secs(3);
/// Copied at once in each direction of a tunnel.
const SCRATCH_BYTES: usize = 64 * 1024;
/// How long what is cut off may take to end.
const CUT_OFF_TIME_MAX: Duration = Duration::from_millis(500);
/// Access-log lines wait no longer than this for their buffer to fill.
const LOG_FLUSH_AFTER: Duration = Duration::from_millis(250);
/// How often idle connections to endpoints are looked through, while there are any.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);
