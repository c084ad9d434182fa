//! Certificates and keys that a document names, read from their files and turned into TLS
//! configurations. What did not change keeps its configuration over reloads, and with it the
//! sessions that clients may resume.
//!
//! Two steps, so that a refused change alters nothing: [`TlsFiles::resolve`] reads and checks
//! everything, [`TlsFiles::commit`] puts it in place.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustls::{ClientConfig, ServerConfig};
use weir_config::listener::ListenerTls;
use weir_config::pattern::HostPattern;
use weir_config::service::{Protocol, UpstreamTls};
use weir_config::{ConfigError, ConfigErrors, Position};
use weir_identity::{
    CertificateFiles, EdgeCertificateError, EdgeCertificateSet, EdgeCertificates, UpstreamTrust,
    edge_server_config, self_signed, upstream_client_config,
};
use weir_policy::snapshot::{Listener, Service, Snapshot};

use crate::node::state_dir::{StateDir, read_bounded};

/// TLS configurations in use.
#[derive(Debug)]
pub(crate) struct TlsFiles {
    state: StateDir,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default, Clone)]
struct Kept {
    /// By listener name.
    listeners: HashMap<String, KeptListener>,
    /// By what makes clients interchangeable.
    clients: HashMap<ClientKey, KeptClient>,
    expiries: Vec<(PathBuf, SystemTime)>,
}

#[derive(Debug, Clone)]
struct KeptListener {
    /// Whether HTTP is spoken inside.
    http: bool,
    certificates: EdgeCertificates,
    config: Arc<ServerConfig>,
}

/// Services that trust and present the same share one configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    trust: UpstreamTrust,
    client: Option<(PathBuf, PathBuf)>,
    protocol: &'static [u8],
}

#[derive(Debug, Clone)]
struct KeptClient {
    /// Of what the files held.
    content: u64,
    config: Arc<ClientConfig>,
}

/// What a snapshot needs, read and checked, not in place yet.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// By listener id.
    pub(crate) listeners: Vec<Option<Arc<ServerConfig>>>,
    /// By service id.
    pub(crate) services: Vec<Option<Arc<ClientConfig>>>,
    /// Every file that was read.
    pub(crate) files: Vec<PathBuf>,
    /// What works but should be looked at.
    pub(crate) warnings: Vec<String>,
    /// Sets for handles that are in use already.
    replacements: Vec<(EdgeCertificates, EdgeCertificateSet)>,
    kept: Kept,
}

impl TlsFiles {
    /// Nothing in use yet; development certificates are kept in `state`.
    pub(crate) fn new(state: StateDir) -> Self {
        Self {
            state,
            kept: Mutex::default(),
        }
    }

    /// Reads and checks everything that `snapshot` names.
    pub(crate) fn resolve(
        &self,
        snapshot: &Snapshot,
        now: SystemTime,
    ) -> Result<Resolved, ConfigErrors> {
        let before = self.lock().clone();
        let mut resolving = Resolving {
            state: &self.state,
            before,
            now,
            errors: Vec::new(),
            files: BTreeSet::new(),
            resolved: Resolved {
                listeners: Vec::with_capacity(snapshot.listeners.len()),
                services: Vec::with_capacity(snapshot.services.len()),
                files: Vec::new(),
                warnings: Vec::new(),
                replacements: Vec::new(),
                kept: Kept::default(),
            },
        };
        for listener in &snapshot.listeners {
            let config = resolving.listener(listener);
            resolving.resolved.listeners.push(config);
        }
        for service in &snapshot.services {
            let config = resolving.service(service);
            resolving.resolved.services.push(config);
        }
        let Resolving {
            errors,
            files,
            mut resolved,
            ..
        } = resolving;
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        resolved.files = files.into_iter().collect();
        Ok(resolved)
    }

    /// Puts it in place: certificates for the next handshakes.
    pub(crate) fn commit(&self, resolved: Resolved) {
        for warning in &resolved.warnings {
            tracing::warn!("{warning}");
        }
        for (handle, set) in resolved.replacements {
            handle.replace(set);
        }
        *self.lock() = resolved.kept;
    }

    /// Every edge certificate in use and its expiry.
    pub(crate) fn expiries(&self) -> Vec<(PathBuf, SystemTime)> {
        self.lock().expiries.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // It is replaced whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One pass over a snapshot.
struct Resolving<'a> {
    state: &'a StateDir,
    before: Kept,
    now: SystemTime,
    errors: Vec<ConfigError>,
    files: BTreeSet<PathBuf>,
    resolved: Resolved,
}

impl Resolving<'_> {
    fn listener(&mut self, listener: &Listener) -> Option<Arc<ServerConfig>> {
        let tls = listener.config.as_ref()?.tls.as_ref()?;
        let path = format!("listeners.{}.tls", listener.name);
        let set = self.certificates(tls, &path)?;
        self.resolved
            .warnings
            .extend(set.warnings().iter().map(ToString::to_string));
        self.resolved
            .kept
            .expiries
            .extend_from_slice(set.expiries());

        let name = listener.name.to_string();
        // Bytes that are passed on may be of any protocol: none is offered.
        let http = listener.tunnels.rest().is_none();
        let alpn = if http { EDGE_ALPN } else { &[] };
        let known = self.before.listeners.get(&name);
        let kept = match known.filter(|kept| kept.http == http) {
            Some(kept) => {
                self.resolved
                    .replacements
                    .push((kept.certificates.clone(), set));
                kept.clone()
            }
            None => {
                let certificates = EdgeCertificates::new(set);
                match edge_server_config(&certificates, alpn) {
                    Ok(config) => KeptListener {
                        http,
                        certificates,
                        config,
                    },
                    Err(error) => {
                        self.error(path, tls.at, error.to_string());
                        return None;
                    }
                }
            }
        };
        let config = Arc::clone(&kept.config);
        self.resolved.kept.listeners.insert(name, kept);
        Some(config)
    }

    fn certificates(&mut self, tls: &ListenerTls, path: &str) -> Option<EdgeCertificateSet> {
        let files: Vec<CertificateFiles> = if tls.certificates.is_empty() {
            match self.development(tls) {
                Ok(files) => vec![files],
                Err(problem) => {
                    self.error(format!("{path}.self_signed"), tls.at, problem);
                    return None;
                }
            }
        } else {
            let written = tls.certificates.iter();
            let files: Vec<_> = written.map(certificate_files).collect();
            let read = files
                .iter()
                .flat_map(|files| [&files.certificate, &files.key]);
            self.files.extend(read.cloned());
            files
        };
        match EdgeCertificateSet::load(&files, self.now) {
            Ok(set) => Some(set),
            Err(errors) => {
                for error in errors {
                    let (path, at) = place_of(&error, tls, path);
                    self.error(path, at, error.to_string());
                }
                None
            }
        }
    }

    fn development(&self, tls: &ListenerTls) -> Result<CertificateFiles, String> {
        self.state.ensure().map_err(|error| error.to_string())?;
        self_signed(&tls.self_signed, self.state.path(), self.now)
            .map_err(|error| error.to_string())
    }

    fn service(&mut self, service: &Service) -> Option<Arc<ClientConfig>> {
        let tls = service.tls.as_ref()?;
        let key = ClientKey::of(tls, service.protocol);
        let files = key.files();
        let content = content_of(&files);
        self.files.extend(files.into_iter().cloned());

        let known = self.resolved.kept.clients.get(&key);
        let known = known.or_else(|| self.before.clients.get(&key));
        let kept = match known.filter(|kept| kept.content == content) {
            Some(kept) => kept.clone(),
            None => {
                let client = key
                    .client
                    .as_ref()
                    .map(|(certificate, key)| CertificateFiles {
                        certificate: certificate.clone(),
                        key: key.clone(),
                        hosts: Vec::new(),
                    });
                match upstream_client_config(&key.trust, client.as_ref(), &[key.protocol]) {
                    Ok(config) => KeptClient { content, config },
                    Err(error) => {
                        let path = format!("services.{}.tls", service.name);
                        self.error(path, tls.at, error.to_string());
                        return None;
                    }
                }
            }
        };
        let config = Arc::clone(&kept.config);
        self.resolved.kept.clients.insert(key, kept);
        Some(config)
    }

    fn error(&mut self, path: String, at: Position, problem: String) {
        self.errors.push(ConfigError {
            path,
            at,
            problem,
            hint: None,
        });
    }
}

impl ClientKey {
    fn of(tls: &UpstreamTls, protocol: Protocol) -> Self {
        let trust = tls
            .ca
            .clone()
            .map_or(UpstreamTrust::System, UpstreamTrust::File);
        let client = tls
            .client
            .as_ref()
            .map(|client| (client.cert.clone(), client.key.clone()));
        let protocol: &[u8] = match protocol {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
        };
        Self {
            trust,
            client,
            protocol,
        }
    }

    fn files(&self) -> Vec<&PathBuf> {
        let authorities = match &self.trust {
            UpstreamTrust::File(file) => Some(file),
            UpstreamTrust::System => None,
        };
        let client = self
            .client
            .iter()
            .flat_map(|(certificate, key)| [certificate, key]);
        authorities.into_iter().chain(client).collect()
    }
}

fn certificate_files(written: &weir_config::listener::CertificateFiles) -> CertificateFiles {
    CertificateFiles {
        certificate: written.cert.clone(),
        key: written.key.clone(),
        hosts: written.hosts.iter().map(HostPattern::to_string).collect(),
    }
}

/// Which entry of the document an error is about.
fn place_of(error: &EdgeCertificateError, tls: &ListenerTls, path: &str) -> (String, Position) {
    let file: Option<&Path> = match error {
        EdgeCertificateError::Host { file, .. }
        | EdgeCertificateError::Key { file, .. }
        | EdgeCertificateError::Malformed { file, .. }
        | EdgeCertificateError::Missing { file }
        | EdgeCertificateError::TooLarge { file }
        | EdgeCertificateError::Unreadable { file, .. } => Some(file),
        EdgeCertificateError::KeyMismatch { certificate, .. } => Some(certificate),
        EdgeCertificateError::NoneGiven | EdgeCertificateError::TooMany { .. } => None,
    };
    let entries = tls.certificates.iter().enumerate();
    let names = |entry: &weir_config::listener::CertificateFiles| {
        file.is_some_and(|file| entry.cert == file || entry.key == file)
    };
    match entries.into_iter().find(|(_, entry)| names(entry)) {
        Some((index, entry)) => (format!("{path}.certificates[{index}]"), entry.at),
        None => (path.to_owned(), tls.at),
    }
}

/// Changes when the content of a file does. A file that cannot be read is reported by whoever needs
/// it.
fn content_of(files: &[&PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        read_bounded(file, FILE_BYTES_MAX)
            .unwrap_or_default()
            .hash(&mut hasher);
    }
    hasher.finish()
}

/// What edge listeners speak, best first.
const EDGE_ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];
/// Largest file of certificates or keys, as in `weir-identity`.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
