//! Calls with media by the project's own generator, through the shared address.

use std::time::Duration;

use load::Report;

use crate::harness::{CALLER, Process, node};
use crate::lab::{BACKENDS, FRONTENDS, Segment, VIP};

/// Beyond what a run is planned to take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is asked of the generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    pub(crate) count: u32,
    pub(crate) per_second: u32,
    /// Media of each, from its answer on.
    pub(crate) seconds: u32,
}

impl Calls {
    /// `count` calls, or as many as `RINGFARM_FARM_CALLS` says.
    pub(crate) fn new(count: u32) -> Calls {
        let asked = std::env::var("RINGFARM_FARM_CALLS").ok();
        let asked = asked.map(|text| {
            text.parse().unwrap_or_else(|_| panic!("RINGFARM_FARM_CALLS={text}: give a number"))
        });
        Calls { count: asked.unwrap_or(count), per_second: 20, seconds: 5 }
    }

    /// How long the calls are begun, and the last one's media.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs(u64::from(self.count / self.per_second + self.seconds))
    }
}

/// A generator that runs.
pub(crate) struct Load {
    process: Process,
    limit: Duration,
}

impl Load {
    /// Starts it on the caller's host, which is the callees', too.
    pub(crate) fn start(segment: &Segment, calls: Calls) -> Load {
        let mut command = segment.host(CALLER).command(node::binary());
        command.args(["load", &format!("{VIP}:5060"), "--bind", &CALLER.to_string()]);
        for allowed in FRONTENDS.iter().chain(&BACKENDS).chain([&VIP]) {
            command.args(["--allow-target", &allowed.to_string()]);
        }
        let Calls { count, per_second, seconds } = calls;
        let users = count.min(200).to_string();
        command.args(["--sessions", &count.to_string(), "--rate", &per_second.to_string()]);
        command.args(["--seconds", &seconds.to_string(), "--per-call-seconds", "--users", &users]);
        command.args(["--no-video", "--register-rate", "100", "--cores", "any", "--json"]);
        command.args(["--hangup-rate", &per_second.to_string()]);
        Load { process: Process::spawn("load", &mut command), limit: calls.length() + PATIENCE }
    }

    /// Waits for its end, and returns what it counted.
    pub(crate) fn report(mut self) -> Report {
        self.process.wait_end(self.limit);
        self.process.wait_line("its report", PATIENCE, |line| line.starts_with('{'));
        let lines = self.process.lines();
        let line = lines.iter().find(|line| line.starts_with('{')).map_or("", String::as_str);
        serde_json::from_str(line).unwrap_or_else(|e| panic!("no report ({e}): {line}"))
    }
}
