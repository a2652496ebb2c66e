//! What must hold. It sees what goes over the wire and what happens to members, and knows no core.
//!
//! Two things excuse what must not happen otherwise, and each as narrowly as it can be told from outside:
//!
//! - **uneven**: for a moment the members that take part did not agree on who takes what is new (a view or
//!   the loss of a peer reaches one before the other). A request of which one copy is decided upon in
//!   such a moment may be handled by two members.
//! - **over**: the life of the member that handled it first was over when the second one did.
//!
//! A request may fail otherwise than its script wants only if the member that had it or its dialog ended,
//! if a member saw fewer than half of the farm or could not reach another one meanwhile, or (an INVITE,
//! an OPTIONS) if the member that had taken the callee's registration ended before it could tell the others.

mod rules;
mod times;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use signaling_core::farm::{Errand, Identity, Why};

use super::plan::{CallPlan, Wish};
use super::text::{Text, param};
use times::Times;

/// How often an INVITE is sent in 64*T1 (RFC 3261 17.1.1.2); other requests are sent more often. A transaction
/// of which so many packets were lost may end by its timer: that is a defined end.
const SENDS: u32 = 7;

/// What was counted in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Client transactions.
    pub transactions: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Messages that members sent each other.
    pub relayed: u64,
    /// Of them those that asked an earlier owner.
    pub asked: u64,
    /// Requests that ended otherwise than scripted, for a reason that excuses it.
    pub excused: u64,
    /// Transactions that ended by a timer because too many of their packets were lost.
    pub worn_out: u64,
    /// Requests that two members handled, for a reason that excuses it.
    pub twice: u64,
    /// Calls that were not made because the callee had not registered yet.
    pub skipped: u64,
    /// Lives of members that ended while the calls went on.
    pub deaths: u64,
    /// Messages with a token that steered nothing, as it must be.
    pub forged: u64,
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Counts) {
        self.transactions += other.transactions;
        self.answered += other.answered;
        self.relayed += other.relayed;
        self.asked += other.asked;
        self.excused += other.excused;
        self.worn_out += other.worn_out;
        self.twice += other.twice;
        self.skipped += other.skipped;
        self.deaths += other.deaths;
        self.forged += other.forged;
    }
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: &'static str,
    /// When, since the beginning.
    pub at: Duration,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.3} s: {}", self.rule, self.at.as_secs_f64(), self.what)
    }
}

/// What a client transaction should come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Register(usize),
    Options(usize),
    Call(usize),
    Cancel,
    Refresh(usize),
    Bye(usize),
}

/// What it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Final(u16),
    Timeout,
}

/// What a branch of those begins with that use a token of a life that is over.
pub(super) const DEAD: &str = "z9hG4bKd";

/// How the answer ends for a call that rang and whose member has died (B5).
const GONE: &str = " 500 Member With The Call Is Gone";

/// By then everybody knows that a process is no more: its host may have vanished with it.
const FORGOTTEN: Duration = Duration::from_secs(3);

/// Who sends something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) who: Who,
    /// It has come to it from outside, and since then it takes nothing new.
    pub(super) closed: Option<Instant>,
}

/// A life of a member, and the process that lives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) process: u64,
    pub(super) identity: Identity,
}

/// A token as the first Route of a request has it, and the Call-ID.
type Token = (String, String);

#[derive(Debug)]
struct Tx {
    expected: Expected,
    method: String,
    begun: Instant,
    ended: Option<(Instant, End)>,
    /// What arrived.
    finals: Vec<(u16, String)>,
    /// Who has done anything about it but refuse it, and when first.
    handlers: Vec<(Who, Instant)>,
    /// Who has sent it on.
    forwarded: Vec<Who>,
    /// The token by which it names its owner.
    token: Option<Token>,
    call_id: String,
    /// Whose it is.
    phone: Option<usize>,
    /// As its packets are counted.
    transaction: String,
}

/// What has become of the binding of a phone.
#[derive(Clone, Copy, Debug)]
struct Registered {
    at: Instant,
    by: Option<Identity>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    epoch: Instant,
    calls: Vec<CallPlan>,
    /// How many packets of a transaction were lost: by its Call-ID and CSeq, that of an ACK as its INVITE.
    lost: HashMap<String, u32>,
    txs: HashMap<(String, String), Tx>,
    /// Who has written a token first.
    tokens: HashMap<Token, Who>,
    registered: HashMap<usize, Registered>,
    is_cancelled: HashMap<usize, bool>,
    /// Members differ in who takes what is new.
    pub(super) uneven: Times,
    /// Members cannot reach each other, or do not see yet that they can again.
    pub(super) split: Times,
    /// A member sees fewer than half of the farm.
    pub(super) few: Times,
    /// When lives of members ended, also those that were taken for dead and have another one since.
    deaths: HashMap<Identity, Instant>,
    /// Which process lives which life, and when processes ended.
    lives: HashMap<Identity, u64>,
    over: HashMap<u64, Instant>,
    /// Requests that have to get 481 and have not got it yet: what they are, by their branch.
    to_refuse: BTreeMap<String, String>,
    /// When phones had no connection, or had not registered by it yet.
    away: HashMap<usize, Times>,
    /// When the member of their connection was taken for dead.
    halted: HashMap<usize, Times>,
    pub(super) counts: Counts,
    pub(super) violations: Vec<Violation>,
}

impl Ledger {
    pub(super) fn new(epoch: Instant, calls: Vec<CallPlan>) -> Ledger {
        Ledger {
            epoch,
            calls,
            lost: HashMap::new(),
            txs: HashMap::new(),
            tokens: HashMap::new(),
            registered: HashMap::new(),
            is_cancelled: HashMap::new(),
            uneven: Times::default(),
            split: Times::default(),
            few: Times::default(),
            deaths: HashMap::new(),
            lives: HashMap::new(),
            over: HashMap::new(),
            to_refuse: BTreeMap::new(),
            away: HashMap::new(),
            halted: HashMap::new(),
            counts: Counts::default(),
            violations: Vec::new(),
        }
    }

    pub(super) fn wrong(&mut self, now: Instant, rule: &'static str, what: String) {
        let at = now.saturating_duration_since(self.epoch);
        self.violations.push(Violation { rule, at, what });
    }

    pub(super) fn skip(&mut self) {
        self.counts.skipped += 1;
    }

    pub(super) fn is_registered(&self, phone: usize) -> bool {
        self.registered.contains_key(&phone)
    }

    pub(super) fn cancelled(&mut self, call: usize) {
        self.is_cancelled.insert(call, true);
    }

    pub(super) fn dies(&mut self, now: Instant, identity: Identity) {
        self.deaths.entry(identity).or_insert(now);
        self.counts.deaths += 1;
    }

    pub(super) fn lives(&mut self, identity: Identity, process: u64) {
        self.lives.insert(identity, process);
    }

    pub(super) fn ends_process(&mut self, now: Instant, process: u64) {
        self.over.insert(process, now);
    }

    /// B5: a request of this branch has to get 481.
    pub(super) fn must_refuse(&mut self, branch: &str, what: String) {
        self.to_refuse.insert(branch.to_owned(), what);
    }

    /// A phone begins a transaction.
    pub(super) fn begins(
        &mut self,
        now: Instant,
        branch: &str,
        method: &'static str,
        expected: Expected,
        bytes: &[u8],
    ) {
        self.counts.transactions += 1;
        let tx = Tx::new(now, expected, method, bytes);
        self.txs.insert((branch.to_owned(), method.to_owned()), tx);
    }

    /// A caller acknowledges a 200: no answer comes, and it has an owner.
    pub(super) fn acknowledged(&mut self, now: Instant, branch: &str, bytes: &[u8]) {
        let mut tx = Tx::new(now, Expected::Cancel, "ACK", bytes);
        tx.ended = Some((now, End::Final(200)));
        self.txs.insert((branch.to_owned(), "ACK".to_owned()), tx);
    }

    pub(super) fn final_arrives(
        &mut self,
        branch: &str,
        method: &str,
        status: u16,
        tag: Option<&str>,
    ) {
        let Some(tx) = self.txs.get_mut(&(branch.to_owned(), method.to_owned())) else { return };
        let this = (status, tag.unwrap_or_default().to_owned());
        if !tx.finals.contains(&this) {
            tx.finals.push(this);
        }
    }

    pub(super) fn ends(&mut self, now: Instant, branch: &str, method: &str, end: End) {
        let Some(tx) = self.txs.get_mut(&(branch.to_owned(), method.to_owned())) else { return };
        tx.ended = Some((now, end));
        let by = tx.handlers.last().map(|(who, _)| who.identity);
        match (tx.expected, end) {
            (Expected::Register(phone), End::Final(200)) => {
                self.registered.insert(phone, Registered { at: now, by });
                if let Some(away) = self.away.get_mut(&phone) {
                    away.set(now, false);
                }
            }
            (Expected::Call(_), End::Final(200)) => self.counts.answered += 1,
            _ => {}
        }
    }

    /// A callee's answer was never acknowledged.
    pub(super) fn not_acknowledged(&mut self, now: Instant, call: Option<usize>, answer: &[u8]) {
        if Text::read(answer).is_some_and(|text| self.is_worn_out(&transaction(&text))) {
            self.counts.worn_out += 1;
            return;
        }
        let begun = now - Duration::from_secs(40);
        let owners: Vec<Identity> = call.map_or(Vec::new(), |call| self.owners(call));
        let is_over = owners.iter().any(|owner| self.deaths.contains_key(owner));
        let is_away = call.is_some_and(|call| self.is_away_in(call, now));
        if !is_over && !is_away && !self.is_apart(begun, now) {
            self.wrong(now, "every final answer is acknowledged", format!("call {call:?}"));
        }
    }

    /// A message is lost that nobody sends again.
    pub(super) fn loses_for_good(&mut self, bytes: &[u8]) {
        if let Some(text) = Text::read(bytes) {
            *self.lost.entry(transaction(&text)).or_default() += SENDS;
        }
    }

    pub(super) fn disconnected(&mut self, now: Instant, phone: usize) {
        self.away.entry(phone).or_default().set(now, true);
    }

    pub(super) fn halted(&mut self, now: Instant, phone: usize, is_so: bool) {
        self.halted.entry(phone).or_default().set(now, is_so);
    }

    /// Whether a phone was without a connection that serves it.
    fn is_away(&self, phone: usize, from: Instant, until: Instant) -> bool {
        let touch = |times: &Times| times.touch(from, until);
        self.away.get(&phone).is_some_and(touch) || self.halted.get(&phone).is_some_and(touch)
    }

    /// Whether a party of a call had no connection at any time since shortly before it began.
    fn is_away_in(&self, call: usize, until: Instant) -> bool {
        let plan = &self.calls[call];
        let from = self.epoch + plan.at - Duration::from_secs(3);
        [plan.caller, plan.callee].iter().any(|phone| self.is_away(*phone, from, until))
    }

    /// A packet is lost.
    pub(super) fn loses(&mut self, bytes: &[u8]) {
        if let Some(text) = Text::read(bytes) {
            *self.lost.entry(transaction(&text)).or_default() += 1;
        }
    }

    /// Whether as many packets of it were lost as end a transaction by its timer.
    fn is_worn_out(&self, transaction: &str) -> bool {
        self.lost.get(transaction).is_some_and(|lost| *lost >= SENDS)
    }

    /// Whether a member could not reach another one, or saw too few.
    fn is_apart(&self, from: Instant, until: Instant) -> bool {
        self.split.touch(from, until) || self.few.touch(from, until)
    }

    /// A member sends something to a phone.
    pub(super) fn sent(&mut self, now: Instant, said: Said, bytes: &[u8]) {
        let who = said.who;
        let Some(text) = Text::read(bytes) else {
            return self.wrong(now, "members write what can be read", "not UTF-8".to_owned());
        };
        let branches = text.branches();
        let call_id = text.call_id();
        let (Some(branch), method) = (branches.last(), text.method()) else { return };
        if branch.starts_with(DEAD) && !matches!(text.status(), Some(481 | 503)) {
            let what = format!("{} to {call_id} by {who:?}", text.start);
            self.wrong(now, "the token of a life that is over leads nowhere", what);
        }
        if text.status() == Some(481) {
            self.to_refuse.remove(*branch);
        }
        if text.status().is_none() {
            self.note_tokens(now, who, &text, call_id);
            if branches.len() < 2 {
                return;
            }
        } else if branches.len() != 1 {
            return;
        }
        let key = ((*branch).to_owned(), method.to_owned());
        let Some(tx) = self.txs.get_mut(&key) else { return };
        // 481 and 503 are said by whoever does not have it, and this 500 by who answers for a dead member.
        let is_refusal = matches!(text.status(), Some(481 | 503)) || text.start.ends_with(GONE);
        let is_new = !tx.handlers.iter().any(|(other, _)| other.process == who.process);
        let is_free = tx.token.is_none();
        if is_new && !is_refusal {
            tx.handlers.push((who, now));
            // A CANCEL goes to its INVITE, which was there before.
            let is_free = is_free && tx.expected != Expected::Cancel;
            if is_free && said.closed.is_some_and(|since| since < tx.begun) {
                let what = format!("{} of {call_id} by {who:?}", tx.method);
                self.wrong(now, "who drains or sees too few takes nothing new", what);
            }
        }
        let Some(tx) = self.txs.get_mut(&key) else { return };
        if text.status().is_none() && is_new {
            tx.forwarded.push(who);
            let owner =
                tx.token.as_ref().map(|token| self.tokens.get(token).map(|who| who.process));
            if let Some(owner) = owner.filter(|owner| *owner != Some(who.process)) {
                let what = format!("{method} of {call_id}: owner {owner:?}, sent on by {who:?}");
                self.wrong(now, "requests of a dialog are sent on by its owner alone", what);
            }
        }
    }

    fn note_tokens(&mut self, now: Instant, who: Who, text: &Text<'_>, call_id: &str) {
        for token in text.all("Record-Route").filter_map(|line| param(line, "rf")) {
            let key = (token.to_owned(), call_id.to_owned());
            let writer = *self.tokens.entry(key).or_insert(who);
            // A process that has become another life of its member repeats what it has begun before.
            if writer.process != who.process {
                let what = format!("{call_id}: {writer:?} and {who:?}");
                self.wrong(now, "a token has one writer", what);
            }
        }
    }

    /// A token that steers, and its Call-ID, if there is one.
    pub(super) fn a_token(&self, draw: usize) -> Option<Token> {
        let mut all: Vec<&Token> = self.tokens.keys().collect();
        all.sort();
        (!all.is_empty()).then(|| all[draw % all.len()].clone())
    }

    /// One that steers no more, as the member that wrote it has died.
    pub(super) fn a_dead_token(&self, now: Instant, draw: usize) -> Option<Token> {
        let is_dead = |who: &Who| self.over.get(&who.process).is_some_and(|at| *at < now);
        let dead = self.tokens.iter().filter(|(_, who)| is_dead(who));
        let mut all: Vec<&Token> = dead.map(|(token, _)| token).collect();
        all.sort();
        (!all.is_empty()).then(|| all[draw % all.len()].clone())
    }

    /// A member gives a message to another one. `cause`: the errand that it came on itself.
    pub(super) fn relays(
        &mut self,
        now: Instant,
        from: Identity,
        (to, errand): (Identity, Errand),
        cause: Option<(Identity, Errand)>,
        bytes: &[u8],
    ) {
        self.counts.relayed += 1;
        self.counts.asked += u64::from(errand.why == Why::Asked);
        let is_right = match cause.map(|(asker, cause)| (asker, cause.why)) {
            None => errand.why != Why::Returned && errand.asked == 0,
            Some((asker, Why::Asked)) => errand.why == Why::Returned && to == asker,
            Some((_, Why::Returned)) => errand.why != Why::Returned && errand.asked > 0,
            Some((_, Why::Pinned | Why::Named | Why::Spread)) => false,
        };
        if !is_right || to == from {
            let what = format!("{from:?} to {to:?} {errand:?}, which came by {cause:?}");
            self.wrong(now, "what was relayed is not relayed again", what);
        }
        let ended = self.lives.get(&to).and_then(|process| self.over.get(process));
        if errand.why == Why::Pinned && ended.is_some_and(|ended| *ended + FORGOTTEN < now) {
            let what = format!("{from:?} to {to:?}");
            self.wrong(now, "who has been gone for 3 s is given nothing", what);
        }
        if errand.why == Why::Pinned
            && let Some(text) = Text::read(bytes)
            && let Some(token) = first_token(&text)
            && self.tokens.get(&token).map(|owner| owner.process) != self.lives.get(&to).copied()
        {
            let what = format!("{from:?} to {to:?}: {token:?}");
            self.wrong(
                now,
                "only a token that a member wrote steers, and to that life of it",
                what,
            );
        }
    }
}

/// Call-ID and CSeq, by which packets that belong together are known wherever they are.
fn transaction(text: &Text<'_>) -> String {
    let cseq = text.header("CSeq");
    let cseq = cseq.strip_suffix("ACK").map_or(cseq.to_owned(), |number| format!("{number}INVITE"));
    format!("{} {cseq}", text.call_id())
}

/// The token of the first Route.
fn first_token(text: &Text<'_>) -> Option<Token> {
    let token = param(text.header("Route"), "rf")?;
    Some((token.to_owned(), text.call_id().to_owned()))
}

impl Tx {
    fn new(now: Instant, expected: Expected, method: &str, bytes: &[u8]) -> Tx {
        let text = Text::read(bytes);
        Tx {
            expected,
            method: method.to_owned(),
            begun: now,
            ended: None,
            finals: Vec::new(),
            phone: text.as_ref().and_then(phone_of),
            handlers: Vec::new(),
            forwarded: Vec::new(),
            token: text.as_ref().and_then(first_token),
            transaction: text.as_ref().map(transaction).unwrap_or_default(),
            call_id: text.map_or(String::new(), |text| text.call_id().to_owned()),
        }
    }
}

/// Phones name themselves in their branches.
fn phone_of(text: &Text<'_>) -> Option<usize> {
    let (number, _) = text.branches().last()?.strip_prefix("z9hG4bKp")?.split_once('x')?;
    number.parse().ok()
}

/// What a call may come to.
fn allowed(plan: &CallPlan, cancelled: bool) -> &'static [u16] {
    match (plan.wish, cancelled) {
        (Wish::Answer(_), false) | (Wish::Cancel(..), false) => &[200],
        (Wish::Reject(_), false) => &[486],
        (Wish::Answer(_) | Wish::Cancel(..), true) => &[200, 487],
        (Wish::Reject(_), true) => &[486, 487],
    }
}
