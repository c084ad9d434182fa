//! The metrics of a process, and their Prometheus text.
//!
//! The prometheus crate does registration, order and encoding; the cells are ours, because its
//! label vectors take a lock, hash labels without a separator and share cache lines.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use crate::family::{
    Cell, Family, LABEL_SETS_MAX, Scalar, Shelf, ShelfMap, Shelves, label_pairs, metric_family,
};
use crate::names::{ALL, Named};
use crate::process_metrics;
use crate::request_metrics::RequestMetricsTable;

/// The metrics of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
    prometheus: prometheus::Registry,
}

impl Registry {
    /// Makes a registry whose metrics have a shard for each of this many workers.
    pub fn new(workers: usize) -> Self {
        let inner = Arc::new(Inner {
            workers,
            shelves: Shelves::default(),
            requests: Arc::new(RequestMetricsTable::new(workers)),
            sampled: Mutex::default(),
        });
        let prometheus = prometheus::Registry::new();
        let collector = Box::new(OwnCollector {
            inner: Arc::clone(&inner),
        });
        // The first collector of a fresh registry has nothing to collide with.
        let registered = prometheus.register(collector);
        debug_assert!(registered.is_ok());
        Self { inner, prometheus }
    }

    /// All metrics of one name. Asking again gives the same.
    pub fn family<T: Cell>(&self, named: &Named<T>) -> Arc<Family<T>> {
        let mut shelf = lock(T::shelf(&self.inner.shelves));
        let make = || Arc::new(Family::new(*named, self.inner.workers));
        Arc::clone(shelf.entry(named.name).or_insert_with(make))
    }

    /// The one metric of a name that has no labels.
    pub fn single<T: Cell>(&self, named: &Named<T>) -> Arc<T> {
        debug_assert!(named.labels.is_empty(), "a metric with labels is a family");
        self.family(named).with(&vec![""; named.labels.len()])
    }

    /// What is counted for every request.
    pub fn requests(&self) -> Arc<RequestMetricsTable> {
        Arc::clone(&self.inner.requests)
    }

    /// Reads a gauge or counter at each scrape from where the truth is. `read` calls its argument
    /// with label values and a value, as often as there are label sets; above 10,000 the rest is
    /// left out. It runs on the thread that serves the scrape and must not wait for anything.
    pub fn sampled<T: Scalar>(
        &self,
        named: &Named<T>,
        read: impl Fn(&mut dyn FnMut(&[&str], f64)) + Send + Sync + 'static,
    ) {
        let sampled = Sampled {
            name: named.name,
            help: named.help,
            labels: named.labels,
            kind: T::KIND,
            sample: T::sample_of,
            read: Box::new(read),
        };
        self.inner
            .sampled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sampled);
    }

    /// Everything as Prometheus text.
    pub fn encode(&self) -> String {
        let families = self.prometheus.gather();
        let mut text = Vec::with_capacity(TEXT_BYTES_GUESS);
        // It fails only on families without a name or metrics, which `gather` leaves out.
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The content type of [`Registry::encode`].
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug)]
struct Inner {
    workers: usize,
    shelves: Shelves,
    requests: Arc<RequestMetricsTable>,
    sampled: Mutex<Vec<Sampled>>,
}

type Read = dyn Fn(&mut dyn FnMut(&[&str], f64)) + Send + Sync;

struct Sampled {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    kind: MetricType,
    sample: fn(f64) -> Metric,
    read: Box<Read>,
}

impl fmt::Debug for Sampled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Sampled {
    fn collect(&self) -> MetricFamily {
        let mut samples = Vec::new();
        (self.read)(&mut |values, value| {
            if samples.len() < LABEL_SETS_MAX {
                let mut sample = (self.sample)(value);
                sample.set_label(label_pairs(self.labels, values));
                samples.push(sample);
            }
        });
        metric_family(self.name, self.help, self.kind, samples)
    }
}

struct OwnCollector {
    inner: Arc<Inner>,
}

impl Collector for OwnCollector {
    fn desc(&self) -> Vec<&Desc> {
        // Families appear when they are first asked for; the names test keeps them apart.
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::with_capacity(ALL.len());
        let shelves = &self.inner.shelves;
        families.extend(collect_shelf(&shelves.counters));
        families.extend(collect_shelf(&shelves.gauges));
        families.extend(collect_shelf(&shelves.histograms));
        families.extend(self.inner.requests.collect());
        let sampled = self
            .inner
            .sampled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        families.extend(sampled.iter().map(Sampled::collect));
        families.extend(process_metrics::collect());
        families
    }
}

fn collect_shelf<T: Cell>(shelf: &Shelf<T>) -> Vec<MetricFamily> {
    let families: Vec<_> = lock(shelf).values().cloned().collect();
    families.iter().map(|family| family.collect()).collect()
}

fn lock<T>(shelf: &Shelf<T>) -> MutexGuard<'_, ShelfMap<T>> {
    // Nothing under this lock can leave the map half changed.
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the text buffer starts; it grows as needed.
const TEXT_BYTES_GUESS: usize = 16 * 1024;

#[cfg(test)]
mod tests;
