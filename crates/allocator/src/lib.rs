//! The memory allocator of the proxies: mimalloc, asked the short way.
//!
//! For: a `#[global_allocator]` and a way to give free memory back. Not for: deciding when that is
//! worth it (`weir-process`). The one idea: the crate `mimalloc` asks for an alignment each time,
//! and what asks so takes a slow path for every size above a kibibyte that is no power of two. All
//! that mimalloc hands out is aligned well enough for nearly every type, so only the others ask.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;

use libmimalloc_sys as mimalloc;

/// mimalloc as the allocator of a binary.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocator;

/// Gives back to the system what is free on the calling thread, and what no thread has. It may take
/// milliseconds.
pub fn give_back() {
    #[expect(unsafe_code, reason = "a function of a C library")]
    // SAFETY: it has no preconditions.
    unsafe {
        mimalloc::mi_collect(true);
    }
}

/// From now on memory goes back to the system by [`give_back`] alone. Else mimalloc gives back, a
/// second after it was freed, whatever all threads have freed, on whichever thread frees next.
pub fn give_back_only_when_told() {
    #[expect(unsafe_code, reason = "a function of a C library")]
    // SAFETY: the option exists, and any number is a delay.
    unsafe {
        mimalloc::mi_option_set(OPTION_PURGE_DELAY, PURGE_DELAY_MS);
    }
}

/// Whether everything that mimalloc hands out is aligned so.
const fn is_usual(layout: Layout) -> bool {
    layout.align() <= USUAL_ALIGN
}

#[expect(
    unsafe_code,
    reason = "an allocator is; every call is handed on as it came"
)]
// SAFETY: mimalloc keeps the contract of `GlobalAlloc`: what it hands out is as large as asked for
// and aligned to a word at least, to more where that is asked for; it is null when there is none.
// Each of its functions takes back what any of the others handed out.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let at = match is_usual(layout) {
            true => unsafe { mimalloc::mi_malloc(layout.size()) },
            false => unsafe { mimalloc::mi_malloc_aligned(layout.size(), layout.align()) },
        };
        at.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let at = match is_usual(layout) {
            true => unsafe { mimalloc::mi_zalloc(layout.size()) },
            false => unsafe { mimalloc::mi_zalloc_aligned(layout.size(), layout.align()) },
        };
        at.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, _: Layout) {
        unsafe { mimalloc::mi_free(at.cast::<c_void>()) }
    }

    #[inline]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let at = at.cast::<c_void>();
        let at = match is_usual(layout) {
            true => unsafe { mimalloc::mi_realloc(at, bytes) },
            false => unsafe { mimalloc::mi_realloc_aligned(at, bytes, layout.align()) },
        };
        at.cast()
    }
}

/// Bytes: the least that mimalloc aligns to, whatever the size.
const USUAL_ALIGN: usize = 8;
/// `mi_option_purge_delay` of `mimalloc.h`, which the crate leaves out.
const OPTION_PURGE_DELAY: mimalloc::mi_option_t = 15;
/// Milliseconds; a year. With none at all, mimalloc would not note what can be given back.
const PURGE_DELAY_MS: std::ffi::c_long = 365 * 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    #![allow(unsafe_code, reason = "the functions under test are")]

    use super::*;

    #[test]
    fn what_is_handed_out_is_aligned_and_keeps_its_bytes() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            for bytes in [1, 7, 8, 9, 24, 100, 1000, 1500, 5000, 70_000, 3_000_000] {
                let layout = Layout::from_size_align(bytes, align).unwrap();
                // SAFETY: the size is not zero, and what is read was written or zeroed.
                unsafe {
                    let at = Allocator.alloc_zeroed(layout);
                    assert!(is_aligned(at, align), "{layout:?}");
                    assert!((0..bytes).all(|byte| *at.add(byte) == 0));
                    at.write_bytes(7, bytes);
                    let at = Allocator.realloc(at, layout, 2 * bytes);
                    assert!(is_aligned(at, align), "{layout:?} grown");
                    assert!((0..bytes).all(|byte| *at.add(byte) == 7));
                    let grown = Layout::from_size_align(2 * bytes, align).unwrap();
                    Allocator.dealloc(at, grown);
                    let at = Allocator.alloc(layout);
                    assert!(is_aligned(at, align), "{layout:?} again");
                    Allocator.dealloc(at, layout);
                }
            }
        }
        give_back();
    }

    #[test]
    fn what_was_freed_stays_until_somebody_says_so() {
        // SAFETY: the option exists. A second is the default of this one and of no other.
        assert_eq!(unsafe { mimalloc::mi_option_get(OPTION_PURGE_DELAY) }, 1000);
        give_back_only_when_told();
        let bytes = 64 << 20;
        let layout = Layout::from_size_align(bytes, 8).unwrap();
        let before = resident_bytes();
        // SAFETY: the size is not zero, and what is written was handed out.
        unsafe {
            let at = Allocator.alloc(layout);
            at.write_bytes(1, bytes);
            Allocator.dealloc(at, layout);
        }
        assert!(resident_bytes() > before + bytes / 2);
        give_back();
        assert!(resident_bytes() < before + bytes / 2);
    }

    fn resident_bytes() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    fn is_aligned(at: *mut u8, align: usize) -> bool {
        !at.is_null() && at.addr().is_multiple_of(align)
    }
}
