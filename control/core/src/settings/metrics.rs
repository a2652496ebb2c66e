//! `[metrics]`: figures and health over HTTP.

use std::net::SocketAddr;

use super::problem::Wrong;
use super::read::Reader;
use super::table::{Rules, settings_table};
use super::values::not_unicast;

settings_table! {
    /// Figures for Prometheus (/metrics) and health for whoever watches the node (/healthz, /readyz),
    /// over plain HTTP, read only.
    section Metrics {
        /// Address and port. Absent: there is no such socket. How busy the node is concerns nobody
        /// outside: keep it on loopback or in a network of your own.
        restart listen: Option<SocketAddr> = optional("\"127.0.0.1:9090\"");
    }
}

impl Rules for Metrics {
    fn check(&self, path: &str, reader: &mut Reader) {
        let Some(listen) = self.listen.filter(|listen| !listen.ip().is_unspecified()) else {
            return;
        };
        if let Some(why) = not_unicast(listen.ip()) {
            let wrong =
                Wrong::new(format!("{} {why}", listen.ip()), "write an address of this host");
            reader.tell(&format!("{path}.listen"), wrong);
        }
    }
}
