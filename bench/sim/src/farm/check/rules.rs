//! What is judged once everything is over.

use std::time::{Duration, Instant};

use signaling_core::farm::Identity;

use super::{End, Expected, Ledger, Tx, Who, allowed};

/// Longest time from when a message comes to a member until another one has decided upon it: four
/// members are asked, and each way takes 20 ms at most.
const JOURNEY: Duration = Duration::from_millis(20 * 10);

/// How long a member may take to see that another one can be reached again or not.
const DETECTION: Duration = Duration::from_secs(3);

/// How long it may take until all members know of a registration.
const COPY: Duration = Duration::from_secs(1);

impl Ledger {
    /// Who has begun a call.
    pub(super) fn owners(&self, call: usize) -> Vec<Identity> {
        let begins = |tx: &&Tx| tx.expected == Expected::Call(call);
        let handlers = self.txs.values().filter(begins).flat_map(|tx| &tx.handlers);
        handlers.map(|(who, _)| who.identity).collect()
    }

    pub(in crate::farm) fn finish(&mut self, now: Instant) {
        for what in std::mem::take(&mut self.to_refuse).into_values() {
            self.wrong(now, "the token of a life that is over for long is answered 481", what);
        }
        let mut keys: Vec<_> = self.txs.keys().cloned().collect();
        keys.sort();
        let txs = std::mem::take(&mut self.txs);
        for key in &keys {
            let tx = &txs[key];
            self.handled_once(now, tx);
            // A CANCEL goes where its INVITE went, by what was so then.
            let invite = (tx.method == "CANCEL").then(|| (key.0.clone(), "INVITE".to_owned()));
            let since = invite.and_then(|key| txs.get(&key)).map_or(tx.begun, |tx| tx.begun);
            self.one_result(now, tx, since);
        }
        self.txs = txs;
        for key in &keys {
            let Some((tx, end)) = self.txs.get(key).map(|tx| (tx, tx.ended)) else { continue };
            if tx.method == "ACK" {
                continue;
            }
            let name = format!("{} of {} {:?}", tx.method, tx.call_id, tx.expected);
            let Some((at, end)) = end else {
                self.wrong(now, "every client transaction ends", name);
                continue;
            };
            if self.is_expected(tx, at, end) {
                continue;
            }
            let is_timer = matches!(end, End::Timeout | End::Final(408));
            if is_timer && self.is_worn_out(&tx.transaction) {
                self.counts.worn_out += 1;
                continue;
            }
            if self.is_excused(tx, at) {
                self.counts.excused += 1;
                continue;
            }
            let what = format!("{name}: {end:?}, handled by {:?}", tx.handlers);
            self.wrong(at, "a request ends as its script wants", what);
        }
    }

    fn is_over(&self, who: Who, at: Instant) -> bool {
        self.deaths.get(&who.identity).is_some_and(|death| *death <= at)
    }

    fn may_both(&self, first: (Who, Instant), second: (Who, Instant)) -> bool {
        self.is_over(first.0, second.1)
            || [first.1, second.1].iter().any(|at| self.uneven.touch(*at - JOURNEY, *at))
    }

    fn handled_once(&mut self, now: Instant, tx: &Tx) {
        for pair in tx.handlers.windows(2) {
            let [first, second] = *pair else { continue };
            if self.may_both(first, second) {
                self.counts.twice += 1;
                continue;
            }
            let at = |at: Instant| at.saturating_duration_since(self.epoch);
            let what = format!(
                "{} of {} by {:?} at {:?} and by {:?} at {:?}",
                tx.method,
                tx.call_id,
                first.0,
                at(first.1),
                second.0,
                at(second.1)
            );
            self.wrong(now, "one member handles a request", what);
        }
    }

    /// What steers it was decided from `since` on.
    fn one_result(&mut self, now: Instant, tx: &Tx, since: Instant) {
        let Some((ended, _)) = tx.ended.filter(|_| tx.finals.len() > 1) else { return };
        // Two handlers have been judged; refusals come from where the farm looks different.
        let is_excused = tx.handlers.len() > 1
            || tx.handlers.iter().any(|(who, _)| self.is_over(*who, now))
            || self.is_apart(since - DETECTION, ended + Duration::from_secs(32))
            || self.owner_is_over(tx, now)
            || self.is_disconnected(tx, ended);
        if !is_excused {
            let what = format!("{} of {}: {:?}", tx.method, tx.call_id, tx.finals);
            self.wrong(now, "a request has one result", what);
        }
    }

    fn is_expected(&self, tx: &Tx, at: Instant, end: End) -> bool {
        // A call that the other side ends meanwhile owes nothing more.
        if let Expected::Refresh(call) = tx.expected
            && self.other_byes(tx, call, at)
        {
            return true;
        }
        let End::Final(status) = end else { return false };
        match tx.expected {
            // RFC 3261 10.3 step 7: one that is overtaken by the next is out of order.
            Expected::Register(_) => status == 200 || status == 500 && self.is_overtaken(tx, at),
            Expected::Options(_) | Expected::Refresh(_) => status == 200,
            Expected::Bye(call) => status == 200 || status == 481 && self.other_byes(tx, call, at),
            // It may cross the answer, of which nothing is left after 64*T1.
            Expected::Cancel => matches!(status, 200 | 481),
            Expected::Call(call) => {
                let cancelled = self.is_cancelled.contains_key(&call);
                allowed(&self.calls[call], cancelled).contains(&status)
            }
        }
    }

    fn is_overtaken(&self, tx: &Tx, at: Instant) -> bool {
        let mut others = self.txs.values().filter(|other| other.expected == tx.expected);
        others.any(|other| other.begun > tx.begun && other.begun <= at)
    }

    /// Whether another BYE of this call had begun by then.
    fn other_byes(&self, tx: &Tx, call: usize, at: Instant) -> bool {
        let is_other =
            |other: &&Tx| other.expected == Expected::Bye(call) && !std::ptr::eq(*other, tx);
        self.txs.values().filter(is_other).any(|other| other.begun <= at)
    }

    fn owner_is_over(&self, tx: &Tx, at: Instant) -> bool {
        let owner = tx.token.as_ref().and_then(|token| self.tokens.get(token));
        owner
            .is_some_and(|owner| self.deaths.get(&owner.identity).is_some_and(|death| *death <= at))
    }

    fn is_excused(&self, tx: &Tx, at: Instant) -> bool {
        let is_over = tx.handlers.iter().any(|(who, _)| self.is_over(*who, at));
        let call = match tx.expected {
            Expected::Call(call) | Expected::Refresh(call) | Expected::Bye(call) => Some(call),
            Expected::Register(_) | Expected::Options(_) | Expected::Cancel => None,
        };
        let owners = call.map_or(Vec::new(), |call| self.owners(call));
        let owner_died =
            owners.iter().any(|owner| self.deaths.get(owner).is_some_and(|death| *death <= at));
        is_over
            || owner_died
            || self.owner_is_over(tx, at)
            || is_twice(tx)
            || self.is_apart(tx.begun - DETECTION, at)
            || self.is_binding_lost(tx)
            || self.is_disconnected(tx, at)
    }

    /// Whether a phone that has to do with it had no connection.
    fn is_disconnected(&self, tx: &Tx, at: Instant) -> bool {
        let call = tx.call_id.strip_prefix("call-").and_then(|rest| rest.split('@').next());
        let call = call.and_then(|call| call.parse().ok());
        let other = match tx.expected {
            Expected::Options(phone) => Some(phone),
            Expected::Register(_)
            | Expected::Cancel
            | Expected::Call(_)
            | Expected::Refresh(_)
            | Expected::Bye(_) => None,
        };
        let away = |phone| self.is_away(phone, tx.begun - DETECTION, at);
        call.is_some_and(|call| self.is_away_in(call, at))
            || [tx.phone, other].into_iter().flatten().any(away)
    }

    fn is_binding_lost(&self, tx: &Tx) -> bool {
        let callee = match tx.expected {
            Expected::Call(call) => self.calls[call].callee,
            Expected::Options(phone) => phone,
            Expected::Register(_) | Expected::Cancel | Expected::Refresh(_) | Expected::Bye(_) => {
                return false;
            }
        };
        self.registered.get(&callee).is_some_and(|registered| {
            let death = registered.by.and_then(|by| self.deaths.get(&by));
            death.is_some_and(|death| *death <= registered.at + COPY)
        })
    }
}

/// Whether two members have handled a call, which has been judged: its callee takes the one that comes second for
/// a merged request (RFC 3261 8.2.2.2), and that refusal may be the first answer.
fn is_twice(tx: &Tx) -> bool {
    matches!((tx.expected, tx.ended), (Expected::Call(_), Some((_, End::Final(482)))))
        && tx.handlers.len() > 1
}
