//! Memory that is free goes back to the system, and requests do not wait for it.
//!
//! Allocators keep what was freed, for the next time. After thousands of connections have fallen
//! silent there may be no next time for hours, so the engine says when it is worth the trouble.
//! Left to itself, an allocator gives back on whichever thread frees something next: behind a
//! reload that is a worker, which then answers nobody for milliseconds. So a thread of its own does
//! it. How depends on the allocator, which the binary chooses.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use crate::priority;

/// What the allocator of a process can do.
#[derive(Debug, Clone, Copy)]
pub struct Allocator {
    /// Gives back what is free on the calling thread, and what no thread has.
    pub give_back: fn(),
    /// From now on nothing is given back without being told.
    pub only_when_told: fn(),
}

struct Keeper {
    give_back: fn(),
    is_told: AtomicBool,
    thread: OnceLock<Thread>,
}

static KEEPER: OnceLock<Keeper> = OnceLock::new();

/// Says what the allocator of this process can do. The first word counts; without any, it is left
/// to itself.
///
/// # Errors
/// The system has no thread left. The allocator is left to itself then.
pub fn managed_by(allocator: Allocator) -> io::Result<()> {
    let mut is_first = false;
    let keeper = KEEPER.get_or_init(|| {
        is_first = true;
        Keeper {
            give_back: allocator.give_back,
            is_told: AtomicBool::new(false),
            thread: OnceLock::new(),
        }
    });
    if is_first {
        let thread = std::thread::Builder::new()
            .name("memory".to_owned())
            .spawn(|| keeper.run())?;
        let _ = keeper.thread.set(thread.thread().clone());
        (allocator.only_when_told)();
    }
    Ok(())
}

/// Gives back what is free, on the calling thread. It may take milliseconds.
pub fn give_back() {
    if let Some(keeper) = KEEPER.get() {
        (keeper.give_back)();
    }
}

/// Lets what no thread has be given back in a second. Something was freed that may have been large.
/// Costs next to nothing.
pub fn give_back_soon() {
    if let Some(keeper) = KEEPER.get()
        && !keeper.is_told.load(Ordering::Relaxed)
        && !keeper.is_told.swap(true, Ordering::Relaxed)
        && let Some(thread) = keeper.thread.get()
    {
        thread.unpark();
    }
}

impl Keeper {
    fn run(&self) -> ! {
        priority::after_requests();
        loop {
            while !self.is_told.load(Ordering::Relaxed) {
                std::thread::park();
            }
            // What is needed again at once stays, and others follow.
            std::thread::sleep(SOON);
            self.is_told.store(false, Ordering::Relaxed);
            (self.give_back)();
        }
    }
}

const SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Instant;

    use super::*;

    static GIVEN_BACK: Mutex<Option<Sender<String>>> = Mutex::new(None);

    fn note() {
        let name = std::thread::current().name().unwrap().to_owned();
        let _ = GIVEN_BACK.lock().unwrap().as_ref().unwrap().send(name);
    }

    /// One test: there is one allocator in a process.
    #[test]
    fn a_thread_of_its_own_gives_back_once_for_many_words() {
        give_back();
        give_back_soon();
        let (sender, given_back) = channel();
        *GIVEN_BACK.lock().unwrap() = Some(sender);
        let allocator = Allocator {
            give_back: note,
            only_when_told: note,
        };
        managed_by(allocator).unwrap();
        let here = std::thread::current().name().unwrap().to_owned();
        assert_eq!(given_back.try_recv().unwrap(), here, "told to wait");
        managed_by(allocator).unwrap();
        assert!(given_back.try_recv().is_err(), "the first word counts");

        let told = Instant::now();
        (0..100).for_each(|_| give_back_soon());
        assert_eq!(given_back.recv_timeout(10 * SOON).unwrap(), "memory");
        assert!(told.elapsed() >= SOON);
        assert!(
            given_back.recv_timeout(2 * SOON).is_err(),
            "and nothing more"
        );
        give_back_soon();
        assert_eq!(given_back.recv_timeout(10 * SOON).unwrap(), "memory");

        give_back();
        assert_eq!(given_back.try_recv().unwrap(), here);
    }
}
