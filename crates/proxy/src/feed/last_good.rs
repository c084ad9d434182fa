//! The copy of the last good configuration and memberships, from which a proxy starts while its
//! control plane is away.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use weir_protocol::{LINE_BYTES_MAX, Membership, Revision};

use super::file::digest_of;
use crate::memberships::Memberships;
use crate::node::state_dir::{StateDir, StateDirError};
use crate::store::{Candidate, Store};

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGood {
    /// The document.
    pub revision: Revision,
    /// Who served what when it was written.
    pub memberships: Vec<Membership>,
}

/// Why a copy is not used.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// Its text does not have the digest that it was written with.
    #[error("the last good copy is damaged: its digest differs")]
    Damaged,
    /// It is not JSON of this shape.
    #[error("the last good copy is not readable: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateDirError),
}

impl LastGood {
    /// Reads the copy; `None` when there is none.
    ///
    /// # Errors
    /// A copy that cannot be trusted to be what was in force.
    pub fn load(state: &StateDir) -> Result<Option<Self>, LastGoodError> {
        let Some(text) = state.read(FILE, BYTES_MAX)? else {
            return Ok(None);
        };
        let copy: Self = serde_json::from_slice(&text)?;
        if digest_of(&copy.revision.text) != copy.revision.digest {
            return Err(LastGoodError::Damaged);
        }
        Ok(Some(copy))
    }

    /// Writes the copy, whole or not at all.
    ///
    /// # Errors
    /// What the system says; the copy before stays.
    pub fn save(&self, state: &StateDir) -> Result<(), LastGoodError> {
        Ok(state.write(FILE, &serde_json::to_vec(self)?)?)
    }

    /// The document, to be put in force.
    #[must_use]
    pub fn candidate(&self) -> Candidate {
        Candidate {
            text: self.revision.text.as_str().into(),
            label: self.revision.number.to_string().into(),
            number: self.revision.number,
        }
    }
}

/// Writes a copy whenever document or memberships changed, for as long as the process lives.
pub async fn keep(state: StateDir, store: Arc<Store>, memberships: Arc<Memberships>) {
    let mut documents = store.changes();
    let mut written: Option<LastGood> = None;
    loop {
        let current = documents.borrow_and_update().clone();
        if let Some(current) = current.filter(|current| current.candidate.number > 0) {
            let text = current.candidate.text.to_string();
            let copy = LastGood {
                revision: Revision {
                    number: current.candidate.number,
                    digest: digest_of(&text),
                    text,
                },
                memberships: all(&memberships),
            };
            if written.as_ref() != Some(&copy) {
                written = save(&state, copy).await;
            }
        }
        tokio::select! {
            changed = documents.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = memberships.told_changed() => {}
        }
        // Memberships change in bursts.
        sleep(SETTLE).await;
    }
}

async fn save(state: &StateDir, copy: LastGood) -> Option<LastGood> {
    let state = state.clone();
    let saved = tokio::task::spawn_blocking(move || copy.save(&state).map(|()| copy)).await;
    match saved {
        Ok(Ok(copy)) => Some(copy),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the last good configuration cannot be kept");
            None
        }
        Err(_) => None,
    }
}

fn all(memberships: &Memberships) -> Vec<Membership> {
    let told = memberships.all_told();
    told.into_iter()
        .map(|(service, endpoints)| Membership {
            service,
            endpoints: endpoints.to_vec(),
        })
        .collect()
}

const FILE: &str = "last-good.json";
/// A document at its bound and memberships of the same size.
const BYTES_MAX: u64 = 2 * LINE_BYTES_MAX as u64;
const SETTLE: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use weir_config::endpoint::Endpoint;

    use super::*;

    #[test]
    fn a_copy_comes_back_and_a_damaged_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::at(directory.path());
        assert!(LastGood::load(&state).unwrap().is_none());
        let text = "services: {}\n".to_owned();
        let endpoints = vec![Endpoint::plain("127.0.0.1:1")];
        let copy = LastGood {
            revision: Revision {
                number: 7,
                digest: digest_of(&text),
                text,
            },
            memberships: vec![Membership {
                service: "users".into(),
                endpoints,
            }],
        };
        copy.save(&state).unwrap();
        assert_eq!(LastGood::load(&state).unwrap().as_ref(), Some(&copy));
        assert_eq!(&*copy.candidate().label, "7");

        let mut damaged = copy.clone();
        damaged.revision.text.push('#');
        damaged.save(&state).unwrap();
        assert!(matches!(
            LastGood::load(&state),
            Err(LastGoodError::Damaged)
        ));
        state.write(FILE, b"{").unwrap();
        assert!(matches!(
            LastGood::load(&state),
            Err(LastGoodError::Malformed(_))
        ));
    }
}
