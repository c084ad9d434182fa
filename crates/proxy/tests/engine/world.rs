//! An engine that runs a document, and what tests ask of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use weir_config::Document;
use weir_identity::Identity;
use weir_policy::compile::compile;
use weir_policy::live::Live;
use weir_policy::snapshot::{ListenerId, Role, Snapshot};
use weir_proxy::{Binding, Engine, EngineOptions, InstallError, Installation, OwnSockets};
use weir_telemetry::Registry;
use weir_telemetry::access_log::{AccessLog, LogTarget};
use weir_testkit::ports::free_addr;

/// Long enough for a loaded machine, short enough for a person.
pub const SOON: Duration = Duration::from_secs(10);

/// A running engine and how its document came about.
pub struct World {
    pub engine: Engine,
    pub live: Arc<Live>,
    pub registry: Registry,
    pub address: SocketAddr,
    pub tls: Option<Arc<ServerConfig>>,
    pub mesh: bool,
    pub identity: Option<Arc<Identity>>,
    pub service_tls: Option<Arc<ClientConfig>>,
}

impl World {
    /// An engine of two workers that runs nothing yet.
    pub fn new() -> Self {
        Self::with_log(LogTarget::Off)
    }

    pub fn with_log(target: LogTarget) -> Self {
        weir_identity::install_provider();
        let registry = Registry::new(WORKERS);
        let live = Arc::new(Live::default());
        let engine = Engine::start(EngineOptions {
            workers: WORKERS,
            sockets: Arc::new(OwnSockets),
            live: Arc::clone(&live),
            registry: registry.clone(),
            access_log: AccessLog::start(target, &registry).unwrap(),
        });
        Self {
            engine: engine.unwrap(),
            live,
            registry,
            address: free_addr(),
            tls: None,
            mesh: false,
            identity: None,
            service_tls: None,
        }
    }

    /// An engine that runs this document; `LISTEN` stands for its listener's address.
    pub async fn running(document: &str) -> Self {
        let world = Self::new();
        world.install(document).await.unwrap();
        world
    }

    pub fn compile(&self, document: &str) -> Arc<Snapshot> {
        let text = document.replace("LISTEN", &self.address.to_string());
        let document = Document::from_yaml(&text).unwrap_or_else(|errors| panic!("{errors}"));
        let snapshot = compile(Arc::new(document), &Role::Gateway, "1", &self.live);
        Arc::new(snapshot.unwrap_or_else(|errors| panic!("{errors}")))
    }

    pub fn installation(&self, document: &str) -> Installation {
        let snapshot = self.compile(document);
        let listeners = snapshot.listeners.iter().enumerate();
        let bindings = listeners.map(|(index, listener)| Binding {
            listener: ListenerId(u16::try_from(index).unwrap()),
            address: listener.config.as_ref().unwrap().bind,
            tls: self.tls.clone(),
            mesh: self.mesh,
        });
        Installation {
            bindings: bindings.collect(),
            service_tls: vec![self.service_tls.clone(); snapshot.services.len()],
            identity: self.identity.clone(),
            snapshot,
        }
    }

    pub async fn install(&self, document: &str) -> Result<(), InstallError> {
        self.engine.install(self.installation(document)).await
    }

    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// The value of a metric in the exposition, summed over label sets that contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.registry.encode();
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
                && line.contains(labels)
        });
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }
}

/// A document of one listener and one service with these endpoints; `more` goes into the service,
/// `route` into its only route.
pub fn document(endpoints: &[SocketAddr], more: &str, route: &str) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|address| format!("\"{address}\""))
        .collect();
    let comma = |text: &str| {
        if text.is_empty() {
            String::new()
        } else {
            format!(", {text}")
        }
    };
    format!(
        "listeners: {{ web: {{ bind: \"LISTEN\" }} }}\n\
         services: {{ app: {{ endpoints: [{}]{} }} }}\n\
         routes: [{{ path: \"/*\", to: app{} }}]\n",
        endpoints.join(", "),
        comma(more),
        comma(route),
    )
}

const WORKERS: usize = 2;
