//! Settings of the node in the words of its parts.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use control_core::mesh::ClusterSecret;
use control_core::settings::{
    self, Credentials, EventPackage, Learning, RelayMode, Settings, WorkerPriority,
};
use relay_engine::{Dscp, EngineConfig, Markings, Priority};
use signaling_core::auth::{self, Algorithm, Authenticator, Secret};
use signaling_core::call::SessionTimers;
use signaling_core::events::{self, Package};
use signaling_core::guard;
use signaling_core::ng::Ng;
use signaling_core::overload;
use signaling_core::proxy::config::{
    Config, LearningPolicy, Limits, Listener, NextHop, Redirects, Route,
};
use signaling_core::proxy::{LocalAddresses, Parts, Proxy};
use signaling_core::registrar::{self, AnyUser, Registrar, UserTable, Users};
use signaling_core::transaction::{self, Transactions};
use signaling_core::transport::Transport;
use signaling_net::tls::Tls;
use signaling_net::{ListenerConfig, ResolverConfig};

use super::farm::derive;
use super::media::MediaSettings;
use super::node_secret::{self, Secrets};
use super::{certificates, ng};
use crate::exit::Stop;

/// Builds the proxy core at an instant, given the addresses that the listeners are bound to.
type MakeProxy = Box<dyn FnOnce(Instant, &[SocketAddr]) -> Proxy + Send>;

/// What the signaling thread is made of. The proxy core is built once the ports are known.
pub(super) struct SignalingParts {
    pub(super) listeners: Vec<ListenerConfig>,
    pub(super) limits: signaling_net::Limits,
    pub(super) tls: Option<Tls>,
    /// Whose pages may open WebSockets.
    pub(super) ws_origins: Vec<String>,
    pub(super) proxy: MakeProxy,
    pub(super) resolver: ResolverConfig,
    /// How long messages are let come together under load.
    pub(super) gather: Duration,
    /// Of the last listener, if there is an ng socket.
    pub(super) ng: Option<Box<dyn FnOnce() -> Ng + Send>>,
}

/// How the signaling thread ranks: after media and before the rest of the host, so that a call is set
/// up as fast beside a busy program as without. A flood of messages takes no core from a worker.
pub(super) fn signaling_priority(settings: &Settings) -> Priority {
    match settings.node.priority {
        WorkerPriority::Inherited => Priority::Inherited,
        WorkerPriority::Nice | WorkerPriority::Realtime => Priority::Nice(-5),
    }
}

/// The relay's configuration.
pub(super) fn engine(settings: &Settings) -> Result<EngineConfig, Stop> {
    let available: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    let workers = settings.node.worker_cores(&available);
    let media = &settings.media;
    let mut config = EngineConfig::new(
        workers.into_iter().map(Some).collect(),
        seed().map_err(Stop::CannotStart)?,
    );
    config.ports = media.ports.range();
    config.priority = match settings.node.priority {
        WorkerPriority::Inherited => Priority::Inherited,
        WorkerPriority::Nice => Priority::Nice(-10),
        WorkerPriority::Realtime => Priority::RealTime(1),
    };
    config.rest = media.rest_s.duration();
    config.gather = Duration::from_micros(media.gather_us.into());
    config.idle = Some(media.idle_timeout_s.duration());
    config.dscp = Markings {
        audio: dscp("dscp", media.dscp)?,
        video: dscp("dscp_video", media.dscp_video)?,
        other: dscp("dscp_other", media.dscp_other)?,
    };
    config.stall = media.stall_s.duration();
    config.segments = media.segments;
    Ok(config)
}

fn dscp(key: &str, code: u32) -> Result<Dscp, Stop> {
    let code_point = u8::try_from(code).ok().and_then(|code| Dscp::new(code).ok());
    let context = || format!("media.{key} = {code} is not one of 0..=63");
    code_point.with_context(context).map_err(Stop::Usage)
}

/// The signaling side's configuration.
///
/// `cluster` is what all members of its cluster know, if the node is one.
///
/// # Errors
/// If a file cannot be used, or there is no randomness.
pub(super) fn signaling(
    settings: &Settings,
    cluster: Option<&ClusterSecret>,
    media: &MediaSettings,
) -> anyhow::Result<SignalingParts> {
    let may_be_absent = settings.node.absent_addresses == settings::AbsentAddresses::Accept;
    let on = |transport, address, dscp| ListenerConfig { transport, address, may_be_absent, dscp };
    // The setting goes up to 63.
    let dscp = u8::try_from(settings.sip.dscp).unwrap_or_default();
    let sip = settings.sip.listen.iter();
    let sip = sip.map(|listen| on(transport(listen.transport), listen.address, dscp));
    let ng = settings.ng.listen;
    let ng = ng.map(|address| on(Transport::Udp, address, 0));
    let listeners = sip.chain(ng).collect();
    let limits = signaling_net::Limits {
        connections_max: settings.limits.tcp_connections,
        connections_per_source_max: settings.limits.connections_per_source,
        ..signaling_net::Limits::default()
    };
    let tls = certificates::load(settings)?;
    let ws_origins = settings.sip.ws_origins.iter().map(|one| one.as_str().to_owned()).collect();
    let seeds = [seed()?, seed()?, seed()?, seed()?, seed()?];
    let file = settings.sip.secret_file.as_ref().map(settings::FilePath::as_path);
    let secrets = match cluster.filter(|_| file.is_none()) {
        // Any member takes the nonces and tokens of any other.
        Some(cluster) => Secrets { first: derive(cluster, "node"), others: Vec::new() },
        None => node_secret::load(file, seeds[0])?,
    };
    let users = users(settings)?;
    let gather = Duration::from_micros(settings.sip.gather_us.into());
    let servers = settings.dns.servers.clone();
    let resolver = ResolverConfig { servers, ..ResolverConfig::default() };
    let settings = settings.clone();
    let ng = ng.map(|_| -> Box<dyn FnOnce() -> Ng + Send> {
        let (settings, media) = (settings.clone(), media.clone());
        Box::new(move || ng::core(&settings, media))
    });
    let media = media.clone();
    let proxy = move |now, bound: &[SocketAddr]| {
        let [_, nonces, transactions, locations, tags] = seeds;
        let secret = secrets.first;
        let parts = Parts {
            transactions: Transactions::new(now, transactions_config(&settings, transactions)),
            registrar: registrar(&settings, users, now, locations),
            secret,
            authenticator: Authenticator::new(auth_config(&settings, secrets), nonces, now, unix()),
            local: Box::new(KernelRoutes::default()),
            media: Box::new(media),
            seed: tags,
        };
        Proxy::new(now, proxy_config(&settings, bound), parts)
    };
    Ok(SignalingParts {
        listeners,
        limits,
        tls,
        ws_origins,
        proxy: Box::new(proxy),
        resolver,
        gather,
        ng,
    })
}

fn proxy_config(settings: &Settings, bound: &[SocketAddr]) -> Config {
    let listeners = settings
        .sip
        .listen
        .iter()
        .zip(bound)
        .map(|(listen, bound)| Listener {
            transport: transport(listen.transport),
            bound: *bound,
            advertised: listen.advertise,
        })
        .collect();
    Config {
        listeners,
        domains: settings.sip.domains.iter().map(|d| d.as_str().to_owned()).collect(),
        realm: settings.sip.realm().to_owned(),
        trusted: settings.peers.trusted.clone(),
        assert_identity: settings.sip.assert_identity,
        routes: settings
            .routes
            .iter()
            .map(|route| Route {
                domain: route.domain.as_str().to_owned(),
                next_hops: route.next_hop.iter().map(next_hop).collect(),
                transport: route.transport.map(transport),
            })
            .collect(),
        service_routes: (settings.sip.registrar.service_route.iter())
            .map(|route| route.as_str().to_owned())
            .collect(),
        flow_timer: Some(settings.sip.registrar.flow_timer_s.duration()).filter(|t| !t.is_zero()),
        relay_media: settings.media.relay == RelayMode::Always,
        learning: learning(settings),
        udp_bytes_max: settings.sip.udp_max_bytes,
        fork_time: settings.sip.fork_timeout_s.duration(),
        server_timeout: settings.sip.server_timeout_s.duration(),
        redirects: redirects(settings.sip.follow_redirects),
        session_timers: session_timers(settings),
        events: events(settings),
        guard: guard(settings),
        overload: overload(settings),
        server_name: concat!("ringfarm/", env!("CARGO_PKG_VERSION")).to_owned(),
        limits: Limits {
            calls: settings.limits.sessions,
            contexts: settings.limits.transactions,
            branches: settings.limits.branches,
            call_lifetime: settings.limits.call_lifetime_s.duration(),
        },
    }
}

const fn redirects(followed: settings::Redirects) -> Redirects {
    match followed {
        settings::Redirects::Never => Redirects::Never,
        settings::Redirects::Served => Redirects::Served,
        settings::Redirects::Anywhere => Redirects::Anywhere,
    }
}

fn session_timers(settings: &Settings) -> Option<SessionTimers> {
    let interval_s = settings.sip.session_expires_s;
    (interval_s > 0).then_some(SessionTimers { interval_s, min_s: settings.sip.min_se_s })
}

fn next_hop(next_hop: &settings::NextHop) -> NextHop {
    match next_hop {
        settings::NextHop::Address(address) => NextHop::Address(*address),
        settings::NextHop::Name { host, port } => {
            NextHop::Name { host: host.as_str().into(), port: *port }
        }
    }
}

fn events(settings: &Settings) -> events::Config {
    let events = &settings.events;
    let package = |package: &EventPackage| match package {
        EventPackage::Reg => Package::Reg,
        EventPackage::Presence => Package::Presence,
        EventPackage::Dialog => Package::Dialog,
        EventPackage::MessageSummary => Package::MessageSummary,
    };
    let list = |list: &settings::EventList| {
        let members: Vec<_> = list.members.iter().map(|m| m.as_str().to_owned()).collect();
        // The settings take addresses alone.
        events::List::new(list.uri.as_str(), &members).ok()
    };
    events::Config {
        packages: events.packages.iter().map(package).collect(),
        watch: match events.watch {
            settings::Watch::Own => events::Watch::Own,
            settings::Watch::Domain => events::Watch::Domain,
            settings::Watch::Users => events::Watch::Users,
        },
        expires_min: events.min_expires_s.duration(),
        expires_max: events.max_expires_s.duration(),
        lists: events.lists.iter().filter_map(list).collect(),
        limits: events::Limits {
            subscriptions: events.subscriptions,
            subscriptions_per_user: events.subscriptions_per_user,
            subscriptions_per_watcher: events.subscriptions_per_watcher,
            publications: events.publications,
            publications_per_user: events.publications_per_user,
            document_bytes: events.document_bytes,
        },
    }
}

/// Trusted peers and the servers of routes answer for themselves.
fn guard(settings: &Settings) -> guard::Config {
    let defence = &settings.defence;
    let trusted = settings.peers.trusted.iter().chain(&defence.exempt).copied();
    let hops = settings.routes.iter().flat_map(|route| route.next_hop.iter());
    let routes = hops.filter_map(|hop| match hop {
        settings::NextHop::Address(address) => Some(address.ip().into()),
        settings::NextHop::Name { .. } => None,
    });
    guard::Config {
        enabled: defence.enabled,
        sources: if defence.enabled { defence.sources } else { 0 },
        rate: defence.messages_per_s,
        burst: defence.burst,
        account_failures: defence.account_failures,
        ban_failures: defence.ban_failures,
        window: defence.window_s.duration(),
        ban: defence.ban_s.duration(),
        answers: defence.answers_per_s,
        account_calls: defence.account_calls_per_min,
        account_registers: defence.account_registers_per_min,
        account_messages: defence.account_messages_per_min,
        scanners: defence.scanners.iter().map(|word| word.as_str().to_owned()).collect(),
        exempt: trusted.chain(routes).collect(),
    }
}

fn overload(settings: &Settings) -> overload::Config {
    let from = &settings.overload;
    overload::Config {
        enabled: from.enabled,
        lag: Duration::from_millis(from.lag_ms.into()),
        tables: from.tables_percent,
        ports: from.ports_percent,
        new_per_s: from.new_per_s,
        emergency_per_s: from.emergency_per_s,
        emergency_numbers: from.emergency_numbers.iter().map(|n| n.as_str().to_owned()).collect(),
        retry_after: from.retry_after_s.duration(),
    }
}

/// When the sources of media are learned.
pub(super) const fn learning(settings: &Settings) -> LearningPolicy {
    match settings.media.learning {
        Learning::Strict => LearningPolicy::Strict,
        Learning::Nat => LearningPolicy::Nat,
        Learning::Asymmetric => LearningPolicy::Asymmetric,
    }
}

pub(super) const fn transport(transport: settings::Transport) -> Transport {
    match transport {
        settings::Transport::Udp => Transport::Udp,
        settings::Transport::Tcp => Transport::Tcp,
        settings::Transport::Tls => Transport::Tls,
        settings::Transport::Ws => Transport::Ws,
        settings::Transport::Wss => Transport::Wss,
    }
}

fn transactions_config(settings: &Settings, seed: [u8; 32]) -> transaction::Config {
    // Over UDP a transaction outlives its answer by 32 s, so more of them exist than requests are
    // in progress; the defaults are the least.
    let defaults = transaction::Config::new(seed);
    let least = settings.limits.transactions;
    transaction::Config {
        servers_max: defaults.servers_max.max(least),
        clients_max: defaults.clients_max.max(least),
        ..defaults
    }
}

fn auth_config(settings: &Settings, secrets: Secrets) -> auth::Config {
    let algorithm = |digest: &settings::Digest| match digest {
        settings::Digest::Md5 => Algorithm::Md5,
        settings::Digest::Sha256 => Algorithm::Sha256,
    };
    auth::Config {
        algorithms: settings.sip.digest.iter().map(algorithm).collect(),
        nonce_life: settings.sip.nonce_life_s.duration(),
        other_secrets: secrets.others,
        ..auth::Config::new(secrets.first)
    }
}

fn registrar(
    settings: &Settings,
    users: Box<dyn Users>,
    now: Instant,
    seed: [u8; 32],
) -> Registrar {
    let times = &settings.sip.registrar;
    let config = registrar::Config {
        expires_min: times.min_expires_s.duration(),
        expires_max: times.max_expires_s.duration(),
        expires_default: times.default_expires_s.duration(),
        bindings_per_user_max: settings.limits.contacts_per_user,
        bindings_max: settings.limits.registrations,
    };
    Registrar::new(now, config, users, seed)
}

fn users(settings: &Settings) -> anyhow::Result<Box<dyn Users>> {
    if settings.users.is_open() {
        return Ok(Box::new(AnyUser));
    }
    let mut table = UserTable::default();
    let realm = settings.sip.realm();
    for user in &settings.users.list {
        let name = user.name.as_str();
        let secret = match user.credentials() {
            // Hashed once here, not for each request.
            Credentials::Password(password) => Secret::Ha1 {
                md5: Some(auth::ha1_md5(name, realm, password.reveal())),
                sha256: Some(auth::ha1_sha256(name, realm, password.reveal())),
            },
            Credentials::Ha1 { md5, sha256 } => Secret::Ha1 {
                md5: md5.map(|hash| ha1(name, hash)).transpose()?,
                sha256: sha256.map(|hash| ha1(name, hash)).transpose()?,
            },
        };
        table.insert(name, secret);
    }
    Ok(Box::new(table))
}

fn ha1<const N: usize>(user: &str, hash: &settings::Secret) -> anyhow::Result<[u8; N]> {
    let digits = hash.reveal().as_bytes();
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .with_context(|| format!("user {user}: the HA1 hash is not {} hexadecimal digits", 2 * N))
}

/// How often the host's addresses were said to have changed. The process has one routing table, and
/// whoever asks it looks here.
static REROUTED: AtomicU64 = AtomicU64::new(0);

/// The host's addresses are known to have changed: no remembered one is used again (S50).
pub(super) fn reroute() {
    REROUTED.fetch_add(1, Ordering::Relaxed);
}

/// The kernel's routing table.
#[derive(Default)]
pub(super) struct KernelRoutes {
    remembered: signaling_net::route::LocalAddresses,
    rerouted: u64,
}

impl LocalAddresses for KernelRoutes {
    fn local_for(&mut self, remote: SocketAddr) -> Option<IpAddr> {
        let rerouted = REROUTED.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.rerouted, rerouted) != rerouted {
            self.remembered.forget();
        }
        self.remembered.lookup(remote, Instant::now()).ok()
    }
}

pub(super) fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// 32 bytes of the system's randomness.
fn seed() -> anyhow::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| anyhow!("the system gives no randomness: {error}"))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 3.4.2: H(A1) is the same for every request, so it is not computed for each.
    #[test]
    fn passwords_are_hashed_when_they_are_loaded() {
        let text =
            "[sip]\nrealm = \"r\"\n[[users.list]]\nname = \"alice\"\npassword = \"wonder\"\n";
        let settings = settings::check(text).expect("good settings");
        let users = users(&settings).expect("users");
        let hashed = Secret::Ha1 {
            md5: Some(auth::ha1_md5("alice", "r", "wonder")),
            sha256: Some(auth::ha1_sha256("alice", "r", "wonder")),
        };
        assert_eq!(users.secret("alice"), Some(&hashed));
    }

    #[test]
    fn the_relay_is_started_with_what_the_settings_say_of_media() {
        let text = "[media]\ndscp = 1\ndscp_video = 2\ndscp_other = 3\nstall_s = 7\n\
                    segments = false\nrest_s = 8\nidle_timeout_s = 9\n";
        let settings = settings::check(text).expect("good settings");
        let config = engine(&settings).expect("a configuration");
        let [audio, video, other] = [1, 2, 3].map(|code| Dscp::new(code).expect("a code point"));
        assert_eq!(config.dscp, Markings { audio, video, other });
        let s = Duration::from_secs;
        assert_eq!((config.stall, config.rest, config.idle), (s(7), s(8), Some(s(9))));
        assert!(!config.segments);
    }

    /// The settings cannot know the core's list, which they repeat to print it: the two say the same.
    #[test]
    fn the_settings_name_the_scanners_that_the_core_knows() {
        let settings = settings::check("").expect("good settings");
        let named = guard(&settings).scanners.into_iter().map(|word| word.to_lowercase());
        assert!(named.eq(guard::SCANNERS));
    }
}
