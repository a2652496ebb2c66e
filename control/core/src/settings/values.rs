//! Values of a kind that more than one settings table uses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::problem::Wrong;
use super::read::{Number, Reader, Text, quoted};
use super::table::{Shape, Value};

/// Makes string-like types [`Value`]s.
macro_rules! text_values {
    ($($Type:ty),+ $(,)?) => {$(
        impl $crate::settings::table::Value for $Type {
            fn read(
                path: &str,
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                reader: &mut $crate::settings::read::Reader,
            ) -> Option<Self> {
                reader.text(path, value)
            }

            fn shape(&self) -> $crate::settings::table::Shape {
                let text = $crate::settings::read::Text::show(self);
                $crate::settings::table::Shape::Scalar($crate::settings::read::quoted(&text))
            }
        }
    )+};
}

/// Makes number-like types [`Value`]s.
macro_rules! number_values {
    ($($Type:ty),+ $(,)?) => {$(
        impl Value for $Type {
            fn read(
                path: &str,
                value: &Spanned<DeValue<'_>>,
                reader: &mut Reader,
            ) -> Option<Self> {
                reader.number(path, value)
            }

            fn shape(&self) -> Shape {
                Shape::Scalar(self.number().to_string())
            }
        }
    )+};
}

/// Makes string-like types readable and writable by serde, as the same strings that settings have.
macro_rules! text_serde {
    ($($Type:ty),+ $(,)?) => {$(
        impl serde::Serialize for $Type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&$crate::settings::read::Text::show(self))
            }
        }

        impl<'de> serde::Deserialize<'de> for $Type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<$Type, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(from)?;
                <$Type as $crate::settings::read::Text>::parse(&text)
                    .map_err(|wrong| serde::de::Error::custom(wrong.sentence()))
            }
        }
    )+};
}

pub(crate) use {text_serde, text_values};

text_values!(Transport, Digest, Domain, IpAddr, SocketAddr, IpNet, Secret);
number_values!(u32, usize, Seconds);
text_serde!(Transport);

impl Number for u32 {
    fn from_number(number: u64) -> Option<u32> {
        u32::try_from(number).ok()
    }

    fn number(&self) -> u64 {
        u64::from(*self)
    }
}

impl Number for usize {
    fn from_number(number: u64) -> Option<usize> {
        usize::try_from(number).ok()
    }

    fn number(&self) -> u64 {
        *self as u64
    }
}

impl Value for bool {
    fn read(path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<bool> {
        match value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                reader.wrong_type(path, "true or false", value, "write it without quotes");
                None
            }
        }
    }

    fn shape(&self) -> Shape {
        Shape::Scalar(self.to_string())
    }
}

/// A whole number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u32);

impl Seconds {
    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

impl Number for Seconds {
    fn from_number(number: u64) -> Option<Seconds> {
        u32::from_number(number).map(Seconds)
    }

    fn number(&self) -> u64 {
        self.0.number()
    }
}

/// A SIP transport (RFC 3261 18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// Every transport that a node speaks.
    pub const ALL: [Transport; 5] =
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

    /// Those that need nothing but an address.
    pub const PLAIN: [Transport; 2] = [Transport::Udp, Transport::Tcp];

    /// Whether it runs over TCP, whose ports all such transports share.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        match self {
            Transport::Udp => false,
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => true,
        }
    }

    /// Whether it needs a certificate of this node.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        match self {
            Transport::Udp | Transport::Tcp | Transport::Ws => false,
            Transport::Tls | Transport::Wss => true,
        }
    }

    /// Whether only the peer can open a connection (RFC 7118 5).
    #[must_use]
    pub const fn is_web_socket(self) -> bool {
        match self {
            Transport::Udp | Transport::Tcp | Transport::Tls => false,
            Transport::Ws | Transport::Wss => true,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        })
    }
}

impl Text for Transport {
    fn parse(text: &str) -> Result<Transport, Wrong> {
        let found = Transport::ALL.into_iter().find(|transport| transport.to_string() == text);
        found.ok_or_else(|| {
            one_of(text, "transport", "\"udp\", \"tcp\", \"tls\", \"ws\" or \"wss\"")
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A digest algorithm (RFC 7616).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// MD5, which every SIP client knows (RFC 3261 22.4).
    Md5,
    /// SHA-256 (RFC 8760).
    Sha256,
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Digest::Md5 => "md5",
            Digest::Sha256 => "sha-256",
        })
    }
}

impl Text for Digest {
    fn parse(text: &str) -> Result<Digest, Wrong> {
        let found = [Digest::Md5, Digest::Sha256].into_iter().find(|d| d.to_string() == text);
        found.ok_or_else(|| one_of(text, "digest algorithm", "\"md5\" or \"sha-256\""))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// `text` is none of the words that a key takes.
pub(crate) fn one_of(text: &str, what: &str, words: &str) -> Wrong {
    Wrong::new(format!("unknown {what} {}", quoted(text)), format!("write {words}"))
}

/// Longest domain name, in characters (RFC 1035 2.3.4, without the final dot).
const DOMAIN_CHARS_MAX: usize = 253;
/// Longest label of a domain name (RFC 1035 2.3.4).
const LABEL_CHARS_MAX: usize = 63;

/// A domain name or the literal of an IPv4 address, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(String);

impl Domain {
    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for Domain {
    /// RFC 3261 25.1, `host`, without IPv6 references: a node's own addresses need no entry.
    fn parse(text: &str) -> Result<Domain, Wrong> {
        let label = |label: &str| {
            (1..=LABEL_CHARS_MAX).contains(&label.len())
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= DOMAIN_CHARS_MAX && text.split('.').all(label) {
            return Ok(Domain(text.to_ascii_lowercase()));
        }
        let fix = "write letters, digits and hyphens with dots between, for example \"example.com\", \
                   without sip:, port or wildcard";
        Err(Wrong::new(format!("{} is not a domain name", quoted(text)), fix))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Text for IpAddr {
    fn parse(text: &str) -> Result<IpAddr, Wrong> {
        text.parse().map_err(|_| {
            let fix = "write numbers, for example \"192.0.2.10\" or \"2001:db8::10\"";
            Wrong::new(format!("{} is not an IP address", quoted(text)), fix)
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Text for SocketAddr {
    fn parse(text: &str) -> Result<SocketAddr, Wrong> {
        text.parse().map_err(|_| {
            let what = format!("{} is not an address with a port", quoted(text));
            let bare = text.trim_matches(['[', ']']).parse::<IpAddr>();
            let fix = match bare {
                Ok(ip) => format!("add a port: \"{}\"", SocketAddr::new(ip, 5060)),
                Err(_) => {
                    "write numbers, for example \"192.0.2.10:5060\" or \"[2001:db8::10]:5060\""
                        .to_owned()
                }
            };
            Wrong::new(what, fix)
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Text for IpNet {
    /// A network, or a single address. Host bits must be zero: `192.0.2.7/24` may have been meant
    /// as the address or as the network.
    fn parse(text: &str) -> Result<IpNet, Wrong> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(IpNet::from(address));
        }
        let net: IpNet = text.parse().map_err(|_| {
            let fix = "write \"192.0.2.0/24\", or a single address such as \"192.0.2.7\"";
            Wrong::new(format!("{} is not a network", quoted(text)), fix)
        })?;
        if net.trunc() == net {
            return Ok(net);
        }
        let what = format!("{net} has bits set behind its prefix");
        let fix =
            format!("write \"{}\" for the network or \"{}\" for the host", net.trunc(), net.addr());
        Err(Wrong::new(what, fix))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Something that no log and no report may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself; to be handed on to what computes with it only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Text for Secret {
    fn parse(text: &str) -> Result<Secret, Wrong> {
        if text.is_empty() {
            return Err(Wrong::new("is empty", "write the secret, or leave the key out"));
        }
        Ok(Secret(text.to_owned()))
    }

    fn show(&self) -> String {
        "(secret)".to_owned()
    }
}

/// Longest name that an operator gives to something.
const NAME_CHARS_MAX: usize = 64;

/// A name for `what`, of characters that scripts, logs and URLs take as they are.
pub(crate) fn name(text: &str, what: &str) -> Result<String, Wrong> {
    let fits = (1..=NAME_CHARS_MAX).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
    if fits {
        return Ok(text.to_owned());
    }
    let fix = format!("write 1 to {NAME_CHARS_MAX} letters, digits, dots, hyphens or underscores");
    Err(Wrong::new(format!("{} is not a name for {what}", quoted(text)), fix))
}

/// A key that is `"auto"` or a value.
pub(crate) fn auto(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().as_str() == Some("auto")
}

/// Why `address` cannot be one that a peer sends to, if so.
pub(crate) fn not_unicast(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("is a wildcard");
    }
    if address.is_multicast() {
        return Some("is a multicast address");
    }
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => Some("is the broadcast address"),
        // RFC 791 3.2, RFC 1122 3.2.1.3: network 0 names no host elsewhere.
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("is in 0.0.0.0/8, which names no host"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Some("is an IPv4 address in IPv6 clothes: write it as IPv4")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}
