//! Servers that have failed lately, so that the next calls do not wait for them again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Hop;
use crate::transport::Transport;

/// Most servers that are remembered. At the bound those whose rest is over are forgotten; if there are
/// none, the new one is not remembered, and is tried again at its price.
const RESTING_MAX: usize = 4_096;

/// The longest rest; a server that asks for more is asked again after this.
const REST_MAX: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    /// The server has asked for it (Retry-After).
    asked: bool,
}

/// How a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is known against it.
    Good,
    /// It has failed: to be tried once the others have.
    Doubtful,
    /// It has asked not to be disturbed for this long (RFC 3261 20.33, 21.5.4).
    Closed(Duration),
}

/// The servers at rest.
#[derive(Debug, Default)]
pub struct Resting(HashMap<(Transport, SocketAddr), Rest>);

impl Resting {
    /// `hop` failed at `now`, and rests for `time`; `asked`: as it has asked for.
    pub fn note(&mut self, now: Instant, hop: &Hop, time: Duration, asked: bool) {
        let key = (hop.transport, hop.address);
        if self.0.len() >= RESTING_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, rest| rest.until > now);
            if self.0.len() >= RESTING_MAX {
                return;
            }
        }
        self.0.insert(key, Rest { until: now + time.min(REST_MAX), asked });
    }

    /// `hop` has answered.
    pub fn forgive(&mut self, hop: &Hop) {
        if !self.0.is_empty() {
            self.0.remove(&(hop.transport, hop.address));
        }
    }

    /// How `hop` stands at `now`.
    #[must_use]
    pub fn standing(&self, now: Instant, hop: &Hop) -> Standing {
        match self.0.get(&(hop.transport, hop.address)) {
            Some(rest) if rest.until > now && rest.asked => {
                Standing::Closed(rest.until.saturating_duration_since(now))
            }
            Some(rest) if rest.until > now => Standing::Doubtful,
            Some(_) | None => Standing::Good,
        }
    }
}
