//! A node's stream: JSON lines of [`Update`]s, pulled from what is current. A slow node skips what
//! was superseded meanwhile; nothing is queued for it. What goes to all nodes is encoded once.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use weir_protocol::{PING_INTERVAL, RevisionNumber, Update};

use crate::board::Board;
use crate::nodes::Presence;
use crate::store::Stored;

/// What a stream reads from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The newest revision.
    pub head: watch::Receiver<Option<Arc<Stored>>>,
    /// The roots to trust, PEM.
    pub bundle: watch::Receiver<Arc<str>>,
    /// That revision as it is sent.
    pub encoded: Arc<Encoded>,
    /// Memberships.
    pub board: Arc<Board>,
    /// True when the control plane ends.
    pub ending: watch::Receiver<bool>,
}

/// The revision that was sent last, as a line that all streams share: a document may have
/// megabytes.
#[derive(Debug, Default)]
pub struct Encoded(Mutex<Option<(Arc<Stored>, Bytes)>>);

impl Encoded {
    /// The line of this revision.
    fn line(&self, stored: &Arc<Stored>) -> Bytes {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, line)) = last.as_ref().filter(|(of, _)| Arc::ptr_eq(of, stored)) {
            return line.clone();
        }
        let line = line(&Update::Revision(stored.revision()));
        *last = Some((Arc::clone(stored), line.clone()));
        line
    }
}

struct State {
    sources: Sources,
    changes: watch::Receiver<u64>,
    seen: u64,
    sent: RevisionNumber,
    ping: Interval,
    /// Counts the node as connected while the stream lives.
    _presence: Presence,
}

/// The body of a node's stream. Begins with the bundle, the memberships and, when the node runs
/// another, the newest revision.
pub fn updates(
    sources: Sources,
    running: RevisionNumber,
    presence: Presence,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let mut ping = tokio::time::interval(PING_INTERVAL);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let changes = sources.board.changes();
    let mut state = State {
        sources,
        changes,
        seen: 0,
        sent: running,
        ping,
        _presence: presence,
    };
    state.sources.bundle.mark_changed();
    state.sources.head.mark_changed();
    state.changes.mark_changed();
    futures_util::stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((Ok(chunk), state))
    })
}

impl State {
    /// The next lines; `None` when the control plane ends. Bundle before memberships before the
    /// revision, so that a node that starts has everything when it begins to run the document.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                changed = self.sources.ending.wait_for(|ending| *ending) => {
                    let _ = changed;
                    return None;
                }
                changed = self.sources.bundle.changed() => {
                    changed.ok()?;
                    let bundle_pem = self.sources.bundle.borrow_and_update().to_string();
                    return Some(line(&Update::Bundle { bundle_pem }));
                }
                changed = self.changes.changed() => {
                    changed.ok()?;
                    self.changes.borrow_and_update();
                    let (lines, seen) = self.sources.board.since(self.seen);
                    self.seen = seen;
                    if !lines.is_empty() {
                        return Some(lines);
                    }
                }
                changed = self.sources.head.changed() => {
                    changed.ok()?;
                    let head = self.sources.head.borrow_and_update().clone();
                    if let Some(stored) = head.filter(|stored| stored.info.number != self.sent) {
                        self.sent = stored.info.number;
                        return Some(self.sources.encoded.line(&stored));
                    }
                }
                _ = self.ping.tick() => return Some(line(&Update::Ping)),
            }
        }
    }
}

/// One update as a line.
#[must_use]
pub fn line(update: &Update) -> Bytes {
    // Only maps with keys that are no strings fail to serialize, and an update has none.
    let mut json = serde_json::to_vec(update).unwrap_or_default();
    json.push(b'\n');
    json.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RevisionInfo;

    fn stored(number: RevisionNumber) -> Arc<Stored> {
        let info = RevisionInfo {
            number,
            digest: "d".to_owned(),
            bytes: 4,
            accepted_unix: 0,
            author: None,
            rollback_to: None,
        };
        let text = "a: b".into();
        Arc::new(Stored { info, text })
    }

    #[test]
    fn a_revision_is_encoded_once_for_all_streams() {
        let encoded = Encoded::default();
        let (first, second) = (stored(1), stored(2));
        let line = encoded.line(&first);
        assert_eq!(encoded.line(&first).as_ptr(), line.as_ptr());
        let next = encoded.line(&second);
        assert_eq!(encoded.line(&second).as_ptr(), next.as_ptr());
        for (line, of) in [(line, first), (next, second)] {
            let update = serde_json::from_slice::<Update>(&line).ok();
            assert_eq!(update, Some(Update::Revision(of.revision())));
            assert_eq!(line.last(), Some(&b'\n'));
        }
    }
}
