//! What the router knows of the members, now and a while ago.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::history::{History, Took};
use super::{Identity, Incarnation, MemberId, rendezvous};
use crate::transport::Transport;

/// How long what a request has begun may come again: 64*T1 (RFC 3261 17.1.2.2, B3).
pub const REPEATS: Duration = Duration::from_secs(32);

/// How long what ends an INVITE may come after it: a phone may ring for as long as timer C allows (181 s,
/// RFC 3261 16.6 step 11), and then its refusal is repeated for 64*T1.
pub const ENDINGS: Duration = Duration::from_secs(181 + 32);

/// Most earlier lists that are remembered. Each change makes one; when a cluster is changed faster than
/// this, the oldest is forgotten first.
pub const PAST_MAX: usize = 16;

/// Most earlier lives of itself that a process answers for.
pub const EARLIER_MAX: usize = 8;

/// Most members that are asked for one message whether they know it. More have never had the same key within
/// [`ENDINGS`] unless the cluster changes without end.
pub const ASKED_MAX: usize = 4;

/// What a member does with new requests (S20 to S22), once `Auto` is resolved (S23).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are handled here or by another farm member, by the hash of their key (S20).
    Member,
    /// They are handled here (S21).
    #[default]
    Disabled,
    /// They are handled here, and what they send goes out through farm members (S22).
    Relay,
}

/// How another member looks from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It answers.
    Up,
    /// It has been silent for longer than it should.
    Suspect,
    /// There is no connection to it.
    Down,
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who, and which of its lives.
    pub identity: Identity,
    /// Its share of what is new, relative to the others; 0: none.
    pub weight: u32,
    /// Its farm setting.
    pub mode: Mode,
    /// It takes nothing new.
    pub draining: bool,
    /// It has just come and does not know yet what the others know: it takes nothing new until it does, unless
    /// nobody else is there.
    pub joining: bool,
    /// Earlier lives that are this same process, which was taken for dead and was not: it has what they had
    /// begun. None of a process that has ended is ever among them (B5).
    pub earlier: Earlier,
    /// How it looks from here; what is said of this member itself does not count.
    pub state: PeerState,
    /// Where it is reached over SIP: what its listeners advertise first, then what else they are bound to.
    pub addresses: Vec<SipAddress>,
}

/// Lives of a member before its present one: few have any.
pub type Earlier = SmallVec<[Incarnation; 1]>;

/// Where a member takes SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SipAddress {
    /// Over which transport.
    pub transport: Transport,
    /// The address.
    pub address: SocketAddr,
}

impl Member {
    /// Whether this is an address of the member.
    #[must_use]
    pub fn has(&self, address: SocketAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address)
    }

    /// Whether this life is the member's: the present one, or an earlier one of the same process.
    #[must_use]
    pub fn lives(&self, identity: Identity) -> bool {
        identity == self.identity
            || identity.member == self.identity.member
                && self.earlier.contains(&identity.incarnation)
    }

    /// What peers of that family and transport know the member by.
    #[must_use]
    pub fn address(&self, transport: Transport, is_ipv4: bool) -> Option<SocketAddr> {
        let fits =
            |own: &&SipAddress| own.transport == transport && own.address.is_ipv4() == is_ipv4;
        self.addresses.iter().find(fits).map(|own| own.address)
    }
}

/// The members as they are now: the list that the Controller has published, and how each looks from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// All of them, this one included. Of several entries of one member the first counts.
    pub members: Vec<Member>,
    /// Whether this member sends by itself when it is to send through farm members and none is there: it is
    /// set to `Auto` (S23). One that is set to `Relay` refuses then what would have to be sent.
    pub sends_itself: bool,
}

/// Those that take what is new.
type Takers = SmallVec<[(Identity, u32); 8]>;

/// A list of takers that is none any more.
#[derive(Clone, Debug)]
struct Past {
    takers: Takers,
    ended: Instant,
}

/// Whose a life of a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is this node's own.
    Own,
    /// It can be reached.
    Reachable,
    /// It cannot be reached now, and may be again.
    Down,
    /// It is over, or was taken off the list.
    Gone,
}

/// What is said of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// One member's alone.
    Of(MemberId),
    /// One that several have: a virtual one, or that of a NAT device.
    Shared,
}

/// All that the router knows of the members.
#[derive(Clone, Debug)]
pub struct Membership {
    own: Identity,
    /// Who this process was before it was taken for dead; as many as it says of itself.
    own_earlier: SmallVec<[Identity; 1]>,
    mode: Mode,
    draining: bool,
    joining: bool,
    minority: bool,
    sends_itself: bool,
    /// By their numbers.
    members: Vec<Member>,
    addresses: HashMap<SocketAddr, Whose>,
    takers: Takers,
    /// The latest first.
    past: VecDeque<Past>,
    /// When this member began to take what is new. It was not there for what the others had begun by then, and
    /// it may come to see them one after the other.
    came: Option<Instant>,
    apart: Apart,
}

/// Members that took what is new and then could not be reached. If they were half of the farm or more, they went
/// on among themselves: what began there is known to nobody on this side.
#[derive(Clone, Debug, Default)]
struct Apart {
    away: SmallVec<[Identity; 8]>,
    /// So many could not be reached at once.
    most: usize,
    back: Takers,
    /// When the last one of them came back.
    at: Option<Instant>,
}

impl Apart {
    fn update(&mut self, now: Instant, before: &Takers, members: &[Member]) {
        if self.at.is_some_and(|at| now >= at + ENDINGS) {
            self.back.clear();
            self.at = None;
        }
        let find = |identity| members.iter().find(|member| member.lives(identity));
        let is_down = |member: &Member| member.state == PeerState::Down;
        for (taker, _) in before {
            if find(*taker).is_some_and(is_down) && !self.away.contains(taker) {
                self.away.push(*taker);
            }
        }
        self.most = self.most.max(self.away.len());
        let farm = members.iter().filter(|member| member.mode == Mode::Member).count();
        let went_on = self.most * 2 >= farm;
        let (away, back): (SmallVec<[Identity; 8]>, SmallVec<[Identity; 8]>) = self
            .away
            .drain(..)
            .filter(|away| find(*away).is_some())
            .partition(|away| find(*away).is_some_and(is_down));
        self.away = away;
        for member in back.into_iter().filter(|_| went_on).filter_map(find) {
            self.back.retain(|(identity, _)| *identity != member.identity);
            self.back.push((member.identity, member.weight));
            self.at = Some(now);
        }
        if self.away.is_empty() {
            self.most = 0;
        }
    }
}

impl Membership {
    /// A member that knows nobody: it handles everything itself, as one that is `Disabled`.
    #[must_use]
    pub fn new(own: Identity) -> Self {
        Membership {
            own,
            own_earlier: SmallVec::new(),
            mode: Mode::Disabled,
            draining: false,
            joining: false,
            minority: false,
            sends_itself: true,
            members: Vec::new(),
            addresses: HashMap::new(),
            takers: Takers::new(),
            past: VecDeque::new(),
            came: None,
            apart: Apart::default(),
        }
    }

    /// This process is this life of a member from now on. What it was before it goes on being (it has everything
    /// that it had begun), except that nobody else may know that yet.
    pub fn live_on(&mut self, own: Identity) {
        if own != self.own {
            if self.own_earlier.len() == EARLIER_MAX {
                self.own_earlier.remove(0);
            }
            self.own_earlier.push(std::mem::replace(&mut self.own, own));
        }
    }

    /// Takes over what is known now. Says whether those have changed that take what is new.
    pub fn update(&mut self, now: Instant, view: View) -> bool {
        self.past.retain(|past| now < past.ended + ENDINGS);
        let mut members = view.members;
        members.sort_by_key(|member| member.identity.member);
        members.dedup_by_key(|member| member.identity.member);
        let own = members.iter().find(|member| member.identity == self.own);
        // One that is not on the list is not in the farm: it keeps to itself until it is.
        self.mode = own.map_or(Mode::Disabled, |own| own.mode);
        self.draining = own.map_or(self.draining, |own| own.draining);
        self.joining = own.is_some_and(|own| own.joining);
        self.sends_itself = view.sends_itself;
        self.addresses = addresses(&members);
        self.apart.update(now, &self.takers, &members);
        self.members = members;
        self.minority = self.sees_few();
        let takers = self.takers_now();
        if takers == self.takers {
            return false;
        }
        let before = std::mem::replace(&mut self.takers, takers);
        let has_own = |takers: &Takers| takers.iter().any(|(taker, _)| *taker == self.own);
        if has_own(&self.takers) && !has_own(&before) {
            self.came = Some(now);
        }
        if !before.is_empty() {
            self.past.push_front(Past { takers: before, ended: now });
            self.past.truncate(PAST_MAX);
        }
        true
    }

    /// This member begins to drain before anybody says so.
    pub fn drain(&mut self, now: Instant) {
        let (members, sends_itself) = (self.members.clone(), self.sends_itself);
        let mut view = View { members, sends_itself };
        for member in view.members.iter_mut().filter(|member| member.identity == self.own) {
            member.draining = true;
        }
        self.draining = true;
        self.update(now, view);
    }

    /// This member, in its present life.
    #[must_use]
    pub const fn own(&self) -> Identity {
        self.own
    }

    /// What this member does with what is new.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether this member drains (B4).
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether this member has just come, and takes nothing new yet.
    #[must_use]
    pub const fn is_joining(&self) -> bool {
        self.joining
    }

    /// Whether this member sees fewer than half of the farm: the others may be there and go on without it.
    #[must_use]
    pub const fn is_minority(&self) -> bool {
        self.minority
    }

    /// All members, by their numbers.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A member by its number.
    #[must_use]
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&id, |member| member.identity.member).ok()?;
        self.members.get(at)
    }

    /// What is to be thought of a life of a member.
    #[must_use]
    pub fn standing(&self, identity: Identity) -> Standing {
        if identity == self.own || self.own_earlier.contains(&identity) {
            return Standing::Own;
        }
        if identity.member == self.own.member {
            return Standing::Gone;
        }
        match self.member(identity.member).filter(|member| member.lives(identity)) {
            Some(Member { state: PeerState::Up | PeerState::Suspect, .. }) => Standing::Reachable,
            Some(Member { state: PeerState::Down, .. }) => Standing::Down,
            None => Standing::Gone,
        }
    }

    /// The lives of a member that are not over: its present one, and those that the same process had before.
    pub fn lives_of(&self, id: MemberId) -> impl Iterator<Item = Identity> {
        let other = self.member(id).filter(|_| id != self.own.member);
        let others = other.into_iter().flat_map(|member| {
            let earlier = member.earlier.iter();
            let earlier = earlier.map(|of| Identity { incarnation: *of, ..member.identity });
            std::iter::once(member.identity).chain(earlier)
        });
        let own = std::iter::once(self.own).chain(self.own_earlier.iter().copied());
        own.filter(move |own| own.member == id).chain(others)
    }

    /// Who this life of a member is now: a process that was taken for dead has another one since.
    #[must_use]
    pub fn now(&self, identity: Identity) -> Identity {
        if self.own_earlier.contains(&identity) {
            return self.own;
        }
        let member = self.member(identity.member).filter(|member| member.lives(identity));
        member.map_or(identity, |member| member.identity)
    }

    /// Whose a SIP address is; `None`: no member's.
    #[must_use]
    pub fn whose(&self, address: SocketAddr) -> Option<Whose> {
        self.addresses.get(&address).copied()
    }

    /// Whether it is an address of this member, be it of others as well.
    #[must_use]
    pub fn is_own_address(&self, address: SocketAddr) -> bool {
        self.member(self.own.member).is_some_and(|own| own.has(address))
    }

    /// Whether this member sends by itself if nobody sends for it (S22, S23).
    #[must_use]
    pub const fn sends_itself(&self) -> bool {
        self.sends_itself
    }

    /// Whether nobody sends what this member has to send: it is set to `Relay`, and no farm member is there
    /// (S22).
    #[must_use]
    pub fn has_no_exit(&self) -> bool {
        self.mode == Mode::Relay && !self.sends_itself && self.takers.is_empty()
    }

    /// Who takes what is new and has this hash; `None`: nobody.
    #[must_use]
    pub fn taker(&self, hash: u64) -> Option<Identity> {
        pick(&self.takers, hash)
    }

    /// Who took what is new before, for a member that has just come.
    #[must_use]
    pub fn history(&self, now: Instant) -> History {
        let past = self.past.iter().filter(|past| now < past.ended + ENDINGS);
        let of = |past: &Past| {
            let takers = past.takers.iter().copied().collect();
            Took { ago: now.saturating_duration_since(past.ended), takers }
        };
        History(past.map(of).collect())
    }

    /// Another member tells who took what is new before this one came. What this one has seen itself counts for
    /// one that has been here for longer.
    pub fn learn(&mut self, now: Instant, history: History) {
        if !self.joining && self.came.is_some() {
            return;
        }
        for Took { ago, takers } in history.0 {
            let takers: Takers = takers.into_iter().collect();
            let is_known = self.past.iter().any(|past| past.takers == takers);
            if let Some(ended) = now.checked_sub(ago).filter(|_| !is_known && ago < ENDINGS) {
                self.past.push_back(Past { takers, ended });
            }
        }
        self.past.make_contiguous().sort_by_key(|past| std::cmp::Reverse(past.ended));
        self.past.truncate(PAST_MAX);
    }

    /// Whether somebody else may know of a message that has begun so long ago.
    #[must_use]
    pub fn is_settled(&self, now: Instant, window: Duration) -> bool {
        let is_long_ago = |at: Instant| now >= at + window;
        self.past.front().is_none_or(|past| is_long_ago(past.ended))
            && self.came.is_none_or(is_long_ago)
            && self.apart.at.is_none_or(is_long_ago)
    }

    /// Who took what has this hash at some time within `window`, can be reached, and neither takes it now
    /// nor is this member: the latest first.
    #[must_use]
    pub fn earlier_takers(
        &self,
        now: Instant,
        window: Duration,
        hash: u64,
    ) -> SmallVec<[Identity; ASKED_MAX]> {
        let present = self.taker(hash);
        let mut found = SmallVec::new();
        // What this member takes since it has come was taken by the others until then.
        let has_come = self.came.is_some_and(|came| now < came + window);
        if has_come && present == Some(self.own) {
            found.extend(self.takers_before(hash));
        }
        let past = self.past.iter().take_while(|past| now < past.ended + window);
        let past = past.map(|past| &past.takers);
        let apart = self.apart.at.filter(|at| now < *at + window).map(|_| &self.apart.back);
        for takers in apart.into_iter().chain(past) {
            let Some(taker) = pick(takers, hash).map(|taker| self.now(taker)) else { continue };
            let is_new = Some(taker) != present && !found.contains(&taker);
            if is_new && self.standing(taker) == Standing::Reachable && found.len() < ASKED_MAX {
                found.push(taker);
            }
        }
        found
    }

    /// Who took it before this member came: of the others now, and with those that have begun to drain
    /// shortly before, which this member has not seen.
    fn takers_before(&self, hash: u64) -> impl Iterator<Item = Identity> {
        let others =
            |draining| self.farm(draining).filter(|(taker, _)| *taker != self.own).collect();
        let [now, with_draining] = [false, true].map(|draining| pick(&others(draining), hash));
        now.into_iter().chain(with_draining.filter(|taker| Some(*taker) != now))
    }

    /// Those that have just come are among them only if nobody else is: a cluster begins somehow.
    fn takers_now(&self) -> Takers {
        let joining: SmallVec<[MemberId; 2]> = self
            .members
            .iter()
            .filter(|member| member.joining)
            .map(|member| member.identity.member)
            .collect();
        let all: Takers = self.farm(false).collect();
        let settled: Takers =
            all.iter().filter(|(taker, _)| !joining.contains(&taker.member)).copied().collect();
        if settled.is_empty() { all } else { settled }
    }

    /// The farm members that are there, with their weights.
    fn farm(&self, with_draining: bool) -> impl Iterator<Item = (Identity, u32)> {
        let takes = move |member: &&Member| {
            let is_there = member.identity == self.own || member.state != PeerState::Down;
            let may_take = with_draining || !member.draining;
            member.mode == Mode::Member && may_take && is_there && member.weight > 0
        };
        self.members.iter().filter(takes).map(|member| (member.identity, member.weight))
    }

    fn sees_few(&self) -> bool {
        let farm = || self.members.iter().filter(|member| member.mode == Mode::Member);
        let is_seen =
            |member: &&Member| member.identity == self.own || member.state != PeerState::Down;
        self.mode == Mode::Member && farm().filter(is_seen).count() * 2 < farm().count()
    }
}

fn pick(takers: &Takers, hash: u64) -> Option<Identity> {
    let members = takers.iter().map(|(identity, weight)| (identity.member, *weight));
    let picked = rendezvous::pick(hash, members)?;
    takers.iter().map(|(identity, _)| *identity).find(|identity| identity.member == picked)
}

fn addresses(members: &[Member]) -> HashMap<SocketAddr, Whose> {
    let mut addresses = HashMap::new();
    for member in members {
        let id = member.identity.member;
        for address in &member.addresses {
            addresses
                .entry(address.address)
                .and_modify(|whose| {
                    if *whose != Whose::Of(id) {
                        *whose = Whose::Shared;
                    }
                })
                .or_insert(Whose::Of(id));
        }
    }
    addresses
}
