//! Memory that is free goes back to the system.
//!
//! Allocators keep what was freed, for the next time. After thousands of connections have fallen
//! silent there may be no next time for hours, so the engine says when it is worth the trouble. How
//! that is done depends on the allocator, which the binary chooses.

use std::sync::OnceLock;

static COLLECT: OnceLock<fn()> = OnceLock::new();

/// Says how the allocator of this process gives back what is free on the calling thread. The first
/// word counts; without any, nothing is given back before the allocator does so by itself.
pub fn given_back_by(collect: fn()) {
    let _ = COLLECT.set(collect);
}

/// Gives back what is free. It may take milliseconds.
pub fn give_back() {
    if let Some(collect) = COLLECT.get() {
        collect();
    }
}
