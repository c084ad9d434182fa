//! Where the buckets of a keyed limit live: a set-associative table of fixed capacity.
//!
//! Motivation: keys come from clients, so a map that grows with them is a way to use up memory, and
//! a lock around it a way to stop every worker. A bucket is a *tag* (the keyed hash of its key) and
//! a *time* (GCRA's theoretical arrival time; a time that has passed is a full bucket, hence room).
//!
//! Rules:
//! - A known key is counted by a compare-and-swap on its time; no lock.
//! - Tags change only under the lock of their segment. Whoever takes a bucket over first swaps its
//!   time, which has passed, for [`TAKEN`]; then writes the tag; then the new time.
//! - Whoever counts reads the time, then the tag, and then swaps the time. Had the bucket been
//!   taken over in between, the swap would fail, because a bucket's time only ever grows. So a
//!   request is never charged to another key, and a key never has two buckets.
//! - Without room a key is counted in the one overflow bucket.
//! - Whether a bucket is full is told by the moment of the request that wants it. A request that is
//!   still under way with an older moment may find its key's bucket gone and begin a new one: that
//!   is at most the age of the moment × rate too many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::limit::limiter::Spend;

/// The buckets of one limit.
#[derive(Debug)]
pub(super) struct Table {
    segments: Box<[OnceLock<Box<Segment>>]>,
    overflow: AtomicU64,
    overflowed: AtomicU64,
}

/// Latest time that a bucket may have; one below [`TAKEN`].
pub(super) const TIME_MAX: u64 = u64::MAX - 1;

impl Table {
    /// A table for at most `keys` keys (rounded up to a power of two, at least one segment).
    pub(super) fn new(keys: usize) -> Table {
        let segments = keys.div_ceil(WAYS * SETS).next_power_of_two();
        Table {
            segments: std::iter::repeat_with(OnceLock::new)
                .take(segments)
                .collect(),
            overflow: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
        }
    }

    /// How often the overflow bucket was asked.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Decides about one request with this key. `decide` gets the time of its bucket (zero for a
    /// new one) and gives the next one, or refuses.
    pub(super) fn measure<T, E>(
        &self,
        key: u64,
        now: u64,
        spend: Spend,
        decide: impl Fn(u64) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        // Tag zero is the tag of a bucket that nobody had.
        let tag = key.max(1);
        let Some(place) = self.place(key, spend) else {
            // Only asked, and nothing near was ever counted.
            return decide(0).map(|(outcome, _)| outcome);
        };
        let set = &place.segment.sets[place.set];

        if let Some(way) = set.find(tag)
            && let Some(answer) = set.try_spend(way, tag, spend, &decide)
        {
            return answer;
        }
        // Not there, or just being taken over: the lock makes the set stand still but for times.
        let turn = place
            .segment
            .taking_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = set.find(tag)
            && let Some(answer) = set.try_spend(way, tag, spend, &decide)
        {
            return answer;
        }
        if let Some(answer) = set.take_over(tag, now, spend, &decide) {
            return answer;
        }
        drop(turn);
        if spend == Spend::Yes {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
        }
        self::spend(&self.overflow, spend, decide)
    }

    /// The set of this key. A question alone allocates nothing, so it may find none.
    fn place(&self, key: u64, spend: Spend) -> Option<Place<'_>> {
        // The low bits choose the segment and the next ones the set; the tag is the whole hash.
        let segment = key as usize & (self.segments.len() - 1);
        let set = (key as usize / self.segments.len()) % SETS;
        let cell = &self.segments[segment];
        let segment = match spend {
            Spend::Yes => cell.get_or_init(Box::default),
            Spend::No => cell.get()?,
        };
        Some(Place { segment, set })
    }
}

/// Decides about one request by the time in `cell`.
pub(super) fn spend<T, E>(
    cell: &AtomicU64,
    spend: Spend,
    decide: impl Fn(u64) -> Result<(T, u64), E>,
) -> Result<T, E> {
    let mut time = cell.load(Ordering::Acquire);
    loop {
        let (outcome, next) = decide(time)?;
        if spend == Spend::No {
            return Ok(outcome);
        }
        match cell.compare_exchange_weak(time, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(outcome),
            Err(changed) => time = changed,
        }
    }
}

struct Place<'a> {
    segment: &'a Segment,
    set: usize,
}

/// What is allocated at once: some sets and the lock under which their tags change.
#[derive(Debug, Default)]
struct Segment {
    taking_over: Mutex<()>,
    sets: [Set; SETS],
}

/// The buckets that a key may have: tags in one cache line, times in the next.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    tags: [AtomicU64; WAYS],
    times: [AtomicU64; WAYS],
}

impl Set {
    fn find(&self, tag: u64) -> Option<usize> {
        self.tags
            .iter()
            .position(|other| other.load(Ordering::Relaxed) == tag)
    }

    /// Counts in this bucket; `None` when it has been taken over by another key meanwhile.
    fn try_spend<T, E>(
        &self,
        way: usize,
        tag: u64,
        spend: Spend,
        decide: &impl Fn(u64) -> Result<(T, u64), E>,
    ) -> Option<Result<T, E>> {
        let cell = &self.times[way];
        loop {
            let time = cell.load(Ordering::Acquire);
            if time == TAKEN || self.tags[way].load(Ordering::Acquire) != tag {
                return None;
            }
            let (outcome, next) = match decide(time) {
                Ok(decided) => decided,
                Err(refused) => return Some(Err(refused)),
            };
            let stored = spend == Spend::No
                || cell
                    .compare_exchange_weak(time, next, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok();
            if stored {
                return Some(Ok(outcome));
            }
        }
    }

    /// Gives the key a bucket that is full again and counts in it; `None` when there is none. The
    /// caller holds the segment's lock.
    fn take_over<T, E>(
        &self,
        tag: u64,
        now: u64,
        spend: Spend,
        decide: &impl Fn(u64) -> Result<(T, u64), E>,
    ) -> Option<Result<T, E>> {
        for (tag_cell, time_cell) in self.tags.iter().zip(&self.times) {
            let time = time_cell.load(Ordering::Acquire);
            if time > now {
                continue;
            }
            let (outcome, next) = match decide(0) {
                Ok(decided) => decided,
                Err(refused) => return Some(Err(refused)),
            };
            if spend == Spend::No {
                return Some(Ok(outcome));
            }
            let taken =
                time_cell.compare_exchange(time, TAKEN, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                tag_cell.store(tag, Ordering::Release);
                time_cell.store(next, Ordering::Release);
                return Some(Ok(outcome));
            }
        }
        None
    }
}

/// The time of a bucket whose tag is being changed.
const TAKEN: u64 = u64::MAX;
/// Buckets that a key may have.
const WAYS: usize = 8;
/// Sets that are allocated together.
const SETS: usize = 16;

const _: () = assert!(size_of::<Set>() == 128, "a set is two cache lines");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::sync::atomic::AtomicU32;

    use super::*;

    /// One request per `interval`, `burst` at once, at `now`.
    fn gcra(now: u64, interval: u64, burst: u64) -> impl Fn(u64) -> Result<((), u64), u64> {
        move |time| {
            let earliest = time.saturating_sub(interval * (burst - 1));
            if now < earliest {
                Err(earliest)
            } else {
                Ok(((), time.max(now) + interval))
            }
        }
    }

    #[test]
    fn a_full_set_overflows_and_has_room_again_when_time_has_passed() {
        let table = Table::new(1);
        // One segment of 16 sets: keys that differ by a multiple of 16 meet in one set.
        for key in 0..WAYS as u64 {
            assert!(
                table
                    .measure(1 + key * 16, 100, Spend::Yes, gcra(100, 50, 1))
                    .is_ok()
            );
        }
        assert_eq!(table.overflowed(), 0);
        let ninth = 1 + 8 * 16;
        assert!(
            table
                .measure(ninth, 100, Spend::No, gcra(100, 50, 1))
                .is_ok()
        );
        assert_eq!(table.overflowed(), 0, "asking counts nothing");
        assert!(
            table
                .measure(ninth, 100, Spend::Yes, gcra(100, 50, 1))
                .is_ok()
        );
        assert_eq!(table.overflowed(), 1);
        // A tenth key shares the overflow bucket, which is used up.
        assert!(
            table
                .measure(1 + 9 * 16, 100, Spend::Yes, gcra(100, 50, 1))
                .is_err()
        );
        assert_eq!(table.overflowed(), 2);
        // Another set is not concerned.
        assert!(table.measure(2, 100, Spend::Yes, gcra(100, 50, 1)).is_ok());
        // The buckets are full again at 150: each is room.
        assert!(
            table
                .measure(ninth, 150, Spend::Yes, gcra(150, 50, 1))
                .is_ok()
        );
        assert!(
            table
                .measure(ninth, 150, Spend::Yes, gcra(150, 50, 1))
                .is_err()
        );
        assert_eq!(table.overflowed(), 2);
    }

    #[test]
    fn asking_spends_nothing_and_allocates_nothing() {
        let table = Table::new(1 << 16);
        for _ in 0..10 {
            assert!(table.measure(7, 10, Spend::No, gcra(10, 5, 1)).is_ok());
        }
        assert!(table.segments.iter().all(|segment| segment.get().is_none()));
        assert!(table.measure(7, 10, Spend::Yes, gcra(10, 5, 1)).is_ok());
        assert_eq!(table.measure(7, 10, Spend::No, gcra(10, 5, 1)), Err(15));
        assert_eq!(
            table
                .segments
                .iter()
                .filter(|segment| segment.get().is_some())
                .count(),
            1
        );
    }

    /// A request that was about to be counted when another key took its bucket over (which happens
    /// here while it is decided about) charges nobody.
    #[test]
    fn a_bucket_that_was_taken_over_is_not_charged() {
        let set = Set::default();
        set.tags[3].store(7, Ordering::Relaxed);
        set.times[3].store(10, Ordering::Relaxed);
        let decided = AtomicU32::new(0);
        let during = |time| {
            decided.fetch_add(1, Ordering::Relaxed);
            set.times[3].store(TAKEN, Ordering::Release);
            set.tags[3].store(8, Ordering::Release);
            set.times[3].store(120, Ordering::Release);
            gcra(100, 20, 5)(time)
        };
        assert!(set.try_spend(3, 7, Spend::Yes, &during).is_none());
        assert_eq!(
            set.times[3].load(Ordering::Relaxed),
            120,
            "the other key's time"
        );
        assert_eq!(
            decided.load(Ordering::Relaxed),
            1,
            "not asked again for another key"
        );
        set.times[3].store(TAKEN, Ordering::Relaxed);
        assert!(
            set.try_spend(3, 8, Spend::Yes, &gcra(100, 20, 5)).is_none(),
            "being taken over"
        );
    }

    /// Many threads, twice as many keys as buckets, keys that keep taking buckets over from each
    /// other: none is ever let through more often than burst + time / interval.
    #[test]
    fn threads_never_admit_more_than_burst_and_rate() {
        const KEYS: u64 = 48;
        const THREADS: u64 = 6;
        const STEPS: u64 = 90;
        const BURST: u64 = 5;
        const INTERVAL: u64 = 3;
        let table = Table::new(1);
        let admitted: Vec<AtomicU32> = (0..KEYS).map(|_| AtomicU32::new(0)).collect();
        let together = std::sync::Barrier::new(THREADS as usize);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (table, admitted, together) = (&table, &admitted, &together);
                scope.spawn(move || {
                    for step in 0..STEPS {
                        together.wait();
                        let now = 1_000 + step;
                        for turn in 0..KEYS / 2 {
                            let number = (turn + (step / 8 + thread) % 2 * (KEYS / 2)) % KEYS;
                            // Three sets of eight buckets for 48 keys.
                            let key = 1 + number % 3 + (number / 3 + 1) * SETS as u64;
                            let before = table.overflowed();
                            let rule = gcra(now, INTERVAL, BURST);
                            let answer = table.measure(key, now, Spend::Yes, rule);
                            // What the overflow bucket let through is not this key's own.
                            if answer.is_ok() && table.overflowed() == before {
                                admitted[number as usize].fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        let most = BURST + STEPS / INTERVAL + 1;
        for (number, count) in admitted.iter().enumerate() {
            let count = u64::from(count.load(Ordering::Relaxed));
            assert!(count <= most, "key {number}: {count} > {most}");
        }
    }

    #[test]
    fn threads_with_one_key_admit_exactly_the_burst() {
        let table = Table::new(1 << 12);
        let admitted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for key in 0..200_u64 {
                        for _ in 0..5 {
                            let key = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                            if table.measure(key, 9, Spend::Yes, gcra(9, 1_000, 7)).is_ok() {
                                admitted.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(table.overflowed(), 0, "200 keys fit in 4096 buckets");
        assert_eq!(admitted.load(Ordering::Relaxed), 200 * 7);
    }
}
