//! `file: path`: a YAML or JSON list of endpoints, read again whenever it changes.
//!
//! A slow poll stands behind the watcher for what it cannot see (network file systems, files that
//! may be read again without a change of content) and keeps the age of the list young.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use weir_config::bounds::DOCUMENT_BYTES_MAX;
use weir_config::endpoint::Endpoint;
use weir_files::FileChanges;

use crate::backoff::Backoff;
use crate::error::Error;
use crate::watch::{self, Publisher, Watch};

/// How often the file is read without being told of a change.
const POLL: Duration = Duration::from_secs(10);
/// Waits while the file cannot be read: soon at first, because it is often about to be written.
const RETRY_FLOOR: Duration = Duration::from_millis(100);
const RETRY_CEILING: Duration = Duration::from_secs(10);

/// Follows the list in `path`.
pub(crate) fn watch(path: &Path) -> Watch {
    let (publisher, watch) = watch::channel(path.display().to_string());
    let path = path.to_owned();
    publisher.run_while_watched(|publisher| follow(path, publisher));
    watch
}

async fn follow(path: PathBuf, publisher: Arc<Publisher>) {
    // Watched before the file is read, or a change in between is missed.
    let mut changes = FileChanges::of(vec![path.clone()]);
    let mut backoff = Backoff::new(RETRY_FLOOR, RETRY_CEILING);
    loop {
        let read = read(&path).await;
        let is_unreadable = matches!(read, Err(Error::File { .. }));
        match read {
            Ok(endpoints) => publisher.publish(endpoints),
            Err(error) => publisher.fail(error),
        }
        let wait = if is_unreadable {
            backoff.next(rand::random())
        } else {
            backoff.reset();
            POLL
        };
        let _changed_or_time = tokio::time::timeout(wait, changes.changed()).await;
    }
}

async fn read(path: &Path) -> Result<Vec<Endpoint>, Error> {
    let failed = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    let bound = DOCUMENT_BYTES_MAX as u64 + 1;
    file.take(bound)
        .read_to_end(&mut bytes)
        .await
        .map_err(failed)?;
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(Error::FileText {
            path: path.to_owned(),
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::FileText {
        path: path.to_owned(),
    })?;
    Endpoint::list_from_yaml(&text).map_err(|errors| Error::FileFormat {
        path: path.to_owned(),
        errors,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    async fn addresses(watch: &mut Watch) -> Vec<String> {
        let members = tokio::time::timeout(DEADLINE, watch.next())
            .await
            .unwrap()
            .unwrap();
        members
            .iter()
            .map(|endpoint| endpoint.address.clone())
            .collect()
    }

    async fn status_until(watch: &mut Watch, failing: bool) -> watch::Status {
        tokio::time::timeout(DEADLINE, async {
            loop {
                let status = watch.status();
                if status.last_error.is_some() == failing {
                    return status;
                }
                watch.status_changed().await.unwrap();
            }
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn follows_writes_and_replacements() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users.yaml");
        std::fs::write(&path, "- a:1\n").unwrap();
        let mut watch = watch(&path);
        assert_eq!(addresses(&mut watch).await, ["a:1"]);
        std::fs::write(&path, "- a:1\n- b:1\n").unwrap();
        assert_eq!(addresses(&mut watch).await, ["a:1", "b:1"]);
        let beside = directory.path().join("new");
        std::fs::write(&beside, "[\"c:1\"]").unwrap();
        std::fs::rename(&beside, &path).unwrap();
        assert_eq!(addresses(&mut watch).await, ["c:1"]);
    }

    #[tokio::test]
    async fn a_bad_file_keeps_the_last_good_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users.yaml");
        std::fs::write(&path, "- a:1\n").unwrap();
        let mut watch = watch(&path);
        assert_eq!(addresses(&mut watch).await, ["a:1"]);
        std::fs::write(&path, "- a\n").unwrap();
        let error = status_until(&mut watch, true).await.last_error.unwrap();
        assert!(matches!(&*error, Error::FileFormat { .. }), "{error}");
        assert!(error.to_string().contains("users.yaml: 1:"), "{error}");
        assert_eq!(watch.current().unwrap().len(), 1);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "- b:1\n").unwrap();
        assert_eq!(addresses(&mut watch).await, ["b:1"]);
        assert!(watch.status().last_error.is_none());
    }

    #[tokio::test]
    async fn waits_for_a_missing_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("later").join("users.yaml");
        let mut watch = watch(&path);
        status_until(&mut watch, true).await;
        assert!(watch.current().is_none());
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "- a:1\n").unwrap();
        assert_eq!(addresses(&mut watch).await, ["a:1"]);
        status_until(&mut watch, false).await;
    }

    #[tokio::test]
    async fn a_file_cut_short_is_not_an_empty_list() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users.json");
        let whole = r#"[{"address": "a:80", "labels": {"v": "1"}}, "b:80"]"#;
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let error = read(&path).await.unwrap_err();
            assert!(
                matches!(error, Error::FileFormat { .. }),
                "{:?}",
                &whole[..end]
            );
        }
        std::fs::write(&path, whole).unwrap();
        assert_eq!(read(&path).await.unwrap()[0].labels["v"], "1");
        std::fs::write(&path, "[]").unwrap();
        assert!(read(&path).await.unwrap().is_empty());
        std::fs::write(&path, [0xFF]).unwrap();
        assert!(matches!(
            read(&path).await.unwrap_err(),
            Error::FileText { .. }
        ));
    }
}
