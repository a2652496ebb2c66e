//! The cores of a member as the scenario wants them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use relay_core::ports::{PortRange, Seed};
use relay_core::{Relay, RelayConfig};
use signaling_core::auth::{self, Authenticator, Secret};
use signaling_core::call::SessionTimers;
use signaling_core::events::{self, List, Package};
use signaling_core::proxy::config::{
    Config, LearningPolicy, Limits, Listener, MediaAddresses, Redirects,
};
use signaling_core::proxy::{LocalAddresses, Parts, Proxy};
use signaling_core::registrar::{self, AnyUser, Registrar, UserTable, Users};
use signaling_core::transaction::{self, Transactions};
use signaling_core::transport::{ListenerId, Transport};

use crate::NodeId;
use crate::scenario::{DOMAIN, SIP_PORT, Scenario, node_ip};
use crate::settings::Settings;

/// The UDP listener of every member.
pub const UDP: ListenerId = ListenerId(0);
/// The TCP listener of every member.
pub const TCP: ListenerId = ListenerId(1);

/// Calls that everybody has forgotten end by themselves after this.
const CALL_LIFETIME: Duration = Duration::from_secs(1800);
/// Silence that ends a call.
const IDLE: Duration = Duration::from_secs(60);
/// A wall clock for nonces.
const UNIX: Duration = Duration::from_secs(1_700_000_000);

struct Local(IpAddr);

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

/// A seed of a part of a member. Cores draw from theirs independently of each other.
fn seed(id: NodeId, settings: &Settings, part: u8) -> [u8; 32] {
    let mut seed = [part; 32];
    seed[..8].copy_from_slice(&settings.seed.to_le_bytes());
    seed[8] = id.0 as u8;
    seed
}

pub(super) fn proxy(id: NodeId, now: Instant, settings: &Settings, scenario: &Scenario) -> Proxy {
    let ip = node_ip(id);
    let bound = SocketAddr::new(ip, SIP_PORT);
    let listener = |transport| Listener { transport, bound, advertised: None };
    let learning = if settings.learn_always { LearningPolicy::Nat } else { LearningPolicy::Strict };
    let config = Config {
        listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
        domains: vec![DOMAIN.to_owned()],
        realm: DOMAIN.to_owned(),
        trusted: Vec::new(),
        routes: Vec::new(),
        service_routes: Vec::new(),
        flow_timer: None,
        learning,
        assert_identity: true,
        relay_media: true,
        udp_bytes_max: 1_300,
        fork_time: Duration::from_secs(20),
        server_timeout: Duration::from_secs(4),
        redirects: Redirects::default(),
        session_timers: Some(SessionTimers::default()),
        overload: signaling_core::overload::Config::default(),
        events: events(),
        guard: signaling_core::guard::Config::off(),
        server_name: "ringfarm/sim".to_owned(),
        limits: Limits { call_lifetime: CALL_LIFETIME, ..Limits::default() },
    };
    let users: UserTable = scenario
        .users
        .iter()
        .map(|(name, password)| (name.clone(), Secret::Plain(password.clone())))
        .collect();
    // A scenario without users is an open domain.
    let users: Box<dyn Users> = if users.is_empty() { Box::new(AnyUser) } else { Box::new(users) };
    let registrar = registrar::Config::default();
    let parts = Parts {
        transactions: Transactions::new(now, transaction::Config::new(seed(id, settings, 1))),
        registrar: Registrar::new(now, registrar, users, seed(id, settings, 2)),
        authenticator: Authenticator::new(
            auth::Config::new(seed(id, settings, 3)),
            seed(id, settings, 4),
            now,
            UNIX,
        ),
        local: Box::new(Local(ip)),
        media: Box::new(Local(ip)),
        secret: seed(id, settings, 7),
        seed: seed(id, settings, 5),
    };
    Proxy::new(now, config, parts)
}

/// Everything is served, and a list of two.
fn events() -> events::Config {
    let members = ["sip:a@sim.test", "sip:b@sim.test"].map(str::to_owned);
    let list = List::new("sip:team@sim.test", &members).expect("addresses");
    let limits = events::Limits { publications_per_user: 3, ..events::Limits::default() };
    events::Config {
        packages: Package::ALL.to_vec(),
        lists: vec![list],
        limits,
        ..events::Config::default()
    }
}

pub(super) fn relay(id: NodeId, settings: &Settings) -> Relay {
    let (first, last) = settings.ports;
    let ports = PortRange::new(first..=last).expect("settings name a range with a pair in it");
    Relay::new(RelayConfig {
        ports,
        rest: settings.rest,
        idle: Some(IDLE),
        slots_max: 1 << 16,
        seed: Seed(seed(id, settings, 6)),
    })
}
