//! Blocking queries: ask with the last index, get an answer when it has been passed.
//!
//! Rules:
//! - an index that is missing, zero or lower than the last one seen starts again from zero (the
//!   agent was restored, or its data were);
//! - so does any failure: an agent that lost its memory would let a query with the old, higher
//!   index block for the whole wait;
//! - a query waits `wait`; the agent adds up to a sixteenth of it, and our own deadline is later
//!   than both;
//! - failures are retried after 100 ms doubling to 10 s, spread by chance;
//! - an answer that turned empty across a failure or a rewound index is believed only after it has
//!   stood for the grace: those who registered are given the time to come back;
//! - an answer that is not a change is not published.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Consul;
use super::transport::{Answer, Call};
use crate::backoff::Backoff;
use crate::watch::{self, Publisher, Watch};

const RETRY_FLOOR: Duration = Duration::from_millis(100);
const RETRY_CEILING: Duration = Duration::from_secs(10);
/// Least time from one answered query to the next: bounds what a flapping service costs us.
const PACE: Duration = Duration::from_millis(20);
/// The same while there is no index to block on: a poll, then.
const PACE_WITHOUT_INDEX: Duration = Duration::from_secs(1);
const _: () = assert!(PACE.as_millis() < PACE_WITHOUT_INDEX.as_millis());

/// Something that a blocking query can follow.
pub(super) trait Query: Send + Sync + 'static {
    /// What followers see.
    type Value: ?Sized + Send + Sync + 'static;

    /// The service or key, for logs and errors.
    fn name(&self) -> &str;

    /// The call, without index and wait.
    fn call(&self) -> Call;

    /// What the answer means.
    fn decode(&self, answer: Answer) -> Result<Arc<Self::Value>, crate::Error>;

    /// Whether nobody or nothing is there.
    fn is_empty(value: &Self::Value) -> bool;

    /// Whether followers need not be told.
    fn is_same(shown: &Self::Value, value: &Self::Value) -> bool;
}

/// Where a query has got to.
#[derive(Debug, Default)]
struct Cursor {
    /// What the next query waits to see passed; zero: do not wait.
    index: u64,
    /// The index of the last answer; outlives a failure, which only clears `index`.
    seen: u64,
}

impl Cursor {
    /// Takes the index of an answer; whether it was one that starts again.
    fn advance(&mut self, answered: Option<u64>) -> bool {
        let answered = answered.unwrap_or(0);
        let rewound = answered == 0 || answered < self.seen;
        self.index = if rewound { 0 } else { answered };
        self.seen = answered;
        rewound
    }

    fn fail(&mut self) {
        self.index = 0;
    }
}

/// Follows `query` until the watch is dropped.
pub(super) fn watch<Q: Query>(consul: Consul, query: Q) -> Watch<Q::Value> {
    let (publisher, watch) = watch::channel(format!("consul {}", query.name()));
    publisher.run_while_watched(|publisher| follow(consul, query, publisher));
    watch
}

async fn follow<Q: Query>(consul: Consul, query: Q, publisher: Arc<Publisher<Q::Value>>) {
    let settings = &consul.transport.settings;
    let mut cursor = Cursor::default();
    let mut backoff = Backoff::new(RETRY_FLOOR, RETRY_CEILING);
    let mut doubted_until: Option<Instant> = None;
    loop {
        let started = Instant::now();
        let wait = match doubted_until {
            // At least a little, or the last moments of a doubt would spin.
            Some(until) => (until - started).clamp(PACE, settings.wait.max(PACE)),
            None => settings.wait,
        };
        let answer = ask(&consul, &query, cursor.index, wait).await;
        let (value, index) = match answer {
            Ok(answered) => answered,
            Err(error) => {
                cursor.fail();
                publisher.fail(error);
                tokio::time::sleep(backoff.next(rand::random())).await;
                continue;
            }
        };
        backoff.reset();
        let rewound = cursor.advance(index);
        let emptied = Q::is_empty(&value) && publisher.shows(|shown| !Q::is_empty(shown));
        if emptied && (rewound || publisher.failing()) {
            let until = *doubted_until.get_or_insert(Instant::now() + settings.empty_grace);
            if Instant::now() < until {
                publisher.fail(crate::Error::Emptied {
                    name: query.name().to_owned(),
                });
            } else {
                doubted_until = None;
                publisher.publish_unless(value, Q::is_same);
            }
        } else {
            doubted_until = None;
            publisher.publish_unless(value, Q::is_same);
        }
        let pace = if cursor.seen == 0 {
            PACE_WITHOUT_INDEX
        } else {
            PACE
        };
        tokio::time::sleep_until(started + pace).await;
    }
}

/// One query; does not block when `index` is zero.
async fn ask<Q: Query>(
    consul: &Consul,
    query: &Q,
    index: u64,
    wait: Duration,
) -> Result<(Arc<Q::Value>, Option<u64>), crate::Error> {
    let mut call = query.call();
    if index > 0 {
        call = call
            .query("index", &index.to_string())
            .query("wait", &format!("{}ms", wait.as_millis()))
            .timeout(wait + wait / 16 + consul.transport.settings.call_timeout);
    }
    let answer = consul.transport.call(call).await?;
    let index = answer.index;
    Ok((query.decode(answer)?, index))
}

#[cfg(test)]
mod tests;
