//! Media: every packet goes where its call is and nowhere else, and while both sides know each other
//! none goes missing that the network has not lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Ledger;
use crate::agent::rtp::Mark;
use crate::{AgentId, CallNo};

/// Packets of a party behind NAT after which the relay knows where it is, and some more.
const LEARNED: u32 = 5;

/// From the end of an exchange until what was agreed on holds everywhere in a member: a refused offer
/// is taken back while its refusal is on the way.
const SETTLES: Duration = Duration::from_millis(50);

/// Packets of one call that must arrive.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Since when media flows both ways.
    since: Option<Instant>,
    /// Packets that have not arrived yet, and when they were sent.
    waiting: BTreeMap<Mark, Instant>,
    /// Packets of each party's streams that have arrived since.
    arrived: BTreeMap<(AgentId, u8), u32>,
    /// Who has sent.
    parties: BTreeSet<AgentId>,
}

impl Ledger {
    /// An agent sends a packet.
    pub fn media_sent(&mut self, now: Instant, mark: Mark) {
        self.counts.packets_sent += 1;
        self.check_call_media(now, mark.call, false);
        let Some(call) = self.calls.get(&mark.call) else { return };
        if !self.lossless_media || !call.is_talking() {
            return;
        }
        // Another fork may still play for a moment.
        if call.winner.is_none() || !call.is_party(mark.from) {
            return;
        }
        let expected = self.expected.entry(mark.call).or_default();
        let since = *expected.since.get_or_insert(now);
        expected.parties.insert(mark.from);
        if now < since + SETTLES {
            return;
        }
        let knows = |agent: &AgentId| {
            !self.behind_nat.contains(agent)
                || expected.arrived.get(&(*agent, mark.stream)).is_some_and(|n| *n >= LEARNED)
        };
        let both = expected.parties.len() == 2 && expected.parties.iter().all(knows);
        if both {
            expected.waiting.insert(mark, now);
            self.counts.packets_expected += 1;
        }
    }

    /// An agent has got a packet on a port that it last used for `call`.
    pub fn media_arrived(
        &mut self,
        now: Instant,
        agent: AgentId,
        call: Option<CallNo>,
        packet: &[u8],
    ) {
        self.counts.packets_delivered += 1;
        let Some(mark) = Mark::of(packet) else {
            let what = format!("{agent:?} hears a stranger");
            return self.wrong(now, "strangers_are_not_heard", call, what);
        };
        if mark.number == Mark::ASTRAY && self.may_be_learned(call, mark.from) {
            return;
        }
        if call != Some(mark.call) || mark.from == agent {
            let what = format!("{agent:?} hears {mark:?}");
            return self.wrong(now, "media_stays_in_its_call", call, what);
        }
        if let Some(expected) = self.expected.get_mut(&mark.call) {
            expected.waiting.remove(&mark);
            if expected.since.is_some() {
                *expected.arrived.entry((mark.from, mark.stream)).or_default() += 1;
            }
        }
    }

    /// Whether the relay has to take a packet for one of this party in this call: it is a party, and
    /// its port is not known but by its packets.
    fn may_be_learned(&self, call: Option<CallNo>, from: AgentId) -> bool {
        let learned = self.learns_always || self.behind_nat.contains(&from);
        let state = call.and_then(|no| self.calls.get(&no));
        learned && state.is_some_and(|state| state.takes_part(from))
    }

    /// Something is about to change in a call: what is on its way may be lost.
    pub(super) fn unsettle(&mut self, now: Instant, no: CallNo) {
        self.check_call_media(now, no, false);
        if let Some(expected) = self.expected.get_mut(&no) {
            *expected = Expected::default();
        }
    }

    /// Something has changed: media flows from now on if it is to flow at all.
    pub(super) fn settle(&mut self, now: Instant, no: CallNo) {
        self.unsettle(now, no);
    }

    fn check_call_media(&mut self, now: Instant, no: CallNo, is_last: bool) {
        let Some(expected) = self.expected.get_mut(&no) else { return };
        let transit = self.transit;
        let is_due = |at: Instant| is_last || at + transit < now;
        let due: Vec<(Mark, Instant)> = expected
            .waiting
            .iter()
            .filter(|(_, at)| is_due(**at))
            .map(|(m, at)| (*m, *at))
            .collect();
        for (mark, _) in &due {
            expected.waiting.remove(mark);
        }
        let parties: Vec<AgentId> = expected.parties.iter().copied().collect();
        for (mark, sent) in due {
            let cut = |agent: &AgentId| self.outages.touches(*agent, sent, sent + transit);
            if !parties.iter().any(cut) {
                let at = sent.duration_since(self.epoch);
                let what = format!("{mark:?}, sent at {at:?}, has not arrived");
                self.wrong(now, "no_packet_goes_missing", Some(no), what);
            }
        }
    }

    /// Looks for packets that should have arrived by now.
    pub(super) fn check_missing(&mut self, now: Instant, is_last: bool) {
        let calls: Vec<CallNo> = self.expected.keys().copied().collect();
        for no in calls {
            self.check_call_media(now, no, is_last);
        }
    }
}
