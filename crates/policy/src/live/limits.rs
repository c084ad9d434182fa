//! How much of a service's limits is in use, and the warning before one of them bites.
//!
//! For: counting what waits for a connection, what came within a fifth of a limit and what a limit
//! refused. Not for: requests in flight and connections, which are counted where they are
//! ([`ServiceLive`](crate::live::ServiceLive), the engine's pool). A limit that bites without
//! warning is found in an outage; so every use of the last fifth is counted, and told once a
//! minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::live::ServiceLive;
use crate::moment::Moment;
use crate::refusal::Code;
use crate::snapshot::Service;

use super::news::{Event, News};

/// A bound on what is in flight towards a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `limits.connections`: connections of a worker to one endpoint.
    Connections,
    /// `limits.pending`: requests that wait for a connection.
    Pending,
    /// `limits.requests`: requests in flight.
    Requests,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Limit; 3] = [Limit::Connections, Limit::Pending, Limit::Requests];

    /// Its key in the document, also the metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Limit::Connections => "connections",
            Limit::Pending => "pending",
            Limit::Requests => "requests",
        }
    }
}

/// What is known of the use of a service's limits.
#[derive(Debug, Default)]
pub struct LimitUse {
    waiting: AtomicU32,
    /// By [`Limit`].
    near: [Near; 3],
}

#[derive(Debug, Default)]
struct Near {
    nearly_full: AtomicU64,
    reached: AtomicU64,
    /// When the next warning may be told, nanoseconds.
    silent_until: AtomicU64,
}

impl LimitUse {
    /// Requests that wait for a connection.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How often this limit was found at least four fifths full, ever.
    #[must_use]
    pub fn nearly_full_total(&self, limit: Limit) -> u64 {
        self.near[limit as usize]
            .nearly_full
            .load(Ordering::Relaxed)
    }

    /// How often this limit held somebody up, ever: refused a request, or made it wait for a
    /// connection.
    #[must_use]
    pub fn reached_total(&self, limit: Limit) -> u64 {
        self.near[limit as usize].reached.load(Ordering::Relaxed)
    }

    /// Takes note that so much of a limit is in use now.
    pub(crate) fn used(&self, limit: Limit, used: u32, max: u32, news: &News, at: Moment) {
        if u64::from(used) * 5 < u64::from(max) * 4 {
            return;
        }
        let near = &self.near[limit as usize];
        near.nearly_full.fetch_add(1, Ordering::Relaxed);
        let silent_until = near.silent_until.load(Ordering::Relaxed);
        if at.nanos < silent_until {
            return;
        }
        let next = at.plus(WARNING_PAUSE).nanos;
        // Whoever moves the time on tells; the others find it moved.
        let turn = near.silent_until.compare_exchange(
            silent_until,
            next,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if turn.is_ok() {
            news.add(Event::LimitNearlyFull { limit, used, max });
        }
    }

    /// Takes note that a limit held somebody up.
    pub(crate) fn reached(&self, limit: Limit) {
        self.near[limit as usize]
            .reached
            .fetch_add(1, Ordering::Relaxed);
    }
}

/// The place of a request that waits for a connection; given back on drop.
#[derive(Debug)]
pub struct Waiting(Arc<ServiceLive>);

impl ServiceLive {
    /// Takes a place among those who wait for a connection.
    ///
    /// # Errors
    /// `pending-overflow` when all of `limits.pending` are taken.
    pub fn wait(self: &Arc<Self>, service: &Service, at: Moment) -> Result<Waiting, Code> {
        let before = self.limits.waiting.fetch_add(1, Ordering::Relaxed);
        // From here on its drop gives the place back.
        let place = Waiting(Arc::clone(self));
        if before >= service.pending_max {
            self.limits.reached(Limit::Pending);
            return Err(Code::PendingOverflow);
        }
        self.limits.used(
            Limit::Pending,
            before.saturating_add(1),
            service.pending_max,
            &self.news,
            at,
        );
        Ok(place)
    }

    /// Takes note that a worker has so many connections to one endpoint now.
    pub fn connected(&self, service: &Service, open: u32, at: Moment) {
        let max = service.connections_max;
        self.limits
            .used(Limit::Connections, open, max, &self.news, at);
    }

    /// Takes note that a request found all connections to its endpoint in use.
    pub fn connections_reached(&self) {
        self.limits.reached(Limit::Connections);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let before = self.0.limits.waiting.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a place was given back that was never taken");
    }
}

/// A warning about the same limit is told at most once in this time.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use weir_config::balance::Balance;

    use super::*;
    use crate::live::sample::{moment, service};

    #[test]
    fn places_to_wait_are_bounded_and_come_back() {
        let mut service = service(Balance::RoundRobin);
        service.pending_max = 5;
        let live = &service.live;
        let mut places: Vec<_> = (0..5)
            .map(|_| live.wait(&service, moment(0)).unwrap())
            .collect();
        let refused = live.wait(&service, moment(0)).unwrap_err();
        assert_eq!(refused, Code::PendingOverflow);
        assert_eq!(live.limits().waiting(), 5);
        assert_eq!(live.limits().reached_total(Limit::Pending), 1);
        assert_eq!(
            live.limits().nearly_full_total(Limit::Pending),
            2,
            "the fourth and the fifth"
        );
        places.pop();
        assert!(live.wait(&service, moment(0)).is_ok());
        drop(places);
        assert_eq!(live.limits().waiting(), 0);
    }

    #[test]
    fn the_last_fifth_is_counted_always_and_told_once_a_minute() {
        let mut service = service(Balance::RoundRobin);
        service.connections_max = 10;
        let live = &service.live;
        live.connected(&service, 7, moment(0));
        assert!(!live.news().any(), "seven of ten");
        let near = Event::LimitNearlyFull {
            limit: Limit::Connections,
            used: 8,
            max: 10,
        };
        live.connected(&service, 8, moment(1));
        assert_eq!(live.news().take(), [near]);
        for millis in [2, 30_000, 60_000] {
            live.connected(&service, 10, moment(millis));
            assert_eq!(live.news().take(), [], "{millis}");
        }
        live.connected(&service, 9, moment(60_001));
        assert_eq!(live.news().take().len(), 1);
        assert_eq!(live.limits().nearly_full_total(Limit::Connections), 5);
    }
}
