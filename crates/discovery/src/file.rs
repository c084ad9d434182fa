//! `file: path`: a YAML or JSON list of endpoints, read again whenever it changes.
//!
//! The parent directory is watched, not the file: editors, atomic writers and mounted config maps
//! replace the file, and a watch on it would follow the old one to its grave. A slow poll stands
//! behind the watcher for what it cannot see (network file systems, links into other directories).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use weir_config::bounds::DOCUMENT_BYTES_MAX;
use weir_config::endpoint::Endpoint;

use crate::backoff::Backoff;
use crate::error::Error;
use crate::watch::{self, Publisher, Watch};

/// How long the directory must be quiet before the file is read: writers write in pieces.
const QUIET: Duration = Duration::from_millis(50);
/// The longest that a directory which is never quiet can put off reading.
const QUIET_MAX: Duration = Duration::from_millis(500);
/// How often the file is read without being told of a change.
const POLL: Duration = Duration::from_secs(10);
/// Waits while the file cannot be read: soon at first, because it is often about to be written.
const RETRY_FLOOR: Duration = Duration::from_millis(100);
const RETRY_CEILING: Duration = Duration::from_secs(10);
const _: () = assert!(QUIET.as_millis() < QUIET_MAX.as_millis());

/// Follows the list in `path`.
pub(crate) fn watch(path: &Path) -> Watch {
    let (publisher, watch) = watch::channel(path.display().to_string());
    let path = path.to_owned();
    publisher.run_while_watched(|publisher| follow(path, publisher));
    watch
}

async fn follow(path: PathBuf, publisher: Arc<Publisher>) {
    let changed = Arc::new(Notify::new());
    let mut watcher = None;
    let mut unwatched_told = false;
    let mut backoff = Backoff::new(RETRY_FLOOR, RETRY_CEILING);
    loop {
        // The watcher must stand before the file is read, or a change in between is missed.
        // Without one (too many watches, say) the file is still polled.
        if watcher.is_none() {
            match watch_directory(&path, Arc::clone(&changed)) {
                Ok(made) => watcher = Some(made),
                Err(error) if !unwatched_told => {
                    tracing::warn!(path = %path.display(), %error, "file polled, not watched");
                    unwatched_told = true;
                }
                Err(_) => {}
            }
        }
        match read(&path).await {
            Ok(endpoints) => publisher.publish(endpoints),
            Err(error) => {
                // The directory may have been replaced under the watcher: watch it anew.
                if matches!(error, Error::File { .. }) {
                    watcher = None;
                }
                publisher.fail(error);
            }
        }
        let wait = match watcher {
            Some(_) => {
                backoff.reset();
                POLL
            }
            None => backoff.next(rand::random()),
        };
        tokio::select! {
            () = changed.notified() => settle(&changed).await,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Returns when nothing has changed for a while.
async fn settle(changed: &Notify) {
    let quiet = async {
        while tokio::time::timeout(QUIET, changed.notified())
            .await
            .is_ok()
        {}
    };
    // Past the deadline the file is read as it is; a later change wakes us again.
    let _read_anyway = tokio::time::timeout(QUIET_MAX, quiet).await;
}

fn watch_directory(path: &Path, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error means events were lost: read to be sure.
        if event.as_ref().map_or(true, is_change) {
            changed.notify_one();
        }
    })?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Whether the event can mean new content; our own reading of the file is an event too.
fn is_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
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

    #[test]
    fn reading_is_not_a_change() {
        let kinds = [
            AccessKind::Open(AccessMode::Read),
            AccessKind::Close(AccessMode::Read),
        ];
        assert!(
            !kinds
                .into_iter()
                .any(|kind| is_change(&Event::new(EventKind::Access(kind))))
        );
    }
}
