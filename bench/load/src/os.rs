//! The few things that are asked of the kernel besides sockets: clocks, cores, limits.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use nix::unistd::Pid;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Nice value of media threads that get no real-time priority: a late tick of the generator would be
/// read as the node's latency, so pacing goes before signalling.
const MEDIA_NICE: libc::c_int = -10;

/// `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    read_clock(ClockId::CLOCK_MONOTONIC)
}

/// `CLOCK_REALTIME` in nanoseconds since 1970.
pub(crate) fn realtime_ns() -> u64 {
    read_clock(ClockId::CLOCK_REALTIME)
}

/// Processor time, user and system, of the calling thread in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    read_clock(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn read_clock(clock: ClockId) -> u64 {
    // These three clocks exist on every Linux; zero keeps a reader alive if one ever does not.
    clock_gettime(clock).map_or(0, |time| {
        time.tv_sec().unsigned_abs() * NANOS_PER_SECOND + time.tv_nsec().unsigned_abs()
    })
}

/// Sleeps until `CLOCK_MONOTONIC` reads `wake_ns`; returns at once if it already does.
pub(crate) fn sleep_until(wake_ns: u64) {
    let wake = TimeSpec::from_duration(Duration::from_nanos(wake_ns));
    let absolute = ClockNanosleepFlags::TIMER_ABSTIME;
    while matches!(clock_nanosleep(ClockId::CLOCK_MONOTONIC, absolute, &wake), Err(Errno::EINTR)) {}
}

/// Raises the soft limit of open descriptors to the hard limit and returns it.
///
/// # Errors
/// The kernel refuses to tell or to change the limit.
pub(crate) fn raise_descriptor_limit() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("reading RLIMIT_NOFILE")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising RLIMIT_NOFILE")?;
    Ok(hard)
}

/// Ties the calling thread to `core`; `false` when the kernel does not let it.
pub(crate) fn pin(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

/// Ties the calling thread, and those that it starts, to `cores`.
///
/// # Errors
/// The kernel does not let it.
pub(crate) fn pin_to(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core).with_context(|| format!("core {core}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("going to cores {cores:?}"))
}

/// The cores that the calling thread may run on, ascending.
pub(crate) fn cores() -> Vec<usize> {
    let mut cores: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    cores.sort_unstable();
    cores
}

/// Makes the calling thread wake up on time: 1 ns of timer slack and, if allowed, a priority before
/// others. `alone`: the thread has a core of its own among several, so real-time priority cannot
/// keep the machine from its other work; the kernel leaves that core 5 % for others in any case
/// (`sched_rt_runtime_us`). All of it is improvement only, so refusals are ignored: lateness is
/// measured anyway.
pub(crate) fn prefer_punctuality(alone: bool) {
    // SAFETY: PR_SET_TIMERSLACK takes one integer and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: `lowest` is valid for reads during the call; pid 0 means the calling thread on Linux.
    if alone && unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) } == 0 {
        return;
    }
    // SAFETY: no memory is passed; `who` 0 means the calling thread on Linux.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, MEDIA_NICE) };
}

/// The calling thread before all others of its core while this lives, if the kernel lets it: also
/// before threads that [`prefer_punctuality`] has put first.
#[derive(Debug)]
pub(crate) struct Foremost {
    taken: bool,
}

impl Foremost {
    /// For a thread that mostly waits: what it is waiting for is then not late for want of a core.
    pub(crate) fn take() -> Foremost {
        // One above the media threads. Children that the thread starts are ordinary again.
        let second = libc::sched_param { sched_priority: 2 };
        let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
        // SAFETY: `second` is valid for reads during the call; pid 0 is the calling thread on Linux.
        let taken = unsafe { libc::sched_setscheduler(0, policy, &raw const second) } == 0;
        Foremost { taken }
    }
}

impl Drop for Foremost {
    fn drop(&mut self) {
        if self.taken {
            let ordinary = libc::sched_param { sched_priority: 0 };
            // SAFETY: as in `take`.
            unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary) };
        }
    }
}

/// A number that differs from run to run, so that packets of two runs are never mixed up.
pub(crate) fn random_u64() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(monotonic_ns())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_until_a_time_in_the_past_returns_at_once() {
        let before = monotonic_ns();
        sleep_until(before.saturating_sub(1));
        assert!(monotonic_ns() - before < NANOS_PER_SECOND);
    }

    #[test]
    fn the_descriptor_limit_ends_at_the_hard_limit() {
        let raised = raise_descriptor_limit().unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!((soft, raised), (hard, hard));
    }
}
