//! What the proxy core asks the guard, and tells it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Proxy;
use super::inbound::Answer;
use super::output::{Notice, Output};
use crate::auth::Verdict;
use crate::guard::{BanRefused, Offence, Rule};
use crate::transport::Arrival;
use crate::wire::{HeaderName, Message, Method};

/// What an account is told to wait that sends too much, in seconds: its rates are by the minute.
const ACCOUNT_RETRY_AFTER: &str = "30";

impl Proxy {
    /// The operator bans a source ([`Guard::ban`](crate::guard::Guard::ban)).
    ///
    /// # Errors
    /// [`BanRefused`].
    pub fn ban(
        &mut self,
        now: Instant,
        source: IpAddr,
        time: Duration,
        note: &str,
    ) -> Result<(), BanRefused> {
        self.guard.ban(now, source, time, note)
    }

    /// The operator lifts a ban ([`Guard::unban`](crate::guard::Guard::unban)).
    pub fn unban(&mut self, now: Instant, source: IpAddr) -> bool {
        self.guard.unban(now, source)
    }

    /// Nothing of this message is read. Over UDP it is lost like any datagram; whoever has a connection
    /// would wait for an answer that does not come, and is told by its end.
    pub(super) fn turn_away(&mut self, arrival: &Arrival) {
        if let Some(connection) = arrival.connection {
            self.outputs.push_back(Output::Close(connection));
        }
        self.tell_of_guard();
    }

    /// Passes on what the guard has to tell.
    pub(super) fn tell_of_guard(&mut self) {
        while let Some(report) = self.guard.poll_report() {
            self.notice(Notice::Guard(report));
        }
    }

    /// Whether a message is dropped in silence. Only requests outside of a dialog are: whatever is said
    /// of a sender, its calls can end.
    pub(super) fn is_unwanted(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        message: &Message,
    ) -> bool {
        let may_end_a_call = matches!(message.method(), Method::Ack | Method::Cancel | Method::Bye);
        if !message.is_request() || may_end_a_call || message.to().tag().is_some() {
            return false;
        }
        let source = arrival.remote.ip();
        let agent = message.first(HeaderName::UserAgent);
        let mut unwanted = agent.is_some_and(|agent| self.guard.is_scanner(now, source, agent))
            || self.guard.is_scanner(now, source, display(message.from().as_bytes()));
        if unwanted {
            self.turn_away(arrival);
            return true;
        }
        if self.guard.has_silent(now) {
            let names = [HeaderName::Authorization, HeaderName::ProxyAuthorization];
            let transaction = message.top_via().branch().unwrap_or_default();
            unwanted = names.into_iter().any(|name| {
                account(message, name).is_some_and(|account| {
                    self.guard.is_silent(now, source, account.as_bytes(), transaction.as_bytes())
                })
            });
        }
        if unwanted {
            self.tell_of_guard();
        }
        unwanted
    }

    /// Whether a stateless answer of this size goes out.
    pub(super) fn may_answer(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        request: usize,
        answer: usize,
    ) -> bool {
        let forgeable = (!arrival.transport.is_reliable()).then_some(request);
        let may = self.guard.may_answer(now, arrival.remote.ip(), forgeable, answer);
        self.tell_of_guard();
        may
    }

    /// Whether a refusal is not too large for what it refuses, where the sender's address may be forged.
    pub(super) fn is_proportionate(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        request: usize,
        answer: usize,
    ) -> bool {
        if arrival.transport.is_reliable() {
            return true;
        }
        let is = self.guard.is_proportionate(now, arrival.remote.ip(), request, answer);
        if !is {
            self.tell_of_guard();
        }
        is
    }

    /// Whether an account that has authenticated may have one more of these requests.
    ///
    /// # Errors
    /// The answer that says which rule is in the way.
    pub(super) fn check_account(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        method: &Method,
        user: &str,
    ) -> Result<(), Answer> {
        let Some(rule) = Rule::of_account(method) else { return Ok(()) };
        if self.guard.may_account(now, arrival.remote.ip(), user.as_bytes(), rule) {
            return Ok(());
        }
        self.tell_of_guard();
        let why = format!("399 {} \"guard rule {}\"", self.config.realm, rule.name());
        Err(Answer::new(503, "Too Many Requests Of This Account")
            .with(HeaderName::RetryAfter, ACCOUNT_RETRY_AFTER)
            .with(HeaderName::Warning, why))
    }

    /// Something counts against whoever sent this.
    pub(super) fn count_against(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        account: Option<&str>,
        what: Offence,
    ) {
        self.guard.failed(now, arrival.remote.ip(), account.map(str::as_bytes), what);
        self.tell_of_guard();
    }

    /// Credentials have been judged.
    pub(super) fn judge_source(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        request: &Message,
        name: HeaderName,
        verdict: &Verdict,
    ) {
        let what = match verdict {
            Verdict::Ok { user } => {
                return self.guard.succeeded(now, arrival.remote.ip(), user.as_bytes());
            }
            Verdict::BadCredentials => Offence::Credentials,
            Verdict::UnknownUser => Offence::UnknownUser,
            Verdict::Malformed => Offence::Malformed,
            Verdict::NoCredentials | Verdict::Stale => return,
        };
        let account = account(request, name);
        self.count_against(now, arrival, account.as_deref(), what);
    }
}

/// The name before an address: scanners that hide their User-Agent put theirs there, too.
fn display(from: &[u8]) -> &[u8] {
    let end = from.iter().position(|byte| *byte == b'<').unwrap_or_default();
    from.get(..end).unwrap_or_default()
}

/// Whose credentials a request has.
fn account(request: &Message, name: HeaderName) -> Option<std::borrow::Cow<'_, str>> {
    request.auth(name).flatten().find_map(|value| value.get("username"))
}
