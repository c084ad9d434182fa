//! Slow start: a new endpoint, or one that has just recovered, gets its load little by little.
//!
//! Its weight counts for `elapsed / slow_start` of what it is, a tenth at least, so that it gets
//! anything at all. The curve is a straight line: caches fill and code is compiled by the requests
//! that came so far, which then grow as the square of the time. An endpoint is drawn by its whole
//! weight and keeps the draw with that probability; one that does not leaves it to the next draw,
//! which shares the load as if the weights themselves were smaller.

use std::cell::Cell;
use std::time::Duration;

use super::Member;
use super::random::{below, mix};
use crate::moment::Moment;

/// The slow start of a service at one moment, for one choice.
#[derive(Debug)]
pub(super) struct Ramp {
    over: Duration,
    at: Moment,
    dice: Cell<u64>,
}

impl Ramp {
    pub(super) fn new(over: Duration, draw: u64, at: Moment) -> Ramp {
        let dice = Cell::new(mix(draw ^ SALT));
        Ramp { over, at, dice }
    }

    /// Whether an endpoint that was drawn by its weight keeps this draw.
    pub(super) fn keeps(&self, member: &Member) -> bool {
        let share = self.share(member);
        if share >= FULL {
            return true;
        }
        let dice = mix(self.dice.get());
        self.dice.set(dice);
        below(dice, FULL) < share
    }

    /// How much of its weight counts, in thousandths.
    pub(super) fn share(&self, member: &Member) -> u64 {
        share(self.over, member, self.at)
    }
}

/// How much of the weight of an endpoint counts, in thousandths.
pub(super) fn share(over: Duration, member: &Member, at: Moment) -> u64 {
    let Some(since) = member.live.since() else {
        return FULL;
    };
    let passed = u128::from(at.nanos.saturating_sub(since));
    let share = passed * u128::from(FULL) / over.as_nanos().max(1);
    // At most the whole, so it fits.
    (share.min(u128::from(FULL)) as u64).max(LEAST)
}

/// The whole weight, in thousandths.
pub(super) const FULL: u64 = 1_000;
/// What Envoy takes: less may be no request at all in the whole time.
const LEAST: u64 = 100;
/// What is drawn says nothing about who keeps it.
const SALT: u64 = 0x736c_6f77_7374_6172;
