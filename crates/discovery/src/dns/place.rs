//! Where names are looked up: name servers of the document, or the system's files, which are read
//! again when they change.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};
use weir_config::dns::Dns;

use super::ask::Asker;

/// One try at one name server.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Tries at each name server.
const TRIES: usize = 2;

/// Who is asked, and the asker that was made from it.
pub(super) struct Place {
    source: Source,
    made: Option<Arc<Asker>>,
}

enum Source {
    /// These, and names as they stand.
    Servers(Vec<SocketAddr>),
    /// What the system's files say.
    System(Files),
}

struct Files {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    /// When they were changed last, as they were read.
    read: [Option<SystemTime>; 2],
}

impl Place {
    pub(super) fn of(dns: &Dns) -> Self {
        if dns.name_servers.is_empty() {
            Self::system("/etc/hosts", "/etc/resolv.conf")
        } else {
            Self::new(Source::Servers(dns.name_servers.clone()))
        }
    }

    pub(super) fn system(hosts: impl Into<PathBuf>, resolv_conf: impl Into<PathBuf>) -> Self {
        Self::new(Source::System(Files {
            hosts: hosts.into(),
            resolv_conf: resolv_conf.into(),
            read: [None; 2],
        }))
    }

    fn new(source: Source) -> Self {
        Self { source, made: None }
    }

    /// Who asks: the same as the last time, unless a file has changed.
    pub(super) async fn asker(&mut self) -> Arc<Asker> {
        let changed = match &mut self.source {
            Source::Servers(_) => false,
            Source::System(files) => files.changed().await,
        };
        if let Some(made) = self.made.as_ref().filter(|_| !changed) {
            return Arc::clone(made);
        }
        let made = Arc::new(match &self.source {
            Source::Servers(servers) => Asker::absolute(resolver_at(servers)),
            Source::System(files) => files.asker().await,
        });
        self.made = Some(Arc::clone(&made));
        made
    }

    /// Makes a new asker next time: connections of the old one may be what failed.
    pub(super) fn start_over(&mut self) {
        self.made = None;
    }
}

impl Files {
    /// Whether one of them is another than it was the last time this was asked.
    async fn changed(&mut self) -> bool {
        let now = [
            modified(&self.hosts).await,
            modified(&self.resolv_conf).await,
        ];
        std::mem::replace(&mut self.read, now) != now
    }

    async fn asker(&self) -> Asker {
        let mut hosts = Hosts::default();
        match tokio::fs::read(&self.hosts).await {
            // Lines that are no entries are passed over, as the system does.
            Ok(text) => drop(hosts.read_hosts_conf(&*text)),
            Err(error) => tracing::debug!(%error, "no hosts file"),
        }
        let read = tokio::fs::read(&self.resolv_conf).await;
        let parsed = read.map_err(NetError::from).and_then(parse_resolv_conf);
        match parsed {
            Ok((config, options)) => {
                // `domain` is the older way to say one search domain; `search` has it already.
                let (_, search, servers) = config.into_parts();
                Asker::completing(resolver(servers), search, options.ndots, hosts)
            }
            Err(error) => Asker::completing(Err(error), Vec::new(), 1, hosts),
        }
    }
}

async fn modified(path: &PathBuf) -> Option<SystemTime> {
    tokio::fs::metadata(path).await.ok()?.modified().ok()
}

/// By UDP, and by TCP where an answer is too long for it.
fn resolver_at(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let server = |address: &SocketAddr| {
        let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
        udp.port = address.port();
        tcp.port = address.port();
        NameServerConfig::new(address.ip(), true, vec![udp, tcp])
    };
    resolver(servers.iter().map(server).collect())
}

fn resolver(servers: Vec<NameServerConfig>) -> Result<TokioResolver, NetError> {
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let mut builder = TokioResolver::builder_with_config(config, Default::default());
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = TRY_TIMEOUT;
    options.attempts = TRIES;
    // We ask only when the last answer has run out, and read the hosts file ourselves.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build()
}
