//! Revisions in Consul's KV, shared by every control plane on the same Consul.
//!
//! `weir/config/head` says which revision is the newest; one transaction moves it by check-and-set
//! and writes the log entry, so two authors never both win. Texts are split, because a value of
//! Consul's is at most 512 KiB; they are written before the head moves and carry their digest in
//! the key, so a text that lost the race is never read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use weir_discovery::consul::{Consul, Operation, Outcome};
use weir_protocol::RevisionNumber;

use super::{Candidate, REVISIONS_MAX, RevisionInfo, StoreError, Stored, digest};

/// Where everything is.
const PREFIX: &str = "weir/config";
/// Bytes of a text in one value; below Consul's bound of 512 KiB.
const PART_BYTES: usize = 384 * 1024;
/// Part of the digest in a key.
const KEY_DIGEST_CHARS: usize = 16;

/// Revisions in Consul.
#[derive(Debug, Clone)]
pub struct ConsulStore {
    consul: Consul,
    head: Arc<watch::Sender<Option<Arc<Stored>>>>,
}

/// Value of the head's key.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    info: RevisionInfo,
    parts: usize,
}

impl ConsulStore {
    /// Reads the head, and follows it from then on.
    ///
    /// # Errors
    /// Consul cannot be reached, or what it holds is damaged.
    pub async fn open(consul: Consul) -> Result<Self, StoreError> {
        let (head, _) = watch::channel(None);
        let store = ConsulStore {
            consul,
            head: Arc::new(head),
        };
        if let (Some((found, _)), _) = store.read_head().await? {
            let stored = store.load(found.info, found.parts).await?;
            store.show(Arc::new(stored));
        }
        let follower = store.clone();
        tokio::spawn(async move { follower.follow().await });
        Ok(store)
    }

    pub(super) fn head(&self) -> watch::Receiver<Option<Arc<Stored>>> {
        self.head.subscribe()
    }

    pub(super) async fn append(&self, candidate: Candidate) -> Result<Arc<Stored>, StoreError> {
        let (found, index) = self.read_head().await?;
        let head = found.map_or(0, |(found, _)| found.info.number);
        if head != candidate.after {
            return Err(StoreError::Conflict { head });
        }
        let info = candidate.info();
        let parts = self.write_text(&info, &candidate.text).await?;
        let record = Head {
            info: info.clone(),
            parts,
        };
        let value = to_json(&record)?;
        let mut operations = vec![
            Operation::SetCas {
                key: head_key(),
                value: value.clone(),
                index,
            },
            Operation::Set {
                key: log_key(info.number),
                value,
            },
        ];
        if let Some(oldest) = info.number.checked_sub(REVISIONS_MAX) {
            operations.push(Operation::Delete {
                key: log_key(oldest),
            });
        }
        match self.consul.txn(&operations).await? {
            Outcome::Committed(_) => {}
            Outcome::Refused(_) => {
                let (found, _) = self.read_head().await?;
                let head = found.map_or(0, |(found, _)| found.info.number);
                return Err(StoreError::Conflict { head });
            }
        }
        if let Some(oldest) = info.number.checked_sub(REVISIONS_MAX) {
            self.consul
                .kv_delete_prefix(&format!("{PREFIX}/text/{oldest:010}-"))
                .await?;
        }
        let stored = Arc::new(Stored {
            info,
            text: candidate.text,
        });
        self.show(Arc::clone(&stored));
        Ok(stored)
    }

    pub(super) async fn revision(
        &self,
        number: RevisionNumber,
    ) -> Result<Option<Stored>, StoreError> {
        let entry = self.consul.kv_get(&log_key(number)).await?.value;
        let Some(entry) = entry else { return Ok(None) };
        let record: Head = from_json(&entry.value)?;
        self.load(record.info, record.parts).await.map(Some)
    }

    pub(super) async fn revisions(&self) -> Result<Vec<RevisionInfo>, StoreError> {
        let entries = self.consul.kv_list(&format!("{PREFIX}/log/")).await?.value;
        let mut list = Vec::with_capacity(entries.len());
        for entry in &entries {
            list.push(from_json::<Head>(&entry.value)?.info);
        }
        list.sort_unstable_by_key(|info| std::cmp::Reverse(info.number));
        Ok(list)
    }

    /// The head's record with its index for check-and-set; index 0 when there is none.
    async fn read_head(&self) -> Result<(Option<(Head, u64)>, u64), StoreError> {
        let entry = self.consul.kv_get(&head_key()).await?.value;
        match entry {
            None => Ok((None, 0)),
            Some(entry) => {
                let index = entry.modify_index;
                Ok((Some((from_json(&entry.value)?, index)), index))
            }
        }
    }

    async fn write_text(&self, info: &RevisionInfo, text: &str) -> Result<usize, StoreError> {
        let parts = text.as_bytes().chunks(PART_BYTES);
        let count = parts.len();
        for (part, bytes) in parts.enumerate() {
            self.consul.kv_put(&text_key(info, part), bytes).await?;
        }
        Ok(count)
    }

    async fn load(&self, info: RevisionInfo, parts: usize) -> Result<Stored, StoreError> {
        let mut bytes = Vec::new();
        for part in 0..parts {
            let entry = self.consul.kv_get(&text_key(&info, part)).await?.value;
            let missing =
                || StoreError::Damaged(format!("revision {} has lost a part", info.number));
            bytes.extend_from_slice(&entry.ok_or_else(missing)?.value);
        }
        let text = String::from_utf8(bytes)
            .ok()
            .filter(|text| digest(text) == info.digest)
            .ok_or_else(|| {
                StoreError::Damaged(format!(
                    "revision {} does not match its digest",
                    info.number
                ))
            })?;
        Ok(Stored {
            info,
            text: Arc::from(text),
        })
    }

    /// Follows the head's key for changes by other control planes.
    async fn follow(self) {
        let mut watch = self.consul.watch_key(&head_key());
        while let Some(view) = watch.next().await {
            let Some(entry) = view.entries.first() else {
                continue;
            };
            let loaded = match from_json::<Head>(&entry.value) {
                Ok(head) => self.load(head.info, head.parts).await,
                Err(error) => Err(error),
            };
            match loaded {
                Ok(stored) => self.show(Arc::new(stored)),
                Err(error) => tracing::error!(%error, "the newest revision cannot be read"),
            }
        }
    }

    /// Shows a revision as the head unless a newer one is shown already.
    fn show(&self, stored: Arc<Stored>) {
        self.head.send_if_modified(|head| {
            let newer = head
                .as_ref()
                .is_none_or(|head| head.info.number < stored.info.number);
            if newer {
                *head = Some(stored);
            }
            newer
        });
    }
}

fn head_key() -> String {
    format!("{PREFIX}/head")
}

fn log_key(number: RevisionNumber) -> String {
    format!("{PREFIX}/log/{number:010}")
}

fn text_key(info: &RevisionInfo, part: usize) -> String {
    let digest = info.digest.get(..KEY_DIGEST_CHARS).unwrap_or(&info.digest);
    format!("{PREFIX}/text/{:010}-{digest}/{part:04}", info.number)
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Damaged(error.to_string()))
}

fn from_json<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged(error.to_string()))
}
