//! What the proxy core has to know of its node; validated before it gets here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::transport::Transport;

/// One listening socket. Its place in [`Config::listeners`] is its
/// [`ListenerId`](crate::transport::ListenerId).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The transport.
    pub transport: Transport,
    /// The address that is bound; may be a wildcard.
    pub bound: SocketAddr,
    /// What Via, Contact and Record-Route say instead of the local address.
    pub advertised: Option<SocketAddr>,
}

/// A static route to another domain's proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The domain, compared without regard to case.
    pub domain: String,
    /// Where its proxy listens.
    pub next_hop: SocketAddr,
    /// How it is spoken to.
    pub transport: Transport,
}

/// When a peer's media may come from elsewhere than its SDP says (see
/// [`relay_core::api::Learning`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearningPolicy {
    /// Only where the peer is seen to be behind NAT: nothing but us between it and its SDP, whose
    /// address is private while the message came from a public one.
    Strict,
    /// Also wherever an adjacent peer's port may have been rewritten: media is accepted from the
    /// address that the SIP message came from.
    Nat,
}

/// Which addresses media uses; the node's settings know.
pub trait MediaAddresses {
    /// The local address that a leg's ports are bound to, for a peer whose SIP uses the local address
    /// `signaling`.
    fn bind(&self, signaling: IpAddr) -> IpAddr;

    /// The address that SDP carries for ports bound to `local` (S63, S71).
    fn advertised(&self, local: IpAddr) -> IpAddr;
}

/// Bounds of the proxy core's tables. At each bound new work is answered 503 and what exists goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls, ringing or answered.
    pub calls: usize,
    /// Requests being proxied.
    pub contexts: usize,
    /// Branches that one request is forked to.
    pub branches: usize,
    /// A call is forgotten after this long, whatever happens.
    pub call_lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            calls: 50_000,
            contexts: 100_000,
            branches: 10,
            call_lifetime: Duration::from_secs(12 * 3600),
        }
    }
}

/// Everything that the proxy core is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listening sockets.
    pub listeners: Vec<Listener>,
    /// The domains served here besides the node's own addresses, in lower case.
    pub domains: Vec<String>,
    /// Digest realm.
    pub realm: String,
    /// Networks whose requests need no authentication.
    pub trusted: Vec<IpNet>,
    /// Static routes to other domains.
    pub routes: Vec<Route>,
    /// When the sources of media are learned.
    pub learning: LearningPolicy,
    /// `User-Agent`/`Server` text.
    pub server_name: String,
    /// Bounds.
    pub limits: Limits,
}

impl Config {
    /// Whether requests from `source` need no authentication.
    #[must_use]
    pub fn is_trusted(&self, source: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&source))
    }

    /// The static route for `domain`.
    #[must_use]
    pub fn route(&self, domain: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.domain.eq_ignore_ascii_case(domain))
    }
}
