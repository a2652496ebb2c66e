//! Header field names: the table of known ones, their compact forms and how they may repeat.

use std::fmt;

use super::name_lookup as lookup;

/// How often a header field may stand in a message and whether it holds a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// At most once.
    Single,
    /// A list: comma-joined values and repeated lines mean the same (RFC 3261 7.3.1).
    List,
    /// May repeat, but a comma does not separate values (challenges, credentials, free text).
    Plain,
}

macro_rules! header_names {
    ($($(#[$doc:meta])* $variant:ident $text:literal $compact:literal $shape:ident,)*) => {
        /// A header field that this node knows by name. Anything else is [`FieldName::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum HeaderName {
            $($(#[$doc])* $variant,)*
        }

        impl HeaderName {
            pub(super) const ALL: &'static [HeaderName] = &[$(HeaderName::$variant,)*];
            const TEXT: &'static [&'static str] = &[$($text,)*];
            const COMPACT: &'static [&'static str] = &[$($compact,)*];
            const SHAPE: &'static [Shape] = &[$(Shape::$shape,)*];
        }
    };
}

header_names! {
    /// RFC 3261 20.1.
    Accept "Accept" "" List,
    /// RFC 3841.
    AcceptContact "Accept-Contact" "a" List,
    /// RFC 3261 20.2.
    AcceptEncoding "Accept-Encoding" "" List,
    /// RFC 3261 20.3.
    AcceptLanguage "Accept-Language" "" List,
    /// RFC 3261 20.4.
    AlertInfo "Alert-Info" "" List,
    /// RFC 3261 20.5.
    Allow "Allow" "" List,
    /// RFC 6665.
    AllowEvents "Allow-Events" "u" List,
    /// RFC 3261 20.6.
    AuthenticationInfo "Authentication-Info" "" Plain,
    /// RFC 3261 20.7.
    Authorization "Authorization" "" Plain,
    /// RFC 3261 20.8.
    CallId "Call-ID" "i" Single,
    /// RFC 3261 20.9.
    CallInfo "Call-Info" "" List,
    /// RFC 3261 20.10.
    Contact "Contact" "m" List,
    /// RFC 3261 20.11.
    ContentDisposition "Content-Disposition" "" Single,
    /// RFC 3261 20.12.
    ContentEncoding "Content-Encoding" "e" List,
    /// RFC 3261 20.13.
    ContentLanguage "Content-Language" "" List,
    /// RFC 3261 20.14.
    ContentLength "Content-Length" "l" Single,
    /// RFC 3261 20.15.
    ContentType "Content-Type" "c" Single,
    /// RFC 3261 20.16.
    CSeq "CSeq" "" Single,
    /// RFC 3261 20.17.
    Date "Date" "" Plain,
    /// RFC 5806.
    Diversion "Diversion" "" List,
    /// RFC 3261 20.18.
    ErrorInfo "Error-Info" "" List,
    /// RFC 6665.
    Event "Event" "o" Single,
    /// RFC 3261 20.19.
    Expires "Expires" "" Single,
    /// RFC 5626.
    FlowTimer "Flow-Timer" "" Single,
    /// RFC 3261 20.20.
    From "From" "f" Single,
    /// RFC 7044.
    HistoryInfo "History-Info" "" List,
    /// RFC 8224.
    Identity "Identity" "y" Plain,
    /// RFC 3261 20.21.
    InReplyTo "In-Reply-To" "" List,
    /// RFC 3911.
    Join "Join" "" Plain,
    /// RFC 3261 20.22.
    MaxForwards "Max-Forwards" "" Single,
    /// RFC 3261 20.24.
    MimeVersion "MIME-Version" "" Plain,
    /// RFC 3261 20.23.
    MinExpires "Min-Expires" "" Single,
    /// RFC 4028.
    MinSe "Min-SE" "" Single,
    /// RFC 3261 20.25.
    Organization "Organization" "" Plain,
    /// RFC 3325.
    PAssertedIdentity "P-Asserted-Identity" "" List,
    /// RFC 7315.
    PAssociatedUri "P-Associated-URI" "" List,
    /// RFC 3325.
    PPreferredIdentity "P-Preferred-Identity" "" List,
    /// RFC 3327.
    Path "Path" "" List,
    /// RFC 3261 20.26.
    Priority "Priority" "" Plain,
    /// RFC 3323.
    Privacy "Privacy" "" Plain,
    /// RFC 3261 20.27.
    ProxyAuthenticate "Proxy-Authenticate" "" Plain,
    /// RFC 3261 20.28.
    ProxyAuthorization "Proxy-Authorization" "" Plain,
    /// RFC 3261 20.29.
    ProxyRequire "Proxy-Require" "" List,
    /// RFC 3262.
    RAck "RAck" "" Single,
    /// RFC 3326.
    Reason "Reason" "" List,
    /// RFC 3261 20.30.
    RecordRoute "Record-Route" "" List,
    /// RFC 3515.
    ReferTo "Refer-To" "r" Single,
    /// RFC 3892.
    ReferredBy "Referred-By" "b" Plain,
    /// RFC 3841.
    RejectContact "Reject-Contact" "j" List,
    /// RFC 3891.
    Replaces "Replaces" "" Plain,
    /// RFC 3261 20.31.
    ReplyTo "Reply-To" "" Plain,
    /// RFC 3841.
    RequestDisposition "Request-Disposition" "d" List,
    /// RFC 3261 20.32.
    Require "Require" "" List,
    /// RFC 3261 20.33.
    RetryAfter "Retry-After" "" Plain,
    /// RFC 3261 20.34.
    Route "Route" "" List,
    /// RFC 3262.
    RSeq "RSeq" "" Single,
    /// RFC 3261 20.35.
    Server "Server" "" Plain,
    /// RFC 3608.
    ServiceRoute "Service-Route" "" List,
    /// RFC 4028.
    SessionExpires "Session-Expires" "x" Single,
    /// RFC 3903.
    SipETag "SIP-ETag" "" Single,
    /// RFC 3903.
    SipIfMatch "SIP-If-Match" "" Single,
    /// RFC 3261 20.36.
    Subject "Subject" "s" Plain,
    /// RFC 6665.
    SubscriptionState "Subscription-State" "" Single,
    /// RFC 3261 20.37.
    Supported "Supported" "k" List,
    /// RFC 3261 20.38.
    Timestamp "Timestamp" "" Plain,
    /// RFC 3261 20.39.
    To "To" "t" Single,
    /// RFC 3261 20.40.
    Unsupported "Unsupported" "" List,
    /// RFC 3261 20.41.
    UserAgent "User-Agent" "" Plain,
    /// RFC 3261 20.42.
    Via "Via" "v" List,
    /// RFC 3261 20.43.
    Warning "Warning" "" List,
    /// RFC 3261 20.44.
    WwwAuthenticate "WWW-Authenticate" "" Plain,
}

impl HeaderName {
    /// How many spellings there are: names in full, then compact forms (`""` where there is none).
    pub(super) const SPELLINGS: usize = 2 * HeaderName::ALL.len();

    /// The spelling with that number; modulo the number of names it is that of its header.
    pub(super) const fn spelling(index: usize) -> &'static str {
        let names = HeaderName::ALL.len();
        if index < names { HeaderName::TEXT[index] } else { HeaderName::COMPACT[index - names] }
    }

    /// The name as the RFCs spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        HeaderName::TEXT[self as usize]
    }

    /// The compact form (RFC 3261 7.3.3), a single lower-case letter.
    #[must_use]
    pub const fn compact(self) -> Option<&'static str> {
        let text = HeaderName::COMPACT[self as usize];
        if text.is_empty() { None } else { Some(text) }
    }

    /// Whether commas separate values and repeated lines continue the list (RFC 3261 7.3.1).
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(HeaderName::SHAPE[self as usize], Shape::List)
    }

    /// Whether a message with two of them is refused.
    #[must_use]
    pub const fn is_single(self) -> bool {
        matches!(HeaderName::SHAPE[self as usize], Shape::Single)
    }

    /// The header that `name` spells, whatever its case, in full or compact form.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Option<HeaderName> {
        lookup::by_name(name)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a header field: known, or any other token.
///
/// Functions take `impl Into<FieldName>`: a [`HeaderName`] or a `&str`. A `&str` that spells a known
/// header, in whatever case or in compact form, means that header.
#[derive(Clone, Copy, Debug)]
pub enum FieldName<'a> {
    /// One of the table.
    Known(HeaderName),
    /// Any other, as it is written.
    Other(&'a str),
}

impl<'a> FieldName<'a> {
    /// The name as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        match self {
            FieldName::Known(name) => name.as_str(),
            FieldName::Other(text) => text,
        }
    }

    /// The known header, if it is one.
    #[must_use]
    pub const fn known(self) -> Option<HeaderName> {
        match self {
            FieldName::Known(name) => Some(name),
            FieldName::Other(_) => None,
        }
    }
}

impl PartialEq for FieldName<'_> {
    /// Header names are case-insensitive (RFC 3261 7.3.1).
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (FieldName::Known(a), FieldName::Known(b)) => a == b,
            (FieldName::Other(a), FieldName::Other(b)) => a.eq_ignore_ascii_case(b),
            (FieldName::Known(_), FieldName::Other(_))
            | (FieldName::Other(_), FieldName::Known(_)) => false,
        }
    }
}

impl Eq for FieldName<'_> {}

impl From<HeaderName> for FieldName<'_> {
    fn from(name: HeaderName) -> Self {
        FieldName::Known(name)
    }
}

impl<'a> From<&'a str> for FieldName<'a> {
    fn from(name: &'a str) -> Self {
        HeaderName::from_bytes(name.as_bytes()).map_or(FieldName::Other(name), FieldName::Known)
    }
}
