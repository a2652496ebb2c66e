//! The servers of a route.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::Wrong;
use super::read::{Reader, Text, quoted};
use super::table::{Shape, Value};
use super::values::{Domain, not_unicast, text_values};

/// Servers that one route may list. A caller waits for each that is silent, and gives up long before the
/// last; where a domain has more, a name with SRV records spreads its calls, too.
const HOPS_MAX: usize = 16;

text_values!(NextHop);

/// The server behind a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// By its address.
    Address(SocketAddr),
    /// By a name, which is looked up.
    Name {
        /// The name.
        host: Domain,
        /// The port, without which SRV records are asked for.
        port: Option<u16>,
    },
}

impl NextHop {
    /// Whether a datagram or a connection can go there, as far as its text says.
    pub(crate) fn can_be_sent_to(&self) -> Result<(), Wrong> {
        let (ip, port) = match self {
            NextHop::Address(address) => (Some(address.ip()), Some(address.port())),
            NextHop::Name { port, .. } => (None, *port),
        };
        if let Some((ip, why)) = ip.and_then(|ip| Some((ip, not_unicast(ip)?))) {
            return Err(Wrong::new(
                format!("{ip} {why}"),
                "write the address of the domain's server",
            ));
        }
        if port == Some(0) {
            return Err(Wrong::new("port 0 cannot be sent to", "write the server's port"));
        }
        Ok(())
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NextHop::Address(address) => address.fmt(f),
            NextHop::Name { host, port: Some(port) } => write!(f, "{host}:{port}"),
            NextHop::Name { host, port: None } => host.fmt(f),
        }
    }
}

impl Text for NextHop {
    fn parse(text: &str) -> Result<NextHop, Wrong> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        // No name ends with a label of digits (RFC 3696 2), and no IPv6 address is without colons.
        let last = host.rsplit('.').next().unwrap_or_default();
        if host.contains(':') || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return SocketAddr::parse(text).map(NextHop::Address);
        }
        let host = Domain::parse(host)?;
        let port = port.map(|port| {
            port.parse().map_err(|_| {
                Wrong::new(format!("{} is not a port", quoted(port)), "write a number up to 65535")
            })
        });
        Ok(NextHop::Name { host, port: port.transpose()? })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// The servers behind a route, in the order in which they are tried: at least one, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHops(Vec<NextHop>);

impl Deref for NextHops {
    type Target = [NextHop];

    fn deref(&self) -> &[NextHop] {
        &self.0
    }
}

/// One string, or an array of them.
impl Value for NextHops {
    fn read(path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<NextHops> {
        let Some(array) = value.get_ref().as_array() else {
            return Some(NextHops(vec![reader.text(path, value)?]));
        };
        let wrong = match array.len() {
            0 => Some(("names no server".to_owned(), "list at least one")),
            1..=HOPS_MAX => None,
            count => Some((
                format!("lists {count} servers, and {HOPS_MAX} are the most"),
                "give them one name with SRV records, and write that",
            )),
        };
        if let Some((what, fix)) = wrong {
            reader.tell(path, Wrong::new(what, fix));
            return None;
        }
        let hops: Vec<NextHop> = Vec::read(path, value, reader)?;
        for (index, hop) in hops.iter().enumerate() {
            if let Some(first) = hops[..index].iter().position(|other| other == hop) {
                let first = reader.places.entry(path, first);
                let at = reader.places.entry(path, index);
                let what = format!("{hop} stands in {first} already");
                reader.tell(&at, Wrong::new(what, "keep one of the two"));
            }
        }
        // Of wrong entries the reader has been told.
        (!hops.is_empty()).then_some(NextHops(hops))
    }

    fn shape(&self) -> Shape {
        let all: Vec<String> = self.iter().map(|hop| quoted(&hop.show())).collect();
        Shape::Scalar(match all.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        })
    }
}
