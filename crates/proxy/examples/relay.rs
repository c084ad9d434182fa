//! A bare engine for profiles: `relay LISTEN ENDPOINT [WORKERS]` sends everything that comes in on
//! one address to another, with default policies and without an access log.

use std::error::Error;
use std::sync::Arc;

use weir_config::Document;
use weir_policy::compile::compile;
use weir_policy::live::Live;
use weir_policy::snapshot::{ListenerId, Role};
use weir_proxy::{Binding, Engine, EngineOptions, Installation, OwnSockets};
use weir_telemetry::Registry;
use weir_telemetry::access_log::{AccessLog, LogTarget};

#[global_allocator]
static ALLOCATOR: weir_allocator::Allocator = weir_allocator::Allocator;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    weir_identity::install_provider();
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(endpoint)) = (arguments.next(), arguments.next()) else {
        return Err("usage: relay LISTEN ENDPOINT [WORKERS] [LOG]".into());
    };
    let workers = arguments.next().map_or(Ok(1), |count| count.parse())?;
    let log = arguments
        .next()
        .map_or(LogTarget::Off, |path| LogTarget::File(path.into()));
    let document = Document::from_yaml(&format!(
        "listeners: {{ web: {{ bind: \"{listen}\" }} }}\n\
         services: {{ app: {{ endpoints: [\"{endpoint}\"] }} }}\n\
         routes: [{{ path: \"/*\", to: app }}]\n"
    ))?;
    let (live, registry) = (Arc::new(Live::default()), Registry::new(workers));
    let snapshot = Arc::new(compile(Arc::new(document), &Role::Gateway, "1", &live)?);
    let engine = Engine::start(EngineOptions {
        workers,
        sockets: Arc::new(OwnSockets),
        live,
        access_log: AccessLog::start(log, &registry)?,
        registry,
    })?;
    let binding = Binding {
        listener: ListenerId(0),
        address: listen.parse()?,
        tls: None,
        mesh: false,
    };
    let service_tls = vec![None; snapshot.services.len()];
    engine
        .install(Installation {
            snapshot,
            bindings: vec![binding],
            service_tls,
            identity: None,
        })
        .await?;
    std::future::pending::<()>().await;
    drop(engine);
    Ok(())
}
