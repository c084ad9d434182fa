//! Configurations, memberships and roots from a control plane: one stream, opened again and again.
//!
//! A session begins by saying what the proxy runs, then reads one update per line. Each revision is
//! answered: it runs, or every error why not. A stream that is silent for three pings is dead. What
//! a proxy has stays in force however long the control plane is away.

mod lines;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weir_identity::{Expect, Identity, TlsConfigError, mesh_client_config};
use weir_protocol::{Ack, LINE_BYTES_MAX, NodeHello, PING_INTERVAL, Revision, Update, paths};

use super::file::digest_of;
use crate::memberships::Memberships;
use crate::node::backoff::Backoff;
use crate::node::enrolment::Enrolment;
use crate::node::link::{ALPN, CallError, Link};
use crate::store::{Candidate, Store};
use lines::{Lines, LinesError};

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the stream broke: {0}")]
    Lines(#[from] LinesError),
    #[error("the control plane was silent for {SILENCE_MAX:?}")]
    Silent,
    #[error("the stream carries what cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the control plane ended the stream")]
    Ended,
    /// The next stream begins with whole memberships.
    #[error("a change of the service {0:?} does not fit what was known of it")]
    Unfit(String),
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
}

/// The feed.
#[derive(Debug)]
pub struct ControlPlaneFeed {
    enrolment: Arc<Enrolment>,
    identity: Identity,
    store: Arc<Store>,
    memberships: Arc<Memberships>,
    /// The open connection, for reports.
    link: watch::Sender<Option<Link>>,
    connected: watch::Sender<Connected>,
}

/// Whether the control plane is there, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connected {
    /// Whether the stream is open.
    pub now: bool,
    /// Why the last one ended.
    pub last_error: Option<String>,
}

impl ControlPlaneFeed {
    /// Connects to nobody yet.
    #[must_use]
    pub fn new(
        enrolment: Arc<Enrolment>,
        identity: Identity,
        store: Arc<Store>,
        memberships: Arc<Memberships>,
    ) -> Self {
        let (link, _) = watch::channel(None);
        let (connected, _) = watch::channel(Connected::default());
        Self {
            enrolment,
            identity,
            store,
            memberships,
            link,
            connected,
        }
    }

    /// The connection of the open stream.
    pub(crate) fn link(&self) -> watch::Receiver<Option<Link>> {
        self.link.subscribe()
    }

    /// Whether the control plane is there.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<Connected> {
        self.connected.subscribe()
    }

    /// Follows the control plane for as long as the process lives.
    pub async fn follow(&self) {
        let mut backoff = Backoff::new(RETRY_FLOOR, RETRY_CEILING);
        loop {
            let ended = self.session(&mut backoff).await;
            let error = match ended {
                Ok(()) => SessionError::Ended,
                Err(error) => error,
            };
            self.link.send_replace(None);
            let last_error = Some(error.to_string());
            self.connected.send_replace(Connected {
                now: false,
                last_error,
            });
            let wait = backoff.wait(rand::random());
            let control_plane = self.enrolment.url();
            tracing::warn!(%error, %control_plane, ?wait, "no stream from the control plane");
            tokio::time::sleep(wait).await;
        }
    }

    async fn session(&self, backoff: &mut Backoff) -> Result<(), SessionError> {
        // Connect. The certificate of this moment counts for the whole session.
        let config = mesh_client_config(&self.identity, Expect::ControlPlane, ALPN)?;
        let link = Link::open(self.enrolment.url(), config).await?;
        let hello = self.hello();
        let response = link.post(paths::STREAM, &hello, None).await?;
        tracing::info!(
            running = hello.running,
            "stream from the control plane open"
        );
        self.connected.send_replace(Connected {
            now: true,
            last_error: None,
        });
        self.link.send_replace(Some(link.clone()));

        // Read until it ends or falls silent.
        let mut lines = Lines::new(response.into_body(), LINE_BYTES_MAX);
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, lines.next()).await;
            let Some(line) = next.map_err(|_| SessionError::Silent)?? else {
                return Ok(());
            };
            // A control plane that accepts and ends at once is not to be called in a loop, so only
            // a line counts as success.
            backoff.reset();
            // Unknown kinds of updates come from a newer control plane: skipped.
            match serde_json::from_slice::<Update>(&line) {
                Ok(update) => self.take(update, &link).await?,
                Err(error) if error.is_data() => {
                    tracing::warn!(%error, "an update is not understood and skipped");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn take(&self, update: Update, link: &Link) -> Result<(), SessionError> {
        match update {
            Update::Ping => {}
            Update::Bundle { bundle_pem } => {
                if let Err(error) = self.enrolment.trust(&self.identity, &bundle_pem) {
                    tracing::error!(%error, "the trust bundle is refused, the old stays in use");
                }
            }
            Update::Membership(membership) => {
                self.memberships
                    .told(&membership.service, membership.endpoints);
            }
            Update::MembershipChange(change) => {
                let service = change.service.clone();
                if !self.memberships.told_change(change) {
                    return Err(SessionError::Unfit(service));
                }
            }
            Update::Revision(revision) => {
                let ack = self.apply(revision).await;
                link.post(paths::ACK, &ack, None).await?;
            }
        }
        Ok(())
    }

    async fn apply(&self, revision: Revision) -> Ack {
        let Revision {
            number,
            digest,
            text,
        } = revision;
        let node = self.enrolment.who().node.clone();
        if digest_of(&text) != digest {
            let error = weir_config::ConfigError {
                path: String::new(),
                at: weir_config::Position::default(),
                problem: "the text does not have the digest of its revision".to_owned(),
                hint: None,
            };
            return Ack {
                node,
                number,
                errors: vec![error],
            };
        }
        let text: Arc<str> = text.into();
        let candidate = Candidate {
            text: Arc::clone(&text),
            label: number.to_string().into(),
            number,
        };
        match self.store.apply(candidate).await {
            Ok(_) => Ack {
                node,
                number,
                errors: Vec::new(),
            },
            Err(errors) => {
                let file = format!("revision {number}");
                let rendered = errors.render(&text, &file);
                tracing::error!(number, "revision refused, nothing changed\n{rendered}");
                Ack {
                    node,
                    number,
                    errors: errors.0,
                }
            }
        }
    }

    fn hello(&self) -> NodeHello {
        let who = self.enrolment.who();
        NodeHello {
            node: who.node.clone(),
            role: who.role,
            service: who.service.clone(),
            version: weir_process::build_info::VERSION.to_owned(),
            running: self
                .store
                .current()
                .map_or(0, |current| current.candidate.number),
            takes_changes: true,
        }
    }
}

/// A stream that is silent for three pings is dead.
const SILENCE_MAX: Duration = PING_INTERVAL.saturating_mul(3);
const RETRY_FLOOR: Duration = Duration::from_millis(200);
const RETRY_CEILING: Duration = Duration::from_secs(10);
