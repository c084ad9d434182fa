//! From a text to a revision: checked as every proxy would check it, then appended.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;
use weir_config::{ConfigError, ConfigErrors};
use weir_policy::compile;
use weir_policy::live::Live;
use weir_policy::snapshot::{Role, Snapshot};
use weir_protocol::RevisionNumber;

use crate::store::{Candidate, Store, StoreError, Stored, digest};

/// How often an append without `If-Match` is decided anew when another author was faster.
const APPEND_TRIES: u32 = 5;

/// Why a document did not become a revision. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The head is not the one the author wrote against.
    #[error("the configuration is at revision {head} by now, not at {expected}")]
    Conflict {
        /// The head that stands now.
        head: RevisionNumber,
        /// The head the author named.
        expected: RevisionNumber,
    },
    /// The document is wrong; every error.
    #[error("{0}")]
    Invalid(ConfigErrors),
    /// The revision to go back to is not kept.
    #[error("there is no revision {number}")]
    NoRevision {
        /// The number asked for.
        number: RevisionNumber,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The check itself broke; a defect of ours.
    #[error("the check did not finish")]
    Unchecked,
}

/// A document that every proxy would accept.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Checked {
    /// What is allowed but unwise.
    pub warnings: Vec<ConfigError>,
    /// How many routes.
    pub routes: usize,
    /// How many services.
    pub services: usize,
}

/// What an apply did.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The revision that holds the text.
    pub stored: Arc<Stored>,
    /// Whether it is new; the same text again is not.
    pub changed: bool,
    /// What is allowed but unwise.
    pub warnings: Vec<ConfigError>,
}

/// The document that is in force, and the way to change it.
#[derive(Debug, Clone)]
pub struct Revisions {
    store: Store,
}

impl Revisions {
    /// On this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Revisions { store }
    }

    /// The newest revision, changing as it changes.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Option<Arc<Stored>>> {
        self.store.head()
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes a text the next revision. The same text as the head's makes none.
    ///
    /// # Errors
    /// See [`ApplyError`]; then nothing was changed.
    pub async fn apply(
        &self,
        text: Arc<str>,
        expected: Option<RevisionNumber>,
        author: Option<String>,
        now_unix: u64,
    ) -> Result<Applied, ApplyError> {
        let checked = check(Arc::clone(&text)).await?;
        self.append(text, expected, author, None, checked.warnings, now_unix)
            .await
    }

    /// Makes an earlier revision's text the next revision: `to`, or the one before the head.
    ///
    /// # Errors
    /// See [`ApplyError`]; then nothing was changed.
    pub async fn rollback(
        &self,
        to: Option<RevisionNumber>,
        expected: Option<RevisionNumber>,
        author: Option<String>,
        now_unix: u64,
    ) -> Result<Applied, ApplyError> {
        let head = self.head_number();
        let number = to.unwrap_or_else(|| head.saturating_sub(1));
        let earlier = self.store.revision(number).await?;
        let earlier = earlier.ok_or(ApplyError::NoRevision { number })?;
        // A newer Weir may refuse what an older one accepted.
        let checked = check(Arc::clone(&earlier.text)).await?;
        let expected = expected.or(Some(head));
        self.append(
            earlier.text,
            expected,
            author,
            Some(number),
            checked.warnings,
            now_unix,
        )
        .await
    }

    async fn append(
        &self,
        text: Arc<str>,
        expected: Option<RevisionNumber>,
        author: Option<String>,
        rollback_to: Option<RevisionNumber>,
        warnings: Vec<ConfigError>,
        now_unix: u64,
    ) -> Result<Applied, ApplyError> {
        let mut after = expected.unwrap_or_else(|| self.head_number());
        let wanted = digest(&text);
        for _ in 0..APPEND_TRIES {
            let head = self.head().borrow().clone();
            let same = |head: &Arc<Stored>| head.info.number == after && head.info.digest == wanted;
            if let Some(stored) = head.filter(same) {
                return Ok(Applied {
                    stored,
                    changed: false,
                    warnings,
                });
            }
            let candidate = Candidate {
                after,
                text: Arc::clone(&text),
                author: author.clone(),
                rollback_to,
                now_unix,
            };
            match (self.store.append(candidate).await, expected) {
                (Ok(stored), _) => {
                    return Ok(Applied {
                        stored,
                        changed: true,
                        warnings,
                    });
                }
                (Err(StoreError::Conflict { head }), None) => after = head,
                (Err(StoreError::Conflict { head }), Some(expected)) => {
                    return Err(ApplyError::Conflict { head, expected });
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
        Err(ApplyError::Conflict {
            head: self.head_number(),
            expected: after,
        })
    }

    fn head_number(&self) -> RevisionNumber {
        self.head()
            .borrow()
            .as_ref()
            .map_or(0, |stored| stored.info.number)
    }
}

/// Checks a text as the gateway and every sidecar would.
///
/// # Errors
/// Every error, as [`ApplyError::Invalid`].
pub async fn check(text: Arc<str>) -> Result<Checked, ApplyError> {
    // A document at its bounds takes long enough to compile to be felt by every stream.
    tokio::task::spawn_blocking(move || check_now(&text))
        .await
        .map_err(|_| ApplyError::Unchecked)?
        .map_err(ApplyError::Invalid)
}

fn check_now(text: &str) -> Result<Checked, ConfigErrors> {
    let compile::Checked { document, warnings } = compile::check(text, &compile::Elsewhere)?;
    Ok(Checked {
        warnings,
        routes: document.routes.len(),
        services: document.services.len(),
    })
}

/// Compiles a text for an explanation, as the gateway or a service's sidecar would.
///
/// # Errors
/// Every error of the text.
pub fn compile_for(
    text: &str,
    sidecar: Option<&str>,
    revision: &str,
) -> Result<Snapshot, ConfigErrors> {
    let role = match sidecar {
        None => Role::Gateway,
        Some(service) => Role::Sidecar {
            service: service.to_owned(),
            application: std::net::SocketAddr::from(([127, 0, 0, 1], 1)),
        },
    };
    compile::read(text, &role, revision, &Live::default(), &compile::Elsewhere)
}
