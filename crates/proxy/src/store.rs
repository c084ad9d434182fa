//! The one path by which a configuration comes into force, at the start and at every change:
//! decode → compile → read certificates → find endpoints → install. Failing at any step changes
//! nothing and tells every error of that step.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;
use weir_config::ConfigErrors;
use weir_config::bounds::DOCUMENT_BYTES_MAX;
use weir_config::document::AccessLogTarget;
use weir_config::give_way::giving_way;
use weir_identity::{ClientAuth, Identity, mesh_server_config};
use weir_policy::compile;
use weir_policy::snapshot::{Listener, ListenerId, Role, Snapshot};
use weir_process::memory;
use weir_telemetry::Registry;
use weir_telemetry::access_log::{AccessLog, LogTarget};

use crate::engine::{Binding, Engine, Installation};
use crate::files::{self, LocalFiles, Seen};
use crate::memberships::Memberships;
use crate::node::state_dir::StateDir;
use crate::tls::{Resolved, TlsFiles};

mod faults;
mod gauges;
mod retired;

use faults::{access_log_error, install_error, one_error};
use gauges::Gauges;
use retired::Retired;

/// What a store works with.
#[derive(Debug)]
pub struct StoreOptions {
    /// Where configurations are installed.
    pub engine: Arc<Engine>,
    /// Who serves the services.
    pub memberships: Arc<Memberships>,
    /// For which proxy documents are compiled.
    pub role: Role,
    /// Who this proxy is in the mesh; a sidecar must be somebody.
    pub identity: Option<Identity>,
    /// Where a sidecar listens.
    pub mesh: Option<MeshAddresses>,
    /// Development certificates are kept here.
    pub state: StateDir,
    /// Metrics.
    pub registry: Registry,
    /// Overrides where documents want the access log.
    pub access_log: Option<LogTarget>,
}

/// Where a sidecar listens; not in the document, since it differs between instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshAddresses {
    /// For its own application, in clear text.
    pub outbound: std::net::SocketAddr,
    /// For other proxies, by mTLS.
    pub inbound: std::net::SocketAddr,
}

/// A document to be put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The YAML text.
    pub text: Arc<str>,
    /// What its revision is called: its number, or the short digest of a file.
    pub label: Arc<str>,
    /// Its number in the control plane; 0 for a file.
    pub number: u64,
}

/// The document in force.
#[derive(Debug)]
pub struct InForce {
    /// As it was written.
    pub candidate: Candidate,
    /// Since when.
    pub since: SystemTime,
    /// What it means.
    pub snapshot: Arc<Snapshot>,
    /// Files that it names, whose changes are followed: certificates, keys, OpenAPI documents.
    pub files: Vec<PathBuf>,
    /// Those of them that were compiled with it.
    compiled: Seen,
}

impl InForce {
    fn free(self: Arc<Self>) {
        if let Some(in_force) = Arc::into_inner(self) {
            giving_way(|| in_force.snapshot.free());
        }
    }
}

/// The store.
#[derive(Debug)]
pub struct Store {
    options: StoreOptions,
    tls: Arc<TlsFiles>,
    /// TLS of a sidecar's inbound listener; follows renewals by itself.
    inbound: Option<Arc<ServerConfig>>,
    gauges: Gauges,
    in_force: watch::Sender<Option<Arc<InForce>>>,
    /// One change at a time.
    changing: Mutex<Changing>,
}

/// What only a change looks at.
#[derive(Debug, Default)]
struct Changing {
    log: Option<(LogTarget, AccessLog)>,
    services: Vec<Option<Arc<rustls::ClientConfig>>>,
    /// A listener that has been closed for good, because the process ends.
    closed: Option<&'static str>,
    retired: Retired<InForce>,
}

impl Store {
    /// A store without a document.
    ///
    /// # Errors
    /// The TLS library refuses the configuration of the inbound listener.
    pub fn new(options: StoreOptions) -> Result<Self, weir_identity::TlsConfigError> {
        let inbound = match (&options.role, &options.identity) {
            (Role::Sidecar { .. }, Some(identity)) => Some(mesh_server_config(
                identity,
                ClientAuth::Required,
                MESH_ALPN,
            )?),
            _ => None,
        };
        let tls = Arc::new(TlsFiles::new(options.state.clone()));
        let (in_force, changes) = watch::channel(None);
        options.memberships.sample(&options.registry);
        let gauges = Gauges::new(&options.registry, &tls, options.identity.as_ref(), changes);
        let changing = Mutex::default();
        Ok(Self {
            options,
            tls,
            inbound,
            gauges,
            in_force,
            changing,
        })
    }

    /// Puts a document in force.
    ///
    /// # Errors
    /// Every error found; then nothing has changed.
    pub async fn apply(&self, candidate: Candidate) -> Result<Arc<InForce>, ConfigErrors> {
        let mut changing = self.changing.lock().await;
        let applied = self.apply_locked(candidate, &mut changing).await;
        match &applied {
            Ok(in_force) => {
                let Candidate { label, number, .. } = &in_force.candidate;
                self.gauges.applied(*number, in_force.since);
                tracing::info!(
                    revision = %label,
                    routes = in_force.snapshot.routes.len(),
                    services = in_force.snapshot.services.len(),
                    "configuration in force"
                );
            }
            Err(_) => self.gauges.refused(),
        }
        // What compiling needed is free.
        memory::give_back_soon();
        applied
    }

    async fn apply_locked(
        &self,
        candidate: Candidate,
        changing: &mut Changing,
    ) -> Result<Arc<InForce>, ConfigErrors> {
        // Decode and compile. Large documents take a while: not on the thread of the feeds.
        let (role, live) = (
            self.options.role.clone(),
            Arc::clone(self.options.engine.live()),
        );
        let (text, label) = (Arc::clone(&candidate.text), Arc::clone(&candidate.label));
        let compiled = spawn_blocking(move || {
            let files = LocalFiles::default();
            let read = || compile::read(&text, &role, &label, &live, &files);
            let snapshot = giving_way(read)?;
            Ok::<_, ConfigErrors>((snapshot, files.into_seen()))
        });
        let (snapshot, seen) = compiled.await.map_err(|_| one_error(CHECK_BROKE))??;
        let snapshot = Arc::new(snapshot);

        // Certificates, keys, and the access log: what the document names outside itself.
        let resolved = self.resolve(Arc::clone(&snapshot)).await?;
        let log = self.access_log(&snapshot, changing)?;

        // Endpoints: begun before the swap, so that its first request finds somebody.
        let prepared = self.options.memberships.prepare(&snapshot).await;

        // The swap. Failing here means an address that cannot be listened on.
        let bindings = self.bindings(&snapshot, &resolved, changing.closed)?;
        let installation = Installation {
            snapshot: Arc::clone(&snapshot),
            bindings,
            service_tls: resolved.services.clone(),
            identity: self.options.identity.clone().map(Arc::new),
        };
        let installed = self.options.engine.install(installation).await;
        installed.map_err(|error| install_error(&error, &snapshot))?;

        // From here on nothing can fail.
        self.options.memberships.commit(&snapshot, prepared);
        if let Some((target, log)) = log {
            self.options.engine.set_access_log(&log);
            changing.log = Some((target, log));
        }
        for warning in &snapshot.warnings {
            tracing::warn!(revision = %candidate.label, "{warning}");
        }
        changing.services.clone_from(&resolved.services);
        let mut files = resolved.files.clone();
        files.extend(seen.keys().cloned());
        self.tls.commit(resolved);
        let in_force = Arc::new(InForce {
            candidate,
            since: SystemTime::now(),
            snapshot,
            files,
            compiled: seen,
        });
        let before = self.in_force.send_replace(Some(Arc::clone(&in_force)));
        if let Some(before) = before {
            changing.retired.hold(before, InForce::free);
        }
        Ok(in_force)
    }

    /// Reads the files that the document in force names again: certificates and keys, and where
    /// one that was compiled with it has changed, all of it.
    ///
    /// # Errors
    /// Every file that cannot be used; what is in use stays.
    pub async fn refresh_files(&self) -> Result<(), ConfigErrors> {
        if let Some(in_force) = self.current() {
            let candidate = in_force.candidate.clone();
            let changed =
                spawn_blocking(move || files::have_changed(&in_force.compiled, DOCUMENT_BYTES_MAX));
            if changed.await.map_err(|_| one_error(CHECK_BROKE))? {
                return self.apply(candidate).await.map(|_| ());
            }
        }
        let mut changing = self.changing.lock().await;
        let Some(in_force) = self.current() else {
            return Ok(());
        };
        let resolved = self.resolve(Arc::clone(&in_force.snapshot)).await?;
        let same = |(one, other): (&Option<Arc<_>>, &Option<Arc<_>>)| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        // Only new connections to services need the engine to know.
        if !resolved.services.iter().zip(&changing.services).all(same) {
            let snapshot = &in_force.snapshot;
            let installation = Installation {
                snapshot: Arc::clone(snapshot),
                bindings: self.bindings(snapshot, &resolved, changing.closed)?,
                service_tls: resolved.services.clone(),
                identity: self.options.identity.clone().map(Arc::new),
            };
            let installed = self.options.engine.install(installation).await;
            installed.map_err(|error| install_error(&error, snapshot))?;
            changing.services.clone_from(&resolved.services);
        }
        self.tls.commit(resolved);
        Ok(())
    }

    /// Closes a sidecar's inbound listener for good and leaves the other one open: the process
    /// ends, and its application still needs others to finish what it has begun.
    pub async fn close_inbound(&self) {
        let mut changing = self.changing.lock().await;
        changing.closed = Some(INBOUND);
        let Some(in_force) = self.current() else {
            return;
        };
        let snapshot = &in_force.snapshot;
        let Ok(resolved) = self.resolve(Arc::clone(snapshot)).await else {
            return;
        };
        let Ok(bindings) = self.bindings(snapshot, &resolved, changing.closed) else {
            return;
        };
        let installation = Installation {
            snapshot: Arc::clone(snapshot),
            bindings,
            service_tls: resolved.services,
            identity: self.options.identity.clone().map(Arc::new),
        };
        if let Err(error) = self.options.engine.install(installation).await {
            tracing::warn!(%error, "the inbound listener could not be closed first");
        }
    }

    /// Opens the file of the access log anew, after something has moved it away.
    pub async fn reopen_access_log(&self) {
        if let Some((_, log)) = &self.changing.lock().await.log {
            log.reopen();
        }
    }

    /// Waits until the access log is written, at the end of the process.
    pub async fn flush_access_log(&self, wait: Duration) {
        let Some((_, log)) = self.changing.lock().await.log.clone() else {
            return;
        };
        // It blocks; and whether it was in time, nobody is left to care.
        let _written = spawn_blocking(move || log.flush(wait)).await;
    }

    /// The document in force.
    #[must_use]
    pub fn current(&self) -> Option<Arc<InForce>> {
        self.in_force.borrow().clone()
    }

    /// The document in force, as it changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<Arc<InForce>>> {
        self.in_force.subscribe()
    }

    /// Every edge certificate in use, by file, and its expiry.
    #[must_use]
    pub fn certificate_expiries(&self) -> Vec<(PathBuf, SystemTime)> {
        self.tls.expiries()
    }

    async fn resolve(&self, snapshot: Arc<Snapshot>) -> Result<Resolved, ConfigErrors> {
        let tls = Arc::clone(&self.tls);
        spawn_blocking(move || tls.resolve(&snapshot, SystemTime::now()))
            .await
            .map_err(|_| one_error(CHECK_BROKE))?
    }

    /// The access log to switch to; `None` when it goes where it goes already.
    fn access_log(
        &self,
        snapshot: &Snapshot,
        changing: &Changing,
    ) -> Result<Option<(LogTarget, AccessLog)>, ConfigErrors> {
        let written = || match &snapshot.access_log.to {
            AccessLogTarget::File(path) => LogTarget::File(path.clone()),
            AccessLogTarget::Off => LogTarget::Off,
            AccessLogTarget::Stdout => LogTarget::Stdout,
        };
        let target = self.options.access_log.clone().unwrap_or_else(written);
        if changing
            .log
            .as_ref()
            .is_some_and(|(known, _)| *known == target)
        {
            return Ok(None);
        }
        match AccessLog::start(target.clone(), &self.options.registry) {
            Ok(log) => Ok(Some((target, log))),
            Err(error) => Err(access_log_error(&error, snapshot)),
        }
    }

    fn bindings(
        &self,
        snapshot: &Snapshot,
        resolved: &Resolved,
        closed: Option<&str>,
    ) -> Result<Vec<Binding>, ConfigErrors> {
        let mut bindings = Vec::with_capacity(snapshot.listeners.len());
        for (index, listener) in snapshot.listeners.iter().enumerate() {
            if closed == Some(&*listener.name) {
                continue;
            }
            // Listeners are bounded far below 2^16.
            let id = ListenerId(u16::try_from(index).unwrap_or(u16::MAX));
            let tls = resolved.listeners.get(index).cloned().flatten();
            bindings.push(self.binding(id, listener, tls)?);
        }
        Ok(bindings)
    }

    fn binding(
        &self,
        id: ListenerId,
        listener: &Listener,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Binding, ConfigErrors> {
        let binding = |address, tls, mesh| {
            Ok(Binding {
                listener: id,
                address,
                tls,
                mesh,
            })
        };
        if let Some(config) = &listener.config {
            return binding(config.bind, tls, false);
        }
        let mesh = self.options.mesh.ok_or_else(|| one_error(NO_ADDRESSES))?;
        if listener.peer_required {
            let tls = self.inbound.clone().ok_or_else(|| one_error(NO_IDENTITY))?;
            binding(mesh.inbound, Some(tls), true)
        } else {
            binding(mesh.outbound, None, false)
        }
    }
}

/// Name of a sidecar's listener for other proxies.
const INBOUND: &str = "inbound";
const MESH_ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];
const CHECK_BROKE: &str = "checking the document broke off, which is a defect of Weir";
const NO_ADDRESSES: &str = "this proxy has no addresses for the listeners of a sidecar";
const NO_IDENTITY: &str = "the inbound listener needs a certificate, and this proxy has none";
