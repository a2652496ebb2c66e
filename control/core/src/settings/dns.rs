//! `[dns]`: how names are looked up.

use std::net::SocketAddr;

use super::problem::Wrong;
use super::read::Reader;
use super::table::{Rules, settings_table};
use super::values::not_unicast;

settings_table! {
    /// How names are looked up (RFC 3263).
    section Dns {
        /// Name servers with their ports, for example ["192.0.2.53:53"]. Empty: those of
        /// /etc/resolv.conf.
        restart servers: Vec<SocketAddr> = default(Vec::new());
    }
}

impl Rules for Dns {
    fn check(&self, path: &str, reader: &mut Reader) {
        for (index, server) in self.servers.iter().enumerate() {
            let what = match not_unicast(server.ip()) {
                Some(why) => format!("{} {why}", server.ip()),
                None if server.port() == 0 => "port 0 cannot be sent to".to_owned(),
                None => continue,
            };
            let at = reader.places.entry(&format!("{path}.servers"), index);
            reader.tell(&at, Wrong::new(what, "write the address and port of a name server"));
        }
    }
}
