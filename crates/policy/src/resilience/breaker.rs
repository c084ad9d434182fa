//! The circuit breaker of a service or of one endpoint.
//!
//! Motivation: what fails as a whole is spared the requests it cannot answer, and clients are
//! spared the wait. One word holds kind, generation and what belongs to the kind, so every
//! transition is one compare-and-swap and no reader ever sees half of one.
//!
//! Transitions (each starts a new *generation*, and is told once, by whoever made it):
//! - *closed* → *open*: `consecutive` failures in a row, or at least `ratio` of at least
//!   `volume_min` attempts in the last `window` failed, or `slow_ratio` of them were slow.
//! - *open* → *half-open*: `open` has passed and a request comes; that request is the first probe.
//! - *half-open* → *closed*: `probes` probes succeeded. The windows start empty.
//! - *half-open* → *open*: one probe failed or was slow.
//!
//! Rules:
//! - A half-open breaker has at most `probes` probes out or succeeded; every other request is
//!   refused.
//! - A request carries the generation that let it through ([`Consent`]); what comes of it later, in
//!   another generation, says nothing about this one and is ignored.
//! - A probe of which nothing came (the client left, there was no endpoint) gives its place back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use weir_config::resilience::Breaker;

use crate::live::{Event, News};
use crate::moment::Moment;
use crate::resilience::window::{Add, Window};

/// State of a breaker; its settings come with every call, since they may change with a reload.
#[derive(Debug, Default)]
pub struct BreakerLive {
    word: AtomicU64,
    failed: Window,
    slow: Window,
}

/// What a breaker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// A few requests pass, to see.
    HalfOpen,
    /// No request passes.
    Open,
}

impl BreakerState {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::HalfOpen => "half-open",
            BreakerState::Open => "open",
        }
    }
}

/// Whose breaker it is, and where its transitions are told and counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) news: &'a News,
    /// Counts openings.
    pub(crate) opened: &'a AtomicU64,
    /// The endpoint's address; `None` for the whole service.
    pub(crate) endpoint: Option<&'a str>,
}

impl Owner<'_> {
    fn tell(self, state: BreakerState) {
        if state == BreakerState::Open {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
        self.news.add(Event::Breaker {
            endpoint: self.endpoint.map(Into::into),
            state,
        });
    }
}

/// What came of an attempt, as a breaker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

impl Came {
    /// An attempt that took so long.
    pub(crate) fn of(breaker: &Breaker, failed: bool, took: Duration) -> Came {
        let slow = breaker.slow_after.is_some_and(|after| took > after);
        Came { failed, slow }
    }

    fn is_bad(self) -> bool {
        self.failed || self.slow
    }
}

/// The consent of a breaker with one request.
#[derive(Debug)]
pub(crate) struct Consent {
    generation: u64,
    probe: bool,
    /// Whether the breaker was told what came of it.
    settled: AtomicBool,
}

impl Consent {
    /// The consent with a request that no breaker was asked about.
    pub(crate) fn free() -> Consent {
        Consent::of(GENERATION_NONE, false)
    }

    fn of(generation: u64, probe: bool) -> Consent {
        Consent {
            generation,
            probe,
            settled: AtomicBool::new(false),
        }
    }
}

impl BreakerLive {
    /// What it is doing. An open breaker stays so until a request comes, even when its time is
    /// over.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.load().state()
    }

    /// After which time to ask again; `None` when a request would be let through now.
    #[must_use]
    pub fn refuses(&self, breaker: &Breaker, at: Moment) -> Option<Duration> {
        match self.load().kind {
            Kind::Closed { .. } => None,
            Kind::HalfOpen { out, succeeded } => {
                let full = u32::from(out) + u32::from(succeeded) >= u32::from(probes(breaker));
                full.then_some(PROBES_PAUSE)
            }
            Kind::Open { until_millis } => {
                let until = until_millis.saturating_mul(NANOS_PER_MILLI);
                (at.nanos < until).then(|| Duration::from_nanos(until - at.nanos))
            }
        }
    }

    /// Asks for a request.
    ///
    /// # Errors
    /// After which time to ask again: until half-open, or a second while probes are out.
    pub(crate) fn enter(
        &self,
        breaker: &Breaker,
        owner: Owner<'_>,
        at: Moment,
    ) -> Result<Consent, Duration> {
        let mut word = self.load();
        loop {
            let next = match word.kind {
                Kind::Closed { .. } => return Ok(Consent::of(word.generation, false)),
                Kind::Open { until_millis } => {
                    let until = until_millis.saturating_mul(NANOS_PER_MILLI);
                    if at.nanos < until {
                        return Err(Duration::from_nanos(until - at.nanos));
                    }
                    word.into_next(Kind::HalfOpen {
                        out: 1,
                        succeeded: 0,
                    })
                }
                Kind::HalfOpen { out, succeeded } => {
                    if u32::from(out) + u32::from(succeeded) >= u32::from(probes(breaker)) {
                        return Err(PROBES_PAUSE);
                    }
                    word.into(Kind::HalfOpen {
                        out: out + 1,
                        succeeded,
                    })
                }
            };
            match self.swap(word, next) {
                Ok(()) => {
                    if next.generation != word.generation {
                        owner.tell(BreakerState::HalfOpen);
                    }
                    return Ok(Consent::of(next.generation, true));
                }
                Err(changed) => word = changed,
            }
        }
    }

    /// Takes note of what came of an attempt.
    pub(crate) fn settle(
        &self,
        breaker: &Breaker,
        owner: Owner<'_>,
        consent: &Consent,
        came: Came,
        at: Moment,
    ) {
        let settled = consent.settled.swap(true, Ordering::Relaxed);
        if consent.probe && settled {
            // A later attempt of a probe that has been judged already.
            return;
        }
        self.record(breaker, owner, consent.generation, came, at);
    }

    /// Gives back the place of a request of which nothing came.
    pub(crate) fn abandon(&self, consent: &Consent) {
        if !consent.probe || consent.settled.load(Ordering::Relaxed) {
            return;
        }
        let mut word = self.load();
        while let Kind::HalfOpen { out, succeeded } = word.kind
            && word.generation == consent.generation
        {
            let next = word.into(Kind::HalfOpen {
                out: out.saturating_sub(1),
                succeeded,
            });
            match self.swap(word, next) {
                Ok(()) => return,
                Err(changed) => word = changed,
            }
        }
    }

    /// Whether the breaker has left the state in which it let this request through, and is not
    /// closed.
    pub(crate) fn has_moved_on(&self, consent: &Consent) -> bool {
        let word = self.load();
        let closed_since = matches!(word.kind, Kind::Closed { .. });
        consent.generation != GENERATION_NONE
            && word.generation != consent.generation
            && !closed_since
    }

    fn record(&self, breaker: &Breaker, owner: Owner<'_>, generation: u64, came: Came, at: Moment) {
        let mut word = self.load();
        if word.generation != generation {
            return;
        }
        if matches!(word.kind, Kind::Closed { .. }) {
            let count = |window: &Window, bad: bool| {
                let what = if bad { Add::Both } else { Add::All };
                window.add(what, at.nanos, breaker.window);
            };
            if breaker.ratio.is_some() {
                count(&self.failed, came.failed);
            }
            if breaker.slow_after.is_some() {
                count(&self.slow, came.slow);
            }
        }
        while word.generation == generation {
            let Some(next) = self.after(word, breaker, came, at) else {
                return;
            };
            match self.swap(word, next) {
                Ok(()) => {
                    if next.generation != generation {
                        owner.tell(next.state());
                    }
                    return;
                }
                Err(changed) => word = changed,
            }
        }
    }

    /// The word that follows; `None` when nothing changes.
    fn after(&self, word: Word, breaker: &Breaker, came: Came, at: Moment) -> Option<Word> {
        match word.kind {
            Kind::Closed { failures: before } => {
                let failures = match came.failed {
                    true => before.saturating_add(1),
                    false => 0,
                };
                let row = breaker.consecutive > 0 && failures >= breaker.consecutive;
                let opens = (came.failed && (row || self.failed_too_often(breaker, at)))
                    || (came.slow && self.slow_too_often(breaker, at));
                if opens {
                    return Some(word.into_next(Kind::open(breaker, at)));
                }
                (failures != before).then(|| word.into(Kind::Closed { failures }))
            }
            Kind::HalfOpen { .. } if came.is_bad() => Some(word.into_next(Kind::open(breaker, at))),
            Kind::HalfOpen { out, succeeded } => {
                let succeeded = succeeded.saturating_add(1);
                if succeeded >= probes(breaker) {
                    // Cleared before it closes, so that nothing counted afterwards is lost.
                    self.failed.clear();
                    self.slow.clear();
                    return Some(word.into_next(Kind::Closed { failures: 0 }));
                }
                Some(word.into(Kind::HalfOpen {
                    out: out.saturating_sub(1),
                    succeeded,
                }))
            }
            Kind::Open { .. } => None,
        }
    }

    fn failed_too_often(&self, breaker: &Breaker, at: Moment) -> bool {
        breaker.ratio.is_some_and(|ratio| {
            let counts = self.failed.counts(at.nanos, breaker.window);
            counts.reaches(breaker.volume_min, ratio)
        })
    }

    fn slow_too_often(&self, breaker: &Breaker, at: Moment) -> bool {
        let counts = self.slow.counts(at.nanos, breaker.window);
        counts.reaches(breaker.volume_min, breaker.slow_ratio)
    }

    fn load(&self) -> Word {
        Word::unpack(self.word.load(Ordering::Acquire))
    }

    fn swap(&self, from: Word, to: Word) -> Result<(), Word> {
        self.word
            .compare_exchange(from.pack(), to.pack(), Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(Word::unpack)
    }

    /// What must hold at any time, under settings that have not changed since it was new.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self, breaker: &Breaker) {
        let word = self.load();
        assert_eq!(
            Word::unpack(word.pack()),
            word,
            "a word survives its packing"
        );
        match word.kind {
            Kind::Closed { failures } => {
                assert!(breaker.consecutive == 0 || failures < breaker.consecutive);
            }
            Kind::HalfOpen { out, succeeded } => {
                assert!(succeeded < probes(breaker), "enough successes close it");
                assert!(out + succeeded <= probes(breaker), "probes are bounded");
            }
            Kind::Open { until_millis } => assert!(until_millis > 0),
        }
    }
}

/// Successful probes that close it.
fn probes(breaker: &Breaker) -> u16 {
    u16::try_from(breaker.probes.max(1)).unwrap_or(u16::MAX)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    generation: u64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Closed { failures: u32 },
    HalfOpen { out: u16, succeeded: u16 },
    Open { until_millis: u64 },
}

impl Kind {
    fn open(breaker: &Breaker, at: Moment) -> Kind {
        let until = at.plus(breaker.open).nanos.div_ceil(NANOS_PER_MILLI);
        Kind::Open {
            until_millis: until.min(PAYLOAD_MASK),
        }
    }
}

impl Word {
    fn state(self) -> BreakerState {
        match self.kind {
            Kind::Closed { .. } => BreakerState::Closed,
            Kind::HalfOpen { .. } => BreakerState::HalfOpen,
            Kind::Open { .. } => BreakerState::Open,
        }
    }

    /// The same generation.
    fn into(self, kind: Kind) -> Word {
        Word {
            generation: self.generation,
            kind,
        }
    }

    /// A new generation.
    fn into_next(self, kind: Kind) -> Word {
        Word {
            generation: (self.generation + 1) & GENERATION_MASK,
            kind,
        }
    }

    fn pack(self) -> u64 {
        let (tag, payload) = match self.kind {
            Kind::Closed { failures } => (0, u64::from(failures)),
            Kind::HalfOpen { out, succeeded } => (1, u64::from(out) << 16 | u64::from(succeeded)),
            Kind::Open { until_millis } => (2, until_millis),
        };
        tag << 62 | self.generation << PAYLOAD_BITS | payload
    }

    fn unpack(word: u64) -> Word {
        let payload = word & PAYLOAD_MASK;
        let kind = match word >> 62 {
            0 => Kind::Closed {
                failures: payload as u32,
            },
            1 => Kind::HalfOpen {
                out: (payload >> 16) as u16,
                succeeded: payload as u16,
            },
            _ => Kind::Open {
                until_millis: payload,
            },
        };
        Word {
            generation: word >> PAYLOAD_BITS & GENERATION_MASK,
            kind,
        }
    }
}

/// Milliseconds in 48 bits last for nine thousand years.
const PAYLOAD_BITS: u32 = 48;
const PAYLOAD_MASK: u64 = (1 << PAYLOAD_BITS) - 1;
/// 14 bits: a request would have to stay in flight over sixteen thousand transitions to be
/// mistaken.
const GENERATION_MASK: u64 = (1 << 14) - 1;
/// No word has it.
const GENERATION_NONE: u64 = u64::MAX;
const NANOS_PER_MILLI: u64 = 1_000_000;
/// What a client is told to wait while probes are out.
const PROBES_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
