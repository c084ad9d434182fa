//! Counters, gauges and histograms whose cells are split by worker.
//!
//! Every worker adds to its own cache lines with relaxed atomics, so that no core waits for
//! another; a scrape sums the shards. A worker index beyond the shard count wraps around, which
//! costs contention and never a wrong sum.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Upper bounds of the histogram buckets, in microseconds; one more bucket takes what lies above.
pub const BUCKET_BOUNDS_MICROS: [u64; 16] = [
    500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000, 20_000_000, 30_000_000,
];

/// Buckets of a histogram, the one without an upper bound included.
pub const BUCKETS: usize = BUCKET_BOUNDS_MICROS.len() + 1;

/// A value on cache lines of its own. 128 bytes, because processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// One `T` per worker, each on its own cache lines.
#[derive(Debug)]
pub(crate) struct Shards<T> {
    cells: Box<[Padded<T>]>,
    first: Padded<T>,
    mask: usize,
}

impl<T: Default> Shards<T> {
    /// Makes shards for this many workers, rounded up to a power of two.
    pub(crate) fn new(workers: usize) -> Self {
        let count = workers.clamp(1, SHARDS_MAX).next_power_of_two();
        Self {
            cells: (1..count).map(|_| Padded::default()).collect(),
            first: Padded::default(),
            mask: count - 1,
        }
    }

    /// The cell of this worker.
    #[inline]
    pub(crate) fn of(&self, worker: usize) -> &T {
        // The first cell lives outside of the slice, so that there is always one to return.
        match self.cells.get((worker & self.mask).wrapping_sub(1)) {
            Some(cell) => &cell.0,
            None => &self.first.0,
        }
    }

    /// All cells, for summing.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first.0).chain(self.cells.iter().map(|cell| &cell.0))
    }
}

/// A number that only grows.
#[derive(Debug)]
pub struct Counter {
    shards: Shards<AtomicU64>,
}

impl Counter {
    /// Makes a counter for this many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            shards: Shards::new(workers),
        }
    }

    /// Adds `n` in the shard of `worker`.
    #[inline]
    pub fn add(&self, worker: usize, n: u64) {
        self.shards.of(worker).fetch_add(n, Relaxed);
    }

    /// The sum over all workers.
    pub fn value(&self) -> u64 {
        self.shards
            .iter()
            .fold(0, |sum, cell| sum.wrapping_add(cell.load(Relaxed)))
    }
}

/// A number that grows and shrinks; a thing counted up by one worker may be counted down by
/// another.
#[derive(Debug)]
pub struct Gauge {
    shards: Shards<AtomicI64>,
}

impl Gauge {
    /// Makes a gauge for this many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            shards: Shards::new(workers),
        }
    }

    /// Adds `n` in the shard of `worker`; `n` may be negative.
    #[inline]
    pub fn add(&self, worker: usize, n: i64) {
        self.shards.of(worker).fetch_add(n, Relaxed);
    }

    /// Replaces what `worker` contributes. The value stays the sum over all workers, so a number
    /// of the whole process is always set with the same worker, by habit 0.
    pub fn set(&self, worker: usize, n: i64) {
        self.shards.of(worker).store(n, Relaxed);
    }

    /// The sum over all workers.
    pub fn value(&self) -> i64 {
        self.shards
            .iter()
            .fold(0, |sum, cell| sum.wrapping_add(cell.load(Relaxed)))
    }
}

/// Durations counted by bucket, with a sum in microseconds.
#[derive(Debug)]
pub struct Histogram {
    shards: Shards<HistogramCells>,
}

impl Histogram {
    /// Makes a histogram for this many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            shards: Shards::new(workers),
        }
    }

    /// Counts one duration in the shard of `worker`.
    #[inline]
    pub fn observe(&self, worker: usize, micros: u64) {
        self.shards.of(worker).observe(micros);
    }

    /// The sum over all workers.
    pub fn value(&self) -> HistogramValue {
        let mut value = HistogramValue::default();
        self.shards
            .iter()
            .for_each(|cells| cells.add_to(&mut value));
        value
    }
}

/// The cells of one worker's part of a histogram.
#[derive(Debug, Default)]
pub(crate) struct HistogramCells {
    buckets: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
}

impl HistogramCells {
    #[inline]
    pub(crate) fn observe(&self, micros: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(micros)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_micros.fetch_add(micros, Relaxed);
    }

    pub(crate) fn add_to(&self, value: &mut HistogramValue) {
        for (sum, cell) in value.buckets.iter_mut().zip(&self.buckets) {
            *sum += cell.load(Relaxed);
        }
        value.sum_micros = value.sum_micros.wrapping_add(self.sum_micros.load(Relaxed));
    }
}

/// What a histogram held when it was read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HistogramValue {
    /// How many durations fell into each bucket (not cumulative).
    pub buckets: [u64; BUCKETS],
    /// The sum of all durations, in microseconds.
    pub sum_micros: u64,
}

impl HistogramValue {
    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds what another histogram held.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += more;
        }
        self.sum_micros = self.sum_micros.wrapping_add(other.sum_micros);
    }
}

/// The bucket that a duration falls into: a branchless count that the compiler vectorises.
#[inline]
fn bucket_of(micros: u64) -> usize {
    BUCKET_BOUNDS_MICROS
        .iter()
        .map(|bound| usize::from(micros > *bound))
        .sum()
}

/// More shards than this cost memory and win nothing: beyond it workers share.
const SHARDS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn counts_are_exact_under_threads_even_when_workers_share_shards() {
        let counter = Counter::new(3);
        let gauge = Gauge::new(3);
        let histogram = Histogram::new(3);
        std::thread::scope(|scope| {
            for worker in 0..9 {
                let (counter, gauge, histogram) = (&counter, &gauge, &histogram);
                scope.spawn(move || {
                    for n in 0..10_000_u64 {
                        counter.add(worker, 2);
                        gauge.add(worker, if n % 2 == 0 { 1 } else { -1 });
                        histogram.observe(worker, n);
                    }
                });
            }
        });
        assert_eq!(counter.value(), 9 * 20_000);
        assert_eq!(gauge.value(), 0);
        assert_eq!(histogram.value().count(), 90_000);
        assert_eq!(histogram.value().sum_micros, 9 * (9_999 * 10_000 / 2));
    }

    #[test]
    fn workers_have_different_cells_until_there_are_more_workers_than_shards() {
        let shards: Shards<AtomicU64> = Shards::new(4);
        for worker in 0..4 {
            shards.of(worker).store(worker as u64 + 1, Relaxed);
        }
        assert_eq!(
            shards
                .iter()
                .map(|cell| cell.load(Relaxed))
                .collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
        assert_eq!(shards.of(5).load(Relaxed), 2);
        assert_eq!(Shards::<AtomicU64>::new(0).iter().count(), 1);
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (bucket, bound) in BUCKET_BOUNDS_MICROS.into_iter().enumerate() {
            assert_eq!(bucket_of(bound), bucket);
            assert_eq!(bucket_of(bound + 1), bucket + 1);
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_gauge_is_the_sum_of_what_workers_set() {
        let gauge = Gauge::new(2);
        gauge.set(0, 5);
        gauge.set(1, -2);
        gauge.set(0, 7);
        assert_eq!(gauge.value(), 5);
    }
}
