//! The circuit breaker of a service.
//!
//! Motivation: a service that fails as a whole is spared the requests it cannot answer, and clients
//! are spared the wait. One word holds kind, generation and what belongs to the kind, so every
//! transition is one compare-and-swap and no reader ever sees half of one.
//!
//! Transitions (each starts a new *generation*):
//! - *closed* → *open*: `consecutive` failures in a row, or at least `ratio` of at least
//!   `volume_min` attempts in the last `window` failed.
//! - *open* → *half-open*: `open` has passed and a request comes; that request is the first probe.
//! - *half-open* → *closed*: `probes` probes succeeded. The window starts empty.
//! - *half-open* → *open*: one probe failed.
//!
//! Rules:
//! - A half-open breaker has at most `probes` probes out or succeeded; every other request is
//!   refused.
//! - A request carries the generation that let it through ([`Pass`]); what comes of it later, in
//!   another generation, says nothing about this one and is ignored.
//! - A probe of which nothing came (the client left, there was no endpoint) gives its place back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_config::resilience::Breaker;

use crate::moment::Moment;
use crate::pipeline::Permit;
use crate::resilience::window::{Add, Window};

/// State of a breaker; its settings come with every call, since they may change with a reload.
#[derive(Debug, Default)]
pub struct BreakerLive {
    word: AtomicU64,
    opened: AtomicU64,
    window: Window,
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

/// The consent of a breaker with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    generation: u64,
    probe: bool,
}

impl Pass {
    /// The pass of a request that no breaker was asked about.
    pub const FREE: Pass = Pass {
        generation: GENERATION_NONE,
        probe: false,
    };
}

impl BreakerLive {
    /// What it is doing. An open breaker stays so until a request comes, even when its time is
    /// over.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.load().kind {
            Kind::Closed { .. } => BreakerState::Closed,
            Kind::HalfOpen { .. } => BreakerState::HalfOpen,
            Kind::Open { .. } => BreakerState::Open,
        }
    }

    /// How often it opened, ever.
    #[must_use]
    pub fn opened_total(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Asks for a request.
    ///
    /// # Errors
    /// After which time to ask again: until half-open, or a second while probes are out.
    pub(crate) fn enter(&self, breaker: &Breaker, at: Moment) -> Result<Pass, Duration> {
        let mut word = self.load();
        loop {
            let next = match word.kind {
                Kind::Closed { .. } => {
                    return Ok(Pass {
                        generation: word.generation,
                        probe: false,
                    });
                }
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
                    return Ok(Pass {
                        generation: next.generation,
                        probe: true,
                    });
                }
                Err(changed) => word = changed,
            }
        }
    }

    /// Takes note of what came of an attempt.
    pub(crate) fn settle(&self, breaker: &Breaker, permit: &Permit, failed: bool, at: Moment) {
        let settled = permit.settled.swap(true, Ordering::Relaxed);
        if permit.pass.probe && settled {
            // A later attempt of a probe that has been judged already.
            return;
        }
        self.record(breaker, permit.pass, failed, at);
    }

    /// Gives back the place of a request of which nothing came.
    pub(crate) fn abandon(&self, pass: Pass) {
        if !pass.probe {
            return;
        }
        let mut word = self.load();
        while let Kind::HalfOpen { out, succeeded } = word.kind
            && word.generation == pass.generation
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

    /// Whether the breaker is in another generation than when it let this request through.
    pub(crate) fn has_moved_on(&self, pass: Pass) -> bool {
        let word = self.load();
        let closed_since = matches!(word.kind, Kind::Closed { .. });
        pass.generation != GENERATION_NONE && word.generation != pass.generation && !closed_since
    }

    fn record(&self, breaker: &Breaker, pass: Pass, failed: bool, at: Moment) {
        let mut word = self.load();
        if word.generation != pass.generation {
            return;
        }
        if breaker.ratio.is_some() && matches!(word.kind, Kind::Closed { .. }) {
            let what = if failed { Add::Both } else { Add::All };
            self.window.add(what, at.nanos, breaker.window);
        }
        while word.generation == pass.generation {
            let Some(next) = self.after(word, breaker, failed, at) else {
                return;
            };
            match self.swap(word, next) {
                Ok(()) => {
                    if matches!(next.kind, Kind::Open { .. }) {
                        self.opened.fetch_add(1, Ordering::Relaxed);
                    }
                    return;
                }
                Err(changed) => word = changed,
            }
        }
    }

    /// The word that follows; `None` when nothing changes.
    fn after(&self, word: Word, breaker: &Breaker, failed: bool, at: Moment) -> Option<Word> {
        match word.kind {
            Kind::Closed { failures: 0 } if !failed => None,
            Kind::Closed { .. } if !failed => Some(word.into(Kind::Closed { failures: 0 })),
            Kind::Closed { failures } => {
                let failures = failures.saturating_add(1);
                let row = breaker.consecutive > 0 && failures >= breaker.consecutive;
                if row || self.ratio_reached(breaker, at) {
                    return Some(word.into_next(Kind::open(breaker, at)));
                }
                Some(word.into(Kind::Closed { failures }))
            }
            Kind::HalfOpen { .. } if failed => Some(word.into_next(Kind::open(breaker, at))),
            Kind::HalfOpen { out, succeeded } => {
                let succeeded = succeeded.saturating_add(1);
                if succeeded >= probes(breaker) {
                    // Cleared before it closes, so that nothing counted afterwards is lost.
                    self.window.clear();
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

    fn ratio_reached(&self, breaker: &Breaker, at: Moment) -> bool {
        let Some(ratio) = breaker.ratio else {
            return false;
        };
        let counts = self.window.counts(at.nanos, breaker.window);
        counts.all >= u64::from(breaker.volume_min.max(1))
            && counts.some * WHOLE >= counts.all * u64::from(ratio.0)
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
/// The whole, in thousandths of a percent.
const WHOLE: u64 = 100_000;

#[cfg(test)]
mod tests;
