//! How the allocator takes memory from the system.

/// Heaps of the process: one. By default glibc gives each thread one of its own, and those grow page by page, with a
/// system call each: some 1.3 of them in a turn of the signaling thread under load, and they were a twentieth
/// of what the thread did. The common heap grows by [`GROWTH`]. Threads seldom meet in it: the workers allocate
/// for set-ups alone, not for packets, and each thread keeps what it has freed last at hand.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 1;

/// Bytes by which it grows: a system call in some 100 calls that are kept track of, against 1 MiB that may lie
/// idle. It is not resident before it is used.
#[cfg(target_env = "gnu")]
const GROWTH: libc::c_int = 1 << 20;

/// Free bytes at its end from which they are given back: far more than it grows by, or the two would
/// alternate.
#[cfg(target_env = "gnu")]
const GIVEN_BACK: libc::c_int = 4 * GROWTH;

/// Sets glibc's allocator up for a node; others are left alone. Has to be called before there are threads.
pub(crate) fn set_up() {
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
