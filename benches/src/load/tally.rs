//! What happened, counted by the one thread that makes it happen.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::http1::Malformed;
use crate::load::expectation::Verified;
use crate::load::pace::Ticket;

/// Why a request does not count.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The content is not the expected one, of that length.
    #[error("unexpected content of {bytes} bytes")]
    Body {
        /// Its length.
        bytes: u64,
    },
    /// The connection ended before the first byte of the answer.
    #[error("closed before the answer: {0}")]
    Closed(io::Error),
    /// No connection, or no TLS, HTTP/2 or WebSocket on it.
    #[error("connect: {0}")]
    Connect(io::Error),
    /// gRPC's own status, none when there was none.
    #[error("grpc-status {0:?}")]
    GrpcStatus(Option<String>),
    /// The connection broke, or HTTP/2 refused.
    #[error("{0}")]
    Io(io::Error),
    /// What came is not the protocol.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// Neither expected nor tolerated.
    #[error("status {0}")]
    Status(u16),
    /// No end of the answer within the deadline.
    #[error("time-out")]
    Timeout,
}

/// Counts and latencies of one run.
#[derive(Debug)]
pub struct Tally {
    report: Report,
    statuses: BTreeMap<u16, u64>,
    /// Nanoseconds; three significant digits.
    latencies: Histogram<u64>,
    last: Option<Instant>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            report: Report::default(),
            statuses: BTreeMap::new(),
            latencies: histogram(),
            last: None,
        }
    }
}

impl Tally {
    /// A request ended that began at `began`. Errors count during the warm-up too.
    pub fn record(&mut self, ticket: Ticket, began: Instant, result: &Result<Verified, Failure>) {
        let now = Instant::now();
        if ticket.is_counted {
            self.last = Some(now);
            if began.saturating_duration_since(ticket.moment) > LATE {
                self.report.late += 1;
            }
        }
        match result {
            Ok(verified) => {
                self.report.requests_with_warm_up += 1;
                if ticket.is_counted {
                    self.report.requests += 1;
                    self.report.bytes += verified.bytes;
                    *self.statuses.entry(verified.status).or_default() += 1;
                    self.latency(now.saturating_duration_since(ticket.moment));
                }
            }
            Err(failure) => {
                // It took at least that long.
                if ticket.is_counted && matches!(failure, Failure::Timeout) {
                    self.latency(now.saturating_duration_since(ticket.moment));
                }
                self.fail(failure);
            }
        }
    }

    /// A request that was never begun although its moment came, so long before the end.
    pub fn unsent(&mut self, waited: Duration) {
        self.report.unsent += 1;
        self.report.late += 1;
        self.latency(waited);
    }

    /// Something failed that was not a request.
    pub fn fail(&mut self, failure: &Failure) {
        let errors = &mut self.report.errors;
        match failure {
            Failure::Body { .. } => errors.body += 1,
            Failure::Connect(_) => errors.connect += 1,
            Failure::Closed(_) => {
                errors.io += 1;
                self.report.closed_before_answer += 1;
            }
            Failure::Io(_) | Failure::Malformed(_) => errors.io += 1,
            Failure::Status(status) => {
                errors.status += 1;
                *self.statuses.entry(*status).or_default() += 1;
            }
            Failure::GrpcStatus(_) => errors.status += 1,
            Failure::Timeout => errors.timeout += 1,
        }
        if self.report.failure_texts.len() < FAILURE_TEXTS_MAX {
            self.report.failure_texts.push(failure.to_string());
        }
    }

    /// A connection was opened; a WebSocket's handshake has a status of its own.
    pub fn opened(&mut self) {
        self.report.connections_opened += 1;
    }

    /// So many connections are held open now.
    pub fn set_open(&mut self, open: u64) {
        self.report.open = open;
    }

    /// Everything, of a run that counted from `start` and was to end at `end`.
    #[must_use]
    pub fn report(&self, start: Instant, end: Instant) -> Report {
        let end = self.last.map_or(end, |last| last.max(end));
        let seconds = end.saturating_duration_since(start).as_secs_f64();
        let mut report = self.report.clone();
        report.seconds = seconds;
        report.rate = if seconds > 0.0 {
            as_float(report.requests) / seconds
        } else {
            0.0
        };
        report.statuses = self.statuses.clone();
        report.latency_us = Latencies::of(&self.latencies);
        report
    }

    fn latency(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(nanoseconds);
    }
}

/// What is printed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Verified responses to requests that began (open loop: were to begin) after the warm-up.
    pub requests: u64,
    /// The same with those of the warm-up: what a proxy's processor time is divided by.
    pub requests_with_warm_up: u64,
    /// What failed, warm-up included.
    pub errors: Errors,
    /// From the end of the warm-up to the end of the last request.
    pub seconds: f64,
    /// Requests per second.
    pub rate: f64,
    /// Content of the counted responses, bytes.
    pub bytes: u64,
    /// Counted and failed responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Latencies, from the intended moment at a fixed rate.
    pub latency_us: Latencies,
    /// Connections opened, later ones included.
    pub connections_opened: u64,
    /// Connections still open at the end of `--idle`.
    pub open: u64,
    /// Of the input and output errors: connections that ended before the first byte of an answer.
    pub closed_before_answer: u64,
    /// Requests begun more than 1 ms after their moment, or never.
    pub late: u64,
    /// Requests never begun although their moment came: all connections were busy to the end.
    pub unsent: u64,
    /// The first few failures.
    #[serde(skip)]
    pub failure_texts: Vec<String>,
}

/// Failures by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// No connection, TLS included.
    pub connect: u64,
    /// An unexpected status, gRPC's included.
    pub status: u64,
    /// Unexpected content.
    pub body: u64,
    /// A broken connection or protocol.
    pub io: u64,
    /// No answer within the deadline.
    pub timeout: u64,
}

impl Errors {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.connect + self.status + self.body + self.io + self.timeout
    }
}

/// A distribution in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latencies {
    /// Half are no longer.
    pub p50: f64,
    /// Nine in ten are no longer.
    pub p90: f64,
    /// 99 in 100 are no longer.
    pub p99: f64,
    /// 999 in 1,000 are no longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

impl Latencies {
    fn of(histogram: &Histogram<u64>) -> Self {
        let quantile = |part| as_float(histogram.value_at_quantile(part)) / 1e3;
        Self {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: as_float(histogram.max()) / 1e3,
            mean: histogram.mean() / 1e3,
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "the bounds are constants that the library allows"
)]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("1 <= high / 2, digits <= 5")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and nanoseconds below 2^53"
)]
fn as_float(count: u64) -> f64 {
    count as f64
}

/// A request is late when it begins that much after its moment.
const LATE: Duration = Duration::from_millis(1);
/// Longer latencies are kept as this one: ten minutes.
const LATENCY_MAX_NS: u64 = 600_000_000_000;
const FAILURE_TEXTS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "tests")]

    use super::*;

    const GOOD: Result<Verified, Failure> = Ok(Verified {
        status: 200,
        bytes: 10,
    });

    fn ticket(is_counted: bool, ago: Duration) -> Ticket {
        Ticket {
            moment: Instant::now().checked_sub(ago).expect("a clock that runs"),
            is_counted,
        }
    }

    fn tally_of(latencies: &[u64]) -> Latencies {
        let mut tally = Tally::default();
        for &microseconds in latencies {
            tally.latency(Duration::from_micros(microseconds));
        }
        Latencies::of(&tally.latencies)
    }

    fn is_near(got: f64, wanted: f64) -> bool {
        (got - wanted).abs() <= wanted * 0.001
    }

    #[test]
    fn quantiles_at_the_edges() {
        let none = tally_of(&[]);
        assert_eq!(none, Latencies::default());

        let one = tally_of(&[250]);
        for value in [one.p50, one.p90, one.p99, one.p999, one.max, one.mean] {
            assert!(is_near(value, 250.0), "{one:?}");
        }

        let hundred: Vec<u64> = (1..=100).collect();
        let spread = tally_of(&hundred);
        assert!(is_near(spread.p50, 50.0), "{spread:?}");
        assert!(is_near(spread.p90, 90.0), "{spread:?}");
        assert!(is_near(spread.p99, 99.0), "{spread:?}");
        assert!(is_near(spread.p999, 100.0), "{spread:?}");
        assert!(is_near(spread.max, 100.0), "{spread:?}");

        // One in a hundred is past p99, one in fifty is at it.
        let mut slow = vec![100; 99];
        slow.push(50_000);
        assert!(is_near(tally_of(&slow).p99, 100.0));
        slow.push(50_000);
        assert!(is_near(tally_of(&slow).p99, 50_000.0));
    }

    #[test]
    fn shortest_and_longest_latencies_are_kept() {
        let mut tally = Tally::default();
        tally.latency(Duration::ZERO);
        assert!(Latencies::of(&tally.latencies).max < 0.002);
        tally.latency(Duration::from_secs(599));
        assert!(is_near(Latencies::of(&tally.latencies).max, 599e6));
        tally.latency(Duration::from_secs(7_000));
        tally.latency(Duration::MAX);
        assert!(is_near(Latencies::of(&tally.latencies).max, 600e6));
    }

    #[test]
    fn failures_are_counted_and_are_no_requests() {
        let mut tally = Tally::default();
        let now = Instant::now();
        tally.record(ticket(true, Duration::ZERO), now, &GOOD);
        let closed = || io::Error::from(io::ErrorKind::UnexpectedEof);
        for failure in [
            Failure::Body { bytes: 3 },
            Failure::Closed(closed()),
            Failure::Connect(closed()),
            Failure::GrpcStatus(None),
            Failure::Io(closed()),
            Failure::Malformed(Malformed::Head),
            Failure::Status(503),
            Failure::Timeout,
        ] {
            tally.record(ticket(true, Duration::ZERO), now, &Err(failure));
        }
        let report = tally.report(now, Instant::now());
        assert_eq!((report.requests, report.bytes), (1, 10));
        let expected = Errors {
            connect: 1,
            status: 2,
            body: 1,
            io: 3,
            timeout: 1,
        };
        assert_eq!(report.errors, expected);
        assert_eq!(report.errors.total(), 8);
        assert_eq!(report.closed_before_answer, 1);
        assert_eq!(report.statuses, BTreeMap::from([(200, 1), (503, 1)]));
    }

    #[test]
    fn warm_up_counts_errors_alone() {
        let mut tally = Tally::default();
        let now = Instant::now();
        tally.record(ticket(false, Duration::from_secs(9)), now, &GOOD);
        tally.record(
            ticket(false, Duration::ZERO),
            now,
            &Err(Failure::Status(500)),
        );
        let report = tally.report(now, Instant::now());
        assert_eq!((report.requests, report.requests_with_warm_up), (0, 1));
        assert_eq!((report.errors.status, report.late), (1, 0));
        assert_eq!(report.latency_us, Latencies::default());
    }

    #[test]
    fn late_is_later_than_a_millisecond() {
        let mut tally = Tally::default();
        let began = Instant::now();
        for after_us in [0, 1_000, 1_001, 5_000] {
            let ticket = Ticket {
                moment: began
                    .checked_sub(Duration::from_micros(after_us))
                    .expect("a clock that runs"),
                is_counted: true,
            };
            tally.record(ticket, began, &GOOD);
        }
        assert_eq!(tally.report(began, Instant::now()).late, 2);
    }
}
