//! Request methods.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::chars;

/// A request method. Methods are case-sensitive tokens (RFC 3261 7.1), so `invite` is an
/// [`Method::Other`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// RFC 3261 13.
    Invite,
    /// RFC 3261 13.
    Ack,
    /// RFC 3261 15.
    Bye,
    /// RFC 3261 9.
    Cancel,
    /// RFC 3261 10.
    Register,
    /// RFC 3261 11.
    Options,
    /// RFC 3262.
    Prack,
    /// RFC 3311.
    Update,
    /// RFC 6086.
    Info,
    /// RFC 3428.
    Message,
    /// RFC 6665.
    Subscribe,
    /// RFC 6665.
    Notify,
    /// RFC 3903.
    Publish,
    /// RFC 3515.
    Refer,
    /// Any other token.
    Other(OtherMethod),
}

/// The text of a method that has no name of its own in [`Method`]; made by [`Method::from_token`]
/// alone, so that a known method never hides in [`Method::Other`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OtherMethod(Arc<str>);

impl OtherMethod {
    /// The method as received.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Method {
    /// The method that `token` spells; `None` if it is not a token (RFC 3261 25.1).
    #[must_use]
    pub fn from_token(token: &[u8]) -> Option<Method> {
        Some(match token {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"REGISTER" => Method::Register,
            b"OPTIONS" => Method::Options,
            b"PRACK" => Method::Prack,
            b"UPDATE" => Method::Update,
            b"INFO" => Method::Info,
            b"MESSAGE" => Method::Message,
            b"SUBSCRIBE" => Method::Subscribe,
            b"NOTIFY" => Method::Notify,
            b"PUBLISH" => Method::Publish,
            b"REFER" => Method::Refer,
            other if chars::is_token(other) => {
                Method::Other(OtherMethod(Arc::from(std::str::from_utf8(other).ok()?)))
            }
            _ => return None,
        })
    }

    /// The method as it stands in a request line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Register => "REGISTER",
            Method::Options => "OPTIONS",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Info => "INFO",
            Method::Message => "MESSAGE",
            Method::Subscribe => "SUBSCRIBE",
            Method::Notify => "NOTIFY",
            Method::Publish => "PUBLISH",
            Method::Refer => "REFER",
            Method::Other(other) => other.as_str(),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a token and so cannot be a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SIP method: a method is a token (RFC 3261 25.1)")]
pub struct NotAMethod;

impl FromStr for Method {
    type Err = NotAMethod;

    fn from_str(s: &str) -> Result<Self, NotAMethod> {
        Method::from_token(s.as_bytes()).ok_or(NotAMethod)
    }
}
