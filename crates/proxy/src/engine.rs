//! The engine: so many workers, one configuration at a time, and the only way to change either.
//!
//! An installation is all or nothing: new addresses are bound first, and when one cannot be, every
//! worker goes on as before. What did not change is not touched: addresses that stay keep their
//! sockets, connections, and pools.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::{Mutex, mpsc, oneshot};
use weir_config::endpoint::Endpoint;
use weir_policy::live::Live;
use weir_policy::snapshot::Snapshot;
use weir_telemetry::Registry;
use weir_telemetry::access_log::AccessLog;
use weir_telemetry::names;

use crate::cache::Cache;
use crate::listen::Sockets;
use crate::own::OwnError;
use crate::respond::Decisions;
use crate::worker::{Command, Worker, WorkerStats};

mod installation;
mod warm;

pub use installation::{Binding, InstallError, Installation};

use installation::check;
use warm::Warm;

/// With what an engine starts.
pub struct EngineOptions {
    /// Worker threads; at least one.
    pub workers: usize,
    /// Where listening sockets come from.
    pub sockets: Arc<dyn Sockets>,
    /// State that outlives configurations.
    pub live: Arc<Live>,
    /// Metrics, made for this many workers.
    pub registry: Registry,
    /// The access log to begin with.
    pub access_log: AccessLog,
}

impl std::fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineOptions")
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// What the engine is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Connections of clients.
    pub connections: u64,
    /// Exchanges under way, upgraded connections included.
    pub in_flight: u64,
    /// Exchanges begun since the start.
    pub exchanges: u64,
}

/// The engine. Dropping it stops it; [`Engine::drain`] before lets exchanges end.
pub struct Engine {
    workers: Vec<Handle>,
    sockets: Arc<dyn Sockets>,
    live: Arc<Live>,
    decisions: Arc<Decisions>,
    cache: Arc<Cache>,
    /// Bound addresses and what they became; also serialises installations.
    bound: Mutex<HashMap<SocketAddr, SocketAddr>>,
    current: std::sync::RwLock<Option<Arc<Snapshot>>>,
    warm: Warm,
}

struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    stats: Arc<WorkerStats>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the workers. They serve nothing before the first [`Engine::install`].
    ///
    /// # Errors
    /// The system cannot start a thread or a runtime.
    pub fn start(options: EngineOptions) -> io::Result<Engine> {
        // There from the start, so that 0 can be seen.
        options
            .registry
            .single(&names::CONNECTIONS_CLOSED_BY_CONFIG);
        let decisions = Arc::new(Decisions::default());
        let cache = Cache::new(&options.registry);
        let mut workers = Vec::new();
        for index in 0..options.workers.max(1) {
            workers.push(spawn(index, &options, (&decisions, &cache))?);
        }
        Ok(Engine {
            workers,
            sockets: options.sockets,
            live: options.live,
            decisions,
            cache,
            bound: Mutex::default(),
            current: std::sync::RwLock::default(),
            warm: Warm::default(),
        })
    }

    /// Puts a configuration in force on every worker. Returns when all of them run it.
    ///
    /// # Errors
    /// Why nothing at all was changed.
    pub async fn install(&self, installation: Installation) -> Result<(), InstallError> {
        let mut bound = self.bound.lock().await;
        check(&installation)?;
        // Bind what is new; nothing is changed while that can fail.
        let mut fresh: Vec<Vec<(SocketAddr, std::net::TcpListener)>> = Vec::new();
        fresh.resize_with(self.workers.len(), Vec::new);
        let mut opened = Vec::new();
        for binding in &installation.bindings {
            if bound.contains_key(&binding.address) {
                continue;
            }
            match self.listen(binding.address, &mut fresh) {
                Ok(local) => opened.push((binding.address, local)),
                Err(source) => {
                    opened
                        .iter()
                        .for_each(|(address, _)| self.sockets.close(*address));
                    return Err(InstallError::Bind {
                        address: binding.address,
                        source,
                    });
                }
            }
        }
        // Swap on every worker.
        let snapshot = Arc::clone(&installation.snapshot);
        self.cache.configure(&snapshot);
        let warm = self.warm.all(&snapshot);
        let installation = Arc::new(installation);
        let mut waiting = Vec::new();
        for (worker, sockets) in self.workers.iter().zip(fresh) {
            let (done, installed) = oneshot::channel();
            let installation = Arc::clone(&installation);
            let sent = worker.commands.send(Command::Install {
                installation,
                sockets,
                done,
            });
            sent.map_err(|_| InstallError::Stopped)?;
            waiting.push(installed);
        }
        for installed in waiting {
            installed.await.map_err(|_| InstallError::Stopped)?;
        }
        drop(warm);
        // The workers have let go of what vanished.
        bound.extend(opened);
        let stays = |address: &SocketAddr| {
            installation
                .bindings
                .iter()
                .any(|binding| binding.address == *address)
        };
        bound.retain(|address, _| {
            let stays = stays(address);
            if !stays {
                self.sockets.close(*address);
            }
            stays
        });
        self.live.retain(&snapshot);
        *self
            .current
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(snapshot);
        Ok(())
    }

    /// Tells every worker who serves a service now. Kept by name over installations; services
    /// whose endpoints are written in the document do not listen to it.
    pub fn set_members(&self, service: &str, endpoints: Arc<[Endpoint]>) {
        let warm = self
            .warm
            .told(self.snapshot().as_deref(), service, &endpoints);
        let service: Arc<str> = service.into();
        for worker in &self.workers {
            let (service, endpoints) = (Arc::clone(&service), Arc::clone(&endpoints));
            // A stopped worker needs no endpoints.
            let _ = worker.commands.send(Command::Members {
                service,
                endpoints,
                warm: warm.clone(),
            });
        }
    }

    /// Writes the access log here from now on.
    pub fn set_access_log(&self, log: &AccessLog) {
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Log(log.clone()));
        }
    }

    /// Stops accepting, asks clients to leave (`connection: close`, GOAWAY), and waits until their
    /// connections have ended, at most for `within`. Says how many exchanges were still under way.
    pub async fn drain(&self, within: Duration) -> u64 {
        let mut waiting = Vec::new();
        for worker in &self.workers {
            let (done, drained) = oneshot::channel();
            if worker
                .commands
                .send(Command::Drain { within, done })
                .is_ok()
            {
                waiting.push(drained);
            }
        }
        for drained in waiting {
            let _ = drained.await;
        }
        self.stats().in_flight
    }

    /// Sends a request of Weir's own to a service, through the pools of the first worker; at most
    /// 1 MiB and five seconds. The host of the target is sent as `host`; without one, the
    /// service's name.
    ///
    /// # Errors
    /// Why there is no answer. An answer with an error status is an answer.
    pub async fn request(
        &self,
        service: &str,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, OwnError> {
        let (answer, answered) = oneshot::channel();
        let request = Box::new(request);
        let command = Command::Request {
            service: service.to_owned(),
            request,
            answer,
        };
        let first = self.workers.first().ok_or(OwnError::Stopped)?;
        first
            .commands
            .send(command)
            .map_err(|_| OwnError::Stopped)?;
        answered.await.map_err(|_| OwnError::Stopped)?
    }

    /// What it is doing now.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        self.workers
            .iter()
            .fold(EngineStats::default(), |sum, worker| EngineStats {
                connections: sum.connections + worker.stats.connections.load(Relaxed),
                in_flight: sum.in_flight + worker.stats.in_flight.load(Relaxed),
                exchanges: sum.exchanges + worker.stats.exchanges.load(Relaxed),
            })
    }

    /// The last refusals, by decision id.
    #[must_use]
    pub fn decisions(&self) -> &Arc<Decisions> {
        &self.decisions
    }

    /// The response cache.
    #[must_use]
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// The state that outlives configurations.
    #[must_use]
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The snapshot in force; `None` before the first installation.
    #[must_use]
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.current
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// The address that a binding's address became: the same, or with the port that the system
    /// chose for port 0.
    pub async fn local_address(&self, address: SocketAddr) -> Option<SocketAddr> {
        self.bound.lock().await.get(&address).copied()
    }

    /// Binds an address for every worker.
    fn listen(
        &self,
        address: SocketAddr,
        fresh: &mut [Vec<(SocketAddr, std::net::TcpListener)>],
    ) -> io::Result<SocketAddr> {
        let workers = fresh.len();
        let mut local = address;
        for (worker, sockets) in fresh.iter_mut().enumerate() {
            let socket = self.sockets.listen(local, worker, workers)?;
            // With port 0, the other workers share the port that the first one got.
            local = socket.local_addr()?;
            sockets.push((address, socket));
        }
        Ok(local)
    }

    /// Stops every worker and waits for its thread. What is still under way ends as `drained`.
    pub fn stop(mut self) {
        self.tell_stop();
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // A worker that panicked has said so already.
                let _ = thread.join();
            }
        }
    }

    fn tell_stop(&self) {
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Stop);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.tell_stop();
    }
}

fn spawn(
    index: usize,
    options: &EngineOptions,
    (decisions, cache): (&Arc<Decisions>, &Arc<Cache>),
) -> io::Result<Handle> {
    let (commands, inbox) = mpsc::unbounded_channel();
    let stats = Arc::new(WorkerStats::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (registry, log) = (options.registry.clone(), options.access_log.clone());
    let shared = (Arc::clone(decisions), Arc::clone(cache));
    let worker_stats = Arc::clone(&stats);
    let thread = std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime, async move {
                let worker = Worker::new(index, &registry, &log, shared, worker_stats);
                worker.run(inbox).await;
                // Ends every task while the worker is there to record what they did.
                tokio::task::yield_now().await;
            });
            drop(tasks);
            drop(runtime);
        })?;
    Ok(Handle {
        commands,
        stats,
        thread: Some(thread),
    })
}
