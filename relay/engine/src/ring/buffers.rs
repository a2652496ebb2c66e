//! Receive buffers that the kernel picks from (a provided buffer ring).

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// The kernel wants the ring to begin at a page.
const PAGE_BYTES: usize = 4096;

/// Zeroed memory that begins at a page. What of it has not been written to takes no memory yet: it
/// is not asked for at an alignment, for which the allocator would have to write the zeros itself.
struct Pages {
    whole: NonNull<u8>,
    layout: Layout,
    /// The first page within it.
    start: NonNull<u8>,
}

impl Pages {
    fn new(bytes: usize) -> io::Result<Pages> {
        let too_much = || io::Error::from(io::ErrorKind::OutOfMemory);
        let room = bytes.checked_add(PAGE_BYTES).ok_or_else(too_much)?;
        let layout = Layout::array::<u8>(room).map_err(|_| too_much())?;
        // SAFETY: the layout's size is not 0.
        let whole = unsafe { alloc_zeroed(layout) };
        let Some(whole) = NonNull::new(whole) else { handle_alloc_error(layout) };
        // SAFETY: less than a page further, and there is one more than `bytes`.
        let start = unsafe { whole.add(whole.align_offset(PAGE_BYTES)) };
        Ok(Pages { whole, layout, start })
    }

    /// Takes the memory now, so that no packet waits for it.
    fn populate(&mut self) {
        let end = self.layout.size() - PAGE_BYTES;
        for page in (0..end).step_by(PAGE_BYTES) {
            // SAFETY: within the memory, which nobody else has yet. Volatile: zeros over zeros would
            // be left out else.
            unsafe { self.start.add(page).write_volatile(0) };
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and given back once.
        unsafe { dealloc(self.whole.as_ptr(), self.layout) };
    }
}

/// The buffers, and the ring in which the kernel finds the free ones.
pub(super) struct Buffers {
    ring: Pages,
    data: Pages,
    group: u16,
    /// The number of the first: the kernel says which buffer it took, but not of which group.
    first: u16,
    count: u16,
    buffer_bytes: u32,
    /// One past the last buffer that was given to the kernel, modulo 2^16.
    tail: u16,
}

impl Buffers {
    /// Makes buffers of these numbers, a power of two of them, and gives all of them to the kernel
    /// as a group. `populate`: their memory is taken now, not as they are first used. They must outlive the ring (see the drop order in [`super`]).
    pub(super) fn register(
        uring: &IoUring,
        group: u16,
        numbers: Range<u16>,
        buffer_bytes: u32,
        populate: bool,
    ) -> io::Result<Buffers> {
        let count = numbers.len() as u16;
        let ring = Pages::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let mut data = Pages::new(usize::from(count) * buffer_bytes as usize)?;
        if populate {
            data.populate();
        }
        let mut buffers =
            Buffers { ring, data, group, first: numbers.start, count, buffer_bytes, tail: 0 };
        let address = buffers.ring.start.as_ptr() as u64;
        // SAFETY: the memory holds `count` entries, begins at a page and outlives the ring.
        unsafe { uring.submitter().register_buf_ring_with_flags(address, count, group, 0) }?;
        let all: Vec<u16> = numbers.collect();
        buffers.give_back(&all);
        Ok(buffers)
    }

    /// What receives call this group.
    pub(super) fn group(&self) -> u16 {
        self.group
    }

    /// Whether the buffer is one of these.
    pub(super) fn has(&self, buffer: u16) -> bool {
        buffer.wrapping_sub(self.first) < self.count
    }

    /// The bytes of a buffer that we hold.
    pub(super) fn get(&self, buffer: u16) -> &[u8] {
        let buffer = usize::from(buffer.wrapping_sub(self.first) % self.count);
        let length = self.buffer_bytes as usize;
        // SAFETY: within `data`, which has `count` buffers of that length and was zeroed; the
        // kernel writes only into buffers that it has, and this one it gave to us.
        unsafe {
            let start = self.data.start.as_ptr().add(buffer * length);
            std::slice::from_raw_parts(start, length)
        }
    }

    /// Gives those of `spent` that are of this group to the kernel. None of them may be read any
    /// more.
    pub(super) fn give_back(&mut self, spent: &[u16]) {
        for buffer in spent {
            if !self.has(*buffer) {
                continue;
            }
            let place = usize::from(self.tail % self.count);
            let start = self.get(*buffer).as_ptr() as u64;
            // SAFETY: within `ring`, which has `count` entries; the kernel reads entries before
            // the tail only, and as no more buffers exist than entries this one is free.
            let entry = unsafe { &mut *self.ring.start.as_ptr().cast::<BufRingEntry>().add(place) };
            entry.set_addr(start);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(*buffer);
            self.tail = self.tail.wrapping_add(1);
        }
        // SAFETY: the tail lies in the first entry, 2 bytes that only this thread writes and that
        // `set_addr`, `set_len` and `set_bid` leave alone.
        let tail = unsafe {
            let tail = BufRingEntry::tail(self.ring.start.as_ptr().cast());
            AtomicU16::from_ptr(tail.cast_mut())
        };
        // The kernel must see the entries before the tail.
        tail.store(self.tail, Ordering::Release);
    }
}
