//! Fetches under way: who asks for the same meanwhile waits for what comes of it.
//!
//! A fetch has one leader. It says what came of it as soon as it knows: an answer that is not
//! stored lets everybody go with its head, so that nobody queues behind one. A leader that is
//! dropped without a word (its client went away before the head) lets the next one lead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use weir_config::bounds::CACHE_WAITERS_MAX;

/// What came of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// The answer is not stored: each for itself.
    Apart,
    /// The service failed: what is stale may have to do.
    Failed,
    /// Not known yet.
    Fetching,
    /// The answer is stored.
    Stored,
}

/// The part of a request in a fetch.
#[derive(Debug)]
pub(super) enum Part {
    /// It goes by itself.
    Alone,
    /// It fetches, for itself and for all that wait.
    Lead(Lead),
    /// Another one fetches the same.
    Wait(watch::Receiver<News>),
}

type Fetches = HashMap<Box<str>, Arc<watch::Sender<News>>>;

/// All fetches under way, in shards by name.
#[derive(Debug)]
pub(super) struct Flights {
    shards: [Mutex<Fetches>; SHARDS],
    hasher: foldhash::fast::RandomState,
}

impl Default for Flights {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: foldhash::fast::RandomState::default(),
        }
    }
}

impl Flights {
    /// Joins the fetch of this name, or begins it.
    pub(super) fn join(self: &Arc<Self>, name: &str) -> Part {
        let mut fetches = self.shard(name);
        if let Some(fetch) = fetches.get(name) {
            return match fetch.receiver_count() < CACHE_WAITERS_MAX {
                true => Part::Wait(fetch.subscribe()),
                false => Part::Alone,
            };
        }
        let news = Arc::new(watch::Sender::new(News::Fetching));
        fetches.insert(name.into(), Arc::clone(&news));
        drop(fetches);
        Part::Lead(Lead {
            flights: Arc::clone(self),
            name: name.into(),
            news,
        })
    }

    fn shard(&self, name: &str) -> MutexGuard<'_, Fetches> {
        use std::hash::BuildHasher as _;
        let shard = self.hasher.hash_one(name) as usize % SHARDS;
        // Every change under the lock is one insertion or removal.
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The leader's part of a fetch.
#[derive(Debug)]
pub(super) struct Lead {
    flights: Arc<Flights>,
    name: Box<str>,
    news: Arc<watch::Sender<News>>,
}

impl Lead {
    /// Says what came of it; says whether anybody waited for it.
    pub(super) fn end(self, news: News) -> bool {
        self.news.send_replace(news);
        self.news.receiver_count() > 0
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // Before the last sender goes: who wakes up must be able to begin anew.
        self.flights.shard(&self.name).remove(&self.name);
    }
}

const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leads_and_the_others_wait_until_it_ends() {
        let flights = Arc::new(Flights::default());
        let Part::Lead(lead) = flights.join("a") else {
            panic!("the first leads");
        };
        let Part::Wait(news) = flights.join("a") else {
            panic!("the second waits");
        };
        assert!(matches!(flights.join("b"), Part::Lead(_)));
        assert_eq!(*news.borrow(), News::Fetching);
        assert!(lead.end(News::Stored));
        assert_eq!(*news.borrow(), News::Stored);
        assert!(matches!(flights.join("a"), Part::Lead(_)));
    }

    #[test]
    fn a_leader_that_goes_lets_another_lead() {
        let flights = Arc::new(Flights::default());
        let lead = flights.join("a");
        let Part::Wait(news) = flights.join("a") else {
            panic!("the second waits");
        };
        drop(lead);
        assert!(news.has_changed().is_err(), "the waiting learn of it");
        assert!(matches!(flights.join("a"), Part::Lead(_)));
    }

    #[test]
    fn so_many_wait_and_the_next_goes_alone() {
        let flights = Arc::new(Flights::default());
        let _lead = flights.join("a");
        let waiting: Vec<_> = (0..CACHE_WAITERS_MAX).map(|_| flights.join("a")).collect();
        assert!(waiting.iter().all(|part| matches!(part, Part::Wait(_))));
        assert!(matches!(flights.join("a"), Part::Alone));
    }
}
