//! Which threads go first. Requests never wait for work that nobody waits for.

/// Lets every other thread go before the calling one where there are not enough processors for
/// all: it still gets a tenth of one. For threads that compile configurations and look up names.
pub fn after_requests() {
    // Always allowed, and nothing is lost where it is not.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// From -20 (first) to 19 (last); threads begin at 0.
const NICENESS: i32 = 10;
