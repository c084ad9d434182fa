//! How a proxy gets its certificate, keeps it over restarts and renews it.
//!
//! The first comes for the join token's secret, over a connection on which the control plane has
//! proved to hold the token's root. Later ones come for the certificate before. The token is read
//! again when the certificate has run out, because a proxy may have been away for longer than that.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use weir_identity::{
    BundleError, Current, Expect, Identity, IdentityError, JoinToken, JoinTokenError, KeyError,
    KeyRequest, PrivateKey, RequestError, Role as PeerRole, TlsConfigError, TrustBundle,
    join_client_config, mesh_client_config,
};
use weir_protocol::{IssueRequest, IssueResponse, Role, paths};

use super::backoff::Backoff;
use super::link::{ALPN, CallError, ControlPlaneUrl, Link};
use super::state_dir::{StateDir, StateDirError, read_bounded};

/// Who a proxy is to the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its id, unique among running nodes.
    pub node: String,
    /// What it is.
    pub role: Role,
    /// The service it stands beside; sidecars only.
    pub service: Option<String>,
}

impl Who {
    /// A gateway.
    #[must_use]
    pub fn gateway(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            role: Role::Gateway,
            service: None,
        }
    }

    /// The sidecar of an instance of this service.
    #[must_use]
    pub fn sidecar(node: impl Into<String>, service: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            role: Role::Sidecar,
            service: Some(service.into()),
        }
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The trust bundle cannot be used: the control plane's fault.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The control plane did not answer, or refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What was issued does not fit.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The kept private key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What was kept over the restart is not readable.
    #[error("the kept certificate is not readable: {0}")]
    Kept(#[from] serde_json::Error),
    /// A certificate for somebody else was issued or kept.
    #[error("the certificate is for {found}")]
    NotOurs {
        /// Who it names.
        found: String,
    },
    /// There is no certificate yet and nothing to ask for one with.
    #[error("a join token is needed for the first certificate: --join-token-file FILE")]
    NoToken,
    /// No key could be made.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// A TLS configuration cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// The join token's text is wrong.
    #[error("join token {}: {source}", path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: JoinTokenError,
    },
    /// The join token's file cannot be read.
    #[error("join token {}: {source}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// What is written to the state directory; `Debug` hides the key.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    key_pem: String,
    chain_pem: String,
    bundle_pem: String,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept(<hidden>)")
    }
}

/// The way to a certificate.
#[derive(Debug)]
pub struct Enrolment {
    url: ControlPlaneUrl,
    who: Who,
    token_file: Option<PathBuf>,
    state: StateDir,
    kept: Mutex<Option<Kept>>,
}

impl Enrolment {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(
        url: ControlPlaneUrl,
        who: Who,
        token_file: Option<PathBuf>,
        state: StateDir,
    ) -> Self {
        Self {
            url,
            who,
            token_file,
            state,
            kept: Mutex::default(),
        }
    }

    /// Who asks.
    #[must_use]
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// Whom it asks.
    #[must_use]
    pub fn url(&self) -> &ControlPlaneUrl {
        &self.url
    }

    /// The certificate kept over a restart, even an expired one: what needs no identity can be
    /// served meanwhile. `None`: there is none, or none of ours.
    pub fn kept(&self) -> Option<Identity> {
        match self.load() {
            Ok(current) => current.map(Identity::new),
            Err(error) => {
                tracing::warn!(%error, "the kept certificate is not used");
                None
            }
        }
    }

    fn load(&self) -> Result<Option<Current>, EnrolError> {
        let Some(text) = self.state.read(KEPT_FILE, KEPT_BYTES_MAX)? else {
            return Ok(None);
        };
        let kept: Kept = serde_json::from_slice(&text)?;
        let key = PrivateKey::from_pem(kept.key_pem.as_bytes())?;
        let bundle = TrustBundle::from_pem(&kept.bundle_pem)?;
        let current = Current::new(&key, &kept.chain_pem, bundle)?;
        self.check_ours(&current)?;
        self.remember(kept);
        Ok(Some(current))
    }

    /// The first certificate, by join token. Tries until it is there; fails only for what trying
    /// again does not mend.
    ///
    /// # Errors
    /// No token, or one that cannot be read.
    pub async fn join(&self) -> Result<Identity, EnrolError> {
        let mut backoff = Backoff::new(RETRY_FLOOR, RETRY_CEILING);
        loop {
            // Read anew each time: the file may be replaced while we wait.
            let token = self.token()?;
            match self.issue_by_token(&token).await {
                Ok(current) => {
                    tracing::info!(identity = %current.spiffe_id(), "joined");
                    return Ok(Identity::new(current));
                }
                Err(error) => {
                    let wait = backoff.wait(rand::random());
                    tracing::warn!(%error, control_plane = %self.url, ?wait, "cannot join yet");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Renews the certificate for as long as the process lives.
    pub async fn keep_renewed(&self, identity: &Identity) {
        loop {
            let due = identity.current().renew_at(rand::random());
            sleep_until(due).await;
            let mut backoff = Backoff::new(RETRY_FLOOR, RETRY_CEILING);
            while let Err(error) = self.renew(identity).await {
                let wait = backoff.wait(rand::random());
                tracing::warn!(%error, ?wait, "the certificate cannot be renewed yet");
                tokio::time::sleep(wait).await;
            }
            let current = identity.current();
            tracing::info!(expires_unix = current.expires_unix(), "certificate renewed");
        }
    }

    async fn renew(&self, identity: &Identity) -> Result<(), EnrolError> {
        let current = if identity.current().not_after() > SystemTime::now() {
            let config = mesh_client_config(identity, Expect::ControlPlane, ALPN)?;
            let link = Link::open(&self.url, config).await?;
            self.issue(&link, None).await?
        } else {
            self.issue_by_token(&self.token()?).await?
        };
        identity.replace(current)?;
        Ok(())
    }

    /// Trusts these roots from the next handshake on, also after a restart.
    ///
    /// # Errors
    /// A bundle that cannot be used; the trust stays as it was.
    pub fn trust(&self, identity: &Identity, bundle_pem: &str) -> Result<(), EnrolError> {
        let bundle = TrustBundle::from_pem(bundle_pem)?;
        if bundle == *identity.current().bundle() {
            return Ok(());
        }
        identity.replace_bundle(&bundle);
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(kept) = kept {
            let kept = Kept {
                bundle_pem: bundle_pem.to_owned(),
                ..kept
            };
            self.write(&kept)?;
            self.remember(kept);
        }
        Ok(())
    }

    async fn issue_by_token(&self, token: &JoinToken) -> Result<Current, EnrolError> {
        let link = Link::open(&self.url, join_client_config(token, ALPN)?).await?;
        self.issue(&link, Some(&token.bearer())).await
    }

    async fn issue(&self, link: &Link, bearer: Option<&str>) -> Result<Current, EnrolError> {
        let request = KeyRequest::new()?;
        let asked = IssueRequest {
            csr_pem: request.csr_pem().to_owned(),
            node: self.who.node.clone(),
            role: self.who.role,
            service: self.who.service.clone(),
        };
        let issued: IssueResponse = link.call(paths::ISSUE, &asked, bearer).await?;
        let kept = Kept {
            key_pem: request.expose_key_pem().to_owned(),
            chain_pem: issued.chain_pem,
            bundle_pem: issued.bundle_pem,
        };
        let bundle = TrustBundle::from_pem(&kept.bundle_pem)?;
        let current = request.into_current(&kept.chain_pem, bundle)?;
        self.check_ours(&current)?;
        // A directory that cannot be written costs the next start, not this one.
        if let Err(error) = self.write(&kept) {
            tracing::warn!(%error, "the certificate cannot be kept for a restart");
        }
        self.remember(kept);
        Ok(current)
    }

    fn check_ours(&self, current: &Current) -> Result<(), EnrolError> {
        let id = current.spiffe_id();
        let ours = match (self.who.role, id.role()) {
            (Role::Gateway, PeerRole::Gateway(node)) => node == self.who.node,
            (Role::Sidecar, PeerRole::Service(name)) => self.who.service.as_deref() == Some(name),
            _ => false,
        };
        if ours {
            Ok(())
        } else {
            Err(EnrolError::NotOurs {
                found: id.to_string(),
            })
        }
    }

    fn token(&self) -> Result<JoinToken, EnrolError> {
        read_token(self.token_file.as_deref().ok_or(EnrolError::NoToken)?)
    }

    fn write(&self, kept: &Kept) -> Result<(), EnrolError> {
        Ok(self.state.write(KEPT_FILE, &serde_json::to_vec(kept)?)?)
    }

    fn remember(&self, kept: Kept) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }
}

/// Reads a join token's file.
///
/// # Errors
/// A file that cannot be read, or whose text is no token.
pub fn read_token(path: &Path) -> Result<JoinToken, EnrolError> {
    let text =
        read_bounded(path, TOKEN_FILE_BYTES_MAX).map_err(|source| EnrolError::TokenFile {
            path: path.to_owned(),
            source,
        })?;
    JoinToken::parse(&String::from_utf8_lossy(&text)).map_err(|source| EnrolError::Token {
        path: path.to_owned(),
        source,
    })
}

/// Sleeps until a moment of the wall clock, in steps, because that clock may be set and the
/// machine may be suspended.
async fn sleep_until(due: SystemTime) {
    while let Ok(left) = due.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(SLEEP_STEP)).await;
    }
}

const KEPT_FILE: &str = "identity.json";
const KEPT_BYTES_MAX: u64 = 1024 * 1024;
const TOKEN_FILE_BYTES_MAX: u64 = 4096;
const RETRY_FLOOR: Duration = Duration::from_millis(200);
const RETRY_CEILING: Duration = Duration::from_secs(10);
const SLEEP_STEP: Duration = Duration::from_secs(60);
