//! Two counters over the last ten equal pieces of time, in ten words and without locks.
//!
//! Each word holds the number of its piece and both counters, so a piece that has passed is reset
//! by whoever counts first in the new one, in the same compare-and-swap. Counters stop at their
//! ends (a million per piece): both together, so that their relation stays what it was.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_config::units::Percent;

/// Two counters over a sliding window.
#[derive(Debug, Default)]
pub(super) struct Window {
    pieces: [AtomicU64; PIECES],
}

/// What was counted in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// The first counter.
    pub(super) all: u64,
    /// The second counter.
    pub(super) some: u64,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Add {
    /// One in the first counter.
    All,
    /// One in both counters.
    Both,
    /// One in the second counter.
    Some,
}

impl Counts {
    /// Whether there are enough, and the second counter is at least this share of the first.
    pub(super) fn reaches(self, volume_min: u32, share: Percent) -> bool {
        self.all >= u64::from(volume_min.max(1))
            && self.some * u64::from(Percent::WHOLE.0) >= self.all * u64::from(share.0)
    }
}

impl Window {
    /// Counts one at `nanos` in a window of this length.
    pub(super) fn add(&self, what: Add, nanos: u64, window: Duration) {
        let number = piece_number(nanos, window);
        let cell = &self.pieces[number as usize % PIECES];
        let mut word = cell.load(Ordering::Relaxed);
        loop {
            let piece = Piece::from_word(word);
            let (mut all, mut some) = match piece.number == number & NUMBER_MASK {
                true => (piece.all, piece.some),
                false => (0, 0),
            };
            if all == COUNT_MAX || some == COUNT_MAX {
                return;
            }
            all += u64::from(what != Add::Some);
            some += u64::from(what != Add::All);
            let next = (number & NUMBER_MASK) << (2 * COUNT_BITS) | all << COUNT_BITS | some;
            match cell.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => word = changed,
            }
        }
    }

    /// What was counted in the window that ends at `nanos`.
    pub(super) fn counts(&self, nanos: u64, window: Duration) -> Counts {
        let number = piece_number(nanos, window);
        let mut counts = Counts::default();
        for cell in &self.pieces {
            let piece = Piece::from_word(cell.load(Ordering::Relaxed));
            let age = (number & NUMBER_MASK).wrapping_sub(piece.number) & NUMBER_MASK;
            if age < PIECES as u64 {
                counts.all += piece.all;
                counts.some += piece.some;
            }
        }
        counts
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for cell in &self.pieces {
            cell.store(0, Ordering::Relaxed);
        }
    }
}

struct Piece {
    number: u64,
    all: u64,
    some: u64,
}

impl Piece {
    fn from_word(word: u64) -> Piece {
        Piece {
            number: word >> (2 * COUNT_BITS),
            all: word >> COUNT_BITS & COUNT_MAX,
            some: word & COUNT_MAX,
        }
    }
}

/// Which piece of time this is. The first ones are left out, so that an empty word is never
/// current.
fn piece_number(nanos: u64, window: Duration) -> u64 {
    let length = (window.as_nanos() / PIECES as u128).max(1);
    (u128::from(nanos) / length + PIECES as u128) as u64
}

const PIECES: usize = 10;
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
/// 24 bits: with pieces of a second they come round after half a year, and a word of exactly that
/// age that was never touched since would be the only one mistaken.
const NUMBER_MASK: u64 = (1 << (64 - 2 * COUNT_BITS)) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);
    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let window = Window::default();
        assert_eq!(window.counts(0, WINDOW), Counts::default());
        for second in 0..20 {
            window.add(Add::Both, second * SECOND, WINDOW);
            window.add(Add::All, second * SECOND, WINDOW);
            window.add(Add::Some, second * SECOND, WINDOW);
            let pieces = (second + 1).min(10);
            let expected = Counts {
                all: 2 * pieces,
                some: 2 * pieces,
            };
            assert_eq!(
                window.counts(second * SECOND, WINDOW),
                expected,
                "second {second}"
            );
        }
        assert_eq!(window.counts(28 * SECOND, WINDOW).all, 2);
        assert_eq!(window.counts(29 * SECOND, WINDOW).all, 0);
        window.clear();
        assert_eq!(window.counts(19 * SECOND, WINDOW), Counts::default());
    }

    #[test]
    fn threads_lose_no_count() {
        let window = Window::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5_000).for_each(|_| window.add(Add::Both, SECOND, WINDOW)));
            }
        });
        assert_eq!(
            window.counts(SECOND, WINDOW),
            Counts {
                all: 20_000,
                some: 20_000
            }
        );
    }
}
