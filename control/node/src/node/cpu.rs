//! How much of its processors this process uses.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// Shorter times say nothing: the kernel may count in ticks of 10 ms.
const LEAST: Duration = Duration::from_millis(200);

/// What was read last, and the share of the time before.
#[derive(Debug)]
pub(super) struct Meter(Mutex<Read>);

#[derive(Debug)]
struct Read {
    at: Instant,
    used: Duration,
    permille: u16,
}

impl Meter {
    pub(super) fn new() -> Meter {
        Meter(Mutex::new(Read { at: Instant::now(), used: used(), permille: 0 }))
    }

    /// The share since it was asked last, in thousandths of all processors that the process may run on.
    /// Whoever asks too soon is told what it was.
    pub(super) fn permille(&self) -> u16 {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now.saturating_duration_since(read.at) >= LEAST {
            let used = used();
            let cores = thread::available_parallelism().map_or(1, usize::from);
            read.permille = share(used.saturating_sub(read.used), now - read.at, cores);
            (read.at, read.used) = (now, used);
        }
        read.permille
    }
}

/// Processor time of this process so far, its own and the system's for it.
pub(super) fn used() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn share(used: Duration, time: Duration, cores: usize) -> u16 {
    let all = time.as_micros().saturating_mul(cores.max(1) as u128).max(1);
    let permille = used.as_micros().saturating_mul(1_000) / all;
    // The two clocks are not read at the same moment.
    u16::try_from(permille.min(1_000)).unwrap_or(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_all_processors_and_never_more() {
        let s = Duration::from_secs;
        assert_eq!(share(s(1), s(2), 1), 500);
        assert_eq!(share(s(1), s(2), 4), 125);
        assert_eq!(share(s(9), s(2), 2), 1_000);
        assert_eq!(share(s(0), s(0), 0), 0);
    }

    #[test]
    fn work_of_this_process_is_seen() {
        let (meter, before) = (Meter::new(), used());
        let begun = Instant::now();
        while used() < before + Duration::from_millis(100) || begun.elapsed() < LEAST {
            std::hint::spin_loop();
        }
        assert!(meter.permille() > 0);
    }
}
