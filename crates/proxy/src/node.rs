//! A proxy process beside its workers: it enrols, starts the engine, keeps configuration,
//! memberships, keys and certificates coming, and ends without losing a request. All of it runs on
//! the control runtime, a thread of its own, so that no change ever stops a worker.

pub(crate) mod backoff;
pub mod enrolment;
pub mod link;
pub mod name;
pub mod reports;
pub mod state_dir;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use weir_discovery::{Discover, Discovery};
use weir_identity::{Identity, TlsConfigError};
use weir_policy::live::Live;
use weir_policy::snapshot::{Role, Snapshot};
use weir_process::drain::{Drain, DrainOutcome, DrainTimes};
use weir_process::readiness::{Guard, Readiness};
use weir_telemetry::Registry;
use weir_telemetry::access_log::{AccessLog, AccessLogError, LogTarget};

use crate::admin::Shown;
use crate::engine::{Engine, EngineOptions};
use crate::feed::certificates;
use crate::feed::control_plane::ControlPlaneFeed;
use crate::feed::file::{FileError, FileFeed};
use crate::feed::last_good::{self, LastGood};
use crate::keys;
use crate::listen::Sockets;
use crate::memberships::Memberships;
use crate::store::{MeshAddresses, Store, StoreOptions};
use enrolment::{EnrolError, Enrolment, Who};
use link::ControlPlaneUrl;
use reports::{Instance, Reports};
use state_dir::StateDir;

/// Where a node's configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// From a control plane.
    ControlPlane {
        /// Its mesh port.
        url: ControlPlaneUrl,
        /// What the first certificate is asked for with.
        join_token_file: Option<PathBuf>,
    },
    /// From a file.
    File(PathBuf),
}

/// With what a node starts.
pub struct NodeOptions {
    /// Who it is to a control plane.
    pub who: Who,
    /// For which proxy documents are compiled.
    pub role: Role,
    /// Where its configuration comes from.
    pub config: ConfigSource,
    /// What outlives it.
    pub state: StateDir,
    /// The zone that it stands in, where it was told.
    pub zone: Option<String>,
    /// Worker threads.
    pub workers: usize,
    /// Where listening sockets come from.
    pub sockets: Arc<dyn Sockets>,
    /// What it can follow by itself; unless told, fixed lists, files and DNS.
    pub discover: Option<Box<dyn Discover>>,
    /// Overrides where documents want the access log.
    pub access_log: Option<LogTarget>,
    /// Metrics, made for this many workers.
    pub registry: Registry,
    /// Ready when a configuration is in force.
    pub readiness: Readiness,
    /// A sidecar's listeners and application.
    pub sidecar: Option<SidecarOptions>,
    /// Where the admin server finds the node, once it is there.
    pub shown: Arc<OnceLock<Shown>>,
}

/// What only a sidecar has.
pub struct SidecarOptions {
    /// Where it listens.
    pub addresses: MeshAddresses,
    /// What it reports of its instance.
    pub instance: Instance,
    /// Whether its application answers.
    pub healthy: watch::Receiver<bool>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The access log's thread cannot be started.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    /// The system gives no threads or runtimes.
    #[error("cannot start the workers: {0}")]
    Engine(#[source] io::Error),
    /// There is no certificate, and waiting does not help.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The file is refused or cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The TLS library refuses a configuration.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
}

/// A running node. Dropping it ends everything that it does.
pub struct Node {
    engine: Arc<Engine>,
    store: Arc<Store>,
    tasks: JoinSet<()>,
    leave: Option<mpsc::Sender<oneshot::Sender<()>>>,
    sidecar: bool,
}

impl Node {
    /// Starts. Returns when the first configuration is in force (from a file) or is being waited
    /// for (from a control plane). Must be called on the control runtime; cancel safe.
    ///
    /// # Errors
    /// What keeps it from ever serving.
    pub async fn start(options: NodeOptions) -> Result<Self, StartError> {
        let configured = options.readiness.guard("configuration");
        let engine = start_engine(&options)?;
        let told = Arc::clone(&engine);
        let tell = Arc::new(move |service: &str, endpoints| told.set_members(service, endpoints));
        let joined = matches!(options.config, ConfigSource::ControlPlane { .. });
        let discover = options
            .discover
            .unwrap_or_else(|| Box::new(Discovery::new()));
        let memberships = Arc::new(Memberships::new(discover, tell, joined));

        // Who we are. Waits for the control plane when there is no certificate yet.
        configured.detail("waiting for a certificate");
        let enrolled = enrol(&options.config, &options.who, &options.state).await?;
        let identity = enrolled.as_ref().map(|(_, identity)| identity.clone());

        let store = Arc::new(Store::new(StoreOptions {
            engine: Arc::clone(&engine),
            memberships: Arc::clone(&memberships),
            role: options.role,
            identity,
            mesh: options.sidecar.as_ref().map(|sidecar| sidecar.addresses),
            state: options.state.clone(),
            registry: options.registry,
            access_log: options.access_log,
        })?);
        let parts = Parts {
            engine,
            store,
            memberships,
            state: options.state,
        };
        let mut shown = Shown::new(
            options.who,
            Arc::clone(&parts.engine),
            Arc::clone(&parts.store),
            Arc::clone(&parts.memberships),
        );

        configured.detail("waiting for a configuration");
        let mut tasks = JoinSet::new();
        let mut leave = None;
        let sidecar = options.sidecar.is_some();
        match (options.config, enrolled) {
            (ConfigSource::File(path), _) => {
                parts.follow_file(path, shown.reload(), &mut tasks).await?;
            }
            (ConfigSource::ControlPlane { .. }, Some((enrolment, identity))) => {
                let feed = parts
                    .follow_control_plane(&enrolment, &identity, &mut tasks)
                    .await;
                shown = shown.joined(identity, feed.connected());
                leave = options
                    .sidecar
                    .map(|sidecar| parts.report(sidecar, &feed, &mut tasks));
                tasks.spawn(async move { feed.follow().await });
            }
            // It comes with a control plane, above.
            (ConfigSource::ControlPlane { .. }, None) => return Err(EnrolError::NoToken.into()),
        }
        let Parts { engine, store, .. } = parts;
        tasks.spawn(certificates::follow(Arc::clone(&store)));
        tasks.spawn(keys::follow(store.changes(), Arc::clone(&engine)));
        release_when_configured(configured, &engine, &store, &mut tasks);
        // Set once: a process has one node.
        let _ = options.shown.set(shown);
        Ok(Self {
            engine,
            store,
            tasks,
            leave,
            sidecar,
        })
    }

    /// The document in force and the way to change it.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Ends: says goodbye, keeps accepting for a while, then lets what is under way come to its
    /// end. A sidecar closes its way in first and its application's way out last.
    pub async fn end(mut self, drain: &Drain, times: DrainTimes) -> DrainOutcome {
        let deadline = Instant::now() + times.total;
        let active = drain.track();
        drain.request();
        // Goodbye before anything closes: others stop coming while everything still works.
        if let Some(leave) = self.leave.take() {
            let (done, said) = oneshot::channel();
            if leave.send(done).await.is_ok() {
                let _ = said.await;
            }
        }
        let work = async {
            drain.begun().await;
            if self.sidecar {
                self.close_inbound(deadline).await;
            }
            self.tasks.shutdown().await;
            let left = deadline.saturating_duration_since(Instant::now());
            let unfinished = self.engine.drain(left).await;
            self.store.flush_access_log(LOG_FLUSH_TIME_MAX).await;
            tracing::info!(unfinished, "drained");
            drop(active);
        };
        let (outcome, ()) = tokio::join!(drain.carry_out(times), work);
        outcome
    }

    /// No new requests from others; waits until those under way have ended.
    async fn close_inbound(&self, deadline: Instant) {
        self.store.close_inbound().await;
        let idle = async {
            while self.engine.stats().in_flight > 0 {
                sleep(IDLE_POLL).await;
            }
        };
        let _idle_or_time = timeout_at(deadline, idle).await;
    }
}

fn start_engine(options: &NodeOptions) -> Result<Arc<Engine>, StartError> {
    let started = Engine::start(EngineOptions {
        workers: options.workers,
        sockets: Arc::clone(&options.sockets),
        live: Arc::new(Live::in_zone(options.zone.as_deref())),
        registry: options.registry.clone(),
        access_log: AccessLog::start(LogTarget::Off, &options.registry)?,
    });
    Ok(Arc::new(started.map_err(StartError::Engine)?))
}

/// The certificate of a node that has a control plane, kept or new.
async fn enrol(
    config: &ConfigSource,
    who: &Who,
    state: &StateDir,
) -> Result<Option<(Arc<Enrolment>, Identity)>, StartError> {
    let ConfigSource::ControlPlane {
        url,
        join_token_file,
    } = config
    else {
        return Ok(None);
    };
    let (url, token_file) = (url.clone(), join_token_file.clone());
    let enrolment = Enrolment::new(url, who.clone(), token_file, state.clone());
    let identity = match enrolment.kept() {
        Some(kept) => kept,
        None => enrolment.join().await?,
    };
    Ok(Some((Arc::new(enrolment), identity)))
}

fn release_when_configured(
    configured: Guard,
    engine: &Arc<Engine>,
    store: &Store,
    tasks: &mut JoinSet<()>,
) {
    let mut documents = store.changes();
    if documents.borrow().is_some() && has_keys(engine) {
        return configured.ready();
    }
    let engine = Arc::clone(engine);
    tasks.spawn(async move {
        if documents.wait_for(Option::is_some).await.is_ok() {
            // Late keys do not hold up the routes that need none.
            let _ = tokio::time::timeout(KEYS_WAIT_MAX, keys_are_there(&engine)).await;
            configured.ready();
        }
    });
}

/// Waits until every issuer of the snapshot has keys.
async fn keys_are_there(engine: &Engine) {
    while !has_keys(engine) {
        sleep(KEYS_LOOK_INTERVAL).await;
    }
}

fn has_keys(engine: &Engine) -> bool {
    let all = |snapshot: Arc<Snapshot>| snapshot.issuers.iter().all(|i| i.live.is_ready());
    engine.snapshot().is_some_and(all)
}

/// What every feed needs.
struct Parts {
    engine: Arc<Engine>,
    store: Arc<Store>,
    memberships: Arc<Memberships>,
    state: StateDir,
}

impl Parts {
    async fn follow_file(
        &self,
        path: PathBuf,
        reload: Arc<Notify>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), StartError> {
        let feed = FileFeed::new(path, Arc::clone(&self.store), reload);
        feed.load().await?;
        tasks.spawn(async move { feed.follow().await });
        Ok(())
    }

    async fn follow_control_plane(
        &self,
        enrolment: &Arc<Enrolment>,
        identity: &Identity,
        tasks: &mut JoinSet<()>,
    ) -> ControlPlaneFeed {
        self.install_last_good().await;
        let (renewed, handle) = (Arc::clone(enrolment), identity.clone());
        tasks.spawn(async move { renewed.keep_renewed(&handle).await });
        tasks.spawn(last_good::keep(
            self.state.clone(),
            Arc::clone(&self.store),
            Arc::clone(&self.memberships),
        ));
        ControlPlaneFeed::new(
            Arc::clone(enrolment),
            identity.clone(),
            Arc::clone(&self.store),
            Arc::clone(&self.memberships),
        )
    }

    /// Starts from what was in force when the process before ended.
    async fn install_last_good(&self) {
        let copy = match LastGood::load(&self.state) {
            Ok(Some(copy)) => copy,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "no last good configuration"),
        };
        let candidate = copy.candidate();
        for membership in copy.memberships {
            self.memberships
                .told(&membership.service, membership.endpoints);
        }
        let number = copy.revision.number;
        match self.store.apply(candidate).await {
            Ok(_) => tracing::info!(number, "started from the last good configuration"),
            Err(errors) => {
                tracing::warn!(number, %errors, "the last good configuration is refused");
            }
        }
    }

    fn report(
        &self,
        sidecar: SidecarOptions,
        feed: &ControlPlaneFeed,
        tasks: &mut JoinSet<()>,
    ) -> mpsc::Sender<oneshot::Sender<()>> {
        let (leave, leaving) = mpsc::channel(1);
        let serving = self.store.changes();
        let reports = Reports::new(sidecar.instance, sidecar.healthy, feed.link(), serving);
        tasks.spawn(reports.follow(leaving));
        leave
    }
}

const LOG_FLUSH_TIME_MAX: Duration = Duration::from_secs(2);
const IDLE_POLL: Duration = Duration::from_millis(20);
/// How long a proxy waits for the keys of its issuers before it calls itself ready.
const KEYS_WAIT_MAX: Duration = Duration::from_secs(2);
const KEYS_LOOK_INTERVAL: Duration = Duration::from_millis(10);
