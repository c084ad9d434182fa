//! Where accepted documents are kept: a numbered, append-only log of revisions.
//!
//! Two stores give the same: an embedded database file, and Consul's KV. Appending names the head
//! it was decided against, so two authors never overwrite each other. Old revisions are dropped
//! past [`REVISIONS_MAX`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use weir_protocol::{Revision, RevisionNumber};

mod consul;
mod embedded;

pub use consul::ConsulStore;
pub use embedded::EmbeddedStore;

/// Most revisions kept; the oldest go first.
pub const REVISIONS_MAX: u64 = 200;

/// What is known of a revision beside its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionInfo {
    /// Its number.
    pub number: RevisionNumber,
    /// SHA-256 of the text, lowercase hexadecimal.
    pub digest: String,
    /// Size of the text, bytes.
    pub bytes: u64,
    /// When it was accepted, seconds since 1970.
    pub accepted_unix: u64,
    /// Who sent it, as told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The revision whose text it repeats, when it is a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<RevisionNumber>,
}

/// A revision with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What is known of it.
    pub info: RevisionInfo,
    /// The YAML text.
    pub text: Arc<str>,
}

impl Stored {
    /// As it is sent to nodes.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision {
            number: self.info.number,
            digest: self.info.digest.clone(),
            text: self.text.to_string(),
        }
    }
}

/// A document that is to become the next revision.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The head it was decided against; 0 for none.
    pub after: RevisionNumber,
    /// The YAML text.
    pub text: Arc<str>,
    /// Who sends it.
    pub author: Option<String>,
    /// The revision whose text it repeats.
    pub rollback_to: Option<RevisionNumber>,
    /// Now, seconds since 1970.
    pub now_unix: u64,
}

impl Candidate {
    fn info(&self) -> RevisionInfo {
        RevisionInfo {
            number: self.after + 1,
            digest: digest(&self.text),
            bytes: self.text.len() as u64,
            accepted_unix: self.now_unix,
            author: self.author.clone(),
            rollback_to: self.rollback_to,
        }
    }
}

/// Why the store did not do what was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else appended first.
    #[error("the head is revision {head} by now")]
    Conflict {
        /// The head that stands now.
        head: RevisionNumber,
    },
    /// What is stored cannot be read back; an operator must look.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
    /// The embedded database failed.
    #[error("the embedded store failed: {0}")]
    Embedded(#[from] redb::Error),
    /// Consul failed or cannot be reached.
    #[error("consul: {0}")]
    Consul(#[from] weir_discovery::consul::Error),
    /// The process is ending.
    #[error("the store is closed")]
    Closed,
}

/// One of the two stores.
#[derive(Debug, Clone)]
pub enum Store {
    /// In Consul's KV.
    Consul(ConsulStore),
    /// In a file of its own.
    Embedded(EmbeddedStore),
}

impl Store {
    /// The newest revision, changing as it changes; `None` before the first. With Consul, also when
    /// another control plane appends.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Option<Arc<Stored>>> {
        match self {
            Store::Consul(store) => store.head(),
            Store::Embedded(store) => store.head(),
        }
    }

    /// Appends a revision.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the head is another than the candidate names.
    pub async fn append(&self, candidate: Candidate) -> Result<Arc<Stored>, StoreError> {
        match self {
            Store::Consul(store) => store.append(candidate).await,
            Store::Embedded(store) => store.append(candidate).await,
        }
    }

    /// A revision by number; `None` when there is none (any more).
    ///
    /// # Errors
    /// The store fails.
    pub async fn revision(&self, number: RevisionNumber) -> Result<Option<Stored>, StoreError> {
        match self {
            Store::Consul(store) => store.revision(number).await,
            Store::Embedded(store) => store.revision(number).await,
        }
    }

    /// What is known of the revisions kept, newest first.
    ///
    /// # Errors
    /// The store fails.
    pub async fn revisions(&self) -> Result<Vec<RevisionInfo>, StoreError> {
        match self {
            Store::Consul(store) => store.revisions().await,
            Store::Embedded(store) => store.revisions().await,
        }
    }

    /// What keeps it, for status pages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Store::Consul(_) => "consul",
            Store::Embedded(_) => "embedded",
        }
    }
}

/// SHA-256 of a text, lowercase hexadecimal.
#[must_use]
pub fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
