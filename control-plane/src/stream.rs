//! A node's stream: JSON lines of [`Update`]s, pulled from what is current. A slow node skips what
//! was superseded meanwhile; nothing is queued for it. What goes to all nodes is encoded once.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use weir_protocol::{NodeHello, PING_INTERVAL, RevisionNumber, Update};

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
    takes_changes: bool,
    ping: Interval,
    /// Counts the node as connected while the stream lives.
    _presence: Presence,
}

/// The body of a node's stream. Begins with the bundle, the memberships and, when the node runs
/// another, the newest revision.
pub fn updates(
    sources: Sources,
    hello: &NodeHello,
    presence: Presence,
) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
    let mut ping = tokio::time::interval(PING_INTERVAL);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let changes = sources.board.changes();
    let mut state = State {
        sources,
        changes,
        seen: 0,
        sent: hello.running,
        takes_changes: hello.takes_changes,
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
                    let (lines, seen) = self.sources.board.since(self.seen, self.takes_changes);
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
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;
    use std::pin::Pin;

    use futures_util::{FutureExt as _, StreamExt as _};
    use weir_config::endpoint::Endpoint;
    use weir_protocol::Role;

    use super::*;
    use crate::nodes::Nodes;
    use crate::store::RevisionInfo;

    type Lines = Pin<Box<dyn Stream<Item = Result<Bytes, Infallible>>>>;

    /// A proxy that reads now and then.
    struct Reader {
        lines: Lines,
        known: BTreeMap<String, Vec<Endpoint>>,
        /// Changes and memberships so far.
        heard: [usize; 2],
    }

    impl Reader {
        fn open(sources: &Sources, nodes: &Arc<Nodes>, name: &str, takes_changes: bool) -> Reader {
            let hello = NodeHello {
                node: name.to_owned(),
                role: Role::Gateway,
                service: None,
                version: "1".to_owned(),
                running: 0,
                takes_changes,
            };
            let presence = nodes.connect(&hello, "id", 0).unwrap();
            Reader {
                lines: Box::pin(updates(sources.clone(), &hello, presence)),
                known: BTreeMap::new(),
                heard: [0, 0],
            }
        }

        /// Reads everything that is there.
        fn read(&mut self) {
            // A task that never waits would be made to yield after a while.
            let mut next = || tokio::task::unconstrained(self.lines.next()).now_or_never();
            let chunks: Vec<Bytes> =
                std::iter::from_fn(|| Some(next()?.unwrap().unwrap())).collect();
            for chunk in chunks {
                for line in chunk.split_inclusive(|byte| *byte == b'\n') {
                    self.take(serde_json::from_slice(line).unwrap());
                }
            }
        }

        fn take(&mut self, update: Update) {
            match update {
                Update::Membership(told) => {
                    self.heard[1] += 1;
                    self.known.insert(told.service, told.endpoints);
                }
                Update::MembershipChange(change) => {
                    self.heard[0] += 1;
                    let known = self.known.entry(change.service.clone()).or_default();
                    *known = change.applied(known).unwrap();
                }
                Update::Bundle { .. } | Update::Ping | Update::Revision(_) => {}
            }
        }
    }

    /// Numbers that look random and are the same each time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
            self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }

        fn members(&mut self) -> Vec<Endpoint> {
            let all = (0..12).map(|port| Endpoint::plain(format!("127.0.0.1:{port}")));
            let mut members: Vec<Endpoint> = all.filter(|_| self.below(4) > 0).collect();
            for member in &mut members {
                member.healthy = self.below(8) > 0;
            }
            members
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_node_loses_a_change_however_it_reads() {
        for seed in 0..50 {
            let mut numbers = Numbers(seed);
            let (nodes, board) = (Arc::new(Nodes::default()), Arc::new(Board::default()));
            let (_head, head) = watch::channel(None);
            let (_bundle, bundle) = watch::channel(Arc::from("roots"));
            let (_end, ending) = watch::channel(false);
            let sources = Sources {
                head,
                bundle,
                encoded: Arc::default(),
                board: Arc::clone(&board),
                ending,
            };
            let mut readers: Vec<Reader> = Vec::new();
            for step in 0..200 {
                match numbers.below(10) {
                    0..4 => {
                        let service = format!("s{}", numbers.below(3));
                        board.put(&service, numbers.members());
                    }
                    4..6 => _ = board.publish(),
                    6 if numbers.below(10) == 0 => {
                        let gone = format!("s{}", numbers.below(3));
                        board.retain(|service| service != gone);
                    }
                    7 if readers.len() < 8 => {
                        let name = format!("node-{step}");
                        let takes_changes = !readers.len().is_multiple_of(3);
                        readers.push(Reader::open(&sources, &nodes, &name, takes_changes));
                    }
                    _ if readers.is_empty() => {}
                    _ => {
                        let index = numbers.below(readers.len() as u64);
                        readers[usize::try_from(index).unwrap()].read();
                    }
                }
            }
            board.publish();
            for (index, reader) in readers.iter_mut().enumerate() {
                reader.read();
                for (service, told) in board.all() {
                    let known = &reader.known[&service];
                    assert_eq!(
                        known[..],
                        told[..],
                        "seed {seed}, reader {index}, {service}"
                    );
                }
                let [changes, _] = reader.heard;
                assert!(
                    !index.is_multiple_of(3) || changes == 0,
                    "seed {seed}: it takes none"
                );
            }
            let changes: usize = readers.iter().map(|reader| reader.heard[0]).sum();
            assert!(changes > 0, "seed {seed}: nobody was told a change");
        }
    }

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
