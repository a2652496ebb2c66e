//! A process that is, or wants to be, a member: the proxy core, its part in the cluster, and a clock of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use control_core::cluster::membership::{self, Membership, Standing, Timing};
use control_core::cluster::{
    Farm, FarmSetting, Instance, LocalSettings, MemberName, Role, UnixMillis, UnixSeconds,
    Versions, View,
};
use control_core::settings::{AddressPair, PortRange};
use signaling_core::auth::{self, Authenticator};
use signaling_core::events::Package;
use signaling_core::farm::membership::Earlier;
use signaling_core::farm::{
    Identity, Incarnation, Lasting, Member, MemberId, Mode, PeerState, Secrets, SipAddress,
    TokenKey, View as FarmView,
};
use signaling_core::proxy::config::{
    Config, LearningPolicy, Limits, Listener, MediaAddresses, Redirects,
};
use signaling_core::proxy::{LocalAddresses, Parts, Proxy};
use signaling_core::registrar::{self, AnyUser, Registrar};
use signaling_core::transaction::{self, Transactions};
use signaling_core::transport::{Arrival, ConnectionId, Target, Transport};

use super::check::{Said, Who};
use super::world::Cause;
use crate::scenario::DOMAIN;

/// Behind which all members are.
pub(crate) const SHARED: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 5060);

/// How long one that has just become a member waits for the others before it listens, as a node does.
const CONNECTED_WITHIN: Duration = Duration::from_millis(1_500);

/// Calls that everybody has forgotten end by themselves after this.
const CALL_LIFETIME: Duration = Duration::from_secs(300);

/// A clock that is wrong, and goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skew {
    pub(super) epoch: Instant,
    pub(super) ahead: Duration,
    /// Parts of a million that it is too fast.
    pub(super) fast: u32,
}

impl Skew {
    pub(super) fn local(&self, now: Instant) -> Instant {
        let since = now.saturating_duration_since(self.epoch);
        self.epoch + self.ahead + since + since / 1_000_000 * self.fast
    }

    /// When it is `local` here; never too early.
    pub(super) fn global(&self, local: Instant) -> Instant {
        let since = local.saturating_duration_since(self.epoch + self.ahead);
        let over = since / (1_000_000 + self.fast) * self.fast;
        let mut at = self.epoch + since.saturating_sub(over);
        while self.local(at) < local {
            at += Duration::from_micros(1);
        }
        at
    }
}

/// What a member tells others of itself over their connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Says {
    pub(super) draining: bool,
    pub(super) joining: bool,
}

/// How a member looks from another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) incarnation: Incarnation,
    pub(super) state: PeerState,
    pub(super) says: Says,
}

pub(super) struct Process {
    pub(super) life: u64,
    pub(super) proxy: Proxy,
    pub(super) membership: Membership,
    pub(super) skew: Skew,
    /// Which life of a member it is.
    pub(super) own: Option<Identity>,
    /// How it sees others.
    pub(super) peers: BTreeMap<MemberId, Peer>,
    /// What it says of itself to others.
    pub(super) says: Says,
    pub(super) view: Option<Arc<View>>,
    pub(super) wake_at: Option<Instant>,
    pub(super) turns: u32,
    /// It cannot reach the engine.
    pub(super) is_cut_off: bool,
    /// A watch keeps its order.
    pub(super) watched_until: Instant,
    /// Whose registrations it knows since it is this member.
    pub(super) copied: BTreeSet<MemberId>,
    /// Ways over which something could not be sent.
    pub(super) failed: Vec<Target>,
    pub(super) draining: Option<Instant>,
    /// Those that take what is new, as it sees it.
    pub(super) takers: Vec<Identity>,
    pub(super) is_minority: bool,
    /// When it has first taken part.
    pub(super) part_since: Option<Instant>,
    /// Since when it takes nothing new, by what it knows: it drains, or sees too few.
    pub(super) closed: Option<Instant>,
}

struct Local;

impl LocalAddresses for Local {
    fn local_for(&mut self, _remote: SocketAddr) -> Option<IpAddr> {
        Some(SHARED.ip())
    }
}

impl MediaAddresses for Local {
    fn bind(&self, signaling: IpAddr) -> IpAddr {
        signaling
    }

    fn advertised(&self, local: IpAddr) -> IpAddr {
        local
    }
}

fn proxy(now: Instant, seed: u64, life: u64) -> Proxy {
    let config = Config {
        listeners: [Transport::Udp, Transport::Tcp]
            .map(|transport| Listener { transport, bound: SHARED, advertised: None })
            .to_vec(),
        domains: vec![DOMAIN.to_owned()],
        realm: DOMAIN.to_owned(),
        trusted: Vec::new(),
        routes: Vec::new(),
        service_routes: Vec::new(),
        flow_timer: None,
        learning: LearningPolicy::Strict,
        assert_identity: false,
        relay_media: false,
        udp_bytes_max: 1_300,
        fork_time: Duration::from_secs(60),
        server_timeout: Duration::from_secs(4),
        redirects: Redirects::default(),
        session_timers: None,
        overload: signaling_core::overload::Config::default(),
        events: signaling_core::events::Config {
            packages: Vec::<Package>::new(),
            ..signaling_core::events::Config::default()
        },
        guard: signaling_core::guard::Config::off(),
        server_name: "ringfarm/sim".to_owned(),
        limits: Limits { call_lifetime: CALL_LIFETIME, ..Limits::default() },
    };
    let part = |part: u8| {
        let mut bytes = [part; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&life.to_le_bytes());
        bytes
    };
    let registrar = registrar::Config::default();
    let unix = Duration::from_secs(1_700_000_000);
    let parts = Parts {
        transactions: Transactions::new(now, transaction::Config::new(part(1))),
        registrar: Registrar::new(now, registrar, Box::new(AnyUser), part(2)),
        authenticator: Authenticator::new(auth::Config::new(part(3)), part(4), now, unix),
        local: Box::new(Local),
        media: Box::new(Local),
        secret: part(7),
        seed: part(5),
    };
    Proxy::new(now, config, parts)
}

fn settings(slot: usize, farm: Option<FarmSetting>) -> LocalSettings {
    let host = (slot + 1) as u8;
    // Each member has a host of its own, and ports that are its own besides.
    let first = 10_000 + slot as u16 * 1_000;
    LocalSettings {
        role: match farm {
            Some(FarmSetting::Relay | FarmSetting::Auto) => Role::Backend,
            Some(FarmSetting::Member | FarmSetting::Disabled) | None => Role::Frontend,
        },
        farm,
        call_legs: None,
        signals: None,
        capacity: None,
        media_ports: PortRange::new(first, first + 999).expect("an even first, an odd last"),
        wan_ip: AddressPair::default(),
        cluster_wan_ip: AddressPair::default(),
        mesh: ([10, 0, 0, host], 7000).into(),
        sip: Vec::new(),
        protocol: Versions { oldest: 1, newest: 1 },
    }
}

/// A new key comes in two steps: all members take it before anybody writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Keys {
    #[default]
    Old,
    NewIsTaken,
    New,
}

/// Those that all members begin with.
pub(crate) fn first_secrets() -> Secrets {
    secrets(Keys::Old)
}

pub(super) fn secrets(keys: Keys) -> Secrets {
    let old = TokenKey { id: 1, secret: [41; 32] };
    let new = TokenKey { id: 2, secret: [42; 32] };
    let (current, previous) = match keys {
        Keys::Old => (old, None),
        Keys::NewIsTaken => (old, Some(new)),
        Keys::New => (new, Some(old)),
    };
    Secrets { current, previous, lasting: Lasting([3; 32]) }
}

/// A member that is told everything by hand: the second of three that go by one view.
pub(crate) struct Lone {
    pub(crate) proxy: Proxy,
    pub(crate) membership: Membership,
}

impl Lone {
    pub(crate) fn new(now: Instant) -> Lone {
        let skew = Skew { epoch: now, ahead: Duration::ZERO, fast: 0 };
        let Process { mut proxy, membership, .. } = Process::new(1, (1, None), 1, now, skew);
        let identity = |number| Identity {
            member: MemberId::new(number).expect("not 0"),
            incarnation: Incarnation(1),
        };
        let member = |number| Member {
            identity: identity(number),
            weight: 100,
            mode: Mode::Member,
            draining: false,
            joining: false,
            earlier: Earlier::new(),
            state: PeerState::Up,
            addresses: vec![SipAddress { transport: Transport::Udp, address: SHARED }],
        };
        proxy.set_farm(identity(2), &first_secrets());
        let members = (1..=3).map(member).collect();
        proxy.set_membership(now, FarmView { members, sends_itself: false });
        Lone { proxy, membership }
    }
}

impl Process {
    pub(super) fn new(
        seed: u64,
        (slot, farm): (usize, Option<FarmSetting>),
        life: u64,
        now: Instant,
        skew: Skew,
    ) -> Process {
        let local = skew.local(now);
        let name = MemberName::new(&format!("m{slot}")).expect("a letter and digits");
        let (instance, certified) = (Instance(life + 1), UnixSeconds(1));
        let identity = membership::Identity { name, instance, certified };
        let timing = Timing::default();
        let unix = UnixMillis(1_000_000 + life);
        Process {
            life,
            proxy: proxy(local, seed, life),
            membership: Membership::new(identity, settings(slot, farm), timing, local, unix),
            skew,
            own: None,
            peers: BTreeMap::new(),
            view: None,
            wake_at: None,
            turns: 0,
            is_cut_off: false,
            watched_until: now,
            copied: BTreeSet::new(),
            says: Says { draining: false, joining: true },
            failed: Vec::new(),
            draining: None,
            takers: Vec::new(),
            is_minority: false,
            part_since: None,
            closed: None,
        }
    }

    /// Whether it takes part: a view that it goes by holds it.
    pub(super) fn takes_part(&self) -> bool {
        self.own.is_some() && matches!(self.membership.standing(), Standing::Part(_))
    }

    /// Whether it takes part and listens: it sees the others, or has waited for them.
    pub(super) fn listens(&self, now: Instant) -> bool {
        let Some(since) = self.part_since.filter(|_| self.takes_part()) else { return false };
        let is_seen = |member: &control_core::cluster::Member| {
            let id = MemberId::new(member.id.get());
            let is_own = self.own.map(|own| own.member) == id;
            let peer = id.and_then(|id| self.peers.get(&id));
            let peer = peer.filter(|peer| peer.incarnation.0 == member.incarnation.0);
            is_own || peer.is_some_and(|peer| peer.state == PeerState::Up)
        };
        let sees_all = || self.view.iter().flat_map(|view| &view.members).all(is_seen);
        now >= since + CONNECTED_WITHIN || sees_all()
    }

    /// What the proxy core is to know of the members.
    fn farm_view(&self) -> FarmView {
        let Some(view) = self.view.as_ref() else { return FarmView::default() };
        let member = |member: &control_core::cluster::Member| {
            let id = MemberId::new(member.id.get())?;
            let incarnation = Incarnation(member.incarnation.0);
            let is_own = self.own == Some(Identity { member: id, incarnation });
            let peer = self.peers.get(&id).filter(|peer| peer.incarnation == incarnation);
            let state = peer.map_or(PeerState::Down, |peer| peer.state);
            let earlier = member.profile.continues.iter().filter(|of| **of < member.incarnation);
            let mode = match view.farm(member) {
                Farm::Member => Mode::Member,
                Farm::Disabled => Mode::Disabled,
                Farm::Relay => Mode::Relay,
            };
            Some(Member {
                identity: Identity { member: id, incarnation },
                weight: u32::from(member.profile.capacity.get()),
                mode,
                draining: member.profile.draining || peer.is_some_and(|peer| peer.says.draining),
                joining: match peer {
                    _ if is_own => self.membership.is_joining(),
                    peer => peer.is_some_and(|peer| peer.says.joining),
                },
                earlier: earlier.map(|of| Incarnation(of.0)).collect(),
                state,
                addresses: [Transport::Udp, Transport::Tcp]
                    .map(|transport| SipAddress { transport, address: SHARED })
                    .to_vec(),
            })
        };
        let own = view.members.iter().find(|member| {
            let own = self.own.map(|own| (own.member.get(), own.incarnation.0));
            own == Some((member.id.get(), member.incarnation.0))
        });
        let sends_itself = own.is_none_or(|own| own.profile.farm != FarmSetting::Relay);
        FarmView { members: view.members.iter().filter_map(member).collect(), sends_itself }
    }

    /// Whether it has learned what there was to know when it came: one that was there has given what it has,
    /// or all have, as all of them have just come.
    pub(super) fn has_arrived(&self) -> bool {
        let Some(view) = self.view.as_ref().filter(|_| self.membership.is_joining()) else {
            return false;
        };
        let own = self.own.map(|own| own.member);
        let others = view.members.iter().filter_map(|member| MemberId::new(member.id.get()));
        let mut others = others.filter(|id| Some(*id) != own);
        let knows = |id: &MemberId| self.peers.get(id).is_some_and(|peer| !peer.says.joining);
        let has_given = |id: MemberId| {
            let peer = self.peers.get(&id);
            peer.is_some_and(|peer| peer.state != PeerState::Down) && self.copied.contains(&id)
        };
        self.copied.iter().any(knows) || others.all(has_given)
    }

    /// Tells the proxy core of the members.
    pub(super) fn refresh(&mut self, now: Instant) {
        if self.view.is_none() {
            return;
        }
        let mut view = self.farm_view();
        if self.draining.is_some() {
            // It knows of itself before anybody says so.
            let own = view.members.iter_mut().find(|member| Some(member.identity) == self.own);
            own.into_iter().for_each(|own| own.draining = true);
        }
        let is_seen =
            |member: &&Member| Some(member.identity) == self.own || member.state != PeerState::Down;
        let farm = || view.members.iter().filter(|member| member.mode == Mode::Member);
        let takers = farm().filter(is_seen).filter(|member| !member.draining);
        let takers: Vec<&Member> = takers.collect();
        let all_join = takers.iter().all(|member| member.joining);
        let takers = takers.iter().filter(|member| all_join || !member.joining);
        self.takers = takers.map(|member| member.identity).collect();
        let is_in = farm().any(|member| Some(member.identity) == self.own);
        self.is_minority = is_in && farm().filter(is_seen).count() * 2 < farm().count();
        let is_left_out = is_in && !self.takers.iter().any(|taker| Some(*taker) == self.own);
        let is_closed = self.is_minority || self.draining.is_some() || is_left_out;
        self.closed = is_closed.then(|| self.closed.unwrap_or(now));
        self.proxy.set_membership(self.skew.local(now), view);
    }

    /// What the checks are to know of something that it sends.
    pub(super) fn says(&self, cause: Cause) -> Option<Said> {
        let who = Who { process: self.life, identity: self.own? };
        match cause {
            Cause::Own => Some(Said { who, closed: self.closed }),
            Cause::Errand(..) => Some(Said { who, closed: None }),
            Cause::SendsFor => None,
        }
    }

    /// S22: whether it breaks its setting by sending this itself.
    pub(super) fn should_send_through_others(&self, cause: Cause, bytes: &[u8]) -> bool {
        let relays = self.proxy.farm().is_some_and(|farm| farm.membership.mode() == Mode::Relay);
        let is_request = !bytes.starts_with(b"SIP/2.0 ");
        relays && is_request && !self.takers.is_empty() && !matches!(cause, Cause::SendsFor)
    }

    /// From a phone, over its connection if it has one.
    pub(super) fn handle_message(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        connection: Option<ConnectionId>,
        bytes: Bytes,
    ) {
        let (transport, listener) = match connection {
            Some(_) => (Transport::Tcp, crate::node::TCP),
            None => (Transport::Udp, crate::node::UDP),
        };
        let arrival = Arrival { transport, listener, local: SHARED, remote, connection };
        self.proxy.handle_message(self.skew.local(now), arrival, bytes);
    }
}
