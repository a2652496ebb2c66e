//! What the guard is told once.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::scanners::SCANNERS;

/// How a node on the open Internet defends itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether it does at all.
    pub enabled: bool,
    /// Sources that are remembered, and as many pairs of source and account; some 70 bytes each.
    pub sources: usize,
    /// Messages a second of one source.
    pub rate: u32,
    /// Messages that one source may send at once.
    pub burst: u32,
    /// Failed attempts of one account from one source within `window` before silence.
    pub account_failures: u32,
    /// Failures of one source within `window` that have it banned.
    pub ban_failures: u32,
    /// How long failures count.
    pub window: Duration,
    /// How long a ban lasts.
    pub ban: Duration,
    /// Stateless answers a second to one source.
    pub answers: u32,
    /// Calls a minute that one account may make, and at once; 0: no limit.
    pub account_calls: u32,
    /// Registrations a minute of one account, likewise.
    pub account_registers: u32,
    /// Messages (MESSAGE) a minute of one account, likewise.
    pub account_messages: u32,
    /// Words in User-Agent that scanners are known by.
    pub scanners: Vec<String>,
    /// Networks that nothing of this holds for, besides this host itself.
    pub exempt: Vec<IpNet>,
}

impl Default for Config {
    /// What five hundred phones behind one NAT never notice: after a power cut they register within
    /// a few seconds, two requests each, and ask for their subscriptions.
    fn default() -> Self {
        Config {
            enabled: true,
            sources: 16_384,
            rate: 500,
            burst: 5_000,
            account_failures: 5,
            ban_failures: 60,
            window: Duration::from_secs(600),
            ban: Duration::from_secs(600),
            answers: 10,
            account_calls: 600,
            account_registers: 240,
            account_messages: 600,
            scanners: SCANNERS.map(str::to_owned).to_vec(),
            exempt: Vec::new(),
        }
    }
}

impl Config {
    /// No defence at all.
    #[must_use]
    pub fn off() -> Self {
        Config { enabled: false, sources: 0, ..Config::default() }
    }

    pub(super) fn is_exempt(&self, source: IpAddr) -> bool {
        source.is_loopback() || self.exempt.iter().any(|net| net.contains(&source))
    }
}
