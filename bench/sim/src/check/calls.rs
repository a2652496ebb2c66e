//! INVITEs and calls.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use signaling_core::proxy::output::CallEnd;

use super::Ledger;
use crate::agent::agent_of_tag;
use crate::agent::sdp::Description;
use crate::scenario::{Callee, HangUp, Outcome, Reply, Script, Side};
use crate::{AgentId, CallNo};

/// An INVITE: its call, who sent it and its CSeq number.
pub type InviteKey = (CallNo, AgentId, u32);

/// The longest that an INVITE may go without a result: timer C (181 s), 64*T1 for the CANCEL that
/// follows, 64*T1 for the caller's own, and as much again for what the network does to the last
/// responses and for the provisional responses that start timer C again.
const RESULT_MAX: Duration = Duration::from_secs(181 + 3 * 32 + 20);

#[derive(Debug)]
pub(super) struct InviteState {
    sent: Instant,
    /// Final responses: status and To tag.
    finals: BTreeSet<(u16, String)>,
    given_up: bool,
    ended: Option<Instant>,
}

/// A call as its parties see it.
#[derive(Debug, Default)]
pub(super) struct CallState {
    pub(super) records: Vec<CallEnd>,
    begun: Option<Instant>,
    caller: Option<AgentId>,
    result: Option<Outcome>,
    /// Devices that saw the INVITE.
    invited: BTreeSet<AgentId>,
    /// The device that the caller talks to.
    pub(super) winner: Option<AgentId>,
    pub(super) caller_up: bool,
    pub(super) callee_up: bool,
    /// Re-INVITEs that are going on.
    pub(super) exchanges: u32,
    /// Nobody knows what the parties believe to be agreed on.
    pub(super) uncertain: bool,
    /// On hold by either side.
    pub(super) held: bool,
    /// BYE sent, by the caller, by the callee.
    hung_up: [bool; 2],
    /// The caller has ended another fork's dialog, perhaps as the last one of the call.
    strays: bool,
    pub(super) over: bool,
    /// A party has fallen silent.
    pub(super) dead: bool,
}

impl CallState {
    /// Whether it is the caller or the device that the caller talks to.
    pub(super) fn is_party(&self, agent: AgentId) -> bool {
        self.winner == Some(agent) || self.caller == Some(agent)
    }

    /// Whether it is the caller or any of the called devices.
    pub(super) fn takes_part(&self, agent: AgentId) -> bool {
        self.caller == Some(agent) || self.invited.contains(&agent)
    }

    /// Whether media flows both ways for all that the parties know.
    pub(super) fn is_talking(&self) -> bool {
        let up = self.caller_up && self.callee_up;
        let ends = self.over || self.dead || self.hung_up[0] || self.hung_up[1];
        up && !ends && self.exchanges == 0 && !self.uncertain && !self.held
    }
}

impl Ledger {
    /// A caller's user dials.
    pub fn call_begins(&mut self, now: Instant, no: CallNo, caller: AgentId) {
        self.counts.calls += 1;
        let call = self.calls.entry(no).or_default();
        call.begun = Some(now);
        call.caller = Some(caller);
    }

    /// An INVITE is sent for the first time.
    pub fn invite_sent(&mut self, now: Instant, key: InviteKey) {
        let finals = BTreeSet::new();
        self.invites.insert(key, InviteState { sent: now, finals, given_up: false, ended: None });
    }

    /// A final response has come, perhaps again.
    pub fn final_seen(&mut self, now: Instant, key: InviteKey, status: u16, tag: Option<&str>) {
        let Some(invite) = self.invites.get_mut(&key) else { return };
        invite.finals.insert((status, tag.unwrap_or_default().to_owned()));
        let waited = now.duration_since(invite.sent);
        let is_first = invite.ended.is_none();
        invite.ended.get_or_insert(now);
        // Forks may each answer 2xx (RFC 3261 13.2.2.4); anything else there is once.
        let several = invite.finals.len() > 1;
        let all_accept = invite.finals.iter().all(|(s, _)| (200..300).contains(s));
        let seen = format!("{:?}", invite.finals);
        if several && !all_accept {
            self.wrong(now, "an_invite_has_one_final_response", Some(key.0), seen);
        } else if is_first && waited > RESULT_MAX {
            let what = format!("{status} after {waited:?}");
            self.wrong(now, "an_invite_ends_in_time", Some(key.0), what);
        }
    }

    /// The sender of an INVITE has waited long enough.
    pub fn invite_given_up(&mut self, key: InviteKey) {
        if let Some(invite) = self.invites.get_mut(&key) {
            invite.given_up = true;
        }
    }

    pub(super) fn check_invites(&mut self, now: Instant) {
        let open = self.invites.iter().filter(|(_, i)| i.ended.is_none() && !i.given_up);
        let open: Vec<InviteKey> = open.map(|(key, _)| *key).collect();
        for key in open {
            // One whose sender has fallen silent is nobody's concern.
            if self.calls.get(&key.0).is_some_and(|call| call.dead || call.over) {
                continue;
            }
            self.wrong(now, "every_invite_has_a_result", Some(key.0), format!("{key:?}"));
        }
    }

    /// How the call came out for its caller.
    pub fn call_result(&mut self, now: Instant, no: CallNo, outcome: Outcome) {
        let call = self.calls.entry(no).or_default();
        let earlier = call.result.replace(outcome);
        if outcome == Outcome::Status(200) {
            self.counts.answered += 1;
        } else {
            self.counts.failed += 1;
        }
        if let Some(earlier) = earlier {
            let what = format!("{earlier}, then {outcome}");
            self.wrong(now, "a_call_has_one_result", Some(no), what);
        }
    }

    /// A called device has seen the INVITE.
    pub fn device_invited(&mut self, no: CallNo, agent: AgentId) {
        self.calls.entry(no).or_default().invited.insert(agent);
    }

    /// An agent was sent a description: it must name a relay, or nobody.
    pub fn description_seen(
        &mut self,
        now: Instant,
        no: CallNo,
        agent: AgentId,
        seen: &Description,
    ) {
        let refused = seen.ports.iter().all(|port| *port == 0);
        if !seen.is_old_hold() && !refused && !self.relays.contains(&seen.ip) {
            let what = format!("{agent:?} is to send to {}", seen.ip);
            self.wrong(now, "media_goes_through_the_relay", Some(no), what);
        }
    }

    /// A message came without the description that belongs there.
    pub fn lacks_description(&mut self, now: Instant, no: CallNo, agent: AgentId) {
        let what = format!("{agent:?} waits for a description in vain");
        self.wrong(now, "offers_are_answered", Some(no), what);
    }

    /// The caller has acknowledged the answer of a device, and talks to it.
    pub fn caller_up(&mut self, _now: Instant, no: CallNo, tag: &str) {
        let call = self.calls.entry(no).or_default();
        call.caller_up = true;
        call.winner = agent_of_tag(tag);
    }

    /// A device has got the ACK.
    pub fn callee_up(&mut self, _now: Instant, no: CallNo, agent: AgentId) {
        let call = self.calls.entry(no).or_default();
        if call.winner == Some(agent) {
            call.callee_up = true;
        }
    }

    /// A party has sent BYE; `main`: in the dialog that the caller keeps.
    pub fn hung_up(&mut self, now: Instant, no: CallNo, side: Side, main: bool) {
        if main {
            self.unsettle(now, no);
            self.calls.entry(no).or_default().hung_up[side as usize] = true;
        } else {
            self.calls.entry(no).or_default().strays = true;
        }
    }

    /// A party has ended the call for itself.
    pub fn leg_over(&mut self, now: Instant, no: CallNo, agent: AgentId) {
        self.unsettle(now, no);
        let call = self.calls.entry(no).or_default();
        // A device that lost the race does not end the call.
        call.over |= call.is_party(agent);
    }

    /// A party has fallen silent.
    pub fn leg_dead(&mut self, now: Instant, no: CallNo, _agent: AgentId) {
        self.unsettle(now, no);
        self.calls.entry(no).or_default().dead = true;
    }

    /// A party offers something new.
    pub fn exchange_begins(&mut self, now: Instant, no: CallNo) {
        self.counts.changes += 1;
        self.unsettle(now, no);
        self.calls.entry(no).or_default().exchanges += 1;
    }

    /// Both parties have agreed; `None`: they may believe different things.
    pub fn exchange_ends(&mut self, now: Instant, no: CallNo, two_way: Option<bool>) {
        let call = self.calls.entry(no).or_default();
        call.exchanges = call.exchanges.saturating_sub(1);
        match two_way {
            Some(two_way) => call.held = !two_way,
            None => call.uncertain = true,
        }
        self.settle(now, no);
    }

    /// What was offered was refused; `certain`: by the other party, which knows.
    pub fn exchange_refused(&mut self, now: Instant, no: CallNo, certain: bool) {
        let call = self.calls.entry(no).or_default();
        call.exchanges = call.exchanges.saturating_sub(1);
        call.uncertain |= !certain;
        self.settle(now, no);
    }

    pub(super) fn check_call(&mut self, now: Instant, script: &Script) {
        let no = Some(script.no);
        let Some(call) = self.calls.get(&script.no) else {
            return self.wrong(now, "every_call_is_made", no, String::new());
        };
        match call.result {
            None => {
                let begun = call.begun.map(|at| at.duration_since(self.epoch));
                self.wrong(now, "every_call_has_a_result", no, format!("begun {begun:?}"));
            }
            Some(outcome) if !self.may_end(script, outcome) => {
                let what = format!("{outcome}, not one of {:?}", script.expected());
                self.wrong(now, "a_call_ends_as_its_parties_want", no, what);
            }
            Some(_) => {}
        }
        self.check_records(now, script);
    }

    fn check_records(&mut self, now: Instant, script: &Script) {
        let Some(call) = self.calls.get(&script.no) else { return };
        let no = Some(script.no);
        // A member may have accepted an INVITE and ended it before any device saw it.
        let is_call = matches!(script.callee, Callee::User(_)) && !script.wrong_password;
        let expected = u8::from(!call.invited.is_empty())..=u8::from(is_call);
        let (records, result) = (call.records.clone(), call.result);
        let hung_up = [call.hung_up[0] || call.strays, call.hung_up[1]];
        if !expected.contains(&u8::try_from(records.len()).unwrap_or(u8::MAX)) {
            let what = format!("{records:?}, {expected:?} expected");
            self.wrong(now, "a_call_is_recorded_once", no, what);
        }
        if self.dependable
            && let (Some(result), Some(end)) = (result, records.first())
            && !end_fits(script, result, *end, hung_up)
        {
            let what = format!("{end:?} after {result}, BYE from {hung_up:?}");
            self.wrong(now, "a_record_says_how_the_call_ended", no, what);
        }
    }

    fn may_end(&self, script: &Script, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Status(status) => {
                let expected = script.expected();
                // No ports: 503. Lost messages: 408 for a device, 480 where it could not
                // register, 500 where its connection broke.
                expected.contains(&status)
                    || (self.scarce && matches!(status, 503 | 487))
                    || !self.dependable && matches!(status, 408 | 480 | 487 | 500 | 503)
                    || !self.dependable && self.is_anothers(script, status)
            }
            // The member waits for a silent device as long as the caller for the member
            // (RFC 3261 9.1): either may be the first to give up.
            Outcome::NoAnswer => {
                !self.dependable || (script.cancel.is_some() && script.has_death())
            }
        }
    }

    /// What one device says counts where the others could not be heard.
    fn is_anothers(&self, script: &Script, status: u16) -> bool {
        script.devices.values().any(|part| match part.reply {
            Reply::Refuse(refused, _) => refused == status,
            Reply::Accept(_) | Reply::Ring | Reply::FallSilent | Reply::Silent => false,
        })
    }
}

/// Whether a record says what happened.
fn end_fits(script: &Script, result: Outcome, end: CallEnd, hung_up: [bool; 2]) -> bool {
    let dies = script.death.is_some();
    match end {
        CallEnd::CallerHungUp => hung_up[0] || script.hang_up == HangUp::Both,
        CallEnd::CalleeHungUp => hung_up[1] || script.hang_up == HangUp::Both,
        CallEnd::Refused(status) => result == Outcome::Status(status),
        CallEnd::Cancelled => script.cancel.is_some() && result != Outcome::Status(200),
        CallEnd::MediaIdle
        | CallEnd::MediaLost
        | CallEnd::LifetimeExceeded
        | CallEnd::SessionExpired => dies,
        CallEnd::NodeStopped => false,
    }
}
