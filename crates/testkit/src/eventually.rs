//! Waiting for something to become true, with a deadline instead of a sleep.

use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// What a probe found: either what the test waited for, or the reason to look again.
pub trait Outcome {
    /// What the test waits for.
    type Value;

    /// The value, or a description of what is still missing.
    ///
    /// # Errors
    /// When it is worth looking again.
    fn outcome(self) -> Result<Self::Value, String>;
}

impl Outcome for bool {
    type Value = ();

    fn outcome(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("false".to_owned())
        }
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(|| "None".to_owned())
    }
}

impl<T, E: Debug> Outcome for Result<T, E> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Calls `probe` until it answers `true`, `Some` or `Ok`, and returns what it found.
///
/// The interval starts at 2 ms and grows to 50 ms, so that fast things are seen fast. A probe that
/// hangs is cut off at the deadline.
///
/// # Panics
/// At the deadline, with the caller's place and the last outcome.
#[track_caller]
pub fn eventually<P, F, O>(deadline: Duration, mut probe: P) -> impl Future<Output = O::Value>
where
    P: FnMut() -> F,
    F: Future<Output = O>,
    O: Outcome,
{
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        let mut interval = INTERVAL_FIRST;
        let mut last = "no answer of the probe".to_owned();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if let Ok(outcome) = tokio::time::timeout(left, probe()).await {
                match outcome.outcome() {
                    Ok(value) => return value,
                    Err(reason) => last = reason,
                }
            }
            assert!(
                Instant::now() < end,
                "not within {deadline:?} at {caller}: {last}"
            );
            tokio::time::sleep(interval).await;
            interval = (interval * 2).min(INTERVAL_MAX);
        }
    }
}

const INTERVAL_FIRST: Duration = Duration::from_millis(2);
const INTERVAL_MAX: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::eventually;
    use std::cell::Cell;
    use std::time::Duration;

    #[tokio::test]
    async fn returns_what_the_probe_found() {
        let calls = Cell::new(0);
        let found = eventually(Duration::from_secs(5), || {
            calls.set(calls.get() + 1);
            let count = calls.get();
            async move { (count == 3).then_some(count) }
        })
        .await;
        assert_eq!(found, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "still closed")]
    async fn a_deadline_tells_the_last_outcome() {
        eventually(Duration::from_millis(30), || async {
            Err::<(), _>("still closed")
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "no answer of the probe")]
    async fn a_hanging_probe_is_cut_off() {
        eventually(Duration::from_millis(30), std::future::pending::<bool>).await;
    }
}
