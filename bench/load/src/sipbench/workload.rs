//! What is offered to a server.

use std::ops::RangeInclusive;

use crate::sipbench::ends::Transport;
use crate::sipbench::engine::Work;
use crate::sipbench::registrations::Habit;
use crate::sipbench::systems::Needs;

/// Transactions, end to end, of a call: INVITE and BYE. The ACK of a 200 is none of its own.
const CALL_TRANSACTIONS: f64 = 2.0;

/// Of a registration with a challenge before it.
const FRESH_TRANSACTIONS: f64 = 2.0;

/// What may be asked for: phones that are called, ...
pub(crate) const PHONES: RangeInclusive<u32> = 1..=10_000;
/// ... connections a side, ...
pub(crate) const CONNECTIONS: RangeInclusive<u32> = 1..=5_000;
/// ... and calls or registrations a second.
pub(crate) const PER_SECOND: RangeInclusive<f64> = 1.0..=100_000.0;

/// What is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// INVITE, 100, 180, 200, ACK, BYE, 200.
    Call,
    /// REGISTER, 401, REGISTER with credentials, 200.
    Register,
    /// REGISTER with credentials for a nonce that is known, 200.
    Refresh,
}

impl Kind {
    /// What one of it is called.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Kind::Call => "call",
            Kind::Register | Kind::Refresh => "registration",
        }
    }

    pub(crate) const fn transactions(self) -> f64 {
        match self {
            Kind::Call => CALL_TRANSACTIONS,
            Kind::Register => FRESH_TRANSACTIONS,
            Kind::Refresh => 1.0,
        }
    }

    pub(crate) const fn work(self) -> Work {
        match self {
            Kind::Call => Work::Calls,
            Kind::Register => Work::Registrations(Habit::Fresh),
            Kind::Refresh => Work::Registrations(Habit::Refresh),
        }
    }
}

/// One load.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Workload {
    /// The key in the report.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) transport: Transport,
    pub(crate) per_second: f64,
    pub(crate) phones: u32,
    /// Of either side.
    pub(crate) connections: u32,
}

impl Workload {
    pub(crate) fn needs(&self) -> Needs {
        let digest = match self.kind {
            Kind::Call => false,
            Kind::Register | Kind::Refresh => true,
        };
        Needs { digest, dialogs: false, tls: self.transport == Transport::Tls, users: self.phones }
    }

    /// In words.
    pub(crate) fn description(&self) -> String {
        let what = match self.kind {
            Kind::Call => "calls: INVITE with SDP, 100, 180, 200, ACK, BYE, 200",
            Kind::Register => "registrations: REGISTER, 401, REGISTER with digest, 200",
            Kind::Refresh => "refreshed registrations: REGISTER with digest for a known nonce, 200",
        };
        let way = match self.transport {
            Transport::Udp => String::new(),
            Transport::Tcp | Transport::Tls => {
                format!(" on {} connections a side", self.connections)
            }
        };
        format!(
            "{:.0} {what} over {}{way}, {} phones",
            self.per_second,
            self.transport.name(),
            self.phones
        )
    }
}
