//! Calls with media by the project's own generator, through the shared address.

use std::net::Ipv4Addr;
use std::time::Duration;

use load::Report;
use load::progress::Event;

use crate::harness::{AUTHORITY, CALLER, Place as _, Process, Transport, node};
use crate::lab::{BACKENDS, FRONTENDS, Segment, VIP};

/// Beyond what a run is planned to take, which on a busy machine is longer.
const PATIENCE: Duration = Duration::from_secs(90);
const BUSY: u32 = 4;

/// What is asked of a generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    pub(crate) count: u32,
    pub(crate) per_second: u32,
    /// Media of each, from its answer on.
    pub(crate) seconds: u32,
    pub(crate) transport: Transport,
    /// The member that everything is sent to; `None`: to the shared address.
    pub(crate) at: Option<Ipv4Addr>,
}

impl Calls {
    /// `count` calls, `per_second`, or as many as `RINGFARM_FARM_CALLS` and `RINGFARM_FARM_RATE` say, over
    /// UDP.
    pub(crate) fn new(count: u32, per_second: u32) -> Calls {
        let count = asked("RINGFARM_FARM_CALLS").unwrap_or(count);
        let per_second = asked("RINGFARM_FARM_RATE").unwrap_or(per_second);
        Calls { count, per_second, seconds: 5, transport: Transport::Udp, at: None }
    }

    /// As many over this transport.
    pub(crate) const fn over(self, transport: Transport) -> Calls {
        Calls { transport, ..self }
    }

    /// How long the calls are begun, and the last one's media.
    fn length(&self) -> Duration {
        Duration::from_secs(u64::from(self.count / self.per_second + self.seconds))
    }
}

fn asked(variable: &str) -> Option<u32> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: give a number")))
}

/// A generator that runs.
pub(crate) struct Load {
    process: Process,
    limit: Duration,
}

impl Load {
    /// Starts it on the caller's host, which is the callees', too.
    pub(crate) fn start(segment: &Segment, calls: Calls) -> Load {
        let Calls { count, per_second, seconds, transport, at } = calls;
        let mut command = segment.host(CALLER).command(node::binary());
        let port = if transport == Transport::Tls { 5061 } else { 5060 };
        let target = format!("{}:{port}", at.unwrap_or(VIP));
        command.args(["load", &target, "--bind", &CALLER.to_string()]);
        for allowed in FRONTENDS.iter().chain(&BACKENDS).chain([&VIP]) {
            command.args(["--allow-target", &allowed.to_string()]);
        }
        let name = transport.name();
        command.args(["--transport", name, "--domain", &VIP.to_string()]);
        if transport == Transport::Tls {
            command.arg("--tls-authority").arg(segment.path(AUTHORITY));
        }
        let place = at.map_or_else(|| name.to_owned(), |at| format!("at-{}", at.octets()[3]));
        for side in ["caller", "callee"] {
            command.args([format!("--{side}-prefix"), format!("{place}-{side}-")]);
        }
        let users = count.min(200).to_string();
        command.args(["--sessions", &count.to_string(), "--rate", &per_second.to_string()]);
        command.args(["--seconds", &seconds.to_string(), "--per-call-seconds", "--users", &users]);
        command.args(["--no-video", "--register-rate", "100", "--cores", "any"]);
        command.args(["--hangup-rate", &per_second.to_string(), "--progress-json"]);
        let process = Process::spawn(&format!("load over {name}"), &mut command);
        Load { process, limit: calls.length() * BUSY + PATIENCE }
    }

    /// Waits until it has had so many calls up, ended ones included.
    pub(crate) fn wait_up(&mut self, count: u32) {
        let up = |line: &String| match event(line)? {
            Event::Progress(progress) => Some(progress.sessions_up),
            Event::Report(_) | Event::Error { .. } => None,
        };
        self.process.wait_lines(&format!("{count} calls"), self.limit, |lines| {
            lines.iter().rev().find_map(up) >= Some(count)
        });
    }

    /// Waits for its end, and returns what it counted.
    pub(crate) fn report(mut self) -> Report {
        self.process.wait_end(self.limit);
        let is_last =
            |line: &str| matches!(event(line), Some(Event::Report(_) | Event::Error { .. }));
        self.process.wait_line("its report", PATIENCE, is_last);
        let lines = self.process.lines();
        match lines.iter().rev().find_map(|line| event(line)) {
            Some(Event::Report(report)) => *report,
            other => panic!("no report: {other:?}"),
        }
    }
}

fn event(line: &str) -> Option<Event> {
    serde_json::from_str(line).ok()
}
