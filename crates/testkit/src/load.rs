//! A closed-loop load that counts everything that went wrong: the proof that a reload fails no
//! request and closes no connection.
//!
//! Each of N connections sends its next request when the answer to the last one is there. It runs
//! on a thread and runtime of its own. Nothing is retried: what a client would see is what is
//! counted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::client::{Client, Connection, request};
use crate::eventually::eventually;

/// What to send.
pub struct Load {
    url: String,
    client: Client,
    method: Method,
    headers: Vec<(String, String)>,
    body: Bytes,
    connections: usize,
    requests_max: u64,
    pause: Duration,
}

impl Load {
    /// GETs of that URL over 4 HTTP/1.1 connections until stopped.
    #[must_use]
    pub fn of(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            client: Client::http1(),
            method: Method::GET,
            headers: Vec::new(),
            body: Bytes::new(),
            connections: 4,
            requests_max: u64::MAX,
            pause: Duration::ZERO,
        }
    }

    /// By another client: HTTP/2, TLS, deadlines. In HTTP/2 each connection has one stream.
    #[must_use]
    pub fn client(mut self, client: Client) -> Self {
        self.client = client;
        self
    }

    /// Another method and a body.
    #[must_use]
    pub fn body(mut self, method: Method, body: impl Into<Bytes>) -> Self {
        self.method = method;
        self.body = body.into();
        self
    }

    /// One more request header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How many connections.
    #[must_use]
    pub fn connections(mut self, count: usize) -> Self {
        self.connections = count;
        self
    }

    /// Ends by itself after that many requests in all.
    #[must_use]
    pub fn requests(mut self, count: u64) -> Self {
        self.requests_max = count;
        self
    }

    /// Waits that long after each answer, to leave the processor to others.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When no thread can be started.
    #[must_use]
    pub fn start(self) -> Running {
        let shared = Arc::new(Shared::default());
        let (done, report) = oneshot::channel();
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime can be built");
                // The test may have ended without asking.
                let _ = done.send(runtime.block_on(run(self, of_thread)));
            })
            .expect("a thread can be started");
        Running {
            shared,
            report: Some(report),
        }
    }
}

#[derive(Default)]
struct Shared {
    is_stopped: AtomicBool,
    started: AtomicU64,
    answered: AtomicU64,
}

/// A load under way. Dropping it stops it.
pub struct Running {
    shared: Arc<Shared>,
    report: Option<oneshot::Receiver<Report>>,
}

impl Running {
    /// How many requests have been answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::SeqCst)
    }

    /// Waits until that many more requests have been answered, for instance after a reload.
    ///
    /// # Panics
    /// At the deadline.
    pub async fn wait_for_more(&self, count: u64, deadline: Duration) {
        let goal = self.answered() + count;
        eventually(deadline, async || self.answered() >= goal).await;
    }

    /// Lets the requests under way finish, and reports.
    pub async fn stop(self) -> Report {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        self.finish().await
    }

    /// Waits until the number of requests is reached, and reports.
    ///
    /// # Panics
    /// When the load's thread panicked.
    pub async fn finish(mut self) -> Report {
        let report = self
            .report
            .take()
            .expect("taken only here, where self ends");
        report.await.expect("the load's thread does not panic")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Without a receiver nobody waits for the report.
        if self.report.is_some() {
            self.shared.is_stopped.store(true, Ordering::SeqCst);
        }
    }
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests sent.
    pub requests: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without a whole answer, connections that could not be opened included.
    pub failures: u64,
    /// The first failures, with the time since the start.
    pub failure_texts: Vec<String>,
    /// Connections opened.
    pub connections_opened: u64,
    /// Connections that ended other than by our own wish, announced (`Connection: close`,
    /// GOAWAY) or not.
    pub connections_lost: u64,
    /// Latencies of whole answers in ascending order; the first million.
    pub latencies: Vec<Duration>,
    /// From start to end.
    pub elapsed: Duration,
}

impl Report {
    /// The latency that this part (0.0 to 1.0) of the answers did not exceed; zero without any.
    #[must_use]
    pub fn latency(&self, part: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "an index of at most a million, from a part between 0 and 1"
        )]
        let place = (last as f64 * part.clamp(0.0, 1.0)).round() as usize;
        self.latencies.get(place).copied().unwrap_or_default()
    }

    /// Every request was answered with one of these statuses.
    ///
    /// # Panics
    /// When not, or when there was no request, with the whole report.
    #[track_caller]
    pub fn assert_statuses(&self, allowed: &[u16]) {
        let is_allowed = self.statuses.keys().all(|status| allowed.contains(status));
        assert!(
            self.requests > 0 && self.failures == 0 && is_allowed,
            "{self}"
        );
    }

    /// Every request was answered with 200 and no connection was lost.
    ///
    /// # Panics
    /// When not, with the whole report.
    #[track_caller]
    pub fn assert_undisturbed(&self) {
        self.assert_statuses(&[200]);
        assert!(self.connections_lost == 0, "{self}");
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.connections_opened += other.connections_opened;
        self.connections_lost += other.connections_lost;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        let room = FAILURE_TEXTS_MAX.saturating_sub(self.failure_texts.len());
        self.failure_texts
            .extend(other.failure_texts.into_iter().take(room));
        let room = LATENCIES_MAX.saturating_sub(self.latencies.len());
        self.latencies
            .extend(other.latencies.into_iter().take(room));
    }

    fn fail(&mut self, since_start: Duration, error: &dyn fmt::Display) {
        self.failures += 1;
        if self.failure_texts.len() < FAILURE_TEXTS_MAX {
            self.failure_texts.push(format!("{since_start:?}: {error}"));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} requests in {:?}, statuses {:?}, {} failures, {} connections opened, {} lost, \
             p50 {:?}, p99 {:?}",
            self.requests,
            self.elapsed,
            self.statuses,
            self.failures,
            self.connections_opened,
            self.connections_lost,
            self.latency(0.5),
            self.latency(0.99),
        )?;
        self.failure_texts
            .iter()
            .try_for_each(|text| writeln!(formatter, "  {text}"))
    }
}

async fn run(load: Load, shared: Arc<Shared>) -> Report {
    let load = Arc::new(load);
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..load.connections {
        workers.spawn(work(Arc::clone(&load), Arc::clone(&shared), start));
    }
    let mut report = Report::default();
    while let Some(part) = workers.join_next().await {
        report.add(part.expect("a worker does not panic"));
    }
    report.elapsed = start.elapsed();
    report.latencies.sort_unstable();
    report
}

async fn work(load: Arc<Load>, shared: Arc<Shared>, start: Instant) -> Report {
    let mut report = Report::default();
    let mut held: Option<Connection> = None;
    loop {
        if held.as_ref().is_some_and(Connection::is_closed) {
            held = None;
            report.connections_lost += 1;
        }
        let is_over = shared.is_stopped.load(Ordering::SeqCst)
            || shared.started.fetch_add(1, Ordering::SeqCst) >= load.requests_max;
        if is_over {
            return report;
        }
        report.requests += 1;
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => match load.client.connect(&load.url).await {
                Ok(connection) => {
                    report.connections_opened += 1;
                    connection
                }
                Err(error) => {
                    report.fail(start.elapsed(), &error);
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                    continue;
                }
            },
        };
        let began = Instant::now();
        match connection.send(build(&load)).await {
            Ok(response) => {
                *report.statuses.entry(response.status.as_u16()).or_default() += 1;
                if report.latencies.len() < LATENCIES_MAX {
                    report.latencies.push(began.elapsed());
                }
                shared.answered.fetch_add(1, Ordering::SeqCst);
                if response
                    .header("connection")
                    .is_some_and(|value| value == "close")
                {
                    report.connections_lost += 1;
                } else {
                    held = Some(connection);
                }
            }
            Err(error) => {
                report.fail(start.elapsed(), &error);
                report.connections_lost += 1;
            }
        }
        if !load.pause.is_zero() {
            tokio::time::sleep(load.pause).await;
        }
    }
}

fn build(load: &Load) -> Request<Bytes> {
    let headers: Vec<(&str, &str)> = load
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    request(load.method.clone(), &load.url, &headers, load.body.clone())
        .expect("the test gives a valid url and headers")
}

const FAILURE_TEXTS_MAX: usize = 50;
const LATENCIES_MAX: usize = 1_000_000;
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
