//! `[node]`: the process itself.

use std::fmt;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::Wrong;
use super::read::{Reader, Text, quoted};
use super::table::{Rules, Shape, Value, settings_table};
use super::values::{auto, one_of, text_values};

/// Most workers: one a core of the largest machines, and the bound of the node's tables of workers.
pub const WORKERS_MAX: usize = 256;

settings_table! {
    /// The process itself.
    section Node {
        /// The node's name in logs: letters, digits, `.`, `-` and `_`, at most 64.
        restart name: NodeName = default(NodeName("ringfarm".to_owned()));

        /// Media workers (threads that relay RTP). "auto": one on each core that `cores` lists or,
        /// if it lists none, that the process may run on.
        restart workers: Workers = default(Workers::Auto);

        /// The cores that the workers are pinned to, for example [2, 3]. Empty: any that the process
        /// may run on.
        restart cores: Vec<usize> = default(Vec::new());

        /// How the workers rank against other threads of this host, where the process may choose
        /// (CAP_SYS_NICE): "nice" (-10), "realtime" (before every other thread: for cores that the
        /// workers have to themselves), or "inherited" (as the process is). With the first two,
        /// signaling ranks between them and the rest (nice -5).
        restart priority: WorkerPriority = default(WorkerPriority::Nice);

        /// What the node does at its start if the host does not have an address that `sip.listen`,
        /// `media` or `ng` names: "refuse" to start, or "accept" it, say so, and use the address
        /// from the moment that it is there (an address that a cluster manager moves, say).
        restart absent_addresses: AbsentAddresses = default(AbsentAddresses::Refuse);

        /// What is logged: "error", "warn", "info", "debug" or "trace" for everything, with
        /// `PART=LEVEL` after commas for parts of the node, as in "info,signaling_net=debug". Users'
        /// addresses and numbers appear from "debug" on.
        live log: LogFilter = default(LogFilter("info".to_owned()));
    }
}

text_values!(NodeName, LogFilter, WorkerPriority, AbsentAddresses);

/// How media workers rank against other threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerPriority {
    /// As the process is.
    Inherited,
    /// A larger share of the core. Threads of other sessions may still come first where the kernel
    /// groups threads by session (sched_autogroup_enabled).
    Nice,
    /// Before every thread that is not real-time.
    Realtime,
}

impl WorkerPriority {
    const ALL: [(WorkerPriority, &'static str); 3] = [
        (WorkerPriority::Inherited, "inherited"),
        (WorkerPriority::Nice, "nice"),
        (WorkerPriority::Realtime, "realtime"),
    ];
}

impl Text for WorkerPriority {
    fn parse(text: &str) -> Result<WorkerPriority, Wrong> {
        let found = WorkerPriority::ALL.into_iter().find(|(_, name)| *name == text);
        found
            .map(|(priority, _)| priority)
            .ok_or_else(|| one_of(text, "priority", "\"inherited\", \"nice\" or \"realtime\""))
    }

    fn show(&self) -> String {
        let found = WorkerPriority::ALL.into_iter().find(|(priority, _)| priority == self);
        found.map_or_else(String::new, |(_, name)| name.to_owned())
    }
}

/// What becomes of addresses that the host does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsentAddresses {
    /// The node does not start.
    Refuse,
    /// They are used once they are there.
    Accept,
}

impl Text for AbsentAddresses {
    fn parse(text: &str) -> Result<AbsentAddresses, Wrong> {
        match text {
            "refuse" => Ok(AbsentAddresses::Refuse),
            "accept" => Ok(AbsentAddresses::Accept),
            _ => Err(one_of(text, "way with absent addresses", "\"refuse\" or \"accept\"")),
        }
    }

    fn show(&self) -> String {
        match self {
            AbsentAddresses::Refuse => "refuse".to_owned(),
            AbsentAddresses::Accept => "accept".to_owned(),
        }
    }
}

impl Rules for Node {
    fn check(&self, path: &str, reader: &mut Reader) {
        let twice = self.cores.iter().enumerate().find(|(i, core)| self.cores[..*i].contains(core));
        if let Some((index, core)) = twice {
            let at = reader.places.entry(&format!("{path}.cores"), index);
            let wrong = Wrong::new(format!("core {core} is listed twice"), "list each core once");
            reader.tell(&at, wrong);
        }
        if self.cores.len() > WORKERS_MAX {
            let wrong = Wrong::new(
                format!("{} cores are listed", self.cores.len()),
                format!("list at most {WORKERS_MAX}"),
            );
            reader.tell(&format!("{path}.cores"), wrong);
        }
        if let Workers::Count(count) = self.workers
            && !self.cores.is_empty()
            && count != self.cores.len()
        {
            let wrong = Wrong::new(
                format!("{count} workers do not fit on {} listed cores", self.cores.len()),
                "write \"auto\" for one worker a listed core, or list as many cores as workers",
            );
            reader.tell(&format!("{path}.workers"), wrong);
        }
    }
}

impl Node {
    /// The core of each worker, on a machine where the process may run on the cores `available`.
    /// More workers than cores share them in turn. Empty only if `available` is, too.
    #[must_use]
    pub fn worker_cores(&self, available: &[usize]) -> Vec<usize> {
        let cores = if self.cores.is_empty() { available } else { &self.cores };
        let count = match self.workers {
            Workers::Auto => cores.len().min(WORKERS_MAX),
            Workers::Count(count) => count,
        };
        cores.iter().copied().cycle().take(count).collect()
    }
}

/// A node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName(String);

/// Longest name of a node.
const NAME_CHARS_MAX: usize = 64;

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for NodeName {
    fn parse(text: &str) -> Result<NodeName, Wrong> {
        let fits = (1..=NAME_CHARS_MAX).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
        if fits {
            return Ok(NodeName(text.to_owned()));
        }
        let fix =
            format!("write 1 to {NAME_CHARS_MAX} letters, digits, dots, hyphens or underscores");
        Err(Wrong::new(format!("{} is not a name for a node", quoted(text)), fix))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// How many media workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One a core.
    Auto,
    /// This many, 1 to [`WORKERS_MAX`].
    Count(usize),
}

impl Value for Workers {
    fn read(path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Workers> {
        if auto(value) {
            return Some(Workers::Auto);
        }
        if value.get_ref().as_integer().is_none() {
            reader.wrong_type(
                path,
                "\"auto\" or a number",
                value,
                "write \"auto\" or for example 4",
            );
            return None;
        }
        let count: usize = reader.number(path, value)?;
        if !(1..=WORKERS_MAX).contains(&count) {
            let fix = format!("choose 1 to {WORKERS_MAX}, or \"auto\"");
            reader.tell(path, Wrong::new(format!("{count} workers are out of range"), fix));
            return None;
        }
        Some(Workers::Count(count))
    }

    fn shape(&self) -> Shape {
        Shape::Scalar(match self {
            Workers::Auto => quoted("auto"),
            Workers::Count(count) => count.to_string(),
        })
    }
}

/// What is logged: a level, and levels for parts of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl LogFilter {
    /// As `tracing-subscriber` reads it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for LogFilter {
    /// The part of the filter language that needs no explanation: `LEVEL` and `PART=LEVEL`.
    fn parse(text: &str) -> Result<LogFilter, Wrong> {
        for directive in text.split(',') {
            let (part, level) = directive.split_once('=').unwrap_or(("all", directive));
            if !LEVELS.contains(&level) {
                let fix = format!("write one of {}", LEVELS.join(", "));
                return Err(Wrong::new(format!("{} is not a log level", quoted(level)), fix));
            }
            let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            if part.is_empty() || !part.chars().all(named) {
                let what = format!("{} is not a part of the node", quoted(part));
                return Err(Wrong::new(what, "write a module's path, for example signaling_net"));
            }
        }
        Ok(LogFilter(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}
