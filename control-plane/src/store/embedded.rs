//! The embedded store: one database file, written with every append before it is answered.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::watch;
use weir_protocol::RevisionNumber;

use super::{Candidate, REVISIONS_MAX, RevisionInfo, StoreError, Stored};

/// Number → JSON of [`RevisionInfo`].
const INFO: TableDefinition<'_, u64, &str> = TableDefinition::new("revision-info");
/// Number → YAML text.
const TEXT: TableDefinition<'_, u64, &str> = TableDefinition::new("revision-text");

/// Revisions in a file.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    database: Arc<Database>,
    head: Arc<watch::Sender<Option<Arc<Stored>>>>,
}

impl EmbeddedStore {
    /// Opens the file, making it when it is not there.
    ///
    /// # Errors
    /// The file cannot be opened (another process holds it, for instance) or is damaged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::create(path).map_err(redb::Error::from)?;
        let write = database.begin_write().map_err(redb::Error::from)?;
        write.open_table(INFO).map_err(redb::Error::from)?;
        write.open_table(TEXT).map_err(redb::Error::from)?;
        write.commit().map_err(redb::Error::from)?;
        let newest = newest(&database)?;
        let (head, _) = watch::channel(newest.map(Arc::new));
        Ok(EmbeddedStore {
            database: Arc::new(database),
            head: Arc::new(head),
        })
    }

    pub(super) fn head(&self) -> watch::Receiver<Option<Arc<Stored>>> {
        self.head.subscribe()
    }

    pub(super) async fn append(&self, candidate: Candidate) -> Result<Arc<Stored>, StoreError> {
        let store = self.clone();
        // The append waits for the disk; the runtime's thread must not.
        tokio::task::spawn_blocking(move || store.append_now(&candidate))
            .await
            .map_err(|_| StoreError::Closed)?
    }

    fn append_now(&self, candidate: &Candidate) -> Result<Arc<Stored>, StoreError> {
        let write = self.database.begin_write().map_err(redb::Error::from)?;
        let info = candidate.info();
        {
            let mut infos = write.open_table(INFO).map_err(redb::Error::from)?;
            let mut texts = write.open_table(TEXT).map_err(redb::Error::from)?;
            let head = match infos.last().map_err(redb::Error::from)? {
                Some((number, _)) => number.value(),
                None => 0,
            };
            if head != candidate.after {
                return Err(StoreError::Conflict { head });
            }
            let json =
                serde_json::to_string(&info).map_err(|e| StoreError::Damaged(e.to_string()))?;
            infos
                .insert(info.number, json.as_str())
                .map_err(redb::Error::from)?;
            texts
                .insert(info.number, &*candidate.text)
                .map_err(redb::Error::from)?;
            if let Some(oldest) = info.number.checked_sub(REVISIONS_MAX) {
                infos.remove(oldest).map_err(redb::Error::from)?;
                texts.remove(oldest).map_err(redb::Error::from)?;
            }
        }
        write.commit().map_err(redb::Error::from)?;
        let stored = Arc::new(Stored {
            info,
            text: Arc::clone(&candidate.text),
        });
        self.head.send_replace(Some(Arc::clone(&stored)));
        Ok(stored)
    }

    pub(super) async fn revision(
        &self,
        number: RevisionNumber,
    ) -> Result<Option<Stored>, StoreError> {
        let database = Arc::clone(&self.database);
        tokio::task::spawn_blocking(move || read(&database, number))
            .await
            .map_err(|_| StoreError::Closed)?
    }

    pub(super) async fn revisions(&self) -> Result<Vec<RevisionInfo>, StoreError> {
        let database = Arc::clone(&self.database);
        tokio::task::spawn_blocking(move || list(&database))
            .await
            .map_err(|_| StoreError::Closed)?
    }
}

fn newest(database: &Database) -> Result<Option<Stored>, StoreError> {
    let read = database.begin_read().map_err(redb::Error::from)?;
    let infos = read.open_table(INFO).map_err(redb::Error::from)?;
    let last = infos
        .last()
        .map_err(redb::Error::from)?
        .map(|(number, _)| number.value());
    drop(infos);
    match last {
        Some(number) => self::read(database, number),
        None => Ok(None),
    }
}

fn read(database: &Database, number: RevisionNumber) -> Result<Option<Stored>, StoreError> {
    let read = database.begin_read().map_err(redb::Error::from)?;
    let infos = read.open_table(INFO).map_err(redb::Error::from)?;
    let texts = read.open_table(TEXT).map_err(redb::Error::from)?;
    let info = infos.get(number).map_err(redb::Error::from)?;
    let text = texts.get(number).map_err(redb::Error::from)?;
    match (info, text) {
        (Some(info), Some(text)) => Ok(Some(Stored {
            info: parse(info.value())?,
            text: Arc::from(text.value()),
        })),
        (None, None) => Ok(None),
        _ => Err(StoreError::Damaged(format!(
            "revision {number} has lost a part"
        ))),
    }
}

fn list(database: &Database) -> Result<Vec<RevisionInfo>, StoreError> {
    let read = database.begin_read().map_err(redb::Error::from)?;
    let infos = read.open_table(INFO).map_err(redb::Error::from)?;
    let mut list = Vec::new();
    for entry in infos.iter().map_err(redb::Error::from)?.rev() {
        let (_, info) = entry.map_err(redb::Error::from)?;
        list.push(parse(info.value())?);
    }
    Ok(list)
}

fn parse(json: &str) -> Result<RevisionInfo, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn candidate(after: u64, text: &str) -> Candidate {
        Candidate {
            after,
            text: Arc::from(text),
            author: None,
            rollback_to: None,
            now_unix: 7,
        }
    }

    #[tokio::test]
    async fn appends_in_order_and_survives_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        {
            let store = EmbeddedStore::open(&path).unwrap();
            assert!(store.head().borrow().is_none());
            store.append(candidate(0, "a")).await.unwrap();
            store.append(candidate(1, "b")).await.unwrap();
        }
        let store = EmbeddedStore::open(&path).unwrap();
        assert_eq!(&*store.head().borrow().as_ref().unwrap().text, "b");
        assert_eq!(&*store.revision(1).await.unwrap().unwrap().text, "a");
        assert!(store.revision(9).await.unwrap().is_none());
        let numbers: Vec<u64> = store
            .revisions()
            .await
            .unwrap()
            .iter()
            .map(|info| info.number)
            .collect();
        assert_eq!(numbers, [2, 1]);
    }

    #[tokio::test]
    async fn a_stale_append_conflicts_and_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&directory.path().join("store.redb")).unwrap();
        store.append(candidate(0, "a")).await.unwrap();
        let error = store.append(candidate(0, "b")).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { head: 1 }), "{error}");
        assert_eq!(&*store.head().borrow().as_ref().unwrap().text, "a");
    }

    #[tokio::test]
    async fn keeps_no_more_than_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&directory.path().join("store.redb")).unwrap();
        for number in 0..REVISIONS_MAX + 3 {
            store.append_now(&candidate(number, "x")).unwrap();
        }
        let kept = store.revisions().await.unwrap();
        assert_eq!(kept.len() as u64, REVISIONS_MAX);
        assert_eq!(kept[0].number, REVISIONS_MAX + 3);
    }
}
