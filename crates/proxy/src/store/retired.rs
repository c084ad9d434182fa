//! Documents that were in force a moment ago. Whoever lets go of one last frees all of it, which
//! takes milliseconds where it is large: that should not be a worker with requests to answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use weir_process::memory;

/// Holds on to each until the requests that began with it are most likely over; at most
/// [`HELD_MAX`].
#[derive(Debug)]
pub(super) struct Retired<T>(Arc<Mutex<VecDeque<Arc<T>>>>);

impl<T> Default for Retired<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Send + Sync + 'static> Retired<T> {
    /// Holds on to one, for [`HELD_FOR`] unless others push it out; then lets go of it beside the
    /// workers.
    pub(super) fn hold(&self, document: Arc<T>, let_go: fn(Arc<T>)) {
        let weak = Arc::downgrade(&document);
        let held = Arc::clone(&self.0);
        let pushed_out = {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            held.push_back(document);
            (held.len() > HELD_MAX).then(|| held.pop_front()).flatten()
        };
        tokio::spawn(async move {
            let _freed = spawn_blocking(move || pushed_out.map(let_go)).await;
            tokio::time::sleep(HELD_FOR).await;
            let over = {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                let place = held
                    .iter()
                    .position(|one| weak.as_ptr() == Arc::as_ptr(one));
                place.and_then(|place| held.remove(place))
            };
            let _freed = spawn_blocking(move || over.map(let_go)).await;
            memory::give_back_soon();
        });
    }
}

/// How long a document is held that is not in force any more.
const HELD_FOR: Duration = Duration::from_secs(2);
/// How many are held.
const HELD_MAX: usize = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::ThreadId;

    use tokio::time::Instant;

    use super::*;

    /// Tells its number and the thread on which it is freed.
    struct Told(u32, Sender<(u32, ThreadId)>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.1.send((self.0, std::thread::current().id()));
        }
    }

    /// The next that is freed, beside this thread.
    fn freed(told: &Receiver<(u32, ThreadId)>) -> u32 {
        let (number, thread) = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_ne!(thread, std::thread::current().id());
        number
    }

    #[tokio::test]
    async fn what_was_in_force_is_freed_beside_the_worker_and_not_at_once() {
        let (tell, told) = channel();
        let retired = Retired::default();
        let begun = Instant::now();
        for number in 0..HELD_MAX as u32 {
            retired.hold(Arc::new(Told(number, tell.clone())), drop);
        }
        let mut numbers: Vec<_> = Vec::new();
        while numbers.len() < HELD_MAX {
            tokio::time::sleep(Duration::from_millis(10)).await;
            numbers.extend(told.try_iter().map(|(number, thread)| {
                assert_ne!(thread, std::thread::current().id());
                number
            }));
        }
        assert!(begun.elapsed() >= HELD_FOR);
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn one_more_than_are_held_pushes_the_oldest_out_and_no_other() {
        let (tell, told) = channel();
        let retired = Retired::default();
        let begun = Instant::now();
        for number in 0..=HELD_MAX as u32 {
            retired.hold(Arc::new(Told(number, tell.clone())), drop);
        }
        assert_eq!(freed(&told), 0);
        freed(&told);
        assert!(begun.elapsed() >= HELD_FOR);
    }
}
