//! Start and end of the control plane.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::watch;
use weir_discovery::Discovery;
use weir_discovery::consul::{Consul, Settings};
use weir_identity::TrustDomain;
use weir_process::drain::Drain;
use weir_process::exit::Exit;
use weir_process::{build_info, ports, signals};
use weir_telemetry::Registry as MetricsRegistry;

use crate::args::ControlPlaneArgs;
use crate::board::Board;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::registry::{ConsulRegistration, Registry};
use crate::revisions::Revisions;
use crate::state::{ApiToken, State};
use crate::store::{ConsulStore, EmbeddedStore, Store, StoreError};
use crate::trust::{Trust, TrustError, TrustOptions};

/// File of the embedded store, below the data directory.
const STORE_FILE: &str = "revisions.redb";
/// How long open answers may take when the control plane ends.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon our own certificate is tried again when its renewal failed.
const RENEWAL_RETRY: Duration = Duration::from_secs(60);

/// Why the control plane does not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(
        "the API would listen on {address}, which is not loopback, without a token: add --api-token-file"
    )]
    ApiOpen { address: SocketAddr },
    #[error("the API token file {} is empty", path.display())]
    ApiTokenEmpty { path: PathBuf },
    #[error("the API token file {}: {source}", path.display())]
    ApiTokenFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{0}")]
    Bind(String),
    #[error("consul: {0}")]
    Consul(#[from] weir_discovery::consul::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Tls(#[from] weir_identity::TlsConfigError),
    #[error("{0}")]
    Trust(#[from] TrustError),
    #[error("--trust-domain: {0}")]
    TrustDomain(#[from] weir_identity::SpiffeIdError),
}

/// Runs the control plane until it is told to end.
#[must_use]
pub fn run(args: ControlPlaneArgs) -> Exit {
    weir_identity::install_provider();
    if let Err(error) = args.log.start() {
        eprintln!("weir-control-plane: {error}");
        return Exit::Unusable;
    }
    if let Err(error) = args.parent.apply() {
        eprintln!("weir-control-plane: {error}");
        return Exit::Unusable;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weir-control-plane: {error}");
            return Exit::Unusable;
        }
    };
    match runtime.block_on(serve(args)) {
        Ok(()) => Exit::Fine,
        Err(error) => {
            eprintln!("weir-control-plane: {error}");
            Exit::Unusable
        }
    }
}

async fn serve(args: ControlPlaneArgs) -> Result<(), StartError> {
    // Everything that can be refused comes before anything that others can see.
    let api_token = api_token(&args)?;
    let api = bind(args.api, "--api").await?;
    let mesh = bind(args.mesh, "--mesh").await?;
    let trust = Trust::open(
        TrustOptions {
            data_dir: args.data_dir.clone(),
            trust_domain: TrustDomain::parse(&args.trust_domain)?,
            dns_names: args.mesh_names.clone(),
            leaf_life: args.certificate_life(),
        },
        SystemTime::now(),
    )?;
    let consul = match &args.consul {
        None => None,
        Some(url) => {
            let mut settings = Settings::from_env()?;
            settings.address.clone_from(url);
            Some(Consul::new(settings)?)
        }
    };
    let store = match &consul {
        Some(consul) => Store::Consul(ConsulStore::open(consul.clone()).await?),
        None => Store::Embedded(EmbeddedStore::open(&args.data_dir.join(STORE_FILE))?),
    };

    let drain = Drain::new();
    signals::spawn(drain.clone(), None)?;
    let (end, ending) = watch::channel(false);
    let registry = MetricsRegistry::new(1);
    build_info::expose(&registry, "control-plane");
    let nodes = Arc::new(Nodes::default());
    let state = Arc::new(State {
        revisions: Revisions::new(store),
        metrics: Metrics::new(&registry, &nodes),
        nodes,
        encoded: Arc::default(),
        board: Arc::new(Board::default()),
        trust,
        inject: args.inject.clone(),
        api_token,
        ending: ending.clone(),
    });

    let membership =
        tokio::spawn(membership(&state, consul).run(state.revisions.head(), ending.clone()));
    let mesh_port = tokio::spawn(crate::mesh_port::serve(
        mesh,
        Arc::clone(&state),
        ending.clone(),
    ));
    let renewal = tokio::spawn(renew_own(Arc::clone(&state)));
    let head = tokio::spawn(show_head(Arc::clone(&state)));
    let api_port = tokio::spawn(serve_api(api, Arc::clone(&state), ending));
    let kind = state.revisions.store().kind();
    tracing::info!(api = %args.api, mesh = %args.mesh, store = kind, "control plane ready");

    drain.requested().await;
    tracing::info!("control plane ends");
    end.send_replace(true);
    renewal.abort();
    head.abort();
    let ends = async { (membership.await, mesh_port.await, api_port.await) };
    match tokio::time::timeout(END_TIMEOUT, ends).await {
        Ok((_, Ok(Err(error)), _)) => Err(error.into()),
        Ok(_) => Ok(()),
        Err(_) => {
            tracing::warn!("open answers were cut off");
            Ok(())
        }
    }
}

fn api_token(args: &ControlPlaneArgs) -> Result<Option<ApiToken>, StartError> {
    let Some(path) = &args.api_token_file else {
        return if args.api.ip().is_loopback() {
            Ok(None)
        } else {
            Err(StartError::ApiOpen { address: args.api })
        };
    };
    let text = std::fs::read_to_string(path).map_err(|source| StartError::ApiTokenFile {
        path: path.clone(),
        source,
    })?;
    match ApiToken::new(&text) {
        Some(token) => Ok(Some(token)),
        None => Err(StartError::ApiTokenEmpty { path: path.clone() }),
    }
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Bind(ports::bind_error(address, &error, flag)))
}

fn membership(state: &Arc<State>, consul: Option<Consul>) -> Registry {
    let mut discovery = Discovery::new();
    // A document may name Consul services though the store is embedded; the agent then comes from
    // Consul's own variables, and a watch that cannot reach it says so.
    let catalog = consul
        .clone()
        .or_else(|| std::env::var_os("CONSUL_HTTP_ADDR").and_then(|_| Consul::from_env().ok()));
    if let Some(catalog) = catalog {
        discovery = discovery.with_consul(catalog);
    }
    Registry {
        nodes: Arc::clone(&state.nodes),
        board: Arc::clone(&state.board),
        discovery,
        registration: consul.map(ConsulRegistration::new),
        began_unix: crate::unix_now(),
    }
}

async fn serve_api(listener: TcpListener, state: Arc<State>, mut ending: watch::Receiver<bool>) {
    let router = crate::api::router(state);
    let ended = async move {
        // An error means that the sender is gone, which is an end as well.
        let _ = ending.wait_for(|ending| *ending).await;
    };
    if let Err(error) = axum::serve(listener, router)
        .with_graceful_shutdown(ended)
        .await
    {
        tracing::error!(%error, "the API ended");
    }
}

/// Renews our own certificate for as long as we run.
async fn renew_own(state: Arc<State>) {
    let mut at = state.trust.identity().current().renew_at(rand::random());
    loop {
        let wait = at.duration_since(SystemTime::now()).unwrap_or_default();
        tokio::time::sleep(wait.max(Duration::from_secs(1))).await;
        at = match state.trust.renew_own(SystemTime::now(), rand::random()) {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, "our own certificate was not renewed");
                SystemTime::now() + RENEWAL_RETRY
            }
        };
    }
}

/// Shows the newest revision's number in the metrics.
async fn show_head(state: Arc<State>) {
    let mut head = state.revisions.head();
    loop {
        let number = head
            .borrow_and_update()
            .as_ref()
            .map_or(0, |stored| stored.info.number);
        state.metrics.head(number);
        if head.changed().await.is_err() {
            return;
        }
    }
}
