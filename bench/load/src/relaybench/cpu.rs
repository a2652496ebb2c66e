//! What a core and a process have spent.
//!
//! The core's busy time is what counts: wall-clock time less idle time. Idle time is the kernel's
//! own account in nanoseconds (`/proc/timer_list`), which stops at each interrupt and goes on after
//! the interrupt *and its softirqs*; so receive processing on the relay's core is in the busy time,
//! whichever thread it interrupts or even if it interrupts none. The per-thread figures of the
//! kernel cannot tell that: without IRQ_TIME_ACCOUNTING a softirq is charged to whoever it interrupts.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

const TIMER_LIST: &str = "/proc/timer_list";

/// A clock tick of `/proc/stat` and `/proc/PID/stat` in nanoseconds (USER_HZ is 100 on Linux).
const TICK_NS: u64 = 10_000_000;

/// Where the idle time was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    Nanoseconds,
    Ticks,
}

/// The accounts at one moment.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) at_ns: u64,
    pub(crate) idle_ns: u64,
    /// Time that the hypervisor gave to others while the core had something to do.
    pub(crate) steal_ns: u64,
    /// All threads of the system under test.
    pub(crate) process_ns: u64,
    pub(crate) ksoftirqd_ns: u64,
    /// All other processes of the machine, on any core.
    pub(crate) foreign_ns: u64,
    foreign_threads: Threads,
}

/// Differences of two readings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) wall_ns: u64,
    pub(crate) busy_ns: u64,
    pub(crate) steal_ns: u64,
    pub(crate) process_ns: u64,
    pub(crate) ksoftirqd_ns: u64,
    pub(crate) foreign_ns: u64,
    /// The part of it that threads took which were last seen on the core.
    pub(crate) foreign_on_core_ns: u64,
}

impl Spent {
    pub(crate) fn between(before: &Reading, after: &Reading) -> Spent {
        let wall_ns = after.at_ns.saturating_sub(before.at_ns);
        Spent {
            wall_ns,
            busy_ns: wall_ns.saturating_sub(after.idle_ns.saturating_sub(before.idle_ns)),
            steal_ns: after.steal_ns.saturating_sub(before.steal_ns),
            process_ns: after.process_ns.saturating_sub(before.process_ns),
            ksoftirqd_ns: after.ksoftirqd_ns.saturating_sub(before.ksoftirqd_ns),
            foreign_ns: after.foreign_ns.saturating_sub(before.foreign_ns),
            foreign_on_core_ns: after.foreign_threads.spent_since(&before.foreign_threads),
        }
    }
}

/// Reads the accounts of one core and of the processes that are measured on it.
#[derive(Debug)]
pub(crate) struct Meter {
    core: usize,
    processes: Vec<u32>,
    ksoftirqd: Option<u32>,
    pub(crate) precision: Precision,
}

impl Meter {
    /// `processes`: those of the system under test, none if there is none.
    pub(crate) fn new(core: usize, processes: impl IntoIterator<Item = u32>) -> Result<Meter> {
        let precise = timer_list(core).is_ok();
        let precision = if precise { Precision::Nanoseconds } else { Precision::Ticks };
        stat_line(core)?;
        let processes = processes.into_iter().collect();
        Ok(Meter { core, processes, ksoftirqd: ksoftirqd(core), precision })
    }

    /// # Errors
    /// The kernel's accounts cannot be read, which was possible before.
    pub(crate) fn read(&self) -> Result<Reading> {
        let process_ns = self.processes.iter().copied().map(threads_ns).sum();
        let ksoftirqd_ns = self.ksoftirqd.map_or(0, threads_ns);
        let foreign_ns = self.foreign_ns();
        let foreign_threads = self.foreign_threads();
        let stat = stat_line(self.core)?;
        let (at_ns, idle_ns) = match self.precision {
            // The kernel adds up an idle period when it ends: being there ends it.
            Precision::Nanoseconds => on_core(self.core, || timer_list(self.core))??,
            Precision::Ticks => (crate::os::monotonic_ns(), stat.idle_ns),
        };
        Ok(Reading {
            at_ns,
            idle_ns,
            steal_ns: stat.steal_ns,
            process_ns,
            ksoftirqd_ns,
            foreign_ns,
            foreign_threads,
        })
    }

    fn others(&self) -> impl Iterator<Item = u32> + use<> {
        let ours: Vec<u32> = self
            .processes
            .iter()
            .copied()
            .chain([std::process::id()])
            .chain(self.ksoftirqd)
            .collect();
        processes().filter(move |pid| !ours.contains(pid))
    }

    fn foreign_threads(&self) -> Threads {
        let of_all = self.others().flat_map(threads).filter_map(|(id, thread)| {
            let at = thread_core(&fs::read_to_string(thread.join("stat")).ok()?)?;
            Some((id, (running_ns(&thread)?, at == self.core)))
        });
        Threads(of_all.collect())
    }

    fn foreign_ns(&self) -> u64 {
        self.others()
            .filter_map(|pid| process_ticks(&read(&format!("/proc/{pid}/stat"))?))
            .sum::<u64>()
            * TICK_NS
    }
}

/// The running time of threads by their id, and whether each was last seen on the core.
#[derive(Debug, Default)]
struct Threads(HashMap<u32, (u64, bool)>);

impl Threads {
    /// What those took since `before` that are on the core now. What has ended since is missing.
    fn spent_since(&self, before: &Threads) -> u64 {
        let on_core = self.0.iter().filter(|(_, (_, on_core))| *on_core);
        let spent = on_core.map(|(id, (ns, _))| {
            ns.saturating_sub(before.0.get(id).map_or(0, |(before_ns, _)| *before_ns))
        });
        spent.sum()
    }
}

/// Runs `work` on `core` and goes back to where the thread may run.
fn on_core<T>(core: usize, work: impl FnOnce() -> T) -> Result<T> {
    let myself = Pid::from_raw(0);
    let home = sched_getaffinity(myself).context("the thread's cores")?;
    let mut there = CpuSet::new();
    there.set(core).with_context(|| format!("core {core}"))?;
    sched_setaffinity(myself, &there).with_context(|| format!("going to core {core}"))?;
    let done = work();
    sched_setaffinity(myself, &home).context("going back")?;
    Ok(done)
}

/// When the list was made, and the idle time of `core` until then, both in nanoseconds.
fn timer_list(core: usize) -> Result<(u64, u64)> {
    let text = fs::read_to_string(TIMER_LIST).context(TIMER_LIST)?;
    idle_of(&text, core).with_context(|| format!("{TIMER_LIST} has no idle time of core {core}"))
}

fn idle_of(text: &str, core: usize) -> Option<(u64, u64)> {
    let number = |line: &str| line.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    let now = text.lines().find_map(|line| line.strip_prefix("now at "))?;
    let heading = format!("cpu: {core}");
    let mut section = text.lines().skip_while(|line| *line != heading).skip(1);
    let mut value = |key: &str| {
        let line = section.by_ref().take_while(|line| !line.starts_with("cpu: "));
        line.map(str::trim_start).find(|line| line.starts_with(key)).and_then(number)
    };
    let idle = value(".idle_sleeptime")?;
    // Idle while somebody waits for a disk is idle.
    let waiting = value(".iowait_sleeptime").unwrap_or(0);
    Some((number(now)?, idle + waiting))
}

struct StatLine {
    idle_ns: u64,
    steal_ns: u64,
}

fn stat_line(core: usize) -> Result<StatLine> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    let line = line.with_context(|| format!("/proc/stat has no core {core}"))?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal: proc(5).
    let &[_, _, _, idle, iowait, _, _, steal, ..] = ticks.as_slice() else {
        return Err(anyhow!("/proc/stat: {line:?}"));
    };
    Ok(StatLine { idle_ns: (idle + iowait) * TICK_NS, steal_ns: steal * TICK_NS })
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Processor time of all threads of a process in nanoseconds; 0 once it is gone.
pub(crate) fn threads_ns(pid: u32) -> u64 {
    threads(pid).filter_map(|(_, thread)| running_ns(&thread)).sum()
}

/// The threads of a process, with the folder of each below `/proc`.
fn threads(pid: u32) -> impl Iterator<Item = (u32, PathBuf)> {
    let folder = Path::new("/proc").join(pid.to_string()).join("task");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

fn running_ns(thread: &Path) -> Option<u64> {
    let text = fs::read_to_string(thread.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// The core that a thread was last on: the 39th field of its `stat`.
fn thread_core(stat: &str) -> Option<usize> {
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(36)?.parse().ok()
}

/// User and system time of `/proc/PID/stat` and of the children that it has seen end, so that those
/// of a compiler or a shell are not lost: the 14th to 17th field, counted from the command's end
/// because a command may hold spaces and brackets.
fn process_ticks(stat: &str) -> Option<u64> {
    let rest = &stat[stat.rfind(')')? + 1..];
    let fields = rest.split_whitespace().skip(11).take(4);
    fields.map(|field| field.parse::<u64>().ok()).sum()
}

/// The kernel thread that runs what softirqs are left over on `core`.
fn ksoftirqd(core: usize) -> Option<u32> {
    let name = format!("ksoftirqd/{core}");
    processes()
        .find(|pid| read(&format!("/proc/{pid}/comm")).is_some_and(|text| text.trim() == name))
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    kilobytes(&read(&format!("/proc/{pid}/status"))?, "VmRSS:")
}

/// The kernel's own structures (sockets among them) in bytes.
pub(crate) fn slab_bytes() -> Option<u64> {
    kilobytes(&read("/proc/meminfo")?, "Slab:")
}

pub(crate) fn memory_bytes() -> Option<u64> {
    kilobytes(&read("/proc/meminfo")?, "MemTotal:")
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os;

    const LIST: &str = "\
Timer List Version: v0.10
now at 5354160525221 nsecs

cpu: 0
  .idle_sleeptime : 2995681260990 nsecs
  .iowait_sleeptime: 10 nsecs
cpu: 1
  .idle_sleeptime : 7 nsecs
";

    #[test]
    fn idle_time_is_found_by_core() {
        assert_eq!(idle_of(LIST, 0), Some((5_354_160_525_221, 2_995_681_261_000)));
        assert_eq!(idle_of(LIST, 1), Some((5_354_160_525_221, 7)));
        assert_eq!(idle_of(LIST, 2), None);
    }

    #[test]
    fn the_ticks_of_a_process_with_a_nasty_name_are_found() {
        let stat = "7 (a) b c) S 1 7 7 0 -1 4194304 100 0 0 0 30 12 5 3 20 0 1 0 99";
        assert_eq!(process_ticks(stat), Some(50));
    }

    #[test]
    fn the_core_of_a_thread_is_the_39th_field() {
        let rest: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        assert_eq!(thread_core(&format!("7 (a) b) S {}", rest.join(" "))), Some(39));
    }

    /// A thread that moved away, one that stayed, and one that came.
    #[test]
    fn what_foreign_threads_took_counts_where_they_were_last_seen() {
        let before = Threads(HashMap::from([(1, (100, true)), (2, (100, true))]));
        let after = Threads(HashMap::from([(1, (150, false)), (2, (107, true)), (3, (4, true))]));
        assert_eq!(after.spent_since(&before), 11);
    }

    /// The meter on this machine: a thread that computes is seen as busy time of its core and as time
    /// of its process. The kernel brings a process's account up to date when it likes, so the thread
    /// goes on until it shows, for a bounded number of rounds.
    #[test]
    fn a_busy_core_is_seen() {
        const ROUNDS_MAX: u32 = 50;
        let core = os::cores()[0];
        let meter = Meter::new(core, Some(std::process::id())).unwrap();
        let spent = std::thread::spawn(move || {
            assert!(os::pin(core));
            let before = meter.read().unwrap();
            let start = os::thread_cpu_ns();
            let mut spent = Spent::between(&before, &meter.read().unwrap());
            for round in 1..=ROUNDS_MAX {
                while os::thread_cpu_ns() - start < u64::from(round) * 100_000_000 {
                    std::hint::spin_loop();
                }
                spent = Spent::between(&before, &meter.read().unwrap());
                if spent.process_ns >= 50_000_000 {
                    break;
                }
            }
            spent
        });
        let spent = spent.join().unwrap();
        assert!(spent.busy_ns >= 90_000_000, "{spent:?}");
        assert!(spent.process_ns >= 50_000_000, "{spent:?}");
        assert!(spent.busy_ns <= spent.wall_ns, "{spent:?}");
    }
}
