//! The allocator of the proxies, and how often it was asked.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use weir_allocator::Allocator;

/// mimalloc, counting.
#[derive(Debug)]
pub struct Counting;

/// What was asked of the allocator since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// How often; growing counts as well.
    pub times: u64,
    /// For how many bytes.
    pub bytes: u64,
}

static TIMES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// What was asked so far.
#[must_use]
pub fn so_far() -> Asked {
    Asked {
        times: TIMES.load(Relaxed),
        bytes: BYTES.load(Relaxed),
    }
}

fn count(bytes: usize) {
    TIMES.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes as u64, Relaxed);
}

#[allow(
    unsafe_code,
    reason = "an allocator is; every call is handed on as it came"
)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { Allocator.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { Allocator.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { Allocator.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes);
        unsafe { Allocator.realloc(at, layout, bytes) }
    }
}
