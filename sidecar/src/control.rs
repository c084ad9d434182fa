//! The control thread: starts the node beside the application, shows it, and ends it.

use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, watch};
use weir_policy::snapshot::Role;
use weir_process::admin::{AdminServer, Standard};
use weir_process::build_info;
use weir_process::drain::{Drain, DrainOutcome};
use weir_process::exit::Exit;
use weir_process::readiness::Readiness;
use weir_process::signals;
use weir_proxy::node::enrolment::Who;
use weir_proxy::node::reports::Instance;
use weir_proxy::node::state_dir::StateDir;
use weir_proxy::node::{ConfigSource, Node, NodeOptions, SidecarOptions};
use weir_proxy::store::MeshAddresses;
use weir_proxy::{OwnSockets, admin};
use weir_telemetry::Registry;
use weir_telemetry::logging::LogControl;

use crate::application::Application;
use crate::args::SidecarArgs;
use crate::unusable;

/// Runs the sidecar; returns when it has ended.
pub(crate) async fn run(args: SidecarArgs, log: LogControl) -> Exit {
    let drain = Drain::new();
    let hangup = Arc::new(Notify::new());
    let told = Arc::clone(&hangup);
    if let Err(error) = signals::spawn(drain.clone(), Some(Arc::new(move || told.notify_one()))) {
        return unusable(&error);
    }
    let registry = Registry::new(args.workers);
    build_info::expose(&registry, "sidecar");
    let readiness = Readiness::new(drain.clone());
    // Held until the node has taken guards of its own.
    let starting = readiness.guard("start");

    // The admin server first: it tells what the sidecar waits for.
    let slot: admin::Slot = Arc::new(OnceLock::new());
    let standard = Standard {
        drain: drain.clone(),
        log,
        readiness: readiness.clone(),
        registry: registry.clone(),
    };
    let routes = standard.routes();
    let probes = routes.clone().only(&["/healthz", "/readyz"]);
    let address = args.admin.address(ADMIN_PORT);
    let _admin = match AdminServer::start(address, admin::routes(routes, &slot)) {
        Ok(server) => server,
        Err(error) => return unusable(&error),
    };
    let health = args
        .health
        .map(|address| AdminServer::start(address, probes))
        .transpose();
    let _health = match health {
        Ok(server) => server,
        Err(error) => return unusable(&error),
    };

    // The application and the node beside it.
    let Some(advertised) = args.advertised() else {
        eprintln!("weir-sidecar: no address to tell other proxies; choose one with --advertise");
        return Exit::Unusable;
    };
    let (health_sender, healthy) = watch::channel(false);
    let application = Application {
        address: args.application,
        path: args.application_health.clone(),
    };
    tokio::spawn(application.follow(health_sender));
    let options = options(&args, advertised, healthy, registry, &readiness, &slot);
    let node = tokio::select! {
        node = Node::start(options) => node,
        () = drain.requested() => return Exit::Fine,
    };
    let node = match node {
        Ok(node) => node,
        Err(error) => return unusable(&error),
    };
    starting.ready();
    let ready = readiness.clone();
    let announced = tokio::spawn(async move {
        ready.ready().await;
        tracing::info!(admin = %address, "sidecar ready");
    });

    // Serve until the end is asked for.
    loop {
        tokio::select! {
            () = drain.requested() => break,
            () = hangup.notified() => {
                if let Some(shown) = slot.get() {
                    shown.reload_files().await;
                }
            }
        }
    }
    announced.abort();
    match node.end(&drain, args.drain_times()).await {
        DrainOutcome::Drained => Exit::Fine,
        DrainOutcome::CutOff { .. } => {
            tracing::warn!(after = ?args.drain, "ended with requests under way");
            Exit::No
        }
    }
}

fn options(
    args: &SidecarArgs,
    advertised: String,
    healthy: watch::Receiver<bool>,
    registry: Registry,
    readiness: &Readiness,
    slot: &admin::Slot,
) -> NodeOptions {
    let node = args.node_id();
    NodeOptions {
        zone: args.all_labels().remove("zone"),
        who: Who::sidecar(node.clone(), args.service.clone()),
        role: Role::Sidecar {
            service: args.service.clone(),
            application: args.application,
        },
        config: ConfigSource::ControlPlane {
            url: args.control_plane.clone(),
            join_token_file: args.join_token_file.clone(),
        },
        state: StateDir::at(args.state_directory()),
        workers: args.workers,
        sockets: Arc::new(OwnSockets),
        discover: None,
        access_log: args.access_log.clone(),
        registry,
        readiness: readiness.clone(),
        sidecar: Some(SidecarOptions {
            addresses: MeshAddresses {
                outbound: args.outbound,
                inbound: args.inbound,
            },
            instance: Instance {
                node,
                address: advertised,
                labels: args.all_labels(),
            },
            healthy,
        }),
        shown: Arc::clone(slot),
    }
}

/// The admin server's port unless told.
const ADMIN_PORT: u16 = 15020;
