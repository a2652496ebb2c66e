//! Processor time that the kernel spends on a worker's behalf beside its own thread.
//!
//! Packets are delivered in software interrupts. Those that run within the sending thread are in that
//! thread's time, unless the kernel accounts interrupt time apart (CONFIG_IRQ_TIME_ACCOUNTING); those
//! that are put off run in `ksoftirqd`, one thread a core.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

/// The time that `ksoftirqd` has used on these cores since boot; zero where the kernel does not say.
pub(super) fn ksoftirqd(cores: &[usize]) -> Duration {
    let cores: HashSet<String> = cores.iter().map(|core| format!("ksoftirqd/{core}")).collect();
    let Ok(processes) = fs::read_dir("/proc") else { return Duration::ZERO };
    processes
        .flatten()
        .filter(|entry| {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            cores.contains(name.trim())
        })
        .filter_map(|entry| fs::read_to_string(entry.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split_whitespace().next()?.parse().ok())
        .map(Duration::from_nanos)
        .sum()
}

/// The interrupt time of these cores since boot that is in no thread's time, to the resolution of
/// the kernel's ticks; zero where the kernel leaves it in the threads'.
pub(super) fn interrupts_apart(cores: &[usize]) -> Duration {
    if !accounts_interrupts_apart() {
        return Duration::ZERO;
    }
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let cores: HashSet<String> = cores.iter().map(|core| format!("cpu{core}")).collect();
    let ticks = stat.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        cores.contains(words.next()?).then_some(())?;
        // user nice system idle iowait irq softirq
        let softirq: u64 = words.nth(6)?.parse().ok()?;
        Some(softirq)
    });
    // USER_HZ is 100 on every architecture that this runs on (proc(5)).
    ticks.map(|ticks| Duration::from_millis(ticks * 10)).sum()
}

/// Whether the kernel was built to account interrupt time apart, as far as it can be known.
fn accounts_interrupts_apart() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    fs::read_to_string(format!("/boot/config-{}", release.trim()))
        .is_ok_and(|config| config.contains("CONFIG_IRQ_TIME_ACCOUNTING=y"))
}

/// Resident memory of this process in bytes (proc(5) status); 0 where the kernel does not say.
pub(super) fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = resident.and_then(|value| value.trim().strip_suffix("kB")?.trim().parse().ok());
    kibibytes.unwrap_or(0_u64) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_resident_memory() {
        assert!(resident_bytes() > 100_000);
    }

    #[test]
    fn a_core_that_does_not_exist_has_used_no_time() {
        assert_eq!(ksoftirqd(&[999_999]), Duration::ZERO);
        assert_eq!(interrupts_apart(&[999_999]), Duration::ZERO);
    }
}
