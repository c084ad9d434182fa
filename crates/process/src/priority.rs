//! Which threads go first. Requests never wait for work that nobody waits for.

/// Lets every other thread go before the calling one where there are not enough processors for
/// all: it still gets a tenth of one, or less where it gives way by itself (decision 0021). For
/// threads that compile configurations and look up names.
pub fn after_requests() {
    // Always allowed, and nothing is lost where it is not.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// From -20 (first) to 19 (last); threads begin at 0.
const NICENESS: i32 = 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn one_thread_goes_after_the_others() {
        let before = niceness();
        let compiling = std::thread::spawn(|| {
            after_requests();
            niceness()
        });
        assert_eq!(compiling.join().unwrap(), NICENESS.max(before));
        assert_eq!(niceness(), before);
    }
}
