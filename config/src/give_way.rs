//! Requests go first while something long is done beside them.
//!
//! A document of thousands of routes takes a thread a good part of a second. Where a worker shares
//! its core, low priority is not enough: a scheduler that hands out slices may let a worker that
//! was just woken wait for its next tick, 4 ms at 250 Hz (decision 0021). So such a thread often
//! asks whether somebody else should go on.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    /// When the calling thread last gave way; `None` unless it does.
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Does something long on the calling thread, which gives way to others meanwhile: wherever the
/// work calls [`give_way`], threads that wait for this core go first if none has for 0.5 ms.
pub fn giving_way<T>(work: impl FnOnce() -> T) -> T {
    let _reset = Reset(LAST.replace(Some(Instant::now())));
    work()
}

/// For loops over what a document has many of: see [`giving_way`]. Elsewhere it does nothing.
#[inline]
pub fn give_way() {
    if let Some(last) = LAST.get()
        && last.elapsed() >= EVERY
    {
        std::thread::yield_now();
        LAST.set(Some(Instant::now()));
    }
}

/// Lets go of many things, and gives way between them.
pub fn free_each<T>(things: impl IntoIterator<Item = T>) {
    for thing in things {
        give_way();
        drop(thing);
    }
}

/// Also when the work panics.
struct Reset(Option<Instant>);

impl Drop for Reset {
    fn drop(&mut self) {
        LAST.set(self.0);
    }
}

/// Shorter is no better for requests, and takes more from the work where all processors are busy.
const EVERY: Duration = Duration::from_micros(500);

#[cfg(test)]
mod tests {
    use super::*;

    /// Works until it gives way, at most for so long; for how long it worked.
    fn until_it_gives_way(time_max: Duration) -> Option<Duration> {
        let (begun, before) = (Instant::now(), LAST.get());
        while begun.elapsed() < time_max {
            give_way();
            if LAST.get() != before {
                return Some(begun.elapsed());
            }
        }
        None
    }

    #[test]
    fn it_happens_every_half_millisecond_of_what_gives_way_and_never_elsewhere() {
        assert_eq!(until_it_gives_way(4 * EVERY), None);
        giving_way(|| {
            for _ in 0..3 {
                let worked = until_it_gives_way(Duration::from_secs(20));
                assert!(worked.is_some_and(|time| time >= EVERY), "{worked:?}");
            }
        });
        assert_eq!(until_it_gives_way(4 * EVERY), None);
    }

    #[test]
    fn a_panic_ends_it_too() {
        let work = || giving_way(|| panic!("on purpose"));
        assert!(std::panic::catch_unwind(work).is_err());
        assert_eq!(LAST.get(), None);
    }
}
