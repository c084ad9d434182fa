//! Time and chance of a worker: what policy takes as arguments is read here and nowhere else.
//!
//! Moments count from an origin chosen once per process, so that the live state which workers share
//! compares them. Reading one costs a single monotonic clock call; the wall clock is asked once a
//! second and carried along.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use httpdate::HttpDate;
use weir_policy::moment::Moment;
use weir_telemetry::hex;

/// This moment, for callers that have no [`Clock`] of their own.
#[must_use]
pub fn now() -> Moment {
    Moment {
        nanos: nanos_at(Instant::now()),
        unix_seconds: unix_now().as_secs(),
    }
}

/// The clock of one worker.
#[derive(Debug)]
pub(crate) struct Clock {
    unix_offset_nanos: Cell<u64>,
    asked_nanos: Cell<u64>,
    read_nanos: Cell<u64>,
    /// The last second that was written, and how.
    date: RefCell<(u64, HeaderValue)>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let clock = Self {
            unix_offset_nanos: Cell::new(0),
            asked_nanos: Cell::new(0),
            read_nanos: Cell::new(0),
            date: RefCell::new((0, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))),
        };
        clock.ask(nanos_at(Instant::now()));
        clock
    }

    /// This moment.
    pub(crate) fn now(&self) -> Moment {
        let nanos = nanos_at(Instant::now());
        self.read_nanos.set(nanos);
        if nanos.saturating_sub(self.asked_nanos.get()) > WALL_CLOCK_AGE_MAX {
            self.ask(nanos);
        }
        Moment {
            nanos,
            unix_seconds: self.unix_nanos(nanos) / NANOS_PER_SECOND,
        }
    }

    /// The time that was read last, nanoseconds: good enough where seconds count.
    pub(crate) fn recent(&self) -> u64 {
        self.read_nanos.get()
    }

    /// The time that was read last, as `Date` has it; written once a second.
    pub(crate) fn date(&self) -> HeaderValue {
        let second = self.unix_nanos(self.recent()) / NANOS_PER_SECOND;
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            let written = HttpDate::from(UNIX_EPOCH + Duration::from_secs(second)).to_string();
            // A date always makes a header value.
            if let Ok(written) = HeaderValue::try_from(written) {
                *date = (second, written);
            }
        }
        date.1.clone()
    }

    /// Wall-clock time of a moment of this process, nanoseconds since 1970.
    pub(crate) fn unix_nanos(&self, nanos: u64) -> u64 {
        self.unix_offset_nanos.get().saturating_add(nanos)
    }

    fn ask(&self, nanos: u64) {
        let unix = u64::try_from(unix_now().as_nanos()).unwrap_or(u64::MAX);
        self.unix_offset_nanos.set(unix.saturating_sub(nanos));
        self.asked_nanos.set(nanos);
    }
}

/// The instant of a moment, for timers.
pub(crate) fn instant(nanos: u64) -> Instant {
    origin() + Duration::from_nanos(nanos)
}

/// `duration` in nanoseconds, saturating.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Fast random numbers of one worker (wyrand), seeded by the operating system. For load balancing,
/// jitter and ids that must not collide; never for secrets.
#[derive(Debug)]
pub(crate) struct Dice {
    state: Cell<u64>,
}

impl Dice {
    pub(crate) fn new() -> Self {
        // Every `RandomState` of a process differs, and the first is seeded by the kernel.
        let seed = std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish();
        Self {
            state: Cell::new(seed),
        }
    }

    /// The next number, uniform over all 64 bits.
    pub(crate) fn draw(&self) -> u64 {
        let state = self.state.get().wrapping_add(0xa076_1d64_78bd_642f);
        self.state.set(state);
        let wide = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
        ((wide >> 64) as u64) ^ (wide as u64)
    }

    /// 128 random bits as 32 lowercase hexadecimal digits.
    pub(crate) fn id(&self) -> [u8; ID_BYTES] {
        hex::of_u128((u128::from(self.draw()) << 64) | u128::from(self.draw()))
    }
}

/// Length of a written id.
pub(crate) const ID_BYTES: usize = 32;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// How stale the carried wall clock may be.
const WALL_CLOCK_AGE_MAX: u64 = NANOS_PER_SECOND;

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    // A little in the past, so that the first moment is not zero ("never" in some states).
    *ORIGIN.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(Duration::from_secs(1)).unwrap_or(now)
    })
}

fn nanos_at(instant: Instant) -> u64 {
    nanos(instant.saturating_duration_since(origin()))
}

fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_grow_and_carry_the_wall_clock() {
        let clock = Clock::new();
        let first = clock.now();
        let second = clock.now();
        assert!(second >= first);
        assert!(first.unix_seconds.abs_diff(unix_now().as_secs()) <= 1);
        assert!(first.unix_seconds.abs_diff(now().unix_seconds) <= 1);
    }

    #[test]
    fn dates_are_those_of_the_last_moment() {
        let clock = Clock::new();
        for _ in 0..2 {
            let seconds = clock.now().unix_seconds;
            let date = clock.date();
            let date = date.to_str().unwrap_or_default();
            let read = httpdate::parse_http_date(date).unwrap_or(UNIX_EPOCH);
            assert_eq!(read, UNIX_EPOCH + Duration::from_secs(seconds), "{date}");
        }
    }

    #[test]
    fn draws_differ_and_ids_are_hexadecimal() {
        let dice = Dice::new();
        assert_ne!(dice.draw(), dice.draw());
        let (one, two) = (dice.id(), dice.id());
        assert_ne!(one, two);
        assert!(one.iter().all(u8::is_ascii_hexdigit));
    }
}
