//! Arguments of the control plane.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use weir_process::args::{LogArgs, ParentArgs};

use crate::inject::InjectOptions;

/// Where the API listens unless told.
pub const API: &str = "127.0.0.1:9900";
/// Where the mesh port listens unless told.
pub const MESH: &str = "127.0.0.1:9902";

/// Arguments of `weir control-plane` and `weir-control-plane`.
#[derive(Debug, Clone, clap::Args)]
pub struct ControlPlaneArgs {
    /// Address of the API; off loopback it needs --api-token-file
    #[arg(long, env = "WEIR_API_LISTEN", default_value = API, value_name = "ADDRESS")]
    pub api: SocketAddr,

    /// Address of the mesh port (TLS): certificates, node streams, admission webhook
    #[arg(long, env = "WEIR_MESH_LISTEN", default_value = MESH, value_name = "ADDRESS")]
    pub mesh: SocketAddr,

    /// File whose text callers of the API must send as bearer token
    #[arg(long, env = "WEIR_API_TOKEN_FILE", value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,

    /// Directory of certificate authority, join token and embedded store
    #[arg(
        long,
        env = "WEIR_DATA_DIR",
        default_value = "/var/lib/weir/control-plane",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,

    /// Keep revisions in this Consul and find services in its catalog; without it, an embedded
    /// store. Token and TLS come from Consul's own variables (CONSUL_HTTP_TOKEN, CONSUL_CACERT, …)
    #[arg(long, env = "WEIR_CONSUL", value_name = "URL")]
    pub consul: Option<String>,

    /// Trust domain of a new certificate authority
    #[arg(
        long,
        env = "WEIR_TRUST_DOMAIN",
        default_value = "weir.internal",
        value_name = "NAME"
    )]
    pub trust_domain: String,

    /// DNS names of the mesh port's certificate, for the API server that calls the webhook
    #[arg(
        long,
        env = "WEIR_MESH_NAMES",
        value_delimiter = ',',
        default_value = "weir-control-plane.weir-system.svc",
        value_name = "NAMES"
    )]
    pub mesh_names: Vec<String>,

    /// Life of the certificates issued to proxies, in seconds (1 to 30 days)
    #[arg(long, env = "WEIR_CERTIFICATE_SECONDS", default_value_t = 86_400, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=2_592_000))]
    pub certificate_seconds: u64,

    /// What is injected into pods.
    #[command(flatten)]
    pub inject: InjectOptions,

    /// What the process logs about itself.
    #[command(flatten)]
    pub log: LogArgs,

    /// Whose end ends it.
    #[command(flatten)]
    pub parent: ParentArgs,
}

impl ControlPlaneArgs {
    /// Life of the certificates issued to proxies.
    #[must_use]
    pub fn certificate_life(&self) -> Duration {
        Duration::from_secs(self.certificate_seconds)
    }
}
