//! Why calls, hang-ups and registrations fail.

use std::fmt;

use rsip::{Method, Response};

use crate::ids::Side;
use crate::report::Reasons;
use crate::sip::message;

/// Distinct reasons that are kept apart; peers' texts are part of some. The rest is "other reasons".
const REASONS_MAX: usize = 64;

/// Longest text of a peer in a reason, in characters: a phrase or a header's value.
const TEXT_MAX: usize = 120;

/// Headers of a refusal that say why, or until when (RFC 3261 20.33 and 20.43, RFC 3326).
const EXPLAINING: [&str; 3] = ["Retry-After", "Warning", "Reason"];

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The call was not tried, since this side's user had not registered.
    NotRegistered(Side),
    /// A final answer that is not a 2xx: its code, phrase and the headers that explain it.
    Refused(Method, String),
    /// No final answer within 64*T1.
    NoResponse(Method),
    /// The callee did not answer in time; the last provisional answer, if there was one.
    NotAnswered(Option<u16>),
    /// The challenge could not be answered, or the credentials were refused.
    Unauthenticated(Method, String),
    /// The caller was answered with something that makes no call.
    BadAnswer(String),
    /// The callee was offered something that makes no call.
    BadOffer(String),
    /// The callee's 2xx was not acknowledged within 64*T1.
    Unacknowledged,
    /// This side received a BYE while media ran.
    Dropped(Side),
    /// The BYE was answered but did not come out on the other side.
    ByeNotDelivered,
    /// A 2xx to a REGISTER that does not list the contact.
    NotListed,
    /// A 2xx to the REGISTER that removes the contact, which lists it still.
    StillListed,
    /// The peer named an address that may not be sent to.
    TargetNotAllowed,
    /// The connection by which the answer was to come has ended.
    ConnectionLost,
    /// The run's deadline came first.
    Deadline,
    /// The run was ended early.
    Cancelled,
}

impl Failure {
    /// What a final answer to `method` that is not a 2xx says of itself.
    pub(crate) fn refused(method: Method, response: &Response) -> Failure {
        let mut said = clipped(&response.status_code.to_string());
        for name in EXPLAINING {
            if let Some(value) = message::other(response, name) {
                said += &format!(", {name}: {}", clipped(value.trim()));
            }
        }
        Failure::Refused(method, said)
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotRegistered(side) => write!(f, "the {side} was not registered"),
            Failure::Refused(method, said) => write!(f, "{method} answered {said}"),
            Failure::NoResponse(method) => write!(f, "{method} without final answer in 64*T1"),
            Failure::NotAnswered(None) => f.write_str("INVITE without any answer in time"),
            Failure::NotAnswered(Some(code)) => {
                write!(f, "INVITE without final answer in time, last was {code}")
            }
            Failure::Unauthenticated(method, why) => write!(f, "{method} unauthenticated: {why}"),
            Failure::BadAnswer(why) => write!(f, "bad answer to the caller: {why}"),
            Failure::BadOffer(why) => write!(f, "bad offer to the callee: {why}"),
            Failure::Unacknowledged => f.write_str("ACK never reached the callee"),
            Failure::Dropped(side) => write!(f, "the {side} received a BYE while media ran"),
            Failure::ByeNotDelivered => f.write_str("BYE answered but not delivered"),
            Failure::NotListed => f.write_str("REGISTER accepted without our contact"),
            Failure::StillListed => f.write_str("contact still listed after its removal"),
            Failure::TargetNotAllowed => f.write_str("the peer named an address not allowed"),
            Failure::ConnectionLost => f.write_str("the connection to the server was lost"),
            Failure::Deadline => f.write_str("the run's deadline was reached"),
            Failure::Cancelled => f.write_str("the run was cancelled"),
        }
    }
}

/// Counts a failure in a bounded table.
pub(crate) fn note(table: &mut Reasons, failure: &Failure) {
    let reason = failure.to_string();
    let room = table.len() < REASONS_MAX || table.contains_key(&reason);
    let reason = if room { reason } else { "other reasons".to_owned() };
    *table.entry(reason).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use rsip::SipMessage;

    use super::*;

    /// Why a node refuses is in the phrase and in these headers; the code alone says little.
    #[test]
    fn a_refusal_is_told_with_its_phrase_and_the_headers_that_explain_it() {
        let said = |answer: &str| match message::read(answer.as_bytes()).unwrap() {
            SipMessage::Response(response) => {
                Failure::refused(Method::Invite, &response).to_string()
            }
            SipMessage::Request(_) => panic!("a response was read"),
        };
        let full = said(
            "SIP/2.0 503 Too Many Calls\r\nRetry-After: 5\r\nwarning: 399 x \"full\"\r\n\
             Reason: SIP;cause=503\r\nContent-Length: 0\r\n\r\n",
        );
        let wanted = "INVITE answered 503 Too Many Calls, Retry-After: 5, \
                      Warning: 399 x \"full\", Reason: SIP;cause=503";
        assert_eq!(full, wanted);
        assert_eq!(said("SIP/2.0 486 Busy\r\n\r\n"), "INVITE answered 486 Busy");
        let long = said(&format!("SIP/2.0 500 {}\r\n\r\n", "x".repeat(5_000)));
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn reasons_past_the_bound_are_counted_together() {
        let mut table = Reasons::new();
        for number in 0..REASONS_MAX + 5 {
            note(&mut table, &Failure::BadAnswer(number.to_string()));
        }
        note(&mut table, &Failure::BadAnswer("3".into()));
        assert_eq!(table.len(), REASONS_MAX + 1);
        assert_eq!(table["other reasons"], 5);
        assert_eq!(table["bad answer to the caller: 3"], 2);
    }
}
