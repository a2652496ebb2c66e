//! `[[routes]]` and `[peers]`: other SIP servers.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::problem::Wrong;
use super::read::Reader;
use super::table::{Rules, settings_table};
use super::values::{Domain, Transport, not_unicast};

settings_table! {
    /// The way to one other domain.
    entry Route {
        /// The domain.
        live domain: Domain = required("\"pbx.example\"");

        /// Address and port of the server that takes its calls.
        live next_hop: SocketAddr = required("\"192.0.2.7:5060\"");

        /// "udp", "tcp" or "tls". Over TLS the server's certificate has to name its address.
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

impl Rules for Route {
    fn check(&self, path: &str, reader: &mut Reader) {
        let at = format!("{path}.next_hop");
        if let Some(why) = not_unicast(self.next_hop.ip()) {
            let wrong = Wrong::new(
                format!("{} {why}", self.next_hop.ip()),
                "write the address of the domain's server",
            );
            reader.tell(&at, wrong);
        } else if self.next_hop.port() == 0 {
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
