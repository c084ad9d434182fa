//! What live state noticed and somebody should read in the log: limits that come near, breakers
//! that open and close, endpoints that are ejected.
//!
//! For: handing such events from `policy`, which logs nothing, to the engine, which does. Not for:
//! counting (each state has its own counters). The one idea: a request pays one relaxed load to
//! learn that there is nothing to tell; the list is locked only when something happened, which
//! state machines and [`LimitUse`](crate::live::LimitUse) make rare.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::live::Limit;
use crate::resilience::{BreakerState, Grounds};

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A breaker changed its state.
    Breaker {
        /// The endpoint it belongs to; `None` for the whole service.
        endpoint: Option<Box<str>>,
        /// What it is now.
        state: BreakerState,
    },
    /// An endpoint was ejected.
    Ejected {
        /// Its address.
        endpoint: Box<str>,
        /// Why.
        grounds: Grounds,
        /// For how long.
        out: Duration,
    },
    /// The use of a limit has come within a fifth of it. Told at most once a minute and limit.
    LimitNearlyFull {
        /// Which.
        limit: Limit,
        /// How much of it was in use.
        used: u32,
        /// The limit.
        max: u32,
    },
}

/// Events that nobody has told yet.
#[derive(Debug, Default)]
pub struct News {
    any: AtomicBool,
    events: Mutex<Vec<Event>>,
}

impl News {
    /// Takes an event down. Past [`EVENTS_MAX`] that nobody took, it is forgotten.
    pub(crate) fn add(&self, event: Event) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() < EVENTS_MAX {
            events.push(event);
        }
        self.any.store(true, Ordering::Release);
    }

    /// Whether there is something to tell.
    #[must_use]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Takes everything there is to tell, in order. Each event is given to one taker.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut *events)
    }
}

/// Events kept for whoever tells them.
const EVENTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_once_and_bounded() {
        let news = News::default();
        assert!(!news.any());
        for used in 0..100 {
            news.add(Event::LimitNearlyFull {
                limit: Limit::Pending,
                used,
                max: 100,
            });
        }
        assert!(news.any());
        assert_eq!(news.take().len(), EVENTS_MAX);
        assert!(!news.any());
        assert_eq!(news.take(), []);
    }
}
