//! Reads files that the document in force names again when they change, whatever feed it is from:
//! certificates, keys, OpenAPI documents.

use std::sync::Arc;

use weir_files::FileChanges;

use crate::store::Store;

/// Follows the files of the document in force for as long as the process lives.
pub async fn follow(store: Arc<Store>) {
    let mut documents = store.changes();
    loop {
        let files = documents
            .borrow_and_update()
            .as_ref()
            .map(|current| current.files.clone());
        let Some(files) = files.filter(|files| !files.is_empty()) else {
            if documents.changed().await.is_err() {
                return;
            }
            continue;
        };
        let mut changes = FileChanges::of(files);
        // What changed after the document's files were read and before they were watched.
        let _ = refresh(&store).await;
        loop {
            tokio::select! {
                changed = documents.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = documents.borrow_and_update().as_ref().map(|now| now.files.clone());
                    if now.as_deref() != Some(changes.files()) {
                        documents.mark_changed();
                        break;
                    }
                }
                () = changes.changed() => {
                    if refresh(&store).await {
                        tracing::info!("certificates and keys read again");
                    }
                }
            }
        }
    }
}

/// Whether they could be read.
async fn refresh(store: &Store) -> bool {
    let read = store.refresh_files().await;
    if let Err(errors) = &read {
        tracing::error!(%errors, "changed files refused, the old stay in use");
    }
    read.is_ok()
}
