//! A system under test as a child process: pinned to its core, in its namespace, watched line by
//! line, and gone when this process is.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use crate::relaybench::netns::Namespace;

/// How long a process may take to end after SIGTERM before it is told again: some wait for their calls
/// to end first, which these never do.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long it may take after the second time before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// The last lines of its log that are kept to explain a failure.
const LINES_KEPT: usize = 20;

/// Longest line that is kept of a log.
const LINE_BYTES_MAX: u64 = 4096;

/// How often a child that has been told to end is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

type Lines = Arc<Mutex<VecDeque<String>>>;

/// Who is shown each line of standard error, besides those that are kept.
pub(crate) type Listener = Box<dyn FnMut(&str) + Send>;

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: Lines,
}

impl Process {
    /// Starts `command` on `core`, in `host` if there is one. Standard error is followed; standard
    /// input and output are pipes.
    pub(crate) fn spawn(
        name: &'static str,
        command: &mut Command,
        host: Option<&Namespace>,
        core: usize,
    ) -> Result<Process> {
        Process::spawn_heard(name, command, host, core, Box::new(|_| ()))
    }

    /// The same; `listener` hears each line of standard error, on a thread of its own.
    pub(crate) fn spawn_heard(
        name: &'static str,
        command: &mut Command,
        host: Option<&Namespace>,
        core: usize,
        listener: Listener,
    ) -> Result<Process> {
        let host = host.map(Namespace::open).transpose()?;
        let mut cores = CpuSet::new();
        cores.set(core).with_context(|| format!("core {core}"))?;
        let parent = Pid::this();
        let prepare = move || {
            // Whatever happens to this process, the child must not outlive it.
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if nix::unistd::getppid() != parent {
                return Err(nix::errno::Errno::ESRCH.into());
            }
            // What this process keeps for a thread of its own, the child must hear.
            SigSet::empty().thread_set_mask()?;
            sched_setaffinity(Pid::from_raw(0), &cores)?;
            if let Some(host) = &host {
                setns(host, CloneFlags::CLONE_NEWNET)?;
            }
            Ok(())
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C is for us to pass on, after the figures.
            .process_group(0);
        // SAFETY: between fork and exec it makes five system calls and neither allocates nor locks.
        unsafe { command.pre_exec(prepare) };
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let log = Lines::default();
        if let Some(errors) = child.stderr.take() {
            follow(errors, Arc::clone(&log), listener);
        }
        Ok(Process { name, child, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, once.
    pub(crate) fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, once.
    pub(crate) fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Reads its standard output into the log from here on.
    pub(crate) fn follow_output(&mut self) {
        if let Some(output) = self.child.stdout.take() {
            follow(output, Arc::clone(&self.log), Box::new(|_| ()));
        }
    }

    /// Refuses a child that has ended.
    ///
    /// # Errors
    /// Says how it ended and what it said last.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait().context("asking after a child")? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}): {}", self.name, self.last_words()),
        }
    }

    /// What it said last, in one line.
    pub(crate) fn last_words(&self) -> String {
        let lines = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let words = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" | ");
        if words.is_empty() { "it said nothing".into() } else { words }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap_or(i32::MAX);
        // An error means that it has ended.
        let _ = kill(Pid::from_raw(pid), signal);
    }

    fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for patience in [PATIENCE, GRACE] {
            self.signal(Signal::SIGTERM);
            if self.ended_within(patience).is_some() {
                return;
            }
        }
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Shows `listener` the lines of `stream` and keeps the last ones, on a thread that ends with it.
fn follow(stream: impl Read + Send + 'static, log: Lines, mut listener: Listener) {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while let Ok(1..) = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            listener(&text);
            let mut lines = log.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LINES_KEPT {
                lines.pop_front();
            }
            lines.push_back(text);
            line.clear();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawn(line: &str) -> Process {
        let core = crate::os::cores()[0];
        Process::spawn("a shell", Command::new("sh").args(["-c", line]), None, core).unwrap()
    }

    #[test]
    fn a_child_that_ended_is_reported_with_its_last_words() {
        let mut child = spawn("echo no luck >&2; exit 3");
        child.ended_within(GRACE).unwrap();
        // The log is read on a thread of its own.
        let deadline = Instant::now() + GRACE;
        while !child.last_words().contains("no luck") {
            assert!(Instant::now() < deadline);
            thread::sleep(LOOK_AGAIN);
        }
        let error = child.check().unwrap_err().to_string();
        assert!(error.contains("a shell ended") && error.contains("no luck"), "{error}");
    }

    /// The benchmark blocks the signals by which it ends its children, for a thread that takes them.
    #[test]
    fn a_child_hears_the_signal_that_ends_it() {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        let before = signals.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK).unwrap();
        let mut child = spawn("exec sleep 600");
        before.thread_set_mask().unwrap();
        child.signal(Signal::SIGTERM);
        assert!(child.ended_within(GRACE).is_some());
    }

    #[test]
    fn a_dropped_child_is_gone() {
        let child = spawn("exec sleep 600");
        let path = format!("/proc/{}", child.id());
        assert!(std::path::Path::new(&path).exists());
        drop(child);
        assert!(!std::path::Path::new(&path).exists());
    }
}
