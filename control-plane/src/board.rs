//! The membership of every service as nodes are told it: one line per service, with the generation
//! in which it last changed. A node's stream reads what is newer than it has sent; there is no
//! queue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use weir_config::endpoint::Endpoint;
use weir_protocol::{Membership, Update};

/// Who serves what, now.
#[derive(Debug)]
pub struct Board {
    services: Mutex<BTreeMap<String, Entry>>,
    generation: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    generation: u64,
    endpoints: Arc<[Endpoint]>,
    line: Arc<str>,
}

impl Default for Board {
    fn default() -> Self {
        let (generation, _) = watch::channel(0);
        Board {
            services: Mutex::default(),
            generation,
        }
    }
}

impl Board {
    /// Writes down a service's endpoints; does nothing when they are the same as before.
    pub fn put(&self, service: &str, endpoints: Vec<Endpoint>) {
        let mut services = self.lock();
        let same = |entry: &Entry| *entry.endpoints == *endpoints;
        if services.get(service).is_some_and(same) {
            return;
        }
        let endpoints: Arc<[Endpoint]> = endpoints.into();
        let update = Update::Membership(Membership {
            service: service.to_owned(),
            endpoints: endpoints.to_vec(),
        });
        let generation = *self.generation.borrow() + 1;
        let line = crate::stream::line(&update);
        services.insert(
            service.to_owned(),
            Entry {
                generation,
                endpoints,
                line,
            },
        );
        drop(services);
        self.generation.send_replace(generation);
    }

    /// Forgets services that no document names any more.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lock().retain(|service, _| keep(service));
    }

    /// Changes with every change of a membership.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// The lines that changed after `generation`, and the generation now.
    #[must_use]
    pub fn since(&self, generation: u64) -> (Vec<Arc<str>>, u64) {
        let services = self.lock();
        let lines = services
            .values()
            .filter(|entry| entry.generation > generation)
            .map(|entry| Arc::clone(&entry.line))
            .collect();
        let now = services
            .values()
            .map(|entry| entry.generation)
            .max()
            .unwrap_or(generation);
        (lines, now.max(generation))
    }

    /// Every service and its endpoints.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Arc<[Endpoint]>> {
        let entries = self.lock();
        entries
            .iter()
            .map(|(name, entry)| (name.clone(), Arc::clone(&entry.endpoints)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_told() {
        let board = Board::default();
        board.put("users", vec![Endpoint::plain("127.0.0.1:1")]);
        board.put("orders", vec![Endpoint::plain("127.0.0.1:2")]);
        let (lines, seen) = board.since(0);
        assert_eq!(lines.len(), 2);
        board.put("users", vec![Endpoint::plain("127.0.0.1:1")]);
        assert_eq!(board.since(seen).0.len(), 0, "the same again is no change");
        board.put("users", Vec::new());
        let (lines, _) = board.since(seen);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("\"users\""));
    }
}
