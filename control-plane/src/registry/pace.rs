//! Work that is done at once when it is wanted for the first time in a while, and then no more
//! often than every so long. However often it is wanted meanwhile, it is done once, at the end.

use std::time::Duration;

use tokio::time::Instant;

/// When it may be done next, and whether anybody wants it.
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    not_before: Instant,
    is_wanted: bool,
}

impl Pace {
    /// Nobody wants it yet; when somebody does, it may be done at once.
    pub fn new(every: Duration) -> Self {
        Pace {
            every,
            not_before: Instant::now(),
            is_wanted: false,
        }
    }

    /// It is to be done.
    pub fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Whether it is to be done, now or later.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Waits until it is wanted and the time has come. Cancel safe.
    pub async fn due(&self) {
        if !self.is_wanted {
            return std::future::pending().await;
        }
        tokio::time::sleep_until(self.not_before).await;
    }

    /// It is done.
    pub fn done(&mut self) {
        self.is_wanted = false;
        self.not_before = Instant::now() + self.every;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(100);

    async fn waited(pace: &Pace) -> Duration {
        let began = Instant::now();
        pace.due().await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_due_at_once_and_the_next_at_the_end_of_the_window() {
        let mut pace = Pace::new(EVERY);
        pace.want();
        // A paused clock goes on by whole milliseconds.
        assert!(waited(&pace).await < Duration::from_millis(2));
        pace.done();
        tokio::time::sleep(Duration::from_millis(30)).await;
        pace.want();
        pace.want();
        let second = waited(&pace).await;
        assert!(second >= Duration::from_millis(68), "{second:?}");
        assert!(second <= Duration::from_millis(72), "{second:?}");
        pace.done();
        tokio::time::sleep(EVERY).await;
        pace.want();
        assert!(waited(&pace).await < Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_wants_is_never_due() {
        let mut pace = Pace::new(EVERY);
        pace.want();
        pace.done();
        let over = tokio::time::timeout(10 * EVERY, pace.due()).await;
        assert!(over.is_err());
    }
}
