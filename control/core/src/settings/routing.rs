//! `[[routes]]` and `[peers]`: other SIP servers.

use ipnet::IpNet;

use super::next_hop::{NextHop, NextHops};
use super::problem::Wrong;
use super::read::Reader;
use super::table::{Rules, settings_table};
use super::values::{Domain, Transport};

settings_table! {
    /// The way to one other domain.
    entry Route {
        /// The domain.
        live domain: Domain = required("\"pbx.example\"");

        /// The server that takes its calls: address and port, or a name that is looked up (RFC 3263), as
        /// in "sip.example.com" or "sip.example.com:5080". Of several, ["192.0.2.7:5060",
        /// "192.0.2.8:5060"], each is tried once those before it have failed: they are silent, cannot
        /// be reached or answer 503. Whichever was silent is tried last for a minute. At most 16.
        live next_hop: NextHops = required("\"192.0.2.7:5060\"");

        /// "udp", "tcp" or "tls". Over TLS the server's certificate has to be for the name in `next_hop`,
        /// or for the address. Absent: UDP to an address, and to a name what DNS says.
        live transport: Option<Transport> = optional("\"udp\"");
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

impl Route {
    /// Its servers, each with where it stands; the route itself stands at `path`.
    pub(crate) fn hops(&self, path: &str, reader: &Reader) -> Vec<(String, NextHop)> {
        let at = format!("{path}.next_hop");
        let is_listed = reader.places.is_written(&format!("{at}[0]"));
        let place = |index| if is_listed { reader.places.entry(&at, index) } else { at.clone() };
        self.next_hop.iter().enumerate().map(|(index, hop)| (place(index), hop.clone())).collect()
    }
}

impl Rules for Route {
    fn check(&self, path: &str, reader: &mut Reader) {
        for (at, hop) in self.hops(path, reader) {
            if let Err(wrong) = hop.can_be_sent_to() {
                reader.tell(&at, wrong);
            }
        }
        if let Some(transport) = self.transport.filter(|transport| transport.is_web_socket()) {
            let what = format!("nobody can be called over {transport}");
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
