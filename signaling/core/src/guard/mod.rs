//! What keeps a node alive on the open Internet: who sends too much, guesses passwords or scans is
//! dropped before its messages are parsed.
//!
//! A source is an IPv4 address or an IPv6 /64 (what one customer is given, RFC 6177). Each has one entry
//! in a table of fixed size; so does each pair of source and account that has failed. An attacker with
//! more addresses than there are entries displaces those that were silent longest: they lose their
//! past and no right, since a fresh entry has a full bucket. Bans stay through such a flood.
//!
//! Over UDP a sender's address can be forged: what is counted against a source may be another's doing.
//! Servers whose calls must not depend on that are exempt (trusted peers, routes, `exempt`), and a
//! source that has shown right credentials within an hour is banned ten times later.

mod bans;
mod config;
pub(crate) mod rate;
mod rule;
mod scanners;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::transaction::hash::Keyed;

pub use bans::{Ban, BanRefused};
pub use config::Config;
use rate::Rate;
pub use rule::{ANSWER_FACTOR, Offence, REFUSAL_FACTOR, Report, Rule};
pub use scanners::SCANNERS;
use scanners::Words;
use ways::{Entry, Ways};

/// How often one rule tells that it drops messages.
const TELL_EACH: u64 = 10 * SECOND;
/// How long right credentials speak for a source: phones register anew within the hour.
const GOOD_FOR: u64 = 3_600 * SECOND;
/// How many times later a source is banned that right credentials speak for.
const GOOD_FACTOR: u32 = 10;
/// The first silence of an account; each failure doubles it.
const SILENCE_FIRST: u64 = SECOND;
/// The longest silence of an account: a phone that is set right is heard within a minute.
const SILENCE_MAX: u64 = 60 * SECOND;
/// Stateless answers that a source may get at once, in seconds' worth.
const ANSWERS_SAVED_S: u32 = 5;
/// Reports that wait to be taken; more are counted only.
const REPORTS_MAX: usize = 16;

const SECOND: u64 = 1_000_000_000;

/// One source. Times are nanoseconds since the guard began.
#[derive(Clone, Copy, Default)]
struct Source {
    used: u64,
    messages: u64,
    answers: u64,
    banned_until: u64,
    good_until: u64,
    since: u64,
    banned_at: u64,
    failures: u32,
    reason: Offence,
}

impl Entry for Source {
    fn used(&self) -> u64 {
        self.used
    }

    fn held(&self) -> u64 {
        self.banned_until
    }
}

/// One account at one source.
#[derive(Clone, Copy, Default)]
struct Account {
    used: u64,
    since: u64,
    silent_until: u64,
    failures: u32,
    /// The transaction that was dropped last: its retransmissions are no new attempt.
    last: u64,
}

impl Entry for Account {
    fn used(&self) -> u64 {
        self.used
    }

    fn held(&self) -> u64 {
        self.silent_until
    }
}

/// One account, wherever it is used from.
#[derive(Clone, Copy, Default)]
struct Usage {
    used: u64,
    calls: u64,
    registers: u64,
    messages: u64,
}

impl Entry for Usage {
    fn used(&self) -> u64 {
        self.used
    }

    fn held(&self) -> u64 {
        0
    }
}

/// Tokens that come by the minute; as many as a minute's may be saved up. `None`: no limit.
fn by_the_minute(count: u32) -> Option<Rate> {
    (count > 0).then(|| Rate::each(Duration::from_secs(60) / count, count))
}

/// The guard of one node.
pub struct Guard {
    config: Config,
    epoch: Instant,
    rate: Rate,
    answers: Rate,
    words: Words,
    keyed: Keyed,
    sources: Ways<Source>,
    accounts: Ways<Account>,
    usages: Ways<Usage>,
    account_rates: [Option<Rate>; 3],
    /// Until when some account is silent.
    silent_until: u64,
    dropped: [u64; Rule::ALL.len()],
    told: [Told; Rule::ALL.len()],
    reports: Vec<Report>,
    /// Why the operator has banned, by key.
    notes: HashMap<u64, Box<str>>,
}

#[derive(Clone, Copy, Default)]
struct Told {
    at: Option<u64>,
    dropped: u64,
}

impl Guard {
    /// `seed` must be unpredictable: it decides who shares places in the tables.
    #[must_use]
    pub fn new(now: Instant, config: Config, seed: [u8; 32]) -> Self {
        let keyed = Keyed::new(&seed);
        let secret = [keyed.hash(b"place"), keyed.hash(b"factor")];
        Guard {
            epoch: now,
            rate: Rate::new(config.rate, config.burst),
            answers: Rate::new(config.answers, config.answers.saturating_mul(ANSWERS_SAVED_S)),
            words: Words::new(&config.scanners),
            keyed,
            sources: Ways::new(config.sources, secret),
            accounts: Ways::new(config.sources, secret),
            usages: Ways::new(config.sources, secret),
            account_rates: [
                by_the_minute(config.account_calls),
                by_the_minute(config.account_registers),
                by_the_minute(config.account_messages),
            ],
            silent_until: 0,
            dropped: [0; Rule::ALL.len()],
            told: [Told::default(); Rule::ALL.len()],
            reports: Vec::new(),
            notes: HashMap::new(),
            config,
        }
    }

    /// Whether a message of `source` is looked at at all.
    pub fn admit(&mut self, now: Instant, source: IpAddr) -> bool {
        if self.passes(source) {
            return true;
        }
        let at = self.at(now);
        let entry = self.sources.entry(at, key_of(source));
        entry.used = at;
        let rule = if entry.banned_until > at {
            Rule::Banned
        } else if self.rate.take(&mut entry.messages, at) {
            return true;
        } else {
            Rule::Rate
        };
        self.drop_by(at, rule, source);
        false
    }

    /// Whether a stateless answer of `answer` bytes goes to `source`. `request`: the length of what
    /// came, where the sender's address may be forged (UDP).
    pub fn may_answer(
        &mut self,
        now: Instant,
        source: IpAddr,
        request: Option<usize>,
        answer: usize,
    ) -> bool {
        if self.passes(source) {
            return true;
        }
        let at = self.at(now);
        if request.is_some_and(|request| answer > ANSWER_FACTOR * request) {
            self.drop_by(at, Rule::AnswerSize, source);
            return false;
        }
        let entry = self.sources.entry(at, key_of(source));
        let may = self.answers.take(&mut entry.answers, at);
        if !may {
            self.drop_by(at, Rule::Answers, source);
        }
        may
    }

    /// Whether a refusal of `answer` bytes goes to `source`, which may be a forged address, for a
    /// `request` of so many.
    pub fn is_proportionate(
        &mut self,
        now: Instant,
        source: IpAddr,
        request: usize,
        answer: usize,
    ) -> bool {
        if answer <= REFUSAL_FACTOR * request || self.passes(source) {
            return true;
        }
        let at = self.at(now);
        self.drop_by(at, Rule::AnswerSize, source);
        false
    }

    /// Whether a request from `source` with this User-Agent is dropped.
    pub fn is_scanner(&mut self, now: Instant, source: IpAddr, agent: &[u8]) -> bool {
        if self.passes(source) || !self.words.are_in(agent) {
            return false;
        }
        let at = self.at(now);
        self.drop_by(at, Rule::Scanner, source);
        self.offend(at, source, Offence::Scanner);
        true
    }

    /// Whether any account is silent, so that [`Guard::is_silent`] has to be asked.
    #[must_use]
    pub fn has_silent(&self, now: Instant) -> bool {
        self.silent_until > self.at(now)
    }

    /// Whether a request with credentials of `account` from `source` is dropped. `transaction` tells
    /// new attempts, which count, from repetitions.
    pub fn is_silent(
        &mut self,
        now: Instant,
        source: IpAddr,
        account: &[u8],
        transaction: &[u8],
    ) -> bool {
        if self.passes(source) {
            return false;
        }
        let at = self.at(now);
        let transaction = self.keyed.hash(transaction);
        let key = self.pair(source, account);
        let Some(entry) = self.accounts.get(key).filter(|entry| entry.silent_until > at) else {
            return false;
        };
        entry.used = at;
        let is_new = std::mem::replace(&mut entry.last, transaction) != transaction;
        self.drop_by(at, Rule::Account, source);
        if is_new {
            self.offend(at, source, Offence::Credentials);
        }
        true
    }

    /// Whether an account that has authenticated from `source` may have one more request of the kind that
    /// `rule` is for.
    pub fn may_account(
        &mut self,
        now: Instant,
        source: IpAddr,
        account: &[u8],
        rule: Rule,
    ) -> bool {
        let [calls, registers, messages] = self.account_rates;
        let rate = match rule {
            Rule::AccountCalls => calls,
            Rule::AccountRegisters => registers,
            Rule::AccountMessages => messages,
            Rule::Banned
            | Rule::Rate
            | Rule::Scanner
            | Rule::Account
            | Rule::Answers
            | Rule::AnswerSize => None,
        };
        let Some(rate) = rate.filter(|_| !self.passes(source)) else { return true };
        let at = self.at(now);
        let entry = self.usages.entry(at, self.keyed.hash(account).max(1));
        entry.used = at;
        let bucket = match rule {
            Rule::AccountCalls => &mut entry.calls,
            Rule::AccountRegisters => &mut entry.registers,
            Rule::AccountMessages
            | Rule::Banned
            | Rule::Rate
            | Rule::Scanner
            | Rule::Account
            | Rule::Answers
            | Rule::AnswerSize => &mut entry.messages,
        };
        let may = rate.take(bucket, at);
        if !may {
            self.drop_by(at, rule, source);
        }
        may
    }

    /// Something counts against `source`, and against `account` at it first.
    pub fn failed(&mut self, now: Instant, source: IpAddr, account: Option<&[u8]>, what: Offence) {
        if self.passes(source) {
            return;
        }
        let at = self.at(now);
        if let Some(account) = account {
            let key = self.pair(source, account);
            let window = nanos(self.config.window);
            let entry = self.accounts.entry(at, key);
            count(&mut entry.since, &mut entry.failures, window, at, 1);
            entry.used = at;
            if entry.failures >= self.config.account_failures {
                let doublings = (entry.failures - self.config.account_failures).min(16);
                entry.silent_until = at + (SILENCE_FIRST << doublings).min(SILENCE_MAX);
                self.silent_until = self.silent_until.max(entry.silent_until);
            }
        }
        self.offend(at, source, what);
    }

    /// `account` has shown right credentials from `source`.
    pub fn succeeded(&mut self, now: Instant, source: IpAddr, account: &[u8]) {
        if self.passes(source) {
            return;
        }
        let at = self.at(now);
        let key = self.pair(source, account);
        if let Some(entry) = self.accounts.get(key) {
            *entry = Account { used: at, ..Account::default() };
        }
        self.sources.entry(at, key_of(source)).good_until = at + GOOD_FOR;
    }

    /// Whether right credentials have been shown from `source` within an hour, or it is exempt.
    #[must_use]
    pub fn is_known(&self, now: Instant, source: IpAddr) -> bool {
        if self.passes(source) {
            return true;
        }
        let at = self.at(now);
        self.sources.peek(key_of(source)).is_some_and(|entry| entry.good_until > at)
    }

    /// What there is to tell.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop()
    }

    /// What each rule has dropped, in the order of [`Rule::ALL`].
    #[must_use]
    pub const fn dropped(&self) -> [u64; Rule::ALL.len()] {
        self.dropped
    }

    fn passes(&self, source: IpAddr) -> bool {
        !self.config.enabled || self.config.is_exempt(source)
    }

    /// Never zero, which stands for the past.
    fn at(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch)) + 1
    }

    fn pair(&self, source: IpAddr, account: &[u8]) -> u64 {
        (self.keyed.hash(account) ^ key_of(source).rotate_left(17)).max(1)
    }

    fn offend(&mut self, at: u64, source: IpAddr, what: Offence) {
        let window = nanos(self.config.window);
        let entry = self.sources.entry(at, key_of(source));
        entry.used = at;
        count(&mut entry.since, &mut entry.failures, window, at, what.weight());
        let factor = if entry.good_until > at { GOOD_FACTOR } else { 1 };
        if entry.failures < self.config.ban_failures.saturating_mul(factor) {
            return;
        }
        entry.failures = 0;
        entry.banned_at = at;
        entry.banned_until = at + nanos(self.config.ban);
        entry.reason = what;
        self.report(Report::Ban { source, reason: what, time: self.config.ban });
    }

    fn drop_by(&mut self, at: u64, rule: Rule, source: IpAddr) {
        let (dropped, told) = (&mut self.dropped[rule.place()], &mut self.told[rule.place()]);
        *dropped += 1;
        if told.at.is_some_and(|told| at - told < TELL_EACH) {
            return;
        }
        let count = *dropped - told.dropped;
        *told = Told { at: Some(at), dropped: *dropped };
        self.report(Report::Dropped { rule, source, count });
    }

    fn report(&mut self, report: Report) {
        if self.reports.len() < REPORTS_MAX {
            self.reports.push(report);
        }
    }
}

/// Adds to failures that count for `window` from the first of them.
fn count(since: &mut u64, failures: &mut u32, window: u64, at: u64, weight: u32) {
    if *failures == 0 || at - *since > window {
        *since = at;
        *failures = 0;
    }
    *failures = failures.saturating_add(weight);
}

/// 584 years fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

/// What stands above an IPv4 address in a key: as an IPv6 prefix it is multicast, no sender's.
const V4: u64 = 0xffff_ffff << 32;

/// IPv4 /32 or IPv6 /64; never zero.
fn key_of(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(v4) => V4 | u64::from(v4.to_bits()),
        IpAddr::V6(v6) => ((v6.to_bits() >> 64) as u64).max(1),
    }
}

fn source_of(key: u64) -> IpAddr {
    match key & V4 {
        V4 => IpAddr::V4(Ipv4Addr::from_bits(key as u32)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(u128::from(key) << 64)),
    }
}
