//! Keys of token issuers: fetched, kept fresh, fetched sooner when a token names a key that is not
//! there. A fetch that fails keeps the keys that are there; no key is ever logged.

mod http_client;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL};
use http::{HeaderMap, Request, StatusCode};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use weir_config::auth::{Algorithm, Jwks};
use weir_files::FileChanges;
use weir_policy::auth::{IssuerLive, JWKS_BYTES_MAX, KeysError};
use weir_policy::snapshot::{Issuer, Snapshot};

use crate::clock;
use crate::engine::Engine;
use crate::node::backoff::Backoff;
use crate::node::state_dir::read_bounded;
use crate::own::OwnError;
use crate::store::InForce;
use http_client::{FetchError, HttpClient};

/// Why keys were not fetched.
#[derive(Debug, thiserror::Error)]
enum KeyFetchError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("the path of the keys is no path: {0}")]
    Path(#[from] http::Error),
    #[error(transparent)]
    Service(#[from] OwnError),
    #[error("it answers with {0}")]
    Status(StatusCode),
}

/// What makes two issuers of one name the same for the fetcher.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    from: From,
    algorithms: Vec<Algorithm>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    File(PathBuf),
    Service { service: String, path: String },
    Url(String),
}

/// Fetches the keys of every issuer of the document in force, for as long as the process lives.
pub async fn follow(mut documents: watch::Receiver<Option<Arc<InForce>>>, engine: Arc<Engine>) {
    let mut fetched: HashMap<String, (Wanted, Task)> = HashMap::new();
    let client = HttpClient::new();
    loop {
        let current = documents.borrow_and_update().clone();
        if let Some(current) = current {
            keep_named(&mut fetched, &current.snapshot, &engine, &client);
        }
        if documents.changed().await.is_err() {
            return;
        }
    }
}

/// A task that ends with its handle.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn keep_named(
    fetched: &mut HashMap<String, (Wanted, Task)>,
    snapshot: &Snapshot,
    engine: &Arc<Engine>,
    client: &HttpClient,
) {
    fetched.retain(|name, (wanted, _)| {
        let issuer = snapshot
            .issuers
            .iter()
            .find(|issuer| *issuer.name == **name);
        issuer.is_some_and(|issuer| Wanted::of(issuer) == *wanted)
    });
    for issuer in &snapshot.issuers {
        if fetched.contains_key(&*issuer.name) {
            continue;
        }
        let wanted = Wanted::of(issuer);
        let fetcher = Fetcher {
            name: issuer.name.to_string(),
            wanted: wanted.clone(),
            live: Arc::clone(&issuer.live),
            engine: Arc::clone(engine),
            client: client.clone(),
        };
        let task = Task(tokio::spawn(fetcher.run()).abort_handle());
        fetched.insert(issuer.name.to_string(), (wanted, task));
    }
}

impl Wanted {
    fn of(issuer: &Issuer) -> Self {
        let from = match &issuer.config.jwks {
            Jwks::File(path) => From::File(path.clone()),
            Jwks::Service { service, path } => From::Service {
                service: service.value.clone(),
                path: path.clone(),
            },
            Jwks::Url(url) => From::Url(url.value.clone()),
        };
        let algorithms = issuer
            .config
            .algorithms
            .iter()
            .map(|one| one.value)
            .collect();
        Self { from, algorithms }
    }
}

/// Keeps the keys of one issuer fresh.
#[derive(Debug)]
struct Fetcher {
    name: String,
    wanted: Wanted,
    live: Arc<IssuerLive>,
    engine: Arc<Engine>,
    client: HttpClient,
}

impl Fetcher {
    async fn run(self) {
        let mut backoff = Backoff::new(RETRY_FLOOR, RETRY_CEILING);
        let mut patience = WANTED_INTERVAL_MIN;
        let mut was_wanted = false;
        let mut file = match &self.wanted.from {
            From::File(path) => Some(FileChanges::of(vec![path.clone()])),
            From::Service { .. } | From::Url(_) => None,
        };
        loop {
            let began = Instant::now();
            let before = self.live.status().generation;
            let again = match self.fetch().await {
                Ok((keys, fresh_for)) => {
                    backoff.reset();
                    tracing::debug!(issuer = self.name, keys, ?fresh_for, "keys fetched");
                    began + fresh_for
                }
                Err(error) => {
                    let wait = backoff.wait(rand::random());
                    let kept = self.live.is_ready();
                    tracing::warn!(issuer = self.name, %error, kept, ?wait, "no keys fetched");
                    began + wait
                }
            };
            // Keys that were missed and came were a rotation. That they did not come makes the next
            // question wait longer: tokens with made-up key ids must not make us a load on the
            // issuer.
            patience = if was_wanted && self.live.status().generation == before {
                (2 * patience).min(WANTED_INTERVAL_MAX)
            } else {
                WANTED_INTERVAL_MIN
            };
            was_wanted = match &mut file {
                Some(changes) => tokio::select! {
                    () = changes.changed() => false,
                    () = sleep_until(again) => false,
                },
                None => tokio::select! {
                    () = self.asked_for(began + patience) => true,
                    () = sleep_until(again) => false,
                },
            };
        }
    }

    /// Waits until a token named a key that is not there, but not sooner than `earliest`.
    async fn asked_for(&self, earliest: Instant) {
        sleep_until(earliest).await;
        while !self.live.take_wanted() {
            tokio::time::sleep(WANTED_POLL).await;
        }
    }

    /// Fetches and installs; says how many keys and how long they are fresh.
    async fn fetch(&self) -> Result<(usize, Duration), KeyFetchError> {
        let (text, fresh_for) = match &self.wanted.from {
            From::File(path) => {
                let read = read_bounded(path, JWKS_BYTES_MAX as u64);
                let failed = |source| KeyFetchError::File {
                    path: path.clone(),
                    source,
                };
                (Bytes::from(read.map_err(failed)?), FRESH_TIME_MAX)
            }
            From::Service { service, path } => {
                let request = Request::get(path).header(ACCEPT, "application/json");
                let response = self
                    .engine
                    .request(service, request.body(Bytes::new())?)
                    .await?;
                if response.status() != StatusCode::OK {
                    return Err(KeyFetchError::Status(response.status()));
                }
                let fresh_for = fresh_for(response.headers());
                (response.into_body(), fresh_for)
            }
            From::Url(url) => {
                let response = self.client.get(url).await?;
                if response.status() != StatusCode::OK {
                    return Err(KeyFetchError::Status(response.status()));
                }
                let fresh_for = fresh_for(response.headers());
                (response.into_body(), fresh_for)
            }
        };
        // What was wanted before this fetch is answered by it.
        self.live.take_wanted();
        let keys = self
            .live
            .install_at(&text, &self.wanted.algorithms, clock::now())?;
        Ok((keys, fresh_for))
    }
}

/// How long an answer may be used, as its issuer says within our bounds.
fn fresh_for(headers: &HeaderMap) -> Duration {
    let says = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let max_age = says
        .flat_map(|value| value.split(','))
        .filter_map(|directive| directive.trim().split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("max-age"))
        .find_map(|(_, seconds)| seconds.trim().trim_matches('"').parse().ok());
    max_age
        .map_or(FRESH_TIME, Duration::from_secs)
        .clamp(FRESH_TIME_MIN, FRESH_TIME_MAX)
}

/// How long keys are fresh when their issuer does not say.
const FRESH_TIME: Duration = Duration::from_secs(5 * 60);
const FRESH_TIME_MIN: Duration = Duration::from_secs(60);
const FRESH_TIME_MAX: Duration = Duration::from_secs(60 * 60);
const RETRY_FLOOR: Duration = Duration::from_secs(1);
const RETRY_CEILING: Duration = Duration::from_secs(30);
/// Least time from a fetch to the next one because a key is missing; doubled, up to the other
/// bound, each time that it is missing still.
const WANTED_INTERVAL_MIN: Duration = Duration::from_secs(1);
const WANTED_INTERVAL_MAX: Duration = Duration::from_secs(30);
/// How soon a missing key is noticed after that.
const WANTED_POLL: Duration = Duration::from_millis(250);

const _: () = assert!(FRESH_TIME_MIN.as_secs() <= FRESH_TIME.as_secs());
const _: () = assert!(FRESH_TIME.as_secs() <= FRESH_TIME_MAX.as_secs());

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn freshness_is_what_the_issuer_says_within_bounds() {
        let check = |value: &str, seconds: u64| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, value.parse().unwrap());
            assert_eq!(fresh_for(&headers), Duration::from_secs(seconds), "{value}");
        };
        check("public, max-age=600", 600);
        check("Max-Age=\"120\"", 120);
        check("max-age=1", 60);
        check("max-age=99999999", 3600);
        check("no-store", 300);
        check("max-age=soon", 300);
        assert_eq!(fresh_for(&HeaderMap::new()), FRESH_TIME);
    }
}
