//! A node's stream: JSON lines of [`Update`]s, pulled from what is current. A slow node skips what
//! was superseded meanwhile; nothing is queued for it.

use std::convert::Infallible;
use std::sync::Arc;

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
    /// Memberships.
    pub board: Arc<Board>,
    /// True when the control plane ends.
    pub ending: watch::Receiver<bool>,
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
                    return Some(bytes(&line(&Update::Bundle { bundle_pem })));
                }
                changed = self.changes.changed() => {
                    changed.ok()?;
                    self.changes.borrow_and_update();
                    let (lines, seen) = self.sources.board.since(self.seen);
                    self.seen = seen;
                    if !lines.is_empty() {
                        return Some(Bytes::from(lines.concat()));
                    }
                }
                changed = self.sources.head.changed() => {
                    changed.ok()?;
                    let head = self.sources.head.borrow_and_update().clone();
                    if let Some(stored) = head.filter(|stored| stored.info.number != self.sent) {
                        self.sent = stored.info.number;
                        return Some(bytes(&line(&Update::Revision(stored.revision()))));
                    }
                }
                _ = self.ping.tick() => return Some(bytes(&line(&Update::Ping))),
            }
        }
    }
}

/// One update as a line.
#[must_use]
pub fn line(update: &Update) -> Arc<str> {
    // Only maps with keys that are no strings fail to serialize, and an update has none.
    let mut json = serde_json::to_string(update).unwrap_or_default();
    json.push('\n');
    json.into()
}

fn bytes(line: &str) -> Bytes {
    Bytes::copy_from_slice(line.as_bytes())
}
