//! A deterministic simulation of the cores: members (proxy and relay core wired together), user
//! agents and a network, under a virtual clock.
//!
//! One seed decides everything: who calls whom, what each phone does, which packets are lost, repeated
//! or late. A run never reads a clock, opens a socket or starts a thread, so that the same seed gives
//! the same history, and hours pass in a moment.
//!
//! - [`settings`]: what a run is made of; [`Profile`]s with a name.
//! - [`scenario`]: the users, their devices and the scripts of the calls.
//! - [`net`]: links that lose, repeat and delay; outages; connections.
//! - [`node`]: a member: the proxy core, the relay core and an engine whose sockets are map entries.
//! - [`agent`]: user agents, with transactions and dialogs of their own making.
//! - [`check`]: what must hold. It sees what the agents see and knows no core.
//! - [`world`]: the event loop.
//! - [`fuzz`]: what must hold for any bytes.
//! - [`farm`]: members of one farm, without media, and what happens to their cluster.
#![forbid(unsafe_code)]

pub mod agent;
pub mod check;
pub mod clock;
pub mod farm;
pub mod fuzz;
pub mod net;
pub mod node;
pub mod report;
pub mod scenario;
pub mod settings;
pub mod world;

pub use report::Report;
pub use settings::{Profile, Settings};
pub use world::{Trace, run};

use std::fmt;

/// A member of the farm, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// A user agent, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(pub usize);

/// A call, by its place in the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallNo(pub u32);

impl CallNo {
    /// The Call-ID of this call.
    #[must_use]
    pub fn call_id(self) -> String {
        format!("call-{}@sim", self.0)
    }

    /// The call whose Call-ID this is.
    #[must_use]
    pub fn from_call_id(text: &str) -> Option<CallNo> {
        text.strip_prefix("call-")?.strip_suffix("@sim")?.parse().ok().map(CallNo)
    }
}

impl fmt::Display for CallNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.0)
    }
}
