//! One socket of a leg: whom it hears, whom it sends to, and what the system is told about it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::api::Learning;
use crate::learn::{Heard, Learner, Mark};
use crate::slot::SlotId;
use crate::verdict::DropReason;

/// When signaling moves a peer, packets that it sent from its old address before it knew of the
/// move are relayed until the first one from the new address comes, but no longer than this.
pub(crate) const HANDOVER: Duration = Duration::from_secs(1);

/// How long a peer that signaling has moved may take to hear of it: its 2xx is repeated for 64*T1
/// (RFC 3261 13.3.1.4). If it is learned meanwhile where it was before, it is not held to that.
pub(crate) const MOVE: Duration = Duration::from_secs(32);

/// A peer's address as signalled, and which sources may speak for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signalled {
    pub(crate) address: SocketAddr,
    pub(crate) learning: Learning,
}

/// Whom the socket hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// Nobody: no address is known, or the peer is held.
    Nobody,
    /// The signalled address and no other.
    Exactly(SocketAddr),
    /// The signalled address or whoever is learned within the network.
    Searching,
    /// The source that was learned.
    Learned(SocketAddr),
    /// The source that was learned is where the peer was before signaling moved it: perhaps it has
    /// not heard of that yet, so the signalled address or another source may still take its place.
    Lingering(SocketAddr),
}

impl Peer {
    /// Where it is known to send from.
    const fn source(self) -> Option<SocketAddr> {
        match self {
            Peer::Exactly(address) | Peer::Learned(address) | Peer::Lingering(address) => {
                Some(address)
            }
            Peer::Nobody | Peer::Searching => None,
        }
    }

    /// The same once a peer that has moved must have heard of it.
    const fn known(self) -> Peer {
        match self {
            Peer::Lingering(address) => Peer::Learned(address),
            Peer::Nobody | Peer::Exactly(_) | Peer::Searching | Peer::Learned(_) => self,
        }
    }
}

/// What a source is to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The peer.
    Peer,
    /// Where the peer was before signaling moved it.
    Former,
    /// Perhaps the peer.
    Candidate,
    /// Not the peer.
    Stranger,
}

/// Where the peer was before signaling moved it.
#[derive(Debug, Default)]
struct Earlier {
    /// Its packets from there are still relayed, until then.
    former: Option<(SocketAddr, Instant)>,
    /// It may not know of the move, until then.
    moved: Option<(SocketAddr, Instant)>,
}

/// One socket of a leg.
#[derive(Debug)]
pub(crate) struct Path {
    slot: SlotId,
    signalled: Option<Signalled>,
    peer: Peer,
    /// Kept after learning, so that no memory is given back on the packet path.
    learner: Option<Box<Learner>>,
    /// Kept while it says something and somewhat longer, for the same reason. Few peers are moved.
    earlier: Option<Box<Earlier>>,
    /// What was known of a peer that is held now.
    held: Option<Box<(Signalled, Peer)>>,
    pub(crate) link: Link,
}

impl Path {
    /// A path that hears nobody yet.
    pub(crate) fn new(slot: SlotId) -> Path {
        Path {
            slot,
            signalled: None,
            peer: Peer::Nobody,
            learner: None,
            earlier: None,
            held: None,
            link: Link::default(),
        }
    }

    pub(crate) fn slot(&self) -> SlotId {
        self.slot
    }

    fn former(&self) -> Option<(SocketAddr, Instant)> {
        self.earlier.as_ref()?.former
    }

    fn moved(&self) -> Option<(SocketAddr, Instant)> {
        self.earlier.as_ref()?.moved
    }

    /// What signaling says now. The same as before changes nothing, so a locked source stays
    /// locked, also across a hold; anything else starts over. Returns when the hand-over ends that this starts.
    /// Up to `provisional` packets may pass while the peer is being learned.
    pub(crate) fn signal(
        &mut self,
        now: Instant,
        signalled: Option<Signalled>,
        provisional: u8,
    ) -> Option<Instant> {
        if signalled == self.signalled {
            return None;
        }
        let held = self.held.take().map(|held| *held);
        let earlier = self.signalled.map(|earlier| (earlier, self.peer)).or(held);
        let before = earlier.and_then(|(_, peer)| peer.source());
        self.signalled = signalled;
        self.earlier = None;
        self.peer = match (signalled, earlier) {
            (None, earlier) => {
                self.held = earlier.map(Box::new);
                Peer::Nobody
            }
            // A peer that was held is where it was: its hold does not open it to strangers.
            (Some(now), Some((earlier, peer))) if now == earlier => peer.known(),
            (Some(Signalled { address, learning: Learning::Signalled }), _) => {
                Peer::Exactly(address)
            }
            (Some(Signalled { learning: Learning::Within(_) | Learning::AnyPort, .. }), _) => {
                self.learner = Some(Box::new(Learner::new(provisional)));
                Peer::Searching
            }
        };
        if let Some(source) = before.filter(|_| self.peer != Peer::Nobody)
            && before != self.source()
        {
            let former = Some((source, now + HANDOVER));
            let moved = self.is_searching().then_some((source, now + MOVE));
            self.earlier = Some(Box::new(Earlier { former, moved }));
        }
        self.relink();
        self.former().map(|(_, until)| until)
    }

    /// Where the peer is known to send from.
    fn source(&self) -> Option<SocketAddr> {
        self.peer.source()
    }

    /// The address of the peer, once it was learned: its other socket must have the same.
    pub(crate) fn learned_ip(&self) -> Option<IpAddr> {
        match self.peer {
            Peer::Learned(address) | Peer::Lingering(address) => Some(address.ip()),
            Peer::Nobody | Peer::Exactly(_) | Peer::Searching => None,
        }
    }

    /// Whether the peer is still to be learned.
    pub(crate) fn is_searching(&self) -> bool {
        self.peer == Peer::Searching
    }

    /// Where packets for the peer go.
    fn target(&self) -> Option<SocketAddr> {
        match self.signalled {
            Some(Signalled { address, learning: Learning::AnyPort }) => Some(address),
            Some(Signalled { address, learning: Learning::Signalled | Learning::Within(_) }) => {
                Some(self.source().unwrap_or(address))
            }
            None => self.source(),
        }
    }

    /// The way out: the socket, and the address unless the socket is connected to it.
    pub(crate) fn way_out(&self) -> Option<(SlotId, Option<SocketAddr>)> {
        let target = self.target()?;
        Some((self.slot, if self.link.is_to(target) { None } else { Some(target) }))
    }

    /// What `source` is to this socket, by its address alone.
    pub(crate) fn standing(&self, source: SocketAddr) -> Standing {
        let is_former = self.former().is_some_and(|(former, _)| former == source);
        match self.peer {
            Peer::Exactly(address) | Peer::Learned(address) | Peer::Lingering(address)
                if address == source =>
            {
                Standing::Peer
            }
            Peer::Searching | Peer::Lingering(_) if self.is_signalled(source) => Standing::Peer,
            Peer::Nobody
            | Peer::Exactly(_)
            | Peer::Learned(_)
            | Peer::Searching
            | Peer::Lingering(_)
                if is_former =>
            {
                Standing::Former
            }
            Peer::Searching | Peer::Lingering(_) if self.is_near(source) => Standing::Candidate,
            Peer::Nobody
            | Peer::Exactly(_)
            | Peer::Learned(_)
            | Peer::Searching
            | Peer::Lingering(_) => Standing::Stranger,
        }
    }

    fn is_signalled(&self, source: SocketAddr) -> bool {
        self.signalled.is_some_and(|signalled| signalled.address == source)
    }

    /// Whether `source` is in the network that the peer may be learned from.
    fn is_near(&self, source: SocketAddr) -> bool {
        match self.signalled {
            Some(Signalled { learning: Learning::Within(network), .. }) => {
                network.contains(&source.ip())
            }
            Some(Signalled { address, learning: Learning::AnyPort }) => address.ip() == source.ip(),
            Some(Signalled { learning: Learning::Signalled, .. }) | None => false,
        }
    }

    /// A well-formed packet from `source`, whose standing is `standing`, came; learns from it.
    ///
    /// # Errors
    /// The reason if it must not be relayed.
    pub(crate) fn admit(
        &mut self,
        source: SocketAddr,
        standing: Standing,
        mark: Mark,
    ) -> Result<(), DropReason> {
        match standing {
            Standing::Former => Ok(()),
            Standing::Peer => {
                let is_open = self.is_searching() || self.is_lingering_elsewhere(source);
                if is_open || self.former().is_some() {
                    self.settle(source);
                }
                Ok(())
            }
            Standing::Candidate => match self.learner.as_mut().map(|l| l.hear(source, mark)) {
                Some(Heard::Learned) => {
                    self.settle(source);
                    Ok(())
                }
                Some(Heard::Provisional) => Ok(()),
                Some(Heard::Held) | None => Err(DropReason::NotLearned),
            },
            Standing::Stranger => Err(DropReason::WrongSource),
        }
    }

    /// The peer is at `source`: it has been heard there, or other evidence says so.
    pub(crate) fn settle(&mut self, source: SocketAddr) {
        if self.is_searching() && self.moved().is_some_and(|(old, _)| old == source) {
            self.peer = Peer::Lingering(source);
            if let Some(learner) = &mut self.learner {
                **learner = Learner::new(0);
            }
        } else if self.is_searching() || self.is_lingering_elsewhere(source) {
            self.peer = Peer::Learned(source);
        }
        if let Some(earlier) = &mut self.earlier {
            earlier.former = None;
        }
        self.relink();
    }

    fn is_lingering_elsewhere(&self, source: SocketAddr) -> bool {
        matches!(self.peer, Peer::Lingering(address) if address != source)
    }

    /// Ends a hand-over or a move that is due. Returns when the next end is.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<Instant> {
        if let Some(earlier) = &mut self.earlier {
            earlier.former.take_if(|(_, until)| *until <= now);
            earlier.moved.take_if(|(_, until)| *until <= now);
        }
        self.earlier.take_if(|earlier| earlier.former.is_none() && earlier.moved.is_none());
        if self.moved().is_none() {
            self.peer = self.peer.known();
        }
        self.relink();
        self.former().or(self.moved()).map(|(_, until)| until)
    }

    /// Connects the socket where only one source is heard, and packets go there; dissolves the
    /// connection where that is not so. While the peer is held the connection stays as it is.
    fn relink(&mut self) {
        match self.peer {
            Peer::Nobody => {}
            Peer::Searching | Peer::Lingering(_) => self.link.wanted = None,
            Peer::Exactly(address) | Peer::Learned(address) => {
                let is_one = self.former().is_none() && self.target() == Some(address);
                self.link.wanted = is_one.then_some(address);
            }
        }
    }
}

/// What the system was told to connect a socket to. A packet goes out without an address only
/// while the system has confirmed the connection and no change is under way, so that none is
/// ever sent to an old peer.
#[derive(Debug, Default)]
pub(crate) struct Link {
    wanted: Option<SocketAddr>,
    confirmed: Option<SocketAddr>,
    asked: bool,
    /// Whether the relay has it in its queue.
    pub(crate) queued: bool,
}

impl Link {
    fn is_to(&self, target: SocketAddr) -> bool {
        self.confirmed == Some(target) && !self.asked
    }

    /// Whether the system has to be asked for a change.
    pub(crate) fn is_stale(&self) -> bool {
        !self.asked && self.wanted != self.confirmed
    }

    /// The change to ask for; it is under way then.
    pub(crate) fn ask(&mut self) -> Option<SocketAddr> {
        self.asked = true;
        self.wanted
    }

    /// The system's answer. After a refusal the same is not asked for again.
    pub(crate) fn answered(&mut self, peer: Option<SocketAddr>, done: bool) {
        self.asked = false;
        if done {
            self.confirmed = peer;
        } else if self.wanted == peer {
            self.wanted = self.confirmed;
        }
    }
}
