//! Several members that share an address, behind a balancer that sends every packet to any of them.

mod balanced;
mod calls;
mod changes;
mod dialogs;
mod lamps;
mod registrations;
mod relaying;
mod unanswered;

use std::time::Duration;

use super::calls::{ALICE, BOB, from_alice, invite};
use super::harness::{Bench, Plan, address, register, reply, sdp, show};
use crate::events;
use crate::farm::{
    Identity, Incarnation, Lasting, Member, MemberId, Mode, PeerState, Secrets, SipAddress,
    TokenKey, View, Why,
};
use crate::proxy::farm::FarmOutput;
use crate::proxy::output::CallEnd;
use crate::transport::{ConnectionId, Transmit, Transport};
use crate::wire::Message;

fn secrets(key: u8) -> Secrets {
    let of = |id| TokenKey { id, secret: [id + 40; 32] };
    let previous = (key > 1).then(|| of(key - 1));
    Secrets { current: of(key), previous, lasting: Lasting([3; 32]) }
}

/// Subscriptions to presence and to dialogs are served.
fn events() -> events::Config {
    let packages = vec![events::Package::Presence, events::Package::Dialog];
    events::Config { packages, ..events::Config::default() }
}

fn identity(member: usize, incarnation: u32) -> Identity {
    let member = MemberId::new(member as u16 + 1).unwrap();
    Identity { member, incarnation: Incarnation(incarnation) }
}

/// A farm, and where its packets go.
struct Farm {
    members: Vec<Bench>,
    incarnations: Vec<u32>,
    dead: Vec<bool>,
    modes: Vec<Mode>,
    draining: Vec<bool>,
    joining: Vec<bool>,
    /// Earlier lives of the same process.
    earlier: Vec<Vec<u32>>,
    /// Those that are on the list.
    listed: Vec<bool>,
    random: u64,
    sends_itself: bool,
    /// What members tell the others of registrations is under way for ever.
    keeps_replicas: bool,
    /// So are their questions.
    keeps_asks: bool,
    /// How many messages went from one member to another, and why.
    relayed: Vec<Why>,
    /// How often a member told others of calls.
    told_of_calls: usize,
}

impl Farm {
    fn new(count: usize, seed: u64) -> Farm {
        let mut farm = Farm {
            members: Vec::new(),
            incarnations: Vec::new(),
            dead: Vec::new(),
            modes: Vec::new(),
            draining: Vec::new(),
            joining: Vec::new(),
            earlier: Vec::new(),
            listed: Vec::new(),
            random: seed,
            sends_itself: false,
            keeps_replicas: false,
            keeps_asks: false,
            relayed: Vec::new(),
            told_of_calls: 0,
        };
        for _ in 0..count {
            farm.join();
        }
        // What the first members were alone with is long over.
        farm.pass(Duration::from_secs(300));
        farm
    }

    fn join(&mut self) {
        let at = self.members.len();
        let mut bench =
            Bench::new(Plan { seed: at as u8 + 10, events: events(), ..Plan::default() });
        if let Some(first) = self.members.first() {
            bench.now = first.now;
        }
        bench.proxy.set_farm(identity(at, 1), &secrets(1));
        self.members.push(bench);
        self.incarnations.push(1);
        self.dead.push(false);
        self.modes.push(Mode::Member);
        self.draining.push(false);
        self.joining.push(false);
        self.earlier.push(Vec::new());
        self.listed.push(true);
        self.publish();
        if at > 0 {
            self.copy(0, at);
        }
    }

    /// All registrations, from one member to another.
    fn copy(&mut self, from: usize, to: usize) {
        let mut after = None;
        loop {
            let now = self.members[from].now;
            let chunk = self.members[from].proxy.registrations_chunk(now, after.as_deref());
            self.members[to].proxy.handle_replicated(now, &chunk.bytes);
            self.members[to].settle();
            after = chunk.next;
            if after.is_none() {
                return;
            }
        }
    }

    fn publish(&mut self) {
        let member = |at: usize| Member {
            identity: identity(at, self.incarnations[at]),
            weight: 10,
            mode: self.modes[at],
            draining: self.draining[at],
            joining: self.joining[at],
            earlier: self.earlier[at].iter().copied().map(Incarnation).collect(),
            state: if self.dead[at] { PeerState::Down } else { PeerState::Up },
            addresses: self.addresses(at),
        };
        let listed = (0..self.members.len()).filter(|at| self.listed[*at]);
        let view = View { members: listed.map(member).collect(), sends_itself: self.sends_itself };
        for bench in &mut self.members {
            bench.proxy.set_membership(bench.now, view.clone());
            bench.settle();
        }
        self.pump();
    }

    /// All have the balancer's address; each has one of its own where they relay.
    fn addresses(&self, at: usize) -> Vec<SipAddress> {
        let own = format!("10.0.0.{}:5060", at + 1);
        let relay = self.modes.contains(&Mode::Relay);
        let of = |text: &str| {
            let address = address(text);
            [Transport::Udp, Transport::Tcp].map(|transport| SipAddress { transport, address })
        };
        let shared = (self.modes[at] == Mode::Member).then(|| of("192.0.2.1:5060"));
        relay.then(|| of(&own)).into_iter().chain(shared).flatten().collect()
    }

    fn any(&mut self) -> usize {
        loop {
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
            let at = (self.random >> 33) as usize % self.members.len();
            if !self.dead[at] {
                return at;
            }
        }
    }

    /// A datagram, to whichever member.
    fn udp(&mut self, from: &str, text: &str) {
        let at = self.any();
        self.udp_at(at, from, text);
    }

    fn udp_at(&mut self, at: usize, from: &str, text: &str) {
        self.members[at].udp(from, text);
        self.pump();
    }

    /// A message on a connection that this member has.
    fn tcp_at(&mut self, at: usize, from: &str, text: &str) {
        let connection = connection(at).0;
        self.members[at].tcp(from, connection, text);
        self.pump();
    }

    /// Members get what they have for each other.
    fn pump(&mut self) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for at in 0..self.members.len() {
                self.tell_written(at);
                while let Some(output) = self.members[at].farm.pop_front() {
                    moved = true;
                    self.give(at, output);
                }
            }
        }
    }

    /// What this member has sent on connections of others has been written there.
    fn tell_written(&mut self, at: usize) {
        let sent: Vec<_> = self.members[at].sent.iter().cloned().collect();
        for transmit in sent {
            let Some(connection) = transmit.target.connection else { continue };
            let owner = usize::from(connection.member()) - 1;
            if owner != at && !self.dead[at] {
                self.members[owner].proxy.handle_written(connection, &transmit.bytes);
            }
        }
    }

    fn give(&mut self, from: usize, output: FarmOutput) {
        match output {
            FarmOutput::Relay(relay) => {
                self.relayed.push(relay.errand.why);
                let to = usize::from(relay.to.member.get()) - 1;
                assert_ne!(to, from, "a member relays to itself: {relay:?}");
                if self.dead[to] || self.dead[from] {
                    return;
                }
                let whose = identity(from, self.incarnations[from]);
                let bench = &mut self.members[to];
                let now = bench.now;
                bench.proxy.handle_relayed(now, whose, relay.errand, relay.arrival, relay.bytes);
                bench.settle();
            }
            FarmOutput::SendOut { by, transmit } => {
                let by = usize::from(by.member.get()) - 1;
                assert!(by != from && !self.dead[by] && self.modes[by] == Mode::Member);
                self.members[by].sent.push_back(transmit);
            }
            FarmOutput::Ask { .. } if self.keeps_asks => {}
            FarmOutput::Ask { of, user, token } => {
                let of = usize::from(of.member.get()) - 1;
                assert_ne!(of, from, "a member asks itself");
                let now = self.members[of].now;
                let told = self.members[of].proxy.registrations_of(now, &user);
                let bench = &mut self.members[from];
                bench.proxy.handle_told(bench.now, token, &told);
                bench.settle();
            }
            FarmOutput::Calls { to, bytes } => {
                self.told_of_calls += 1;
                let to = to.map(|to| usize::from(to.get()) - 1);
                let all = 0..self.members.len();
                for at in all.filter(|at| *at != from && to.is_none_or(|to| to == *at)) {
                    if !self.dead[at] && !self.dead[from] {
                        let bench = &mut self.members[at];
                        bench.proxy.handle_calls(bench.now, identity(from, 1).member, &bytes);
                        bench.settle();
                    }
                }
            }
            FarmOutput::Replicate(_) if self.keeps_replicas => {}
            FarmOutput::Replicate(bytes) => {
                for to in (0..self.members.len()).filter(|to| *to != from) {
                    let bench = &mut self.members[to];
                    bench.proxy.handle_replicated(bench.now, &bytes);
                    bench.settle();
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        for bench in &mut self.members {
            bench.pass(time);
        }
        self.pump();
    }

    /// What any living member has sent, and which.
    fn taken(&mut self) -> Vec<(usize, Transmit)> {
        let mut all = Vec::new();
        for (at, bench) in self.members.iter_mut().enumerate() {
            let sent = bench.sent.drain(..).map(|transmit| (at, transmit));
            all.extend(sent.filter(|_| !self.dead[at]));
        }
        all
    }

    /// The only message that is sent, to `to`.
    #[track_caller]
    fn only(&mut self, to: &str) -> (usize, Message) {
        let taken = self.taken();
        assert_eq!(taken.len(), 1, "{taken:?}");
        let (at, transmit) = taken.into_iter().next().unwrap();
        let message = Message::parse_datagram(transmit.bytes).unwrap();
        assert_eq!(transmit.target.remote, address(to), "{}", show(&message));
        (at, message)
    }

    #[track_caller]
    fn request(&mut self, to: &str, method: &str) -> (usize, Message) {
        let (at, message) = self.only(to);
        assert!(message.is_request() && message.method().as_str() == method, "{}", show(&message));
        (at, message)
    }

    #[track_caller]
    fn status(&mut self, to: &str, status: u16) -> Message {
        let (_, message) = self.only(to);
        assert_eq!(message.status(), Some(status), "{}", show(&message));
        message
    }

    #[track_caller]
    fn silence(&mut self) {
        let taken = self.taken();
        assert!(taken.is_empty(), "{taken:?}");
    }

    #[track_caller]
    fn register(&mut self, user: &str, at: &str) {
        self.udp(at, &register(user, at, "1"));
        self.status(at, 200);
    }

    /// Alice calls Bob; the member that has the call, and what Bob gets.
    #[track_caller]
    fn ring(&mut self) -> (usize, Message) {
        self.udp(ALICE, &invite("bob", &sdp("198.51.100.10", 4000)));
        let taken = self.taken();
        let parsed = taken
            .iter()
            .map(|(at, sent)| (*at, Message::parse_datagram(sent.bytes.clone()).unwrap()));
        let parsed: Vec<_> = parsed.collect();
        assert_eq!(parsed.len(), 2, "{parsed:?}");
        assert_eq!(parsed[0].1.status(), Some(100));
        assert_eq!(parsed[1].1.method().as_str(), "INVITE");
        parsed[1].clone()
    }

    #[track_caller]
    fn answer(&mut self, invite: &Message) -> Message {
        let body = sdp("198.51.100.20", 6000);
        self.udp(BOB, &reply(invite, 200, "tb", &format!("sip:bob@{BOB}"), &body));
        let ok = self.status(ALICE, 200);
        self.udp(ALICE, &from_alice("ACK", 1, &ok, "", ""));
        self.request(BOB, "ACK");
        ok
    }

    /// A member is taken for dead and is not: it is off the list, then has joined again, in the same process.
    fn fence(&mut self, at: usize) {
        self.listed[at] = false;
        self.publish();
        self.earlier[at].push(self.incarnations[at]);
        self.incarnations[at] += 1;
        let bench = &mut self.members[at];
        bench.proxy.set_farm(identity(at, self.incarnations[at]), &secrets(1));
        self.listed[at] = true;
        self.publish();
    }

    /// Kills a member; the others see it at once.
    fn kill(&mut self, at: usize) {
        self.dead[at] = true;
        self.members[at].sent.clear();
        self.publish();
    }

    #[track_caller]
    fn assert_clean(&mut self) {
        self.pass(Duration::from_secs(300));
        self.taken();
        for (at, bench) in self.members.iter().enumerate() {
            assert_eq!(bench.proxy.load(), crate::proxy::Load::default(), "member {at}");
            bench.proxy.assert_clean();
        }
    }

    fn ends(&self) -> Vec<CallEnd> {
        self.members.iter().flat_map(|bench| &bench.records).map(|record| record.end).collect()
    }
}

fn connection(at: usize) -> ConnectionId {
    ConnectionId::of_member(at as u16 + 1, 1, 7)
}
