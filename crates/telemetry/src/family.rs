//! All metrics of one name: one cell per set of label values.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use prometheus::proto::{Bucket, LabelPair, Metric, MetricFamily, MetricType};

use crate::handles::Handles;
use crate::names::Named;
use crate::sharded::{BUCKET_BOUNDS_MICROS, Counter, Gauge, Histogram, HistogramValue};

/// Label sets of one name above which new ones fall into `other`.
pub const LABEL_SETS_MAX: usize = 10_000;

/// The metrics of one name. Look handles up when a configuration compiles, never per request.
#[derive(Debug)]
pub struct Family<T> {
    named: Named<T>,
    workers: usize,
    handles: Handles<T>,
}

impl<T: Cell> Family<T> {
    pub(crate) fn new(named: Named<T>, workers: usize) -> Self {
        let handles = Handles::new(named.labels.len(), LABEL_SETS_MAX);
        Self {
            named,
            workers,
            handles,
        }
    }

    /// The metric with these label values, in the order of the label names. It takes a lock. The
    /// values come from the configuration or a closed list, never from a request.
    pub fn with(&self, values: &[&str]) -> Arc<T> {
        self.handles.with(values, || T::for_workers(self.workers))
    }

    pub(crate) fn collect(&self) -> MetricFamily {
        let mut metrics = Vec::new();
        self.handles.each(|values, cell| {
            let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
            let mut metric = cell.sample();
            metric.set_label(label_pairs(self.named.labels, &values));
            metrics.push(metric);
        });
        metric_family(self.named.name, self.named.help, T::KIND, metrics)
    }
}

/// What a family can be made of: the closed list [`Counter`], [`Gauge`], [`Histogram`].
pub trait Cell: sealed::Sealed + Send + Sync + Sized + 'static {
    /// The type in the exposition.
    const KIND: MetricType;
    /// Makes an empty cell.
    fn for_workers(workers: usize) -> Self;
    /// The present value, without labels.
    fn sample(&self) -> Metric;
    /// Where the registry keeps families of this kind.
    fn shelf(shelves: &Shelves) -> &Shelf<Self>;
}

/// A kind of metric whose value is one number.
pub trait Scalar: Cell {
    /// That number as a sample, without labels.
    fn sample_of(value: f64) -> Metric;
}

impl Scalar for Counter {
    fn sample_of(value: f64) -> Metric {
        counter_sample(value)
    }
}

impl Scalar for Gauge {
    fn sample_of(value: f64) -> Metric {
        gauge_sample(value)
    }
}

impl Cell for Counter {
    const KIND: MetricType = MetricType::COUNTER;

    fn for_workers(workers: usize) -> Self {
        Self::new(workers)
    }

    fn sample(&self) -> Metric {
        counter_sample(self.value() as f64)
    }

    fn shelf(shelves: &Shelves) -> &Shelf<Self> {
        &shelves.counters
    }
}

impl Cell for Gauge {
    const KIND: MetricType = MetricType::GAUGE;

    fn for_workers(workers: usize) -> Self {
        Self::new(workers)
    }

    fn sample(&self) -> Metric {
        gauge_sample(self.value() as f64)
    }

    fn shelf(shelves: &Shelves) -> &Shelf<Self> {
        &shelves.gauges
    }
}

impl Cell for Histogram {
    const KIND: MetricType = MetricType::HISTOGRAM;

    fn for_workers(workers: usize) -> Self {
        Self::new(workers)
    }

    fn sample(&self) -> Metric {
        histogram_sample(&self.value())
    }

    fn shelf(shelves: &Shelves) -> &Shelf<Self> {
        &shelves.histograms
    }
}

/// The families of one kind by name.
pub type Shelf<T> = Mutex<ShelfMap<T>>;

/// What a [`Shelf`] guards.
pub type ShelfMap<T> = BTreeMap<&'static str, Arc<Family<T>>>;

/// The families of a registry.
#[derive(Debug, Default)]
pub struct Shelves {
    pub(crate) counters: Shelf<Counter>,
    pub(crate) gauges: Shelf<Gauge>,
    pub(crate) histograms: Shelf<Histogram>,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::sharded::Counter {}
    impl Sealed for crate::sharded::Gauge {}
    impl Sealed for crate::sharded::Histogram {}
}

pub(crate) fn counter_sample(value: f64) -> Metric {
    let mut counter = prometheus::proto::Counter::default();
    counter.set_value(value);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    metric
}

pub(crate) fn gauge_sample(value: f64) -> Metric {
    let mut gauge = prometheus::proto::Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::default();
    metric.set_gauge(gauge);
    metric
}

/// Microseconds inside, seconds outside, as Prometheus wants its base units.
pub(crate) fn histogram_sample(value: &HistogramValue) -> Metric {
    let mut cumulative = 0;
    let buckets = BUCKET_BOUNDS_MICROS
        .iter()
        .zip(&value.buckets)
        .map(|(bound, count)| {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / MICROS_PER_SECOND);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
    let mut histogram = prometheus::proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(value.count());
    histogram.set_sample_sum(value.sum_micros as f64 / MICROS_PER_SECOND);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric
}

pub(crate) fn label_pairs(names: &[&str], values: &[&str]) -> Vec<LabelPair> {
    let pair = |(name, value): (&&str, &&str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    names.iter().zip(values).map(pair).collect()
}

pub(crate) fn metric_family(
    name: &str,
    help: &str,
    kind: MetricType,
    metrics: Vec<Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

const MICROS_PER_SECOND: f64 = 1e6;
