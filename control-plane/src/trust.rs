//! The control plane's own certificate authority: made once in the data directory, with the join
//! token and the control plane's own certificate.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use weir_identity::{
    Authority, AuthorityError, Identity, IdentityError, Issued, JoinToken, JoinTokenError,
    KeyRequest, RequestError, SpiffeId, TrustDomain,
};
use weir_protocol::{IssueRequest, IssueResponse, Role};

/// The root's certificate and key, below the data directory.
const ROOT_CERTIFICATE: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
/// The join token, below the data directory.
pub const JOIN_TOKEN: &str = "join-token";

/// Life of the control plane's own certificate.
const OWN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the authority cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file of the data directory cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The authority refuses or fails.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Our own certificate does not fit.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The join token's file is damaged.
    #[error("the join token: {0}")]
    JoinToken(#[from] JoinTokenError),
    /// No key could be made.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The name a node asks for cannot be in a SPIFFE id.
    #[error("no identity for this name: {0}")]
    Name(#[from] weir_identity::SpiffeIdError),
    /// A sidecar that names no service.
    #[error("a sidecar must name its service")]
    NoService,
    /// The identity on the certificate is not the one asked for.
    #[error("this certificate is of {holder}, not of {asked}")]
    NotYours {
        /// Who asks.
        holder: String,
        /// For whom.
        asked: String,
    },
    /// Neither join token nor certificate.
    #[error("a join token or a valid certificate is needed")]
    Unauthorized,
}

/// The authority and what hangs on it.
#[derive(Debug)]
pub struct Trust {
    authority: Authority,
    token: JoinToken,
    /// Our own certificate, renewed by [`Trust::renew_own`].
    identity: Identity,
    dns_names: Vec<String>,
    leaf_life: Duration,
    bundle: watch::Sender<Arc<str>>,
}

/// What the authority is opened with.
#[derive(Debug, Clone)]
pub struct TrustOptions {
    /// Where its files are.
    pub data_dir: PathBuf,
    /// Trust domain of a new authority; an existing one keeps its own.
    pub trust_domain: TrustDomain,
    /// DNS names of our own certificate, for the API server that calls the webhook.
    pub dns_names: Vec<String>,
    /// Life of the certificates it issues to nodes.
    pub leaf_life: Duration,
}

impl Trust {
    /// Loads the authority, making it (and the join token) when it is not there.
    ///
    /// # Errors
    /// Files that cannot be read or written, or do not fit together.
    pub fn open(options: TrustOptions, now: SystemTime) -> Result<Self, TrustError> {
        let directory = &options.data_dir;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(file_error(directory))?;
        let authority = open_authority(directory, &options.trust_domain, now)?;
        let token = open_token(directory, &authority)?;
        let own = own_certificate(&authority, &options.dns_names, now)?;
        let (bundle, _) = watch::channel(Arc::from(authority.root_pem()));
        Ok(Trust {
            identity: Identity::new(own),
            authority,
            token,
            dns_names: options.dns_names,
            leaf_life: options.leaf_life,
            bundle,
        })
    }

    /// Our own identity, for the mesh port.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The roots to trust, PEM.
    #[must_use]
    pub fn bundle(&self) -> watch::Receiver<Arc<str>> {
        self.bundle.subscribe()
    }

    /// The root as PEM, the `caBundle` of the webhook.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.authority.root_pem()
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        self.authority.trust_domain()
    }

    /// Issues a certificate: to the holder of the join token, or to a node that renews its own.
    ///
    /// # Errors
    /// Nobody who may have it, a name that cannot be, or a request that does not verify.
    pub fn issue(
        &self,
        request: &IssueRequest,
        bearer: Option<&str>,
        peer: Option<&SpiffeId>,
        now: SystemTime,
    ) -> Result<IssueResponse, TrustError> {
        let id = self.id_of(request.role, &request.node, request.service.as_deref())?;
        let has_token = bearer.is_some_and(|bearer| self.token.accepts(bearer));
        match peer {
            _ if has_token => {}
            Some(peer) if *peer == id => {}
            Some(peer) => {
                let (holder, asked) = (peer.to_string(), id.to_string());
                return Err(TrustError::NotYours { holder, asked });
            }
            None => return Err(TrustError::Unauthorized),
        }
        let issued = self
            .authority
            .issue(&request.csr_pem, &id, &[], self.leaf_life, now)?;
        Ok(self.response(&issued))
    }

    /// The identity of a node.
    ///
    /// # Errors
    /// A sidecar without a service, or a name that cannot be in a SPIFFE id.
    pub fn id_of(
        &self,
        role: Role,
        node: &str,
        service: Option<&str>,
    ) -> Result<SpiffeId, TrustError> {
        let domain = self.trust_domain();
        Ok(match (role, service) {
            (Role::Gateway, _) => SpiffeId::gateway(domain, node)?,
            (Role::Sidecar, Some(service)) => SpiffeId::service(domain, service)?,
            (Role::Sidecar, None) => return Err(TrustError::NoService),
        })
    }

    /// Renews our own certificate. Returns when to do it again.
    ///
    /// # Errors
    /// The authority fails; the certificate before stays in use.
    pub fn renew_own(&self, now: SystemTime, draw: u64) -> Result<SystemTime, TrustError> {
        self.identity
            .replace(own_certificate(&self.authority, &self.dns_names, now)?)?;
        Ok(self.identity.current().renew_at(draw))
    }

    fn response(&self, issued: &Issued) -> IssueResponse {
        IssueResponse {
            chain_pem: issued.chain_pem.clone(),
            bundle_pem: self.authority.root_pem(),
            not_before_unix: unix_seconds(issued.not_before),
            not_after_unix: unix_seconds(issued.not_after),
            spiffe_id: issued.spiffe_id.to_string(),
        }
    }
}

fn open_authority(
    directory: &Path,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Authority, TrustError> {
    let certificate = directory.join(ROOT_CERTIFICATE);
    let key = directory.join(ROOT_KEY);
    if certificate.exists() {
        let read = |path: &Path| fs::read_to_string(path).map_err(file_error(path));
        return Ok(Authority::load(&read(&certificate)?, &read(&key)?)?);
    }
    let authority = Authority::create(trust_domain, now)?;
    let (certificate_pem, key_pem) = authority.to_pem();
    // The key first: a certificate without its key would look like an authority.
    write_secret(&key, &key_pem)?;
    write_secret(&certificate, &certificate_pem)?;
    Ok(authority)
}

fn open_token(directory: &Path, authority: &Authority) -> Result<JoinToken, TrustError> {
    let path = directory.join(JOIN_TOKEN);
    if path.exists() {
        let text = fs::read_to_string(&path).map_err(file_error(&path))?;
        return Ok(JoinToken::parse(text.trim())?);
    }
    let token = JoinToken::generate(authority.root_fingerprint())?;
    write_secret(&path, &token.expose())?;
    Ok(token)
}

fn own_certificate(
    authority: &Authority,
    dns_names: &[String],
    now: SystemTime,
) -> Result<weir_identity::Current, TrustError> {
    let id = SpiffeId::control_plane(authority.trust_domain());
    let request = KeyRequest::new()?;
    let issued = authority.issue(request.csr_pem(), &id, dns_names, OWN_LIFE, now)?;
    Ok(request.into_current(&issued.chain_pem, authority.bundle()?)?)
}

/// Writes a file that only its owner reads, whole or not at all.
fn write_secret(path: &Path, text: &str) -> Result<(), TrustError> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        // Left behind by a start that was cut off.
        if temporary.exists() {
            fs::remove_file(&temporary)?;
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(file_error(path))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> TrustError {
    let path = path.to_path_buf();
    move |source| TrustError::File { path, source }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn open(directory: &Path) -> Trust {
        let options = TrustOptions {
            data_dir: directory.to_path_buf(),
            trust_domain: TrustDomain::parse("weir.internal").unwrap(),
            dns_names: Vec::new(),
            leaf_life: Duration::from_secs(3600),
        };
        Trust::open(options, SystemTime::now()).unwrap()
    }

    fn request(service: &str) -> IssueRequest {
        IssueRequest {
            csr_pem: KeyRequest::new().unwrap().csr_pem().to_owned(),
            node: "n-1".to_owned(),
            role: Role::Sidecar,
            service: Some(service.to_owned()),
        }
    }

    #[test]
    fn the_authority_is_made_once_and_its_secrets_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path()).root_pem();
        assert_eq!(open(directory.path()).root_pem(), first);
        for name in [ROOT_KEY, JOIN_TOKEN] {
            let mode = fs::metadata(directory.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn only_the_token_or_the_same_identity_gets_a_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let trust = open(directory.path());
        let now = SystemTime::now();
        let token = fs::read_to_string(directory.path().join(JOIN_TOKEN)).unwrap();
        let bearer = JoinToken::parse(token.trim()).unwrap().bearer();

        let issued = trust
            .issue(&request("users"), Some(&bearer), None, now)
            .unwrap();
        assert_eq!(issued.spiffe_id, "spiffe://weir.internal/service/users");

        let users = SpiffeId::service(trust.trust_domain(), "users").unwrap();
        assert!(
            trust
                .issue(&request("users"), None, Some(&users), now)
                .is_ok()
        );
        let other = trust
            .issue(&request("orders"), None, Some(&users), now)
            .unwrap_err();
        assert!(matches!(other, TrustError::NotYours { .. }), "{other}");
        for bearer in [None, Some("wrong"), Some("")] {
            let refused = trust
                .issue(&request("users"), bearer, None, now)
                .unwrap_err();
            assert!(matches!(refused, TrustError::Unauthorized), "{refused}");
        }
    }
}
