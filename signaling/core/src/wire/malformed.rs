//! What is wrong with a message that could not be parsed.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

use super::name::HeaderName;
use super::salvage::{self, Salvage};

/// What is wrong. Its text is a reason phrase for a status line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// There is nothing but line ends, NULs or nothing at all: a keep-alive, not a message.
    Empty,
    /// The first line is neither a request line nor a status line.
    NotSip,
    /// The request line does not consist of method, URI and version, one space between each.
    RequestLine,
    /// The Request-URI is not a URI.
    RequestUri,
    /// The Request-URI has headers (RFC 3261 19.1.1 allows none there).
    RequestUriHeaders,
    /// The version is not SIP/2.0.
    Version,
    /// The status line does not hold a status of 100 to 699.
    StatusLine,
    /// A CR or LF stands alone in the head.
    LineEnd,
    /// The head is not ended by an empty line.
    HeadEnd,
    /// A header line is not `name: value`.
    HeaderLine,
    /// There are more than [`HEADERS_MAX`](super::HEADERS_MAX) header lines.
    HeaderCount,
    /// The head is longer than allowed.
    HeadSize,
    /// The body is longer than allowed.
    BodySize,
    /// A header field that must be there is not.
    Missing(HeaderName),
    /// A header field that may stand once stands more often.
    Repeated(HeaderName),
    /// The value of a header field is against its grammar or out of range.
    Bad(HeaderName),
    /// The method in CSeq is not that of the request line.
    CSeqMethod,
    /// As [`Defect::CSeqMethod`], of a method that is not known either: refused with 501 (RFC 4475 3.1.2.18).
    UnknownMethod,
    /// The datagram ends before Content-Length bytes of body.
    BodyShort,
}

impl Defect {
    /// The status to refuse a request with that has this defect.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Defect::Version => 505,
            Defect::UnknownMethod => 501,
            Defect::HeadSize | Defect::BodySize | Defect::HeaderCount => 513,
            Defect::Empty
            | Defect::NotSip
            | Defect::RequestLine
            | Defect::RequestUri
            | Defect::RequestUriHeaders
            | Defect::StatusLine
            | Defect::LineEnd
            | Defect::HeadEnd
            | Defect::HeaderLine
            | Defect::Missing(_)
            | Defect::Repeated(_)
            | Defect::Bad(_)
            | Defect::CSeqMethod
            | Defect::BodyShort => 400,
        }
    }
}

impl Defect {
    /// Every word that [`Defect::kind`] gives, in a fixed order.
    pub const KINDS: [&'static str; 6] =
        ["not_sip", "start_line", "framing", "header", "too_large", "version"];

    /// The kind of defect as counters name it, one of [`Defect::KINDS`].
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Defect::Empty | Defect::NotSip => "not_sip",
            Defect::RequestLine
            | Defect::RequestUri
            | Defect::RequestUriHeaders
            | Defect::StatusLine => "start_line",
            Defect::LineEnd | Defect::HeadEnd | Defect::BodyShort => "framing",
            Defect::HeaderLine
            | Defect::Missing(_)
            | Defect::Repeated(_)
            | Defect::Bad(_)
            | Defect::CSeqMethod
            | Defect::UnknownMethod => "header",
            Defect::HeaderCount | Defect::HeadSize | Defect::BodySize => "too_large",
            Defect::Version => "version",
        }
    }
}

impl fmt::Display for Defect {
    /// A reason phrase, for example `Missing CSeq Header`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Defect::Empty => f.write_str("Empty Message"),
            Defect::NotSip => f.write_str("Not A SIP Message"),
            Defect::RequestLine => f.write_str("Bad Request Line"),
            Defect::RequestUri => f.write_str("Bad Request-URI"),
            Defect::RequestUriHeaders => f.write_str("Headers In Request-URI"),
            Defect::Version => f.write_str("Version Not Supported"),
            Defect::StatusLine => f.write_str("Bad Status Line"),
            Defect::LineEnd => f.write_str("Bare CR Or LF In Header"),
            Defect::HeadEnd => f.write_str("Missing End Of Headers"),
            Defect::HeaderLine => f.write_str("Bad Header Line"),
            Defect::HeaderCount => f.write_str("Too Many Header Lines"),
            Defect::HeadSize => f.write_str("Headers Too Large"),
            Defect::BodySize => f.write_str("Body Too Large"),
            Defect::Missing(name) => write!(f, "Missing {name} Header"),
            Defect::Repeated(name) => write!(f, "Repeated {name} Header"),
            Defect::Bad(name) => write!(f, "Bad {name} Header"),
            Defect::CSeqMethod => f.write_str("CSeq Method Does Not Match"),
            Defect::UnknownMethod => f.write_str("Not Implemented"),
            Defect::BodyShort => f.write_str("Content-Length Exceeds Datagram"),
        }
    }
}

/// A message that could not be parsed: what is wrong, where, and what is left to answer it with.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} {defect} (at byte {offset})", .defect.status())]
pub struct Malformed {
    defect: Defect,
    offset: usize,
    // Boxed: the error is cold and should not widen every result.
    answer: Option<Box<Salvage>>,
}

impl Malformed {
    /// Collects from `raw` what an answer needs.
    pub(super) fn new(defect: Defect, offset: usize, raw: &Bytes) -> Malformed {
        let answer = salvage::collect(defect, raw).map(Box::new);
        Malformed { defect, offset, answer }
    }

    /// What is wrong.
    #[must_use]
    pub const fn defect(&self) -> Defect {
        self.defect
    }

    /// A reason phrase that says what is wrong.
    #[must_use]
    pub fn reason(&self) -> String {
        self.defect.to_string()
    }

    /// The status to refuse it with: 400, 501, 505 or 513.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.defect.status()
    }

    /// Where in the message, in bytes from its start.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// What a stateless refusal is written from; `None` where silence is right: responses, ACK,
    /// requests without a Via that says where to answer, and what is no SIP.
    #[must_use]
    pub fn answer(&self) -> Option<Answer<'_>> {
        self.answer.as_deref().map(|salvage| Answer { salvage, defect: self.defect })
    }
}

/// The means to refuse a malformed request statelessly.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    salvage: &'a Salvage,
    defect: Defect,
}

impl Answer<'_> {
    /// Writes the refusal: status and reason of the defect, every Via with `received` and `rport` of
    /// the first one filled in for `source` (RFC 3261 18.2.1, RFC 3581), and of From, To, Call-ID and CSeq
    /// what there was. `to_tag` is added to the To if it has none.
    #[must_use]
    pub fn write(&self, to_tag: &str, source: SocketAddr) -> Bytes {
        salvage::write(self.salvage, self.defect, to_tag, source)
    }
}

/// A header value that [`Message`](super::Message) reads only when asked turned out to be against its
/// grammar. The text is a reason phrase, for example `Bad Contact Header`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Bad {0} Header")]
pub struct BadHeader(pub HeaderName);

/// Whether a datagram, or what a stream starts with, is a keep-alive of some kind and not a message:
/// empty, or CR, LF and NUL alone (RFC 5626 3.5.1 and what NATed phones send in practice).
#[must_use]
pub fn is_keep_alive(datagram: &[u8]) -> bool {
    datagram.iter().all(|b| matches!(b, b'\r' | b'\n' | 0))
}
