//! What must hold, whatever the network does. The checkers know what agents see and send and what
//! a member writes down; they know no core.

mod calls;
mod media;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use signaling_core::proxy::output::CallRecord;

use crate::net::Outages;
use crate::node::Holdings;
use crate::scenario::Scenario;
use crate::settings::Settings;
use crate::{AgentId, CallNo, NodeId};
pub use calls::InviteKey;
use calls::{CallState, InviteState};
use media::Expected;

/// What is not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Since the beginning of the run.
    pub at: Duration,
    /// The rule, in `snake_case`.
    pub rule: &'static str,
    /// The call, if it is one's.
    pub call: Option<CallNo>,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:10.3}s {}", self.at.as_secs_f64(), self.rule)?;
        if let Some(call) = self.call {
            write!(f, " ({call})")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that were made.
    pub calls: u64,
    /// Of these answered by somebody.
    pub answered: u64,
    /// Calls refused, cancelled or given up.
    pub failed: u64,
    /// Re-INVITEs.
    pub changes: u64,
    /// Call records.
    pub records: u64,
    /// Media packets sent by agents.
    pub packets_sent: u64,
    /// Of these delivered to an agent.
    pub packets_delivered: u64,
    /// Of these such as had to be delivered.
    pub packets_expected: u64,
    /// Packets of strangers.
    pub packets_strange: u64,
}

/// Most violations that are kept, one a rule and call: the first ones tell the most.
const VIOLATIONS_MAX: usize = 50;

/// Everything that the checkers know.
pub struct Ledger {
    epoch: Instant,
    /// A script has exactly the outcomes that it names.
    dependable: bool,
    scarce: bool,
    lossless_media: bool,
    learns_always: bool,
    /// The longest way of a media packet from agent to agent.
    transit: Duration,
    relays: BTreeSet<IpAddr>,
    behind_nat: BTreeSet<AgentId>,
    outages: Outages,
    calls: BTreeMap<CallNo, CallState>,
    invites: BTreeMap<InviteKey, InviteState>,
    registered: BTreeSet<AgentId>,
    expected: BTreeMap<CallNo, Expected>,
    /// What was counted.
    pub counts: Counts,
    violations: Vec<Violation>,
}

impl Ledger {
    /// Nothing has been seen yet.
    #[must_use]
    pub fn new(
        epoch: Instant,
        settings: &Settings,
        scenario: &Scenario,
        relays: BTreeSet<IpAddr>,
        outages: Outages,
    ) -> Ledger {
        Ledger {
            epoch,
            dependable: settings.is_dependable(),
            scarce: settings.is_scarce(),
            learns_always: settings.learn_always,
            lossless_media: settings.media.loss == 0.0,
            transit: settings.media.delay_max * 2 + Duration::from_millis(1),
            relays,
            behind_nat: scenario.devices.iter().filter(|d| d.behind_nat()).map(|d| d.id).collect(),
            outages,
            calls: BTreeMap::new(),
            invites: BTreeMap::new(),
            registered: BTreeSet::new(),
            expected: BTreeMap::new(),
            counts: Counts::default(),
            violations: Vec::new(),
        }
    }

    /// What was wrong so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    fn wrong(&mut self, now: Instant, rule: &'static str, call: Option<CallNo>, what: String) {
        let is_known = |v: &Violation| call.is_some() && v.call == call && v.rule == rule;
        if self.violations.len() < VIOLATIONS_MAX && !self.violations.iter().any(is_known) {
            let at = now.duration_since(self.epoch);
            self.violations.push(Violation { at, rule, call, what });
        }
    }

    /// An agent could not read what it was sent.
    pub fn broken_message(&mut self, now: Instant, agent: AgentId) {
        self.wrong(now, "messages_can_be_read", None, format!("{agent:?}"));
    }

    /// A core asked for what it must not ask for.
    pub fn core_wrong(&mut self, now: Instant, what: String) {
        self.wrong(now, "actions_make_sense", None, what);
    }

    /// An agent's registration was accepted.
    pub fn registered(&mut self, agent: AgentId) {
        self.registered.insert(agent);
    }

    /// A member has written a record.
    pub fn record(&mut self, now: Instant, record: &CallRecord) {
        self.counts.records += 1;
        let Some(no) = CallNo::from_call_id(&record.call_id) else {
            return self.wrong(now, "records_name_calls", None, record.call_id.clone());
        };
        self.calls.entry(no).or_default().records.push(record.end);
    }

    /// A member is done, and its ports have had their rest.
    pub fn rests(&mut self, now: Instant, node: NodeId, holdings: &Holdings) {
        if *holdings != Holdings::default() {
            self.wrong(now, "nothing_is_left_behind", None, format!("{node:?}: {holdings:?}"));
        }
    }

    /// The run has not come to rest.
    pub fn restless(&mut self, now: Instant, what: String) {
        self.wrong(now, "everything_comes_to_rest", None, what);
    }

    /// The run is over: what has not happened never will.
    pub fn finish(&mut self, now: Instant, scenario: &Scenario) {
        self.check_missing(now, true);
        self.check_invites(now);
        for script in &scenario.calls {
            self.check_call(now, script);
        }
        if self.dependable && self.registered.len() < scenario.devices.len() {
            let count = self.registered.len();
            self.wrong(now, "phones_register", None, format!("only {count} have"));
        }
    }
}
