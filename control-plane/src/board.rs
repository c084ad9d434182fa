//! The membership of every service as nodes are told it, with the generation in which it last
//! changed. A node's stream reads what is newer than it has sent; there is no queue.
//!
//! A change is written down first ([`Board::put`]) and told later ([`Board::publish`]), together
//! with those that were made meanwhile: one generation. What is told is encoded once, and all
//! streams send the same bytes: the endpoints that changed, where that is less, to nodes that have
//! the generation before; whole memberships to those that have not, or that take no changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;
use weir_config::endpoint::Endpoint;
use weir_protocol::{Membership, MembershipChange, Update};

/// Who serves what, now.
#[derive(Debug)]
pub struct Board {
    state: Mutex<State>,
    generation: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    /// What nodes are told.
    told: BTreeMap<String, Entry>,
    /// What the next generation changes; never what is told already.
    pending: BTreeMap<String, Arc<[Endpoint]>>,
    /// From the generation before to this one: what nearly every stream asks for.
    step: Bytes,
    /// The same in whole memberships.
    whole_step: Bytes,
    /// All lines, for nodes that connect; made for the first of them.
    whole: Option<Bytes>,
}

#[derive(Debug)]
struct Entry {
    generation: u64,
    endpoints: Arc<[Endpoint]>,
    line: Bytes,
}

impl Default for Board {
    fn default() -> Self {
        let (generation, _) = watch::channel(0);
        Board {
            state: Mutex::default(),
            generation,
        }
    }
}

impl Board {
    /// Writes down a service's endpoints, in any order, for the next generation. The same as are
    /// told are no change, and take back one that was not told yet.
    pub fn put(&self, service: &str, mut endpoints: Vec<Endpoint>) {
        endpoints.sort_unstable();
        let mut state = self.lock();
        let told = state.told.get(service);
        if told.is_some_and(|entry| *entry.endpoints == *endpoints) {
            state.pending.remove(service);
        } else {
            state.pending.insert(service.to_owned(), endpoints.into());
        }
    }

    /// Whether anything waits for the next generation.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.lock().pending.is_empty()
    }

    /// Tells what was written down since the last time as one generation; `false` when there is
    /// nothing to tell.
    pub fn publish(&self) -> bool {
        let mut state = self.lock();
        let pending = std::mem::take(&mut state.pending);
        if pending.is_empty() {
            return false;
        }
        let generation = state.generation + 1;
        let (mut lines, mut whole_lines) = (Vec::new(), Vec::new());
        for (service, endpoints) in pending {
            let line = crate::stream::line(&Update::Membership(Membership {
                service: service.clone(),
                endpoints: endpoints.to_vec(),
            }));
            let before = state.told.get(&service);
            let change = before.and_then(|it| change(&service, &it.endpoints, &endpoints));
            let shorter = change.filter(|change| change.len() < line.len());
            lines.push(shorter.unwrap_or_else(|| line.clone()));
            whole_lines.push(line.clone());
            let entry = Entry {
                generation,
                endpoints,
                line,
            };
            state.told.insert(service, entry);
        }
        state.generation = generation;
        state.step = joined(&lines);
        state.whole_step = joined(&whole_lines);
        state.whole = None;
        drop(state);
        self.generation.send_replace(generation);
        true
    }

    /// Forgets services that no document names any more.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut state = self.lock();
        state.told.retain(|service, _| keep(service));
        state.pending.retain(|service, _| keep(service));
        state.whole = None;
    }

    /// Changes with every generation.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// The lines that lead from `generation` (0: nothing) to the newest one, and that one.
    #[must_use]
    pub fn since(&self, generation: u64, takes_changes: bool) -> (Bytes, u64) {
        let mut state = self.lock();
        let newest = state.generation;
        if generation == newest {
            return (Bytes::new(), newest);
        }
        if generation == 0 {
            let whole = match &state.whole {
                Some(whole) => whole.clone(),
                None => joined(state.told.values().map(|entry| &entry.line)),
            };
            state.whole = Some(whole.clone());
            return (whole, newest);
        }
        if generation + 1 == newest {
            let step = match takes_changes {
                true => &state.step,
                false => &state.whole_step,
            };
            return (step.clone(), newest);
        }
        // A slow node: it gets each service at most once, however often it changed.
        let changed = |entry: &&Entry| entry.generation > generation;
        let entries = state.told.values().filter(changed);
        (joined(entries.map(|entry| &entry.line)), newest)
    }

    /// Every service and its endpoints, as nodes are told.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Arc<[Endpoint]>> {
        let state = self.lock();
        let told = state.told.iter();
        told.map(|(name, entry)| (name.clone(), Arc::clone(&entry.endpoints)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What changed, as a line; `None` where only the whole membership says it.
fn change(service: &str, before: &[Endpoint], after: &[Endpoint]) -> Option<Bytes> {
    let change = MembershipChange::between(service, before, after)?;
    Some(crate::stream::line(&Update::MembershipChange(change)))
}

/// Lines one after the other; a single one is not copied.
fn joined<'a>(lines: impl IntoIterator<Item = &'a Bytes>) -> Bytes {
    let lines: Vec<&Bytes> = lines.into_iter().collect();
    match lines.as_slice() {
        [line] => (*line).clone(),
        lines => {
            let length = lines.iter().map(|line| line.len()).sum();
            let mut all = Vec::with_capacity(length);
            for line in lines {
                all.extend_from_slice(line);
            }
            all.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Vec<Endpoint> {
        vec![Endpoint::plain(format!("127.0.0.1:{port}"))]
    }

    /// The services of lines, in order.
    fn services(lines: &Bytes) -> Vec<String> {
        let lines = lines.split(|byte| *byte == b'\n');
        lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .map(|update| match update {
                Update::Membership(membership) => membership.service,
                Update::MembershipChange(change) => change.service,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn told(board: &Board, service: &str, port: u16) {
        board.put(service, at(port));
        assert!(board.publish());
    }

    #[test]
    fn only_changes_are_told() {
        let board = Board::default();
        board.put("users", at(1));
        board.put("orders", at(2));
        assert!(board.publish());
        let (lines, seen) = board.since(0, true);
        assert_eq!(services(&lines), ["orders", "users"]);
        board.put("users", at(1));
        assert!(!board.publish(), "the same again is no change");
        assert!(board.since(seen, true).0.is_empty());
        board.put("users", Vec::new());
        assert!(board.publish());
        let (lines, _) = board.since(seen, true);
        assert_eq!(services(&lines), ["users"]);
    }

    #[test]
    fn nothing_is_told_before_it_is_published_and_nothing_is_lost() {
        let board = Board::default();
        told(&board, "users", 1);
        let (_, seen) = board.since(0, true);
        board.put("users", at(2));
        board.put("orders", at(3));
        assert!(board.has_pending());
        assert!(board.since(seen, true).0.is_empty());
        // A node that connects now has what is told, and gets the rest with everybody.
        let (lines, joined) = board.since(0, true);
        assert_eq!(services(&lines), ["users"]);
        assert!(board.publish());
        assert!(!board.has_pending());
        for before in [seen, joined] {
            assert_eq!(services(&board.since(before, true).0), ["orders", "users"]);
        }
    }

    #[test]
    fn what_was_taken_back_in_time_is_not_told() {
        let board = Board::default();
        told(&board, "users", 1);
        board.put("users", Vec::new());
        board.put("users", at(1));
        assert!(!board.has_pending());
        assert!(!board.publish());
    }

    #[test]
    fn all_streams_get_the_same_bytes() {
        let board = Board::default();
        told(&board, "users", 1);
        told(&board, "orders", 2);
        board.put("users", at(3));
        board.put("orders", at(4));
        assert!(board.publish());
        for before in [0, 2] {
            let (one, other) = (board.since(before, true).0, board.since(before, true).0);
            assert_eq!(services(&one), ["orders", "users"]);
            assert_eq!(one.as_ptr(), other.as_ptr(), "after generation {before}");
        }
    }

    #[test]
    fn a_slow_node_gets_each_service_once_and_the_newest() {
        let board = Board::default();
        told(&board, "users", 1);
        told(&board, "orders", 2);
        let (_, seen) = board.since(0, true);
        for port in 3..9 {
            told(&board, "users", port);
        }
        let (lines, now) = board.since(seen, true);
        assert_eq!(services(&lines), ["users"]);
        assert!(String::from_utf8_lossy(&lines).contains("127.0.0.1:8"));
        assert!(board.since(now, true).0.is_empty());
    }

    #[test]
    fn forgotten_services_are_told_to_nobody_who_connects() {
        let board = Board::default();
        told(&board, "users", 1);
        told(&board, "orders", 2);
        assert_eq!(services(&board.since(0, true).0), ["orders", "users"]);
        board.put("users", at(3));
        board.retain(|service| service == "orders");
        assert!(!board.has_pending());
        assert_eq!(services(&board.since(0, true).0), ["orders"]);
        // It is told again when it comes back as it was.
        let (_, seen) = board.since(0, true);
        told(&board, "users", 1);
        assert_eq!(services(&board.since(seen, true).0), ["users"]);
    }

    /// Ten members of a service, but for one.
    fn nine(but: u16) -> Vec<Endpoint> {
        let ports = (10..20).filter(|port| *port != but);
        ports.flat_map(at).collect()
    }

    #[test]
    fn a_node_has_the_same_whichever_way_it_was_told() {
        let board = Board::default();
        board.put("users", nine(10));
        assert!(board.publish());
        let (whole, seen) = board.since(0, true);
        assert_eq!(membership(&whole), nine(10));
        for but in [15, 11, 19] {
            let mut next = nine(but);
            next.reverse();
            board.put("users", next);
            assert!(board.publish());
        }
        // Three generations behind: whole. One behind: the change, which is shorter.
        let (late, now) = board.since(seen, true);
        assert_eq!(membership(&late), nine(19));
        let (step, _) = board.since(now - 1, true);
        let (whole_step, _) = board.since(now - 1, false);
        assert!(step.len() * 2 < whole_step.len());
        assert_eq!(membership(&whole_step), nine(19));
        let Ok(Update::MembershipChange(change)) = serde_json::from_slice(&step) else {
            panic!("{step:?}");
        };
        assert_eq!(
            change.clone().applied(&nine(10)),
            None,
            "it stands on another"
        );
        assert_eq!(change.applied(&nine(11)), Some(nine(19)));
    }

    #[test]
    fn what_is_new_or_came_back_is_told_whole() {
        let board = Board::default();
        board.put("orders", nine(10));
        assert!(board.publish());
        let (_, seen) = board.since(0, true);
        board.put("users", nine(10));
        assert!(board.publish());
        let (step, seen) = board.since(seen, true);
        assert_eq!(membership(&step), nine(10));
        board.retain(|service| service == "orders");
        board.put("users", nine(11));
        assert!(board.publish());
        assert_eq!(membership(&board.since(seen, true).0), nine(11));
    }

    fn membership(line: &Bytes) -> Vec<Endpoint> {
        match serde_json::from_slice(line) {
            Ok(Update::Membership(membership)) => membership.endpoints,
            other => panic!("{other:?}"),
        }
    }
}
