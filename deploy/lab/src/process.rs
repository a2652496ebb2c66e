//! Programs on a host, with what they say in a file; gone when their value is.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use load::relaybench::stop::Stop;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// How often somebody who waits looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a program may take to end when it is told to, before it is killed.
const GRACE: Duration = Duration::from_secs(3);
/// Lines of a log that explain a failure.
const LINES_SHOWN: usize = 20;

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints goes to the file `NAME.log` in `folder`.
    pub(crate) fn spawn(name: &str, command: &mut Command, folder: &Path) -> Result<Process> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let errors = file.try_clone().context("a second handle of a log")?;
        let parent = Pid::this();
        let prepare = move || {
            // Whatever happens to this process, the child must not outlive it.
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if nix::unistd::getppid() != parent {
                return Err(nix::errno::Errno::ESRCH.into());
            }
            // What this process keeps for a thread of its own, the child must hear.
            SigSet::empty().thread_set_mask()?;
            Ok(())
        };
        // A Ctrl-C is for the lab alone: it takes everything down in order.
        command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
        // SAFETY: between fork and exec it makes three system calls and neither allocates nor locks.
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        Ok(Process { name: name.to_owned(), child, log })
    }

    /// What it has printed so far.
    pub(crate) fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap_or(i32::MAX);
        // An error means that it has ended.
        let _ = kill(Pid::from_raw(pid), signal);
    }

    /// # Errors
    /// It has ended: how, and what it said last.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait().context("asking after a child")? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, self.last_words()),
        }
    }

    /// Waits until `is_so` says yes; the program has to go on meanwhile.
    pub(crate) fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        stop: &Stop,
        mut is_so: impl FnMut(&str) -> bool,
    ) -> Result<()> {
        let waited = until(what, limit, stop, || {
            self.check()?;
            Ok(is_so(&self.said()))
        });
        waited.with_context(|| format!("{}:\n{}", self.name, self.last_words()))
    }

    /// Waits for its end.
    pub(crate) fn wait_end(&mut self, limit: Duration, stop: &Stop) -> Result<ExitStatus> {
        let mut ended = None;
        until(&format!("the end of {}", self.name), limit, stop, || {
            ended = self.child.try_wait().context("asking after a child")?;
            Ok(ended.is_some())
        })?;
        ended.context("it has ended")
    }

    pub(crate) fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(LOOK_AGAIN);
        }
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Waits until `is_so`, or fails with `what`.
pub(crate) fn until(
    what: &str,
    limit: Duration,
    stop: &Stop,
    mut is_so: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "waited {limit:?} in vain for {what}");
        stop.sleep(LOOK_AGAIN)?;
    }
    Ok(())
}

/// Runs a short command to its end: what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ({}): {}", output.status, words.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
