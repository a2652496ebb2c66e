//! What was counted, and the `statistics` and `list` commands.

use std::time::Instant;

use super::Ng;
use super::bencode::{Entries, Item};
use super::command::{Params, VERBS, Verb};
use super::reply;

/// Most calls that `list` names where it is not told how many.
const LIST_DEFAULT: u32 = 32;

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    commands: [u64; VERBS],
    /// Keys, flags and values of commands that change nothing here.
    pub ignored: u64,
    /// Commands that were answered with an error.
    pub errors: u64,
    /// Commands that came again and were not carried out again.
    pub repeated: u64,
    /// Datagrams from somebody who may not send commands.
    pub strangers: u64,
    /// Datagrams without a cookie.
    pub malformed: u64,
    /// Relay sessions that were opened.
    pub sessions: u64,
    /// Sessions that the relay has closed because no media came.
    pub idle: u64,
    /// Calls that were ended because no command came for them any more.
    pub lifetime_exceeded: u64,
    /// RTP packets that ended sessions have relayed.
    pub packets: u64,
}

/// How full the media ports of all local addresses are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortFigures {
    /// Ports in use.
    pub used: u64,
    /// Ports at rest.
    pub resting: u64,
    /// Ports free, on the addresses that were used so far.
    pub free: u64,
    /// Rests that were ended early because nothing else was free, since the start.
    pub rests_cut: u64,
}

impl Counters {
    pub(super) fn note(&mut self, verb: Verb, params: &Params<'_>) {
        self.commands[verb as usize] += 1;
        self.ignored += u64::from(params.ignored);
    }
}

impl Ng {
    /// The figures under the names that controllers know, and under `control` our own.
    pub(super) fn statistics(&self, now: Instant) -> Entries {
        let counters = &self.counters;
        let sessions = self.sessions.len() as u64;
        let current = Entries::new()
            .with("sessionsown", sessions)
            .with("sessionsforeign", 0_u64)
            .with("sessionstotal", sessions);
        let uptime = now.saturating_duration_since(self.clock.at).as_secs();
        let total = Entries::new()
            .with("uptime", uptime.to_string())
            .with("managedsessions", counters.sessions)
            .with("silenttimeoutsessions", counters.idle)
            .with("finaltimeoutsessions", counters.lifetime_exceeded)
            .with("relayedpackets", counters.packets);
        let mut control = Entries::new()
            .with("errors", counters.errors)
            .with("ignored", counters.ignored)
            .with("repeated", counters.repeated)
            .with("strangers", counters.strangers);
        for verb in Verb::ALL {
            control.put(verb.name(), counters.commands[verb as usize]);
        }
        let ports = Entries::new()
            .with("free", self.ports.free)
            .with("restscut", self.ports.rests_cut)
            .with("resting", self.ports.resting)
            .with("used", self.ports.used);
        let statistics = Entries::new()
            .with("currentstatistics", current)
            .with("totalstatistics", total)
            .with("control", control)
            .with("ports", ports);
        reply::ok().with("statistics", statistics)
    }

    pub(super) fn list(&self, params: &Params<'_>) -> Entries {
        let limit = params.limit.unwrap_or(LIST_DEFAULT) as usize;
        let calls: Vec<Item> = self.calls.ids(limit).map(Item::from).collect();
        reply::ok().with("calls", calls)
    }
}
