//! How the allocator takes memory from the system.
//!
//! What a node keeps of its transactions, calls and registrations is 100 MB and more under load, each message
//! touches some of it here and there, and all of it is new once. In pages of 4 KiB that is a fault for every few
//! messages, and a walk through the page tables for nearly each touch; so the kernel is asked for pages of
//! 2 MiB where they are sure to be filled: in large tables, and in the heap. Where it may not give them (`never`
//! in `/sys/kernel/mm/transparent_hugepage/enabled`) nothing changes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Heaps of the process: one. By default glibc gives each thread one of its own, and those grow page by page, with a
/// system call each: some 1.3 of them in a turn of the signaling thread under load, and they were a twentieth
/// of what the thread did. The common heap grows by [`GROWTH`]. Threads seldom meet in it: the workers allocate
/// for set-ups alone, not for packets, and each thread keeps what it has freed last at hand.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 1;

/// Bytes by which it grows: eight huge pages, of which the one across the seam stays in small ones. What is not
/// used yet is not resident, but for the rest of a huge page.
#[cfg(target_env = "gnu")]
const GROWTH: libc::c_int = 16 << 20;

/// Free bytes at its end from which they are given back: more than it grows by, or the two would
/// alternate.
#[cfg(target_env = "gnu")]
const GIVEN_BACK: libc::c_int = 4 * GROWTH;

/// Sets glibc's allocator up for a node; others are left alone. Has to be called before there are threads.
pub(crate) fn set_up() {
    HEAP_BEGIN.store(heap_end(), Ordering::Relaxed);
    #[cfg(target_env = "gnu")]
    for (option, value) in [
        (libc::M_ARENA_MAX, HEAPS),
        (libc::M_TOP_PAD, GROWTH),
        (libc::M_TRIM_THRESHOLD, GIVEN_BACK),
    ] {
        // SAFETY: mallopt(3) takes two integers, and no other thread runs yet.
        let done = unsafe { libc::mallopt(option, value) };
        if done == 0 {
            tracing::debug!(option, value, "the allocator does not take an option");
        }
    }
}

/// The allocator of the whole program: the system's, which is told where huge pages are worth their while.
pub(crate) struct Allocator;

/// The size of a huge page on x86-64 and, with pages of 4 KiB, on arm64.
const HUGE: usize = 2 << 20;

/// Allocations that have a huge page within them wherever they begin. They are tables that grow by doubling, and
/// are filled from one end or all over.
const LARGE: usize = 2 * HUGE;

/// Allocations at which it is looked whether the heap has grown: blocks of received messages are among them, so
/// that it is seen within some 20 messages, long before what it has grown by is used.
const LOOKED_AT: usize = 4 << 10;

/// Where the heap began to be looked at; zero: it is not.
static HEAP_BEGIN: AtomicUsize = AtomicUsize::new(0);

/// Where it ended when the kernel was told of it last.
static HEAP_END: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all that is allocated and freed is so by `System`, with the very arguments; what the kernel is told
// of it changes neither its contents nor what may be done with it.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` wants.
        let place = unsafe { System.alloc(layout) };
        if layout.size() >= LOOKED_AT {
            look_at(place, layout.size());
        }
        place
    }

    /// What is to be zeroed may be meant to stay so for the most part: it is left in small pages.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` wants.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those that `System` wants, and `place` is one of its own.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` wants, and `place` is one of its own.
        let place = unsafe { System.realloc(place, layout, size) };
        if size >= LOOKED_AT {
            look_at(place, size);
        }
        place
    }
}

/// Has huge pages given to an allocation that is large, and to the heap where it has grown.
#[cold]
fn look_at(place: *mut u8, size: usize) {
    if size >= LARGE && !place.is_null() {
        ask_huge(place.addr(), place.addr() + size);
    }
    let begin = HEAP_BEGIN.load(Ordering::Relaxed);
    let end = if begin == 0 { 0 } else { heap_end() };
    if end > begin && HEAP_END.swap(end, Ordering::Relaxed) != end {
        ask_huge(begin, end);
    }
}

/// Where the heap ends at present; zero where it is not known.
fn heap_end() -> usize {
    // SAFETY: sbrk(2) by nothing only tells where the heap ends.
    let end = if cfg!(target_env = "gnu") { unsafe { libc::sbrk(0) }.addr() } else { 0 };
    if end == usize::MAX { 0 } else { end }
}

/// Asks for huge pages between two addresses of this process's memory, which are widened to nothing that is not
/// wholly between them. An error is none: small pages do.
fn ask_huge(begin: usize, end: usize) {
    let (begin, end) = (begin.next_multiple_of(HUGE), end / HUGE * HUGE);
    if begin < end {
        let place = std::ptr::without_provenance_mut(begin);
        // SAFETY: the kernel is told what pages to use; nothing is read, written, moved or given back.
        unsafe { libc::madvise(place, end - begin, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the kernel has been asked to keep the memory around `place` in huge pages (`hg` in
    /// `/proc/self/smaps`).
    fn asked_for(place: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_here = false;
        for line in maps.lines() {
            let range = line.split(' ').next().unwrap_or_default().split_once('-');
            if let Some((Ok(begin), Ok(end))) = range.map(|(begin, end)| {
                (usize::from_str_radix(begin, 16), usize::from_str_radix(end, 16))
            }) {
                is_here = (begin..end).contains(&place);
            } else if is_here && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.split_whitespace().any(|flag| flag == "hg");
            }
        }
        false
    }

    /// Also when they have grown; what is zeroed is left as it is.
    #[test]
    fn large_tables_are_in_huge_pages() {
        let mut table: Vec<u8> = Vec::with_capacity(LARGE);
        assert!(asked_for(table.as_ptr().addr() + HUGE));
        table.reserve_exact(4 * LARGE);
        assert!(asked_for(table.as_ptr().addr() + 4 * LARGE - HUGE));
        let sparse = vec![0u8; 16 * LARGE];
        assert!(!asked_for(sparse.as_ptr().addr() + 8 * LARGE));
    }

    /// The kernel is asked about nothing that is not wholly in the range.
    #[test]
    fn a_range_without_a_whole_huge_page_is_left_alone() {
        let table: Vec<u8> = Vec::with_capacity(LARGE / 4);
        let place = table.as_ptr().addr();
        ask_huge(place, place + LARGE / 4);
        ask_huge(place + HUGE, place);
        assert!(!asked_for(place));
    }
}
