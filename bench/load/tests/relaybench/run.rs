//! A run of the benchmark as a process of its own, and what it leaves.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The number of the mark of each run, by pid.
static MARKS: Mutex<BTreeMap<u32, u32>> = Mutex::new(BTreeMap::new());

/// Lines of progress that wait to be read: more than any run here has.
const LINES_MAX: usize = 10_000;

pub(crate) struct Run {
    child: Child,
    output: Option<JoinHandle<String>>,
    lines: Receiver<String>,
    log: String,
}

impl Run {
    pub(crate) fn start(words: &str) -> Run {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mark = mark(&number);
        let (name, value) = mark.split_once('=').unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfarm-bench"))
            .args(["bench", "relay"])
            .args(words.split_whitespace())
            .env(name, value)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        MARKS.lock().unwrap().insert(child.id(), number);
        let mut stdout = child.stdout.take().unwrap();
        let output = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Run { child, output: Some(output), lines, log: String::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of progress that holds `words`.
    pub(crate) fn wait_log(&mut self, words: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.log += &format!("{line}\n");
                    if line.contains(words) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {words:?} in {}", self.log)
                }
            }
        }
    }

    pub(crate) fn interrupt(&self) {
        kill(Pid::from_raw(self.pid() as i32), Signal::SIGINT).unwrap();
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Exit code, report and progress.
    pub(crate) fn finish(self, limit: Duration) -> (i32, Value, String) {
        let (code, text, log) = self.finish_text(limit);
        let report = serde_json::from_str(&text);
        (code, report.unwrap_or_else(|error| panic!("{error}: {text}\n{log}")), log)
    }

    /// Exit code, standard output and progress.
    pub(crate) fn finish_text(mut self, limit: Duration) -> (i32, String, String) {
        let deadline = Instant::now() + limit;
        // Standard error ends with the process.
        while let Ok(line) =
            self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.log += &format!("{line}\n");
        }
        assert!(Instant::now() < deadline, "it still runs after {limit:?}: {}", self.log);
        let code = self.child.wait().unwrap().code();
        let text = self.output.take().unwrap().join().unwrap();
        (
            code.unwrap_or_else(|| panic!("killed: {}", self.log)),
            text,
            std::mem::take(&mut self.log),
        )
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Asked first, so that a failed test leaves no namespace.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.interrupt();
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline && self.child.try_wait().is_ok_and(|end| end.is_none())
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Panics unless `program` is installed. Never skips: an absent peer must not look like a passed test.
pub(crate) fn require(program: &str) {
    let path = std::env::var_os("PATH").unwrap();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    assert!(
        folders.any(|folder| folder.join(program).is_file()),
        "{program} is not installed: run `deploy/test`, which installs it and then runs these tests"
    );
}

/// The namespaces that a run of this pid has made and not removed.
pub(crate) fn namespaces_of(pid: u32) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&format!("ringfarm-bench-{pid}-"))).collect()
}

/// Marks every process that a run starts, in its environment.
const MARK: &str = "RINGFARM_BENCH_TEST";

/// The processes that the run of this pid has started and that still live.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let mark = mark(&MARKS.lock().unwrap()[&pid]);
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let marked = |child: &u32| {
        let environment = std::fs::read(format!("/proc/{child}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    };
    pids.filter(|child| *child != pid && marked(child)).collect()
}

fn mark(number: &u32) -> String {
    format!("{MARK}={}-{number}", std::process::id())
}

/// Waits for what nothing announces.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
