//! What the proxy core has to know of its node; validated before it gets here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::call::SessionTimers;
pub use crate::call::addresses::{LearningPolicy, MediaAddresses, Place};
use crate::events;
use crate::guard;
use crate::overload;
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

impl Listener {
    /// Whether it is reached at `port`, by its own address or by the one that it is known by.
    #[must_use]
    pub fn is_at(&self, port: u16) -> bool {
        self.bound.port() == port || self.advertised.is_some_and(|a| a.port() == port)
    }
}

/// A static route to another domain's proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The domain, compared without regard to case.
    pub domain: String,
    /// Its proxies, in the order in which they are tried.
    pub next_hops: Vec<NextHop>,
    /// How they are spoken to; `None`: UDP to an address, what DNS says to a name.
    pub transport: Option<Transport>,
}

/// A proxy of another domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// By its address.
    Address(SocketAddr),
    /// By a name, which is looked up as RFC 3263 says.
    Name {
        /// The name.
        host: Box<str>,
        /// The port, which leaves out SRV.
        port: Option<u16>,
    },
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

/// Which redirections (3xx) are followed by the node, instead of being passed to the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redirects {
    /// None.
    Never,
    /// Those to users of the domains that are served here.
    #[default]
    Served,
    /// Those to other domains, too, for callers who may send there.
    Anywhere,
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
    /// Whether the users who have authenticated are named in P-Asserted-Identity (RFC 3325).
    pub assert_identity: bool,
    /// Static routes to other domains.
    pub routes: Vec<Route>,
    /// Whether media of calls is relayed; otherwise descriptions pass as they are (RFC 3261 16.6: a
    /// proxy leaves the body alone).
    pub relay_media: bool,
    /// When the sources of media are learned.
    pub learning: LearningPolicy,
    /// The URIs of the proxies that registered clients are to send through (RFC 3608), in order.
    pub service_routes: Vec<String>,
    /// What a client that registers over a connection is told of how often to show that it is there
    /// (RFC 5626 4.4.1); `None`: nothing.
    pub flow_timer: Option<Duration>,
    /// Requests of more bytes go over TCP instead of UDP, where nobody has asked for UDP (RFC 3261
    /// 18.1.1: 1,300 where the MTU of the path is not known).
    pub udp_bytes_max: usize,
    /// How long each group of contacts of one q rings before the next one is tried.
    pub fork_time: Duration,
    /// How long a server may say nothing to an INVITE before the next one is tried, where there is one.
    pub server_timeout: Duration,
    /// Which redirections are followed here.
    pub redirects: Redirects,
    /// How long sessions go on without a refresh (RFC 4028); `None`: session timers are left to the
    /// parties.
    pub session_timers: Option<SessionTimers>,
    /// `User-Agent`/`Server` text.
    pub server_name: String,
    /// Bounds.
    pub limits: Limits,
    /// What is served of event packages.
    pub events: events::Config,
    /// How strangers are kept in check.
    pub guard: guard::Config,
    /// What is refused under load.
    pub overload: overload::Config,
}

impl Config {
    /// Whether requests from `source` need no authentication.
    #[must_use]
    pub fn is_trusted(&self, source: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&source))
    }

    /// Whether settings name `peer`: as trusted, or as the address of a route's proxy.
    #[must_use]
    pub fn is_peer(&self, peer: IpAddr) -> bool {
        let is_it = |hop: &NextHop| match hop {
            NextHop::Address(address) => address.ip() == peer,
            NextHop::Name { .. } => false,
        };
        self.is_trusted(peer) || self.routes.iter().any(|route| route.next_hops.iter().any(is_it))
    }

    /// The static route for `domain`.
    #[must_use]
    pub fn route(&self, domain: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.domain.eq_ignore_ascii_case(domain))
    }
}
