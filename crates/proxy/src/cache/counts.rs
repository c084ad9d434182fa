//! What the cache counts.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use weir_telemetry::sharded::Counter;
use weir_telemetry::{Registry, names};

/// What became of a request that visited the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did not ask the cache (its method, its preconditions).
    Bypass,
    /// It got what another request had fetched meanwhile.
    Collapsed,
    /// It got a fresh stored answer.
    Hit,
    /// Nothing stored would do.
    Miss,
    /// The service said that what is stored still holds.
    Revalidated,
    /// It got a stale stored answer.
    Stale,
}

/// What became of one request, as far as that is known: shared with who writes it down.
pub(crate) type Told = Rc<Cell<Option<Outcome>>>;

impl Outcome {
    const ALL: [Outcome; 6] = [
        Outcome::Bypass,
        Outcome::Collapsed,
        Outcome::Hit,
        Outcome::Miss,
        Outcome::Revalidated,
        Outcome::Stale,
    ];

    /// Its label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Outcome::Bypass => "bypass",
            Outcome::Collapsed => "collapsed",
            Outcome::Hit => "hit",
            Outcome::Miss => "miss",
            Outcome::Revalidated => "revalidated",
            Outcome::Stale => "stale",
        }
    }
}

/// Handles to the counters.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    outcomes: [Arc<Counter>; 6],
    pub(super) stored: Arc<Counter>,
    pub(super) evicted: Arc<Counter>,
    pub(super) removed: Arc<Counter>,
}

impl Counts {
    pub(super) fn new(registry: &Registry) -> Self {
        let family = registry.family(&names::CACHE_REQUESTS);
        Self {
            outcomes: Outcome::ALL.map(|outcome| family.with(&[outcome.label()])),
            stored: registry.single(&names::CACHE_STORED),
            evicted: registry.single(&names::CACHE_EVICTED),
            removed: registry.single(&names::CACHE_REMOVED),
        }
    }

    pub(super) fn request(&self, worker: usize, outcome: Outcome) {
        self.outcomes[outcome as usize].add(worker, 1);
    }

    /// So many requests with each outcome.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let outcomes = Outcome::ALL.into_iter().zip(&self.outcomes);
        outcomes.map(|(outcome, count)| (outcome.label(), count.value()))
    }
}
