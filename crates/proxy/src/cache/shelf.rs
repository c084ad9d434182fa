//! What is stored, within a bound of bytes, for all workers together.
//!
//! `quick_cache` (a relative of S3-FIFO and Clock-PRO: what is asked for once does not drive out
//! what is asked for often) holds one immutable [`Resource`] for each URL; storing another variant
//! replaces it. Readers take a shard's read lock for one look-up. Writers of a URL take turns on
//! its stripe, whose number also tells a fetch that began before an invalidation: what it brings
//! is not stored.

use std::hash::BuildHasher as _;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::{HeaderMap, StatusCode};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use weir_config::bounds::CACHE_VARIANTS_MAX;
use weir_policy::cache::{self, Freshness, Selecting};
use weir_policy::moment::Moment;
use weir_policy::snapshot::Snapshot;
use weir_telemetry::{Registry, names};

use super::counts::{Counts, Outcome};
use super::flights::{Flights, Part};

/// One stored answer.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) status: StatusCode,
    /// As the endpoint sent them, without what ends at a proxy.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) freshness: Freshness,
    pub(super) selecting: Selecting,
    /// Its route: another one may lead to something else by the same URL.
    pub(super) route: Arc<str>,
    pub(super) tags: Vec<Box<str>>,
}

impl Stored {
    /// What it takes of the bound.
    fn bytes(&self) -> u64 {
        let field = |name: usize, value: usize| name + value + FIELD_BYTES;
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| field(name.as_str().len(), value.len()));
        let selecting = self.selecting.iter();
        let selecting = selecting.map(|(name, value)| field(name.as_str().len(), value.len()));
        let tags = self.tags.iter().map(|tag| field(tag.len(), 0));
        let fields = headers.chain(selecting).chain(tags).sum::<usize>();
        (self.body.len() + fields + STORED_BYTES) as u64
    }
}

/// What is stored for one URL.
#[derive(Debug, Default)]
struct Resource {
    /// Newest first.
    variants: Vec<Arc<Stored>>,
    bytes: u64,
    /// Until when nobody waits for a fetch of it, since its answers are not stored; nanoseconds.
    apart_until: u64,
}

/// What was found for a request.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The answer that it selects.
    pub(super) held: Option<Arc<Stored>>,
    /// Whether there are any for this URL.
    pub(super) known: bool,
    /// Whether answers for this URL were not stored lately.
    pub(super) apart: bool,
}

/// What tells whether something was made invalid since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    stripe: u32,
    purges: u64,
}

/// What a purge removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// Everything.
    All,
    /// Every URL that begins with this.
    Prefix(String),
    /// Every URL of which an answer has this tag.
    Tag(String),
    /// This URL.
    Url(String),
}

impl Purge {
    /// By what it names: for logs, which hold no query strings.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Purge::All => "all",
            Purge::Prefix(_) => "prefix",
            Purge::Tag(_) => "tag",
            Purge::Url(_) => "url",
        }
    }
}

/// What the cache holds and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Bound, bytes; 0 while no route stores.
    pub bytes_max: u64,
    /// Stored, bytes, header fields included.
    pub bytes: u64,
    /// URLs stored.
    pub urls: u64,
    /// Requests by what became of them.
    pub requests: Vec<(&'static str, u64)>,
}

/// The response cache of a process. Empty and without cost until a route stores.
#[derive(Debug)]
pub struct Cache {
    shelf: OnceLock<Shelf>,
    bytes_max: AtomicU64,
    object_bytes_max: AtomicU64,
    /// Bytes of answers that are being received.
    filling: AtomicU64,
    purges: AtomicU64,
    counts: Counts,
}

type Kept = quick_cache::sync::Cache<Box<str>, Arc<Resource>, Weigh, RandomState, Evicting>;

#[derive(Debug)]
struct Shelf {
    kept: Kept,
    stripes: Box<[Mutex<u32>]>,
    hasher: RandomState,
    flights: Arc<Flights>,
}

impl Shelf {
    fn new(bytes_max: u64, counts: &Counts) -> Option<Self> {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .weight_capacity(bytes_max)
            .estimated_items_capacity((bytes_max / BYTES_GUESS) as usize)
            .build();
        let hasher = RandomState::default();
        let evicting = Evicting(counts.clone());
        Some(Self {
            kept: Kept::with_options(options.ok()?, Weigh, hasher.clone(), evicting),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher,
            flights: Arc::default(),
        })
    }

    fn stripe(&self, key: &str) -> MutexGuard<'_, u32> {
        let index = self.hasher.hash_one(key) as usize % STRIPES;
        // It holds a number.
        self.stripes[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    /// An empty cache that counts here.
    #[must_use]
    pub fn new(registry: &Registry) -> Arc<Self> {
        let cache = Arc::new(Self {
            shelf: OnceLock::new(),
            bytes_max: AtomicU64::new(0),
            object_bytes_max: AtomicU64::new(0),
            filling: AtomicU64::new(0),
            purges: AtomicU64::new(0),
            counts: Counts::new(registry),
        });
        let seen = Arc::downgrade(&cache);
        registry.sampled(&names::CACHE_BYTES, move |tell| {
            if let Some(cache) = seen.upgrade() {
                tell(&[], cache.stats().bytes as f64);
            }
        });
        let seen = Arc::downgrade(&cache);
        registry.sampled(&names::CACHE_URLS, move |tell| {
            if let Some(cache) = seen.upgrade() {
                tell(&[], cache.stats().urls as f64);
            }
        });
        cache
    }

    /// Takes the bounds of a document; what is stored stays as far as it fits.
    pub(crate) fn configure(&self, snapshot: &Snapshot) {
        let written = &snapshot.document.cache;
        let bytes_max = written.bytes_max.0;
        if snapshot.routes.iter().all(|route| route.cache.is_none()) {
            return;
        }
        self.object_bytes_max
            .store(written.object_bytes_max.0, Relaxed);
        let before = self.bytes_max.swap(bytes_max, Relaxed);
        if self.shelf.get().is_none()
            && let Some(shelf) = Shelf::new(bytes_max, &self.counts)
        {
            let _ = self.shelf.set(shelf);
        } else if let Some(shelf) = self.shelf.get()
            && before != bytes_max
        {
            shelf.kept.set_capacity(bytes_max);
        }
    }

    /// What it holds and did.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let kept = self.shelf.get().map(|shelf| &shelf.kept);
        CacheStats {
            bytes_max: self.bytes_max.load(Relaxed),
            bytes: kept.map_or(0, Kept::weight),
            urls: kept.map_or(0, |kept| kept.len() as u64),
            requests: self.counts.requests().collect(),
        }
    }

    /// Removes what a purge names; says of how many URLs. What is being fetched meanwhile is not
    /// stored.
    pub fn purge(&self, purge: &Purge) -> u64 {
        let Some(shelf) = self.shelf.get() else {
            return 0;
        };
        self.purges.fetch_add(1, Relaxed);
        if let Purge::Url(url) = purge {
            return u64::from(self.remove(url));
        }
        // Whoever saw the old number has stored when its stripe is free.
        for stripe in &shelf.stripes {
            drop(stripe.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let named = |key: &str, resource: &Resource| match purge {
            Purge::All => true,
            Purge::Prefix(prefix) => key.starts_with(prefix.as_str()),
            Purge::Tag(tag) => {
                let mut tags = resource.variants.iter().flat_map(|stored| &stored.tags);
                tags.any(|known| **known == **tag)
            }
            Purge::Url(url) => key == url,
        };
        let keys = shelf.kept.iter();
        let keys = keys.filter(|(key, resource)| named(key, resource));
        let keys: Vec<Box<str>> = keys.map(|(key, _)| key).collect();
        keys.iter().filter(|key| self.remove(key)).count() as u64
    }

    /// What a request finds.
    pub(super) fn find(&self, key: &str, route: &str, request: &HeaderMap, now: Moment) -> Found {
        let Some(resource) = self.shelf.get().and_then(|shelf| shelf.kept.get(key)) else {
            return Found::default();
        };
        let mut known = false;
        let held = resource.variants.iter().find(|stored| {
            let ours = *stored.route == *route;
            known |= ours;
            ours && cache::selects(&stored.selecting, request)
        });
        Found {
            held: held.cloned(),
            known,
            apart: resource.apart_until > now.nanos,
        }
    }

    /// To be asked for before a fetch begins.
    pub(super) fn ticket(&self, key: &str) -> Ticket {
        Ticket {
            stripe: self.shelf.get().map_or(0, |shelf| *shelf.stripe(key)),
            purges: self.purges.load(Relaxed),
        }
    }

    /// Joins the fetch of a URL by a route, or begins it.
    pub(super) fn join(&self, key: &str, route: &str) -> Part {
        match self.shelf.get() {
            Some(shelf) => shelf.flights.join(&format!("{route} {key}")),
            None => Part::Alone,
        }
    }

    /// Stores an answer in place of the one that the same requests select. Says whether it did: not
    /// when something was made invalid since the ticket, and not when it is too large.
    pub(super) fn put(&self, key: &str, stored: Stored, ticket: Ticket, worker: usize) -> bool {
        let Some(shelf) = self.shelf.get() else {
            return false;
        };
        let bytes_max = shelf.kept.shard_capacity() / 2;
        let mut bytes = stored.bytes() + key.len() as u64 + RESOURCE_BYTES;
        if bytes > bytes_max {
            return false;
        }
        let stripe = shelf.stripe(key);
        if *stripe != ticket.stripe || self.purges.load(Relaxed) != ticket.purges {
            return false;
        }
        let mut variants = vec![Arc::new(stored)];
        let known = shelf.kept.peek(key);
        for other in known.iter().flat_map(|known| &known.variants) {
            let same = other.route == variants[0].route && other.selecting == variants[0].selecting;
            if !same && variants.len() < CACHE_VARIANTS_MAX && bytes + other.bytes() <= bytes_max {
                bytes += other.bytes();
                variants.push(Arc::clone(other));
            }
        }
        let resource = Resource {
            variants,
            bytes,
            apart_until: 0,
        };
        shelf.kept.insert(key.into(), Arc::new(resource));
        drop(stripe);
        self.counts.stored.add(worker, 1);
        true
    }

    /// Takes one answer out.
    pub(super) fn forget(&self, key: &str, gone: &Arc<Stored>) {
        let Some(shelf) = self.shelf.get() else {
            return;
        };
        let _stripe = shelf.stripe(key);
        let Some(known) = shelf.kept.peek(key) else {
            return;
        };
        let left = known.variants.iter();
        let left: Vec<_> = left
            .filter(|stored| !Arc::ptr_eq(stored, gone))
            .cloned()
            .collect();
        if left.is_empty() {
            shelf.kept.remove(key);
        } else if left.len() < known.variants.len() {
            let bytes = known.bytes.saturating_sub(gone.bytes());
            let resource = Resource {
                variants: left,
                bytes,
                apart_until: 0,
            };
            shelf.kept.insert(key.into(), Arc::new(resource));
        }
    }

    /// Remembers for a while that answers for a URL are not stored, if nothing is.
    pub(super) fn set_apart(&self, key: &str, now: Moment) {
        let Some(shelf) = self.shelf.get() else {
            return;
        };
        let _stripe = shelf.stripe(key);
        let known = shelf.kept.peek(key);
        if known.is_some_and(|known| !known.variants.is_empty()) {
            return;
        }
        let resource = Resource {
            variants: Vec::new(),
            bytes: key.len() as u64 + RESOURCE_BYTES,
            apart_until: now.plus(APART_TIME).nanos,
        };
        shelf.kept.insert(key.into(), Arc::new(resource));
    }

    /// Makes a URL invalid; says whether there was anything.
    pub(super) fn remove(&self, key: &str) -> bool {
        let Some(shelf) = self.shelf.get() else {
            return false;
        };
        let mut stripe = shelf.stripe(key);
        *stripe = stripe.wrapping_add(1);
        let gone = shelf.kept.remove(key);
        drop(stripe);
        let stored = gone.is_some_and(|(_, resource)| !resource.variants.is_empty());
        if stored {
            self.counts.removed.add(CONTROL, 1);
        }
        stored
    }

    /// Largest body that is stored, bytes.
    pub(super) fn object_bytes_max(&self) -> u64 {
        self.object_bytes_max.load(Relaxed)
    }

    /// Makes room for bytes of an answer that is being received; `false` when too much is.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let taken = self.filling.fetch_add(bytes, Relaxed) + bytes;
        let fits = taken <= self.bytes_max.load(Relaxed) / FILLING_SHARE;
        if !fits {
            self.give(bytes);
        }
        fits
    }

    pub(super) fn give(&self, bytes: u64) {
        self.filling.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn count(&self, worker: usize, outcome: Outcome) {
        self.counts.request(worker, outcome);
    }
}

#[derive(Debug, Clone)]
struct Weigh;

impl Weighter<Box<str>, Arc<Resource>> for Weigh {
    fn weight(&self, _key: &Box<str>, resource: &Arc<Resource>) -> u64 {
        resource.bytes
    }
}

/// Counts what goes to make room.
#[derive(Debug, Clone)]
struct Evicting(Counts);

impl Lifecycle<Box<str>, Arc<Resource>> for Evicting {
    /// Dropped when the shard's lock is free again.
    type RequestState = Vec<Arc<Resource>>;

    fn on_evict(&self, state: &mut Vec<Arc<Resource>>, _key: Box<str>, resource: Arc<Resource>) {
        if !resource.variants.is_empty() {
            self.0.evicted.add(CONTROL, 1);
        }
        state.push(resource);
    }
}

/// Shards of the store: an object of a sixteenth of the bound is half a shard.
const SHARDS: usize = 8;
/// URLs that share a stripe share invalidations too: what is fetched meanwhile is not stored.
const STRIPES: usize = 16 * 1024;
/// What is being received may take one such part of the bound.
const FILLING_SHARE: u64 = 4;
/// How long it is remembered that answers for a URL are not stored.
const APART_TIME: std::time::Duration = std::time::Duration::from_secs(60);
/// For how many objects room is kept to remember what was evicted.
const BYTES_GUESS: u64 = 8 * 1024;
/// What a header field takes beside its bytes.
const FIELD_BYTES: usize = 64;
/// What a stored answer takes beside body and fields.
const STORED_BYTES: usize = 512;
/// What a URL takes beside its key and answers.
const RESOURCE_BYTES: u64 = 256;
/// Rare events are counted in the shard of the first worker.
const CONTROL: usize = 0;
