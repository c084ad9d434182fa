//! What is counted for every request, bundled so that one lookup of a shard serves all of it.
//!
//! A configuration that compiles asks the table for one handle per (listener, route, service) and
//! keeps it; the same names give the same handle, so that counters survive every reload.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus::proto::{MetricFamily, MetricType};

use crate::family::{LABEL_SETS_MAX, counter_sample, histogram_sample, label_pairs, metric_family};
use crate::handles::Handles;
use crate::names;
use crate::sharded::{HistogramCells, HistogramValue, Shards};

/// The class of the status that a client was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusClass {
    /// No status was sent: the client or the connection was gone before.
    None,
    /// 1xx, that is an upgrade.
    Informational,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx, and whatever lies outside of the standard.
    ServerError,
}

impl StatusClass {
    /// All classes, in the order of their cells.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    /// The class of a status; 0 means that none was sent.
    #[inline]
    pub fn of(status: u16) -> Self {
        match status {
            0 => Self::None,
            1..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }

    /// Whether the class is exposed from the start, so that rates have a zero to begin with.
    fn always_shown(self) -> bool {
        matches!(self, Self::Success | Self::ClientError | Self::ServerError)
    }
}

/// The metrics of one (listener, route, service).
#[derive(Debug)]
pub struct RequestMetrics {
    shards: Shards<RequestCells>,
}

#[derive(Debug, Default)]
struct RequestCells {
    by_status: [AtomicU64; StatusClass::ALL.len()],
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    duration: HistogramCells,
}

impl RequestMetrics {
    /// Counts one finished request in the shard of `worker`.
    #[inline]
    pub fn record(
        &self,
        worker: usize,
        status: StatusClass,
        duration_micros: u64,
        request_bytes: u64,
        response_bytes: u64,
    ) {
        let cells = self.shards.of(worker);
        if let Some(cell) = cells.by_status.get(status as usize) {
            cell.fetch_add(1, Relaxed);
        }
        cells.duration.observe(duration_micros);
        if request_bytes > 0 {
            cells.request_bytes.fetch_add(request_bytes, Relaxed);
        }
        if response_bytes > 0 {
            cells.response_bytes.fetch_add(response_bytes, Relaxed);
        }
    }

    /// Requests of one status class so far.
    pub fn requests(&self, status: StatusClass) -> u64 {
        let cell = |cells: &RequestCells| {
            cells
                .by_status
                .get(status as usize)
                .map(|c| c.load(Relaxed))
        };
        self.shards.iter().filter_map(cell).sum()
    }

    /// Durations so far.
    pub fn durations(&self) -> HistogramValue {
        let mut value = HistogramValue::default();
        self.shards
            .iter()
            .for_each(|cells| cells.duration.add_to(&mut value));
        value
    }

    fn body_bytes(&self) -> (u64, u64) {
        self.shards
            .iter()
            .fold((0, 0), |(request, response), cells| {
                let more = (
                    cells.request_bytes.load(Relaxed),
                    cells.response_bytes.load(Relaxed),
                );
                (request + more.0, response + more.1)
            })
    }
}

/// The request metrics of a process.
#[derive(Debug)]
pub struct RequestMetricsTable {
    workers: usize,
    handles: Handles<RequestMetrics>,
}

impl RequestMetricsTable {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers,
            handles: Handles::new(LABELS, LABEL_SETS_MAX),
        }
    }

    /// The handle of these names, which come from the configuration and never from a request.
    /// Above 10,000 of them, new ones share the handle whose names are all `other`. It takes a
    /// lock: ask when a configuration compiles, never per request.
    pub fn with(&self, listener: &str, route: &str, service: &str) -> Arc<RequestMetrics> {
        let make = || RequestMetrics {
            shards: Shards::new(self.workers),
        };
        self.handles.with(&[listener, route, service], make)
    }

    pub(crate) fn collect(&self) -> Vec<MetricFamily> {
        let mut requests = Vec::new();
        let mut by_route: BTreeMap<(Box<str>, Box<str>), Totals> = BTreeMap::new();
        self.handles.each(|values, metrics| {
            let [listener, route, service] = values else {
                return;
            };
            for status in StatusClass::ALL {
                let count = metrics.requests(status);
                if count > 0 || status.always_shown() {
                    let mut sample = counter_sample(count as f64);
                    let values = [&**listener, &**route, &**service, status.label()];
                    sample.set_label(label_pairs(names::REQUESTS.labels, &values));
                    requests.push(sample);
                }
            }
            // Without the listener as a label: it would multiply the largest family of all.
            let totals = by_route
                .entry((route.clone(), service.clone()))
                .or_default();
            totals.durations.merge(&metrics.durations());
            let (request_bytes, response_bytes) = metrics.body_bytes();
            totals.request_bytes += request_bytes;
            totals.response_bytes += response_bytes;
        });
        let (name, help) = (names::REQUESTS.name, names::REQUESTS.help);
        let mut families = vec![metric_family(name, help, MetricType::COUNTER, requests)];
        families.extend(families_by_route(&by_route));
        families
    }
}

/// What the listeners of one (route, service) add up to.
#[derive(Default)]
struct Totals {
    durations: HistogramValue,
    request_bytes: u64,
    response_bytes: u64,
}

fn families_by_route(by_route: &BTreeMap<(Box<str>, Box<str>), Totals>) -> [MetricFamily; 3] {
    let (mut durations, mut received, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    for ((route, service), totals) in by_route {
        // Routes that nobody asked for yet would fill the page with empty buckets.
        if totals.durations.count() == 0 {
            continue;
        }
        let labels = label_pairs(names::REQUEST_DURATION.labels, &[route, service]);
        for (samples, mut sample) in [
            (&mut durations, histogram_sample(&totals.durations)),
            (&mut received, counter_sample(totals.request_bytes as f64)),
            (&mut sent, counter_sample(totals.response_bytes as f64)),
        ] {
            sample.set_label(labels.clone());
            samples.push(sample);
        }
    }
    let (time, bytes_in, bytes_out) = (
        names::REQUEST_DURATION,
        names::REQUEST_BYTES,
        names::RESPONSE_BYTES,
    );
    [
        metric_family(time.name, time.help, MetricType::HISTOGRAM, durations),
        metric_family(bytes_in.name, bytes_in.help, MetricType::COUNTER, received),
        metric_family(bytes_out.name, bytes_out.help, MetricType::COUNTER, sent),
    ]
}

/// Listener, route, service.
const LABELS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_survive_a_reload_and_listeners_add_up() {
        let table = RequestMetricsTable::new(2);
        table
            .with("web", "users", "users")
            .record(0, StatusClass::Success, 700, 10, 20);
        // The next configuration asks again by the same names.
        let again = table.with("web", "users", "users");
        again.record(1, StatusClass::Success, 300, 1, 2);
        assert_eq!(again.requests(StatusClass::Success), 2);
        table
            .with("internal", "users", "users")
            .record(0, StatusClass::None, 5, 0, 0);

        let families = table.collect();
        let durations = families[1].get_metric();
        assert_eq!(durations.len(), 1);
        assert_eq!(durations[0].get_histogram().get_sample_count(), 3);
        assert!((durations[0].get_histogram().get_sample_sum() - 0.001_005).abs() < 1e-12);
        assert_eq!(families[2].get_metric()[0].get_counter().get_value(), 11.0);
        // Three classes of two listeners from the start, and `none` once it happened.
        assert_eq!(families[0].get_metric().len(), 7);
    }

    #[test]
    fn every_class_has_its_own_cell() {
        for (cell, status) in StatusClass::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, cell);
        }
        for (status, label) in [
            (0, "none"),
            (101, "1xx"),
            (204, "2xx"),
            (304, "3xx"),
            (429, "4xx"),
            (503, "5xx"),
        ] {
            assert_eq!(StatusClass::of(status).label(), label);
        }
    }
}
