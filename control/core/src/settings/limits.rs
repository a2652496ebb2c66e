//! `[limits]`: how much the node takes on.

use super::problem::Wrong;
use super::read::Reader;
use super::table::{Rules, settings_table};
use super::values::Seconds;

settings_table! {
    /// How much the node takes on. At each bound new work is refused and what exists goes on.
    section Limits {
        /// Calls at once, ringing or answered; further ones are refused (503).
        live sessions: usize = default(20_000) in 1..=1_000_000;

        /// SIP requests in progress at once; further ones are refused (503).
        live transactions: usize = default(100_000) in 16..=4_000_000;

        /// SIP connections over TCP at once; further ones are closed at once.
        live tcp_connections: usize = default(8_192) in 1..=1_000_000;

        /// SIP connections that one address (of IPv6: one /64) may have open here at once;
        /// further ones are closed at once. An office of 1000 phones behind one address needs
        /// as many.
        live connections_per_source: usize = default(1024) in 1..=1_000_000;

        /// Registered contacts of all users; further ones are refused.
        live registrations: usize = default(100_000) in 1..=10_000_000;

        /// Contacts that one user may have registered at once; further ones are refused.
        live contacts_per_user: usize = default(10) in 1..=100;

        /// Places that one request is forked to.
        live branches: usize = default(10) in 1..=100;

        /// Seconds after which a call is ended, whatever happens.
        live call_lifetime_s: Seconds = default(Seconds(43_200)) in 60..=604_800;
    }
}

impl Rules for Limits {
    fn check(&self, path: &str, reader: &mut Reader) {
        if reader.sound(&[path]) && self.transactions < self.sessions {
            let what = format!("{} is less than sessions = {}", self.transactions, self.sessions);
            let fix = "each call that is set up is a request in progress: choose at least as many";
            reader.tell(&format!("{path}.transactions"), Wrong::new(what, fix));
        }
    }
}
