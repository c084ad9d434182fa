//! One worker without thread and sockets, to be driven as a plain service: for tests of what runs
//! above the wire, and for benches.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use tower_service::Service;
use weir_telemetry::Registry;
use weir_telemetry::access_log::AccessLog;

use crate::body::{Inbound, Reply};
use crate::cache::Cache;
use crate::engine::{Binding, Installation};
use crate::listen::Gate;
use crate::respond::Decisions;
use crate::serve::{Client, ClientConnection, ConnectionService};
use crate::worker::{Installed, Worker, WorkerStats};

/// A worker in the hands of the caller. It must be used inside a [`tokio::task::LocalSet`].
#[derive(Debug)]
pub struct Solo {
    worker: Rc<Worker>,
    installed: Rc<Installed>,
    decisions: Arc<Decisions>,
}

impl Solo {
    /// A worker that runs `installation`; its bindings are not bound.
    #[must_use]
    pub fn new(installation: &Installation, registry: &Registry, log: &AccessLog) -> Self {
        let decisions = Arc::new(Decisions::default());
        let stats = Arc::new(WorkerStats::default());
        let cache = Cache::new(registry);
        cache.configure(&installation.snapshot);
        let worker = Worker::new(0, registry, log, (Arc::clone(&decisions), cache), stats);
        let installed = worker.install(installation, Vec::new());
        Self {
            worker,
            installed,
            decisions,
        }
    }

    /// A client's connection to this binding, without a socket.
    pub fn connection<B: Into<Inbound>>(
        &self,
        binding: &Binding,
        remote: SocketAddr,
    ) -> impl Service<Request<B>, Response = Response<Reply>, Error = Infallible> + use<B> {
        let entry = self.worker.entry(&self.installed, binding);
        entry.metrics.connections.add(self.worker.index, 1);
        let gate = Gate::unbound(binding.address, Rc::clone(&entry));
        let client = Client {
            remote,
            local: binding.address,
            secure: binding.tls.is_some(),
            peer: None,
            http2: false,
        };
        let connection = ClientConnection::new(&self.worker, &gate, entry, client);
        ConnectionService::new(connection)
    }

    /// What it refused.
    #[must_use]
    pub fn decisions(&self) -> &Arc<Decisions> {
        &self.decisions
    }
}
