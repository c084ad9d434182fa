//! The control thread: starts the node, shows it on the admin server, and ends it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pingora_core::server::{ExecutionPhase, ListenFds};
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio::time::{Instant, sleep};
use weir_discovery::consul::Consul;
use weir_discovery::{Discover, Discovery};
use weir_policy::snapshot::Role;
use weir_process::admin::{AdminError, AdminRoutes, AdminServer, Standard};
use weir_process::build_info;
use weir_process::drain::{Drain, DrainOutcome, DrainTimes};
use weir_process::exit::Exit;
use weir_process::readiness::Readiness;
use weir_proxy::admin;
use weir_proxy::feed::file::FileError;
use weir_proxy::node::enrolment::Who;
use weir_proxy::node::state_dir::StateDir;
use weir_proxy::node::{ConfigSource, Node, NodeOptions, StartError};
use weir_telemetry::Registry;
use weir_telemetry::logging::LogControl;

use crate::args::GatewayArgs;
use crate::sockets::KeptSockets;

/// What the control thread shares with Pingora's server.
pub(crate) struct Shared {
    /// Asked for by signals, the admin server, and the hand-over.
    pub(crate) drain: Drain,
    /// Told by SIGHUP.
    pub(crate) hangup: Arc<Notify>,
    /// True once the sockets belong to the next process.
    pub(crate) handed_over: watch::Receiver<bool>,
    /// What the server is doing.
    pub(crate) phases: broadcast::Receiver<ExecutionPhase>,
    /// The table of listening sockets, when the server has it.
    pub(crate) table: oneshot::Receiver<ListenFds>,
}

/// Runs the gateway; returns when it has ended.
pub(crate) async fn run(args: GatewayArgs, log: LogControl, shared: Shared) -> Exit {
    let Shared {
        drain,
        hangup,
        mut handed_over,
        phases,
        table,
    } = shared;
    // The server ends without a table only when it could not start; it has said why.
    let Ok(table) = table.await else {
        return Exit::Unusable;
    };
    let sockets = Arc::new(KeptSockets::new(table));
    let registry = Registry::new(args.worker_count());
    build_info::expose(&registry, "gateway");
    let readiness = Readiness::new(drain.clone());
    // Held until the node has taken guards of its own.
    let starting = readiness.guard("start");

    // The admin server first: it tells what the gateway waits for.
    let slot: admin::Slot = Arc::new(OnceLock::new());
    let standard = Standard {
        drain: drain.clone(),
        log,
        readiness: readiness.clone(),
        registry: registry.clone(),
    };
    let routes = admin::routes(standard.routes(), &slot);
    let address = args.admin.address(ADMIN_PORT);
    let admin = match AdminServer::start(address, routes.clone()) {
        Ok(server) => tokio::spawn(until_handed_over(server, phases)),
        // The process before holds the address until it has handed over.
        Err(AdminError::Bind { .. }) if args.upgrade => {
            tokio::spawn(take_admin(address, routes, phases))
        }
        Err(error) => return unusable(&error),
    };

    // The node. A drain that is asked for meanwhile ends the wait for a control plane.
    let options = match options(&args, Arc::clone(&sockets), registry, &readiness, &slot) {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    let node = tokio::select! {
        node = Node::start(options) => node,
        () = drain.requested() => return Exit::Fine,
    };
    let node = match node {
        Ok(node) => node,
        Err(StartError::File(error @ FileError::Refused { .. })) => {
            eprint!("{error}");
            return Exit::No;
        }
        Err(error) => return unusable(&error),
    };
    starting.ready();
    let (unclaimed, ready) = (Arc::clone(&sockets), readiness.clone());
    let announced = tokio::spawn(async move {
        ready.ready().await;
        unclaimed.close_unclaimed();
        tracing::info!(admin = %address, "gateway ready");
    });

    until_the_end(&drain, &hangup, &slot).await;
    announced.abort();
    let mut times = args.drain_times();
    if *handed_over.borrow_and_update() {
        // The next process accepts already.
        times = DrainTimes {
            leaving: Duration::ZERO,
            ..times
        };
    }
    let outcome = node.end(&drain, times).await;
    admin.abort();
    match outcome {
        DrainOutcome::Drained => Exit::Fine,
        DrainOutcome::CutOff { active: _ } => {
            tracing::warn!(after = ?times.total, "ended with requests under way");
            Exit::No
        }
    }
}

/// Serves until the end is asked for.
async fn until_the_end(drain: &Drain, hangup: &Notify, slot: &admin::Slot) {
    loop {
        tokio::select! {
            () = drain.requested() => return,
            () = hangup.notified() => {
                tracing::info!("SIGHUP: reading files again");
                if let Some(shown) = slot.get() {
                    shown.reload_files().await;
                }
            }
        }
    }
}

fn options(
    args: &GatewayArgs,
    sockets: Arc<KeptSockets>,
    registry: Registry,
    readiness: &Readiness,
    slot: &admin::Slot,
) -> Result<NodeOptions, Exit> {
    // The group of arguments has made sure of one.
    let Some(config) = args.source() else {
        return Err(Exit::Unusable);
    };
    let discover: Option<Box<dyn Discover>> = match &config {
        // The control plane asks Consul for all.
        ConfigSource::ControlPlane { .. } => None,
        ConfigSource::File(_) => {
            let consul = Consul::from_env().map_err(|error| unusable(&error))?;
            Some(Box::new(Discovery::new().with_consul(consul)))
        }
    };
    Ok(NodeOptions {
        zone: args.zone.clone(),
        who: Who::gateway(args.node_id()),
        role: Role::Gateway,
        config,
        state: StateDir::at(args.state_directory()),
        workers: args.worker_count(),
        sockets,
        discover,
        access_log: args.access_log.clone(),
        registry,
        readiness: readiness.clone(),
        sidecar: None,
        shown: Arc::clone(slot),
    })
}

/// Keeps the admin server until its address is wanted by the next process.
async fn until_handed_over(server: AdminServer, mut phases: broadcast::Receiver<ExecutionPhase>) {
    loop {
        match phases.recv().await {
            Ok(ExecutionPhase::GracefulUpgradeCloseTimeout) => break,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            // The server has ended, this process not yet.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
    drop(server);
}

/// Takes the admin address as soon as the process before lets go of it. Without it the gateway
/// serves all the same.
async fn take_admin(
    address: std::net::SocketAddr,
    routes: AdminRoutes,
    phases: broadcast::Receiver<ExecutionPhase>,
) {
    let told_at = Instant::now() + ADMIN_PATIENCE;
    let mut told = false;
    let server = loop {
        match AdminServer::start(address, routes.clone()) {
            Ok(server) => break server,
            Err(error) if !told && Instant::now() > told_at => {
                tracing::error!(%error, "no admin server yet");
                told = true;
            }
            Err(_) => {}
        }
        sleep(ADMIN_RETRY).await;
    };
    until_handed_over(server, phases).await;
}

fn unusable(error: &dyn std::error::Error) -> Exit {
    eprintln!("weir-gateway: {error}");
    Exit::Unusable
}

/// The admin server's port unless told.
const ADMIN_PORT: u16 = 9901;
const ADMIN_RETRY: Duration = Duration::from_millis(50);
/// After this, somebody should look who holds the admin address.
const ADMIN_PATIENCE: Duration = Duration::from_secs(15);
