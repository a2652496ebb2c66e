//! How a worker's thread ranks against other threads of the host.
//!
//! A worker that waits for a core lets packets wait. Where the process may (CAP_SYS_NICE, or
//! RLIMIT_NICE and RLIMIT_RTPRIO), its threads are put before others; where it may not, they run as
//! they are.

use std::fmt;
use std::io;

use nix::unistd::Pid;

/// How a thread is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// As the process is.
    Inherited,
    /// A share of the core by nice value, -20 (most) to 19 (least).
    Nice(i8),
    /// Before every thread that is not real-time, in the order of 1 to 99 (SCHED_FIFO). A worker
    /// with more packets than its core can relay leaves other threads only what the kernel's
    /// throttle does (sched_rt_runtime_us, 5 %): give it a core of its own.
    RealTime(u8),
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Priority::Inherited => f.write_str("inherited"),
            Priority::Nice(nice) => write!(f, "nice {nice}"),
            Priority::RealTime(priority) => write!(f, "real-time {priority}"),
        }
    }
}

impl Priority {
    /// Whether it is one that the system knows.
    pub(crate) fn is_valid(self) -> bool {
        match self {
            Priority::Inherited => true,
            Priority::Nice(nice) => (-20..=19).contains(&nice),
            Priority::RealTime(priority) => (1..=99).contains(&priority),
        }
    }

    /// Sets the calling thread's, and that of threads which it starts from then on.
    ///
    /// # Errors
    /// As the system says: it is not permitted (EPERM, EACCES), or not a priority (EINVAL).
    pub fn set(self) -> io::Result<()> {
        let result = match self {
            Priority::Inherited => 0,
            // SAFETY: takes numbers only; 0 is the calling thread.
            Priority::Nice(nice) => unsafe {
                libc::setpriority(libc::PRIO_PROCESS, 0, i32::from(nice))
            },
            Priority::RealTime(priority) => {
                let parameter = libc::sched_param { sched_priority: i32::from(priority) };
                // SAFETY: the parameter is read before the call returns; 0 is the calling thread.
                unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) }
            }
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// That of a thread of this process, as the system says.
    pub(crate) fn of(thread: Pid) -> Priority {
        let mut parameter = libc::sched_param { sched_priority: 0 };
        // SAFETY: takes a number.
        let policy = unsafe { libc::sched_getscheduler(thread.as_raw()) };
        // SAFETY: writes to the parameter only, which lives until it returns.
        let got = unsafe { libc::sched_getparam(thread.as_raw(), &raw mut parameter) };
        if got == 0 && policy == libc::SCHED_FIFO {
            // Between 1 and 99.
            return Priority::RealTime(parameter.sched_priority as u8);
        }
        // SAFETY: takes numbers. -1 may be a nice value or a thread that is gone; the latter is
        // nobody's concern.
        let nice =
            unsafe { libc::getpriority(libc::PRIO_PROCESS, thread.as_raw().cast_unsigned()) };
        // Between -20 and 19.
        Priority::Nice(nice as i8)
    }
}
