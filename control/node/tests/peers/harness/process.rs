//! A child process that is watched line by line and never outlives the test.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(3);
/// Lines of each log that a failed test shows.
const SHOWN_LINES: usize = 80;
/// Lines that are kept of one process: far more than any test prints, so that a mad peer cannot
/// fill memory.
const LINES_MAX: usize = 200_000;

/// A running child and what it has printed.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: Arc<Log>,
    evidence: Vec<PathBuf>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let log = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                let mut lines = log.lines();
                if lines.len() < LINES_MAX {
                    lines.push(String::from_utf8_lossy(&line).into_owned());
                }
                log.grown.notify_all();
            }
        });
    }
}

impl Process {
    /// Starts `command` with no input and its output followed.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let log = Arc::new(Log::default());
        if let Some(stdout) = child.stdout.take() {
            log.follow(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            log.follow(stderr);
        }
        Process { name: name.to_owned(), child, log, evidence: Vec::new() }
    }

    /// Files of the process's own that a failed test shows too.
    pub(crate) fn with_evidence(mut self, files: impl IntoIterator<Item = PathBuf>) -> Process {
        self.evidence.extend(files);
        self
    }

    /// Waits until `wanted` says yes to the lines so far; panics when the process ends first, or
    /// after `limit`.
    pub(crate) fn wait_lines(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&[String]) -> bool,
    ) {
        let deadline = Instant::now() + limit;
        let log = Arc::clone(&self.log);
        let mut lines = log.lines();
        let mut last_words_heard = false;
        while !wanted(&lines) {
            let ended = self.child.try_wait().ok().flatten();
            let left = deadline.saturating_duration_since(Instant::now());
            if last_words_heard || left.is_zero() {
                drop(lines);
                match ended {
                    Some(status) => panic!("{} ended ({status}) before {what}", self.name),
                    None => panic!("{}: waited {limit:?} in vain for {what}", self.name),
                }
            }
            // What it printed just before its end may still be on the way to the log: one more
            // look.
            last_words_heard = ended.is_some();
            // Woken early to notice that the process has ended, which prints nothing.
            let nap = left.min(Duration::from_millis(100));
            lines = log.grown.wait_timeout(lines, nap).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// As [`Process::wait_lines`], for one line.
    pub(crate) fn wait_line(&mut self, what: &str, limit: Duration, wanted: impl Fn(&str) -> bool) {
        self.wait_lines(what, limit, |lines| lines.iter().any(|line| wanted(line)));
    }

    /// The lines printed so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lines().clone()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        // An error means that it has ended, which is for the next wait to judge.
        let _ = kill(self.pid(), signal);
    }

    /// Waits for its end; panics after `limit`.
    pub(crate) fn wait_end(&mut self, limit: Duration) -> ExitStatus {
        match self.ended_within(limit) {
            Some(status) => status,
            None => panic!("{} still runs after {limit:?}", self.name),
        }
    }

    fn pid(&self) -> Pid {
        // A pid fits: Linux gives none above 2^22.
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }

    fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
                Ok(None) => return None,
                Err(error) => panic!("cannot wait for {}: {error}", self.name),
            }
        }
    }

    fn show(&self) {
        let lines = self.log.lines();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        eprintln!("---- {} (pid {}), last {} lines", self.name, self.child.id(), shown.len());
        for line in shown {
            eprintln!("{line}");
        }
        for file in &self.evidence {
            eprintln!("---- {} {}", self.name, file.display());
            eprintln!("{}", super::tail(file, SHOWN_LINES));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        if self.ended_within(GRACE).is_none() {
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
        if thread::panicking() {
            self.show();
        }
    }
}
