//! The phones: the load generator as a child process.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use control_core::settings::Settings;
use load::progress::Event;

use super::keep_last;
use crate::cli::DemoArgs;

/// Fewest digits of a phone's name.
const NAME_DIGITS: usize = 4;

/// The generator speaks some five times a second and bounds its own run; a silence this long means
/// that it hangs.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Lines of progress that may wait to be read: seconds' worth.
const EVENTS_WAITING_MAX: usize = 64;

/// A password for this run alone.
pub(super) fn password() -> anyhow::Result<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|e| anyhow!("the system gives no randomness: {e}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The names of both groups, callers first: `a0001..` and `b0001..`.
pub(super) fn names(sessions: u32) -> impl Iterator<Item = String> {
    ['a', 'b'].into_iter().flat_map(move |group| {
        (1..=sessions).map(move |number| format!("{group}{number:0NAME_DIGITS$}"))
    })
}

/// A running load generator. It is killed when dropped.
pub(super) struct Phones {
    child: Child,
    events: mpsc::Receiver<anyhow::Result<Option<Event>>>,
    complaints: mpsc::Receiver<VecDeque<String>>,
}

impl Phones {
    /// Starts the generator against `target`. Passwords go through its standard input, where no
    /// process list shows them.
    pub(super) fn start(
        args: &DemoArgs,
        target: SocketAddr,
        settings: &Settings,
        password: &str,
    ) -> anyhow::Result<Phones> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut child = Command::new(program)
            .args(["load", &target.to_string(), "--progress-json", "--users-file", "-"])
            .args(["--sessions", &args.sessions.to_string()])
            .args(["--seconds", &args.seconds.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the load generator")?;
        let users = users_json(args.sessions, settings, password);
        let mut stdin = child.stdin.take().context("the generator has no standard input")?;
        let sent = stdin.write_all(users.as_bytes());
        drop(stdin);
        let stdout = child.stdout.take().context("the generator has no standard output")?;
        let stderr = child.stderr.take().context("the generator has no standard error")?;
        let (tell, complaints) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let mut lines = VecDeque::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                keep_last(&mut lines, line);
            }
            // Nobody asks after a run that went well.
            let _ = tell.send(lines);
        });
        let phones = Phones { child, events: read_events(stdout), complaints };
        match sent {
            Ok(()) => Ok(phones),
            Err(_) => Err(phones.died()),
        }
    }

    /// What the generator says next; `None` if it has ended without a report.
    pub(super) fn next_event(&mut self) -> anyhow::Result<Option<Event>> {
        match self.events.recv_timeout(SILENCE_MAX) {
            Ok(event) => event,
            Err(mpsc::RecvTimeoutError::Disconnected) => Ok(None),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(anyhow!("the load generator has said nothing for {} s", SILENCE_MAX.as_secs()))
            }
        }
    }

    /// The generator has reported: waits for its end.
    pub(super) fn wait(mut self) -> anyhow::Result<()> {
        self.child.wait().map(|_| ()).context("cannot wait for the load generator")
    }

    /// Why there is no report.
    pub(super) fn died(&self) -> anyhow::Error {
        let lines = self.complaints.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        let words: Vec<String> = lines.into();
        anyhow!("the load generator has ended without a report: {}", words.join("; "))
    }
}

impl Drop for Phones {
    fn drop(&mut self) {
        // It has ended already unless this run was given up.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_events(stdout: ChildStdout) -> mpsc::Receiver<anyhow::Result<Option<Event>>> {
    let (send, events) = mpsc::sync_channel(EVENTS_WAITING_MAX);
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        loop {
            let event = Event::read(&mut reader);
            let is_last = !matches!(event, Ok(Some(_)));
            if send.send(event).is_err() || is_last {
                return;
            }
        }
    });
    events
}

fn users_json(sessions: u32, settings: &Settings, password: &str) -> String {
    let user = |name: String| serde_json::json!({ "user": name, "password": password });
    let all: Vec<_> = names(sessions).map(user).collect();
    let (callers, callees) = all.split_at(sessions as usize);
    let domain = settings.sip.domains.first().map(ToString::to_string).unwrap_or_default();
    serde_json::json!({ "domain": domain, "callers": callers, "callees": callees }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_groups_have_a_name_for_each_session() {
        let names: Vec<_> = names(2).collect();
        assert_eq!(names, ["a0001", "a0002", "b0001", "b0002"]);
    }

    #[test]
    fn every_run_has_a_password_of_its_own() {
        assert_ne!(password().unwrap(), password().unwrap());
    }
}
