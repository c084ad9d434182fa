//! What a route does to its traffic beyond sending it somewhere: faults on purpose, copies for
//! other services, and what answers when its service gave up.
//!
//! For: deciding, from a draw, what happens to one request. Not for: waiting, sending or copying;
//! the engine does. The one idea: a route that asks for none of this has no [`Shaping`], so that
//! its requests pay one look at a pointer that is not there.

use crate::balance::random::{below, mix};

pub(crate) mod fallback;
pub(crate) mod fault;
pub(crate) mod mirror;

pub use fallback::{FallbackPlan, GaveUp};
pub use fault::{Delayed, FaultPlan};
pub use mirror::MirrorPlan;

pub(crate) use fallback::{Instead, Left};

/// What a route asks for.
#[derive(Debug, Default)]
pub struct Shaping {
    /// Faults on purpose.
    pub fault: Option<FaultPlan>,
    /// Copies for other services.
    pub mirrors: Vec<MirrorPlan>,
    /// What answers when the service gave up.
    pub fallback: Option<FallbackPlan>,
}

impl Shaping {
    /// Whether a request may be needed once more, whatever its retries.
    #[must_use]
    pub fn sends_again(&self) -> bool {
        self.fallback
            .as_ref()
            .is_some_and(FallbackPlan::sends_again)
    }
}

/// One decision that is drawn; each has a number of its own, so that the draws of one request do
/// not follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether a fault answers it.
    Abort,
    /// Whether a fault delays it.
    Delay,
    /// Whether it is copied to the mirror with this index.
    Mirror(usize),
}

impl Question {
    /// Whether a request of this draw belongs to the share (thousandths of a percent).
    pub(crate) fn hits(self, draw: u64, share: u32) -> bool {
        let number = match self {
            Question::Abort => 1,
            Question::Delay => 2,
            Question::Mirror(index) => 16 + index as u64,
        };
        below(mix(draw ^ mix(number)), WHOLE) < u64::from(share)
    }
}

/// A share in words, and whether the request at hand belongs to it.
fn told(said: &str, hit: bool) -> String {
    match hit {
        true => format!("{said}: this one as well"),
        false => format!("{said}: not this one"),
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
