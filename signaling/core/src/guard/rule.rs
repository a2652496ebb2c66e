//! Why the guard drops a message, and what it counts against a source.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::wire::Method;

/// The rule that dropped a message or kept back an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The source is banned.
    Banned,
    /// The source sends more messages than it may.
    Rate,
    /// The sender calls itself as scanners do.
    Scanner,
    /// The account has failed too often from this source: silence for a while.
    Account,
    /// The source has been given as many stateless answers as it may have.
    Answers,
    /// The answer would be larger than [`ANSWER_FACTOR`] times what came over UDP, or a refusal larger than
    /// [`REFUSAL_FACTOR`] times.
    AnswerSize,
    /// The account, which has authenticated, makes more calls than it may: answered 503.
    AccountCalls,
    /// It registers more often than it may: answered 503.
    AccountRegisters,
    /// It sends more messages than it may: answered 503.
    AccountMessages,
}

/// How much larger than a datagram its stateless answer may be: a node that answers forged senders is
/// of no use to amplify with. Via, From, To, Call-ID and CSeq are most of any request, and the answer
/// repeats them.
pub const ANSWER_FACTOR: usize = 2;

/// How much larger a refusal may be than what it refuses over UDP. A challenge has some 300 bytes of its
/// own, as many as the smallest requests of phones.
pub const REFUSAL_FACTOR: usize = 3;

impl Rule {
    /// Every rule, in a fixed order.
    pub const ALL: [Rule; 9] = [
        Rule::Banned,
        Rule::Rate,
        Rule::Scanner,
        Rule::Account,
        Rule::Answers,
        Rule::AnswerSize,
        Rule::AccountCalls,
        Rule::AccountRegisters,
        Rule::AccountMessages,
    ];

    /// The rule for requests with `method` of an account that has authenticated.
    #[must_use]
    pub const fn of_account(method: &Method) -> Option<Rule> {
        match method {
            Method::Invite => Some(Rule::AccountCalls),
            Method::Register => Some(Rule::AccountRegisters),
            Method::Message => Some(Rule::AccountMessages),
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Options
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Refer
            | Method::Other(_) => None,
        }
    }

    /// As counters and logs name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Rule::Banned => "banned",
            Rule::Rate => "rate",
            Rule::Scanner => "scanner",
            Rule::Account => "account",
            Rule::Answers => "answers",
            Rule::AnswerSize => "answer_size",
            Rule::AccountCalls => "account_calls",
            Rule::AccountRegisters => "account_registers",
            Rule::AccountMessages => "account_messages",
        }
    }

    /// Its place in [`Rule::ALL`].
    pub(super) const fn place(self) -> usize {
        match self {
            Rule::Banned => 0,
            Rule::Rate => 1,
            Rule::Scanner => 2,
            Rule::Account => 3,
            Rule::Answers => 4,
            Rule::AnswerSize => 5,
            Rule::AccountCalls => 6,
            Rule::AccountRegisters => 7,
            Rule::AccountMessages => 8,
        }
    }
}

/// What counts against a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offence {
    /// Credentials that are wrong.
    #[default]
    Credentials,
    /// Credentials of a user that there is not.
    UnknownUser,
    /// A call for somebody else's domain, in the name of somebody unknown here.
    Stranger,
    /// What cannot be parsed.
    Malformed,
    /// A known scanner.
    Scanner,
    /// The operator wants it.
    Operator,
}

impl Offence {
    /// As logs name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Offence::Credentials => "wrong credentials",
            Offence::UnknownUser => "unknown users",
            Offence::Stranger => "calls in strangers' names",
            Offence::Malformed => "malformed messages",
            Offence::Scanner => "a scanner's User-Agent",
            Offence::Operator => "the operator",
        }
    }

    /// How many failures it counts as: no phone calls itself a scanner by mistake.
    pub(super) const fn weight(self) -> u32 {
        match self {
            Offence::Scanner => 10,
            Offence::Credentials
            | Offence::UnknownUser
            | Offence::Stranger
            | Offence::Malformed
            | Offence::Operator => 1,
        }
    }
}

/// What the guard has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Messages have been dropped.
    Dropped {
        /// By which rule.
        rule: Rule,
        /// Whose was the last.
        source: IpAddr,
        /// How many since this was last told.
        count: u64,
    },
    /// A source is banned.
    Ban {
        /// Which.
        source: IpAddr,
        /// For what it did last.
        reason: Offence,
        /// How long.
        time: Duration,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Dropped { rule, source, count } => {
                write!(
                    f,
                    "guard rule {}: {count} messages dropped, last from {source}",
                    rule.name()
                )
            }
            Report::Ban { source, reason, time } => write!(
                f,
                "guard: {source} is banned for {} s ({}); [defence] exempt lifts this for good",
                time.as_secs(),
                reason.name()
            ),
        }
    }
}
