//! The node whose cost the examples print: one UDP listener, one domain, defaults for the rest.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use signaling_core::proxy::LocalAddresses;
use signaling_core::proxy::config::{
    Config, LearningPolicy, Limits, Listener, MediaAddresses, Redirects,
};
use signaling_core::transport::Transport;

/// The one address that the node has.
pub(crate) struct Local(pub(crate) IpAddr);

impl LocalAddresses for Local {
    fn local_for(&mut self, _remote: SocketAddr) -> Option<IpAddr> {
        Some(self.0)
    }
}

impl MediaAddresses for Local {
    fn bind(&self, _signaling: IpAddr) -> IpAddr {
        self.0
    }

    fn advertised(&self, local: IpAddr) -> IpAddr {
        local
    }
}

pub(crate) fn node() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 5060))
}

/// Nobody is trusted, nothing is routed, and the guard is off.
pub(crate) fn config() -> Config {
    Config {
        listeners: vec![Listener { transport: Transport::Udp, bound: node(), advertised: None }],
        domains: vec!["node.example".to_owned()],
        realm: "node.example".to_owned(),
        trusted: Vec::new(),
        routes: Vec::new(),
        assert_identity: true,
        relay_media: true,
        learning: LearningPolicy::Strict,
        service_routes: Vec::new(),
        flow_timer: None,
        udp_bytes_max: 1_300,
        fork_time: Duration::from_secs(20),
        server_timeout: Duration::from_secs(4),
        redirects: Redirects::default(),
        session_timers: None,
        overload: signaling_core::overload::Config::default(),
        events: signaling_core::events::Config::default(),
        guard: signaling_core::guard::Config::off(),
        server_name: "ringfarm".to_owned(),
        limits: Limits::default(),
    }
}
