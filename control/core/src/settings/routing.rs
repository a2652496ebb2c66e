//! `[[routes]]` and `[peers]`: other SIP servers.

use std::fmt;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::problem::Wrong;
use super::read::{Reader, Text, quoted};
use super::table::{Rules, settings_table};
use super::values::{Domain, Transport, not_unicast, text_values};

settings_table! {
    /// The way to one other domain.
    entry Route {
        /// The domain.
        live domain: Domain = required("\"pbx.example\"");

        /// The server that takes its calls: address and port, or a name that is looked up (RFC 3263), as
        /// in "sip.example.com" or "sip.example.com:5080".
        live next_hop: NextHop = required("\"192.0.2.7:5060\"");

        /// "udp", "tcp" or "tls". Over TLS the server's certificate has to be for the name in `next_hop`,
        /// or for the address.
        live transport: Transport = default(Transport::Udp);
    }
}

settings_table! {
    /// Other SIP servers that are trusted.
    section Peers {
        /// Networks or addresses of servers that may send calls, to users here and to `routes`,
        /// without authentication, for example ["192.0.2.7", "198.51.100.0/24"].
        live trusted: Vec<IpNet> = default(Vec::new());
    }
}

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

impl Rules for Route {
    fn check(&self, path: &str, reader: &mut Reader) {
        let at = format!("{path}.next_hop");
        let (ip, port) = match &self.next_hop {
            NextHop::Address(address) => (Some(address.ip()), Some(address.port())),
            NextHop::Name { port, .. } => (None, *port),
        };
        if let Some((ip, why)) = ip.and_then(|ip| Some((ip, not_unicast(ip)?))) {
            let wrong =
                Wrong::new(format!("{ip} {why}"), "write the address of the domain's server");
            reader.tell(&at, wrong);
        } else if port == Some(0) {
            let wrong = Wrong::new("port 0 cannot be sent to", "write the server's port");
            reader.tell(&at, wrong);
        }
        if self.transport.is_web_socket() {
            let what = format!("nobody can be called over {}", self.transport);
            let fix = "only peers open WebSockets: write \"udp\", \"tcp\" or \"tls\"";
            reader.tell(&format!("{path}.transport"), Wrong::new(what, fix));
        }
    }
}

impl Rules for Peers {
    fn check(&self, path: &str, reader: &mut Reader) {
        for (index, net) in self.trusted.iter().enumerate() {
            if net.prefix_len() == 0 {
                let at = reader.places.entry(&format!("{path}.trusted"), index);
                let wrong = Wrong::new(
                    format!("{net} trusts everybody with everything"),
                    "list the networks of your own servers",
                );
                reader.tell(&at, wrong);
            }
        }
    }
}
