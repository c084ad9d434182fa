//! What an upstream saw, and the counters of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use serde::Serialize;

use super::answer::{Answer, Script};

/// One request as it arrived. Echoed as JSON by [`super::Reply::echo`].
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    /// Its number since the upstream started, from 0.
    pub index: u64,
    /// The number of its connection, from 0.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// The request target, query included. In HTTP/2 `:path`.
    pub path: String,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub version: &'static str,
    /// Header names and values in order of arrival; in HTTP/1.1 spelt as they came. In HTTP/2 the
    /// authority comes first as `:authority`.
    pub headers: Vec<(String, String)>,
    /// Trailers, when there were any.
    pub trailers: Vec<(String, String)>,
    /// The first mebibyte of the body.
    #[serde(serialize_with = "as_text")]
    pub body: Bytes,
    /// The length of the whole body.
    pub body_bytes: u64,
    /// Whether the whole request has arrived.
    pub is_complete: bool,
}

impl Recorded {
    /// The first value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).into_iter().next()
    }

    /// All values of a header, in order.
    #[must_use]
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let of_name = |(given, _): &&(String, String)| given.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(of_name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The body as text, foreign bytes replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn as_text<S: serde::Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}

/// Shared by the connections of an upstream and the test.
pub(super) struct Journal {
    script: Mutex<Script>,
    requests: Mutex<VecDeque<Recorded>>,
    request_count: AtomicU64,
    connection_count: AtomicU64,
    open_connections: AtomicU64,
    requests_per_connection_max: AtomicUsize,
}

impl Journal {
    pub(super) fn new(script: Script, requests_per_connection_max: usize) -> Self {
        Self {
            script: Mutex::new(script),
            requests: Mutex::new(VecDeque::new()),
            request_count: AtomicU64::new(0),
            connection_count: AtomicU64::new(0),
            open_connections: AtomicU64::new(0),
            requests_per_connection_max: AtomicUsize::new(requests_per_connection_max),
        }
    }

    pub(super) fn set_script(&self, script: Script) {
        *lock(&self.script) = script;
    }

    pub(super) fn requests(&self) -> Vec<Recorded> {
        lock(&self.requests).iter().cloned().collect()
    }

    pub(super) fn forget(&self) {
        lock(&self.requests).clear();
    }

    pub(super) fn request_count(&self) -> u64 {
        self.request_count.load(Ordering::SeqCst)
    }

    pub(super) fn connection_count(&self) -> u64 {
        self.connection_count.load(Ordering::SeqCst)
    }

    pub(super) fn open_connections(&self) -> u64 {
        self.open_connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests_per_connection_max(&self) -> usize {
        self.requests_per_connection_max.load(Ordering::SeqCst)
    }

    /// Counts a connection for as long as the returned value lives.
    pub(super) fn enter(&self) -> Presence<'_> {
        self.open_connections.fetch_add(1, Ordering::SeqCst);
        Presence {
            journal: self,
            number: self.connection_count.fetch_add(1, Ordering::SeqCst),
        }
    }

    /// Numbers and records a head, and asks the script.
    pub(super) fn arrived(&self, request: &mut Recorded) -> Answer {
        let mut requests = lock(&self.requests);
        request.index = self.request_count.fetch_add(1, Ordering::SeqCst);
        if requests.len() == REQUESTS_MAX {
            requests.pop_front();
        }
        requests.push_back(request.clone());
        drop(requests);
        // Not under the lock: a script may look at the upstream.
        let script = lock(&self.script).clone();
        script.answer(request)
    }

    /// Replaces the record of the head by the whole request.
    pub(super) fn completed(&self, request: &Recorded) {
        let mut requests = lock(&self.requests);
        let of_request = |known: &&mut Recorded| known.index == request.index;
        if let Some(known) = requests.iter_mut().rev().find(of_request) {
            known.clone_from(request);
        }
    }
}

pub(super) struct Presence<'a> {
    journal: &'a Journal,
    pub(super) number: u64,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.journal.open_connections.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A test's script that panics poisons nothing worth protecting.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Older requests are forgotten, so that a load test does not eat the memory.
const REQUESTS_MAX: usize = 10_000;

/// More of a body is counted, not kept.
pub(super) const BODY_BYTES_KEPT: usize = 1024 * 1024;
