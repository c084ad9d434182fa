//! What a route does to its traffic beyond sending it somewhere: faults on purpose.
//!
//! For: deciding, from a draw, what happens to one request. Not for: waiting, sending or copying;
//! the engine does. The one idea: a route that asks for none of this has no [`Shaping`], so that
//! its requests pay one look at a pointer that is not there.

use crate::balance::random::{below, mix};

pub(crate) mod fault;

pub use fault::{Delayed, FaultPlan};

/// What a route asks for.
#[derive(Debug, Default)]
pub struct Shaping {
    /// Faults on purpose.
    pub fault: Option<FaultPlan>,
}

/// One decision that is drawn; each has a number of its own, so that the draws of one request do
/// not follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether a fault answers it.
    Abort,
    /// Whether a fault delays it.
    Delay,
}

impl Question {
    /// Whether a request of this draw belongs to the share (thousandths of a percent).
    pub(crate) fn hits(self, draw: u64, share: u32) -> bool {
        let number = match self {
            Question::Abort => 1,
            Question::Delay => 2,
        };
        below(mix(draw ^ mix(number)), WHOLE) < u64::from(share)
    }
}

/// The whole, in thousandths of a percent.
const WHOLE: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_hold_and_do_not_follow_each_other() {
        let draws = || (0..200_000_u64).map(|number| mix(number ^ 0x5eed));
        let share = |wanted| {
            draws()
                .filter(|draw| Question::Delay.hits(*draw, wanted))
                .count()
        };
        assert_eq!((share(0), share(100_000)), (0, 200_000));
        let tenth = share(10_000);
        assert!((19_500..20_500).contains(&tenth), "{tenth}");
        let both = draws()
            .filter(|draw| {
                Question::Delay.hits(*draw, 10_000) && Question::Abort.hits(*draw, 10_000)
            })
            .count();
        assert!((1_800..2_200).contains(&both), "{both}");
    }
}
