//! Buffers that the kernel fills: it takes them from a ring that it shares with us.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// Received bytes in one of the buffers.
#[derive(Debug)]
pub struct Lent {
    pub(super) buffer: u16,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Lent {
    /// Leaves out what is behind the first bytes.
    pub fn keep(&mut self, count: usize) {
        self.to = self.to.min(self.from + count);
    }
}

/// The provided buffers: those that the kernel may take are in a ring that it shares with us.
pub(super) struct Buffers {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
    /// Those that the kernel has.
    pub(super) free: u16,
}

impl Buffers {
    #[expect(unsafe_code, reason = "the kernel is told of memory")]
    pub(super) fn new(submitter: &Submitter<'_>) -> io::Result<Self> {
        let pages = |bytes: usize| {
            let pages = vec![Page { _bytes: [0; 4096] }; bytes.div_ceil(4096)];
            Box::leak(pages.into_boxed_slice()).as_mut_ptr()
        };
        let entries: *mut BufRingEntry =
            pages(size_of::<BufRingEntry>() * usize::from(BUFFERS)).cast();
        let memory: *mut u8 = pages(BUFFER_BYTES * usize::from(BUFFERS)).cast();
        // SAFETY: the memory is aligned to pages, has that many entries, and is never freed.
        unsafe {
            submitter.register_buf_ring_with_flags(entries as u64, BUFFERS, BUFFERS_GROUP, 0)?;
        }
        let mut buffers = Self {
            entries,
            memory,
            tail: 0,
            free: 0,
        };
        for buffer in 0..BUFFERS {
            buffers.give_back(buffer);
        }
        Ok(buffers)
    }

    /// Gives the kernel a buffer.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub(super) fn give_back(&mut self, buffer: u16) {
        let place = usize::from(self.tail & (BUFFERS - 1));
        // SAFETY: both are within what was allocated. The kernel does not read an entry before the
        // tail has passed it, and it is told of the tail last; the tail is a field of the first
        // entry that nothing else writes.
        unsafe {
            let entry = &mut *self.entries.add(place);
            entry.set_addr(self.memory.add(usize::from(buffer) * BUFFER_BYTES) as u64);
            entry.set_len(u32::try_from(BUFFER_BYTES).unwrap_or(0));
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
        self.free += 1;
    }

    /// What is in a lent one.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    pub(super) fn bytes(&self, lent: &Lent) -> &[u8] {
        let start = usize::from(lent.buffer) * BUFFER_BYTES + lent.from;
        // SAFETY: who has a `Lent` has the buffer: the kernel has filled it that far, and does not
        // write to it before it is given back.
        unsafe { std::slice::from_raw_parts(self.memory.add(start), lent.to - lent.from) }
    }
}

#[derive(Clone)]
#[repr(align(4096))]
struct Page {
    _bytes: [u8; 4096],
}

pub(super) const BUFFERS_GROUP: u16 = 0;
/// A power of two.
pub(super) const BUFFERS: u16 = 128;
const BUFFER_BYTES: usize = 32 * 1024;
