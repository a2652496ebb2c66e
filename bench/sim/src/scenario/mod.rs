//! Who takes part in a run and what everybody does: drawn once from the seed, changed by nobody.

mod draw;
mod expect;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use signaling_core::transport::Transport;

use crate::{AgentId, CallNo, NodeId};

pub use expect::Outcome;

/// The domain that every member serves.
pub const DOMAIN: &str = "sim.test";
/// The SIP port of members and agents.
pub const SIP_PORT: u16 = 5060;
/// A NAT maps a media port to this much above it.
pub const NAT_SHIFT: u16 = 20_000;

/// A user agent.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its place.
    pub id: AgentId,
    /// Its user's name.
    pub user: String,
    /// Its user's password.
    pub password: String,
    /// The member that it speaks to.
    pub home: NodeId,
    /// How it speaks.
    pub transport: Transport,
    /// The address that the network knows it by.
    pub ip: IpAddr,
    /// The address that it believes to have, which differs behind NAT.
    pub own_ip: IpAddr,
}

impl Device {
    /// Whether it is behind NAT.
    #[must_use]
    pub fn behind_nat(&self) -> bool {
        self.ip != self.own_ip
    }

    /// What the network makes of one of its media ports.
    #[must_use]
    pub fn mapped(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, if self.behind_nat() { port + NAT_SHIFT } else { port })
    }

    /// The media port behind a mapped one.
    #[must_use]
    pub fn unmapped(&self, port: u16) -> u16 {
        if self.behind_nat() { port.saturating_sub(NAT_SHIFT) } else { port }
    }
}

/// The address of a member.
#[must_use]
pub fn node_ip(node: NodeId) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 19, 0, node.0 as u8 + 1))
}

/// Whom a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callee {
    /// A user with registered devices.
    User(String),
    /// A user without one.
    Unregistered(String),
    /// Nobody.
    Unknown,
}

/// Which end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Whoever sent the INVITE.
    Caller,
    /// Whoever answers it.
    Callee,
}

/// What a device does with a call in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Takes it after so long.
    Accept(Duration),
    /// Refuses it with this status after so long.
    Refuse(u16, Duration),
    /// Rings until it is told to stop.
    Ring,
    /// Falls silent while it rings: answers nothing more.
    FallSilent,
    /// Has been silent all along.
    Silent,
}

/// What one of the called devices does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePart {
    /// Until 180.
    pub rings_after: Duration,
    /// It describes its media in a 183 first and sends some.
    pub early_media: bool,
    /// And then.
    pub reply: Reply,
}

/// What a re-INVITE is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Hold by `a=sendonly`.
    Hold,
    /// Hold by `c=0.0.0.0`.
    OldHold,
    /// Both directions again.
    Resume,
    /// The media goes to other ports.
    Move,
    /// An offer that the other side refuses with 488.
    Refused,
    /// A re-INVITE without a description: the other side offers.
    Ask,
    /// A stream more, as far as two.
    Widen,
}

/// A change at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// From when the side is up.
    pub after: Duration,
    /// Who asks for it.
    pub by: Side,
    /// What it is.
    pub change: Change,
}

/// Who ends a call that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// One side.
    By(Side),
    /// Both at the same time.
    Both,
}

/// A call from beginning to end.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its place.
    pub no: CallNo,
    /// When it begins.
    pub at: Duration,
    /// Who calls.
    pub caller: AgentId,
    /// Whom.
    pub callee: Callee,
    /// The caller does not know its password.
    pub wrong_password: bool,
    /// The INVITE has no offer.
    pub late_offer: bool,
    /// There is video, too.
    pub video: bool,
    /// The caller gives up so long after its INVITE.
    pub cancel: Option<Duration>,
    /// What the called devices do.
    pub devices: BTreeMap<AgentId, DevicePart>,
    /// How long the call lasts once it is up.
    pub talk: Duration,
    /// Who ends it.
    pub hang_up: HangUp,
    /// What changes in between.
    pub steps: Vec<Step>,
    /// A side that falls silent so long after it is up.
    pub death: Option<(Side, Duration)>,
}

/// Everything that was drawn.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The agents, by their places.
    pub devices: Vec<Device>,
    /// Users and passwords.
    pub users: Vec<(String, String)>,
    /// The calls, by their places.
    pub calls: Vec<Script>,
}

impl Scenario {
    /// The device of an agent.
    #[must_use]
    pub fn device(&self, agent: AgentId) -> &Device {
        &self.devices[agent.0]
    }

    /// The script of a call; `None` if there is no such call.
    #[must_use]
    pub fn call(&self, no: CallNo) -> Option<&Script> {
        self.calls.get(no.0 as usize)
    }
}
