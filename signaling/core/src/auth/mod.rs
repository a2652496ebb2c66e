//! Digest authentication (RFC 3261 22, RFC 7616, RFC 8760): MD5 and SHA-256, `qop=auth` and the
//! older form without qop.
//!
//! A nonce carries its own proof: when it was made, a random part and a keyed MAC over both and the
//! realm. Whoever holds the secret verifies it, so members of a farm share no table. What they do
//! not share either is the replay check: each member refuses a nonce count that it has seen itself, and
//! takes nonces from before its own start for stale, since it does not know what they were used for.
//!
//! A nonce is not bound to the address that it was given to: behind the NATs of mobile networks a phone
//! may have another one for its next request, and a request that is replayed from elsewhere is refused
//! by its nonce count.
//!
//! The digest-uri is taken as sent and not compared with the Request-URI (RFC 3261 22.4 leaves that
//! open): proxies on the way rewrite the one and not the other.

mod client;
mod credentials;
mod digest;
mod nonce;
mod quote;
mod replay;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;

pub use client::{AnswerTo, Challenge, answer};
pub use digest::{Algorithm, ha1_md5, ha1_sha256};
pub use server::{Authenticator, Config};

/// Which of the two pairs of header fields is spoken (RFC 3261 22.2, 22.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// A user agent server or registrar asks: 401, `WWW-Authenticate`, `Authorization`.
    Server,
    /// A proxy asks: 407, `Proxy-Authenticate`, `Proxy-Authorization`.
    Proxy,
}

impl Scheme {
    /// The status code of a challenge.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Scheme::Server => 401,
            Scheme::Proxy => 407,
        }
    }

    /// The name of the header field that carries a challenge.
    #[must_use]
    pub const fn challenge_header(self) -> &'static str {
        match self {
            Scheme::Server => "WWW-Authenticate",
            Scheme::Proxy => "Proxy-Authenticate",
        }
    }

    /// The name of the header field that carries credentials.
    #[must_use]
    pub const fn credentials_header(self) -> &'static str {
        match self {
            Scheme::Server => "Authorization",
            Scheme::Proxy => "Proxy-Authorization",
        }
    }
}

/// What a user's credentials are checked against. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password.
    Plain(String),
    /// H(username:realm:password) for each algorithm; `None` where it is not known, which makes
    /// every answer with that algorithm a bad one.
    Ha1 {
        /// The MD5 of it.
        md5: Option<[u8; 16]>,
        /// The SHA-256 of it.
        sha256: Option<[u8; 32]>,
    },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Secret::Plain(_) => "Plain(..)",
            Secret::Ha1 { .. } => "Ha1 { .. }",
        })
    }
}

/// What a request's credentials amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are right.
    Ok {
        /// The username that they are for, as the client sent it (quoting removed).
        user: String,
    },
    /// There are none for this realm with an algorithm that is offered: challenge.
    NoCredentials,
    /// They are right but for an old, foreign or already used nonce: challenge with `stale=true`,
    /// so that the client answers again without asking its user.
    Stale,
    /// They are wrong: challenge anew or refuse.
    BadCredentials,
    /// There is no such user. To be answered exactly as [`Verdict::BadCredentials`], so that nobody
    /// learns which users exist; it takes as long to find out, too.
    UnknownUser,
    /// They break the grammar or lack something: 400.
    Malformed,
}
