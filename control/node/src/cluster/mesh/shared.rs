//! What all tasks of the mesh, and those who use it, share: the members and who they are.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use control_core::cluster::{Load, MemberId, MemberName, UnixSeconds};
use control_core::mesh::{Frame, Goodbye, Health, Heartbeat, Hello, Leave, Step};
use tokio::runtime;
use tokio::sync::watch;

use super::figures::{Count, Totals};
use super::inbox::{Inbox, MeshEvent};
use super::peer::{LinkNow, Peer};
use super::pipe::Pipe;
use super::strangers::Strangers;
use super::tls::Tls;
use crate::cluster::keys::{Identity, Tokens};

/// Most members that there may be connections to.
pub(super) const PEERS_MAX: usize = 512;

#[derive(Default)]
pub(super) struct Peers {
    by_name: HashMap<MemberName, Arc<Peer>>,
    by_id: HashMap<MemberId, Arc<Peer>>,
}

/// Whose each number is, as the list of members says: a number is never given to another name.
type Numbers = HashMap<MemberId, MemberName>;

/// How many connections are beginning or ending with a word that may be on its way.
#[derive(Clone, Default)]
pub(super) struct Parting(Arc<()>);

impl Parting {
    /// One more, until the value is dropped.
    pub(super) fn begin(&self) -> Parting {
        self.clone()
    }

    fn is_over(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

pub(super) struct Shared {
    pub(super) identity: Identity,
    pub(super) tls: Tls,
    pub(super) tokens: Option<Tokens>,
    pub(super) signaling: Inbox,
    pub(super) control: Inbox,
    pub(super) strangers: Strangers,
    pub(super) totals: Totals,
    pub(super) epoch: Count,
    pub(super) calls: Count,
    pub(super) cpu_permille: Count,
    pub(super) runtime: runtime::Handle,
    pub(super) is_stopping: AtomicBool,
    pub(super) parting: Parting,
    started: Instant,
    own: RwLock<Arc<Hello>>,
    peers: RwLock<Peers>,
    /// Whose certificates are no good any more, and until when they were issued.
    barred: RwLock<BTreeMap<MemberName, UnixSeconds>>,
    numbers: RwLock<Numbers>,
    links: AtomicU64,
    /// Whether the signaling thread reads and writes connections itself.
    pub(super) pumped: watch::Sender<bool>,
    /// Those that it has to take over.
    handed: Mutex<Vec<Arc<Pipe>>>,
    has_handed: AtomicBool,
}

/// What a new member is taken in with.
pub(super) struct Parts {
    pub(super) hello: Hello,
    pub(super) identity: Identity,
    pub(super) tls: Tls,
    pub(super) tokens: Option<Tokens>,
    pub(super) signaling: Inbox,
    pub(super) control: Inbox,
    pub(super) runtime: runtime::Handle,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Shared {
        Shared {
            identity: parts.identity,
            tls: parts.tls,
            tokens: parts.tokens,
            signaling: parts.signaling,
            control: parts.control,
            strangers: Strangers::default(),
            totals: Totals::default(),
            epoch: Count::default(),
            calls: Count::default(),
            cpu_permille: Count::default(),
            runtime: parts.runtime,
            is_stopping: AtomicBool::new(false),
            parting: Parting::default(),
            started: Instant::now(),
            own: RwLock::new(Arc::new(parts.hello)),
            peers: RwLock::default(),
            barred: RwLock::default(),
            numbers: RwLock::default(),
            links: AtomicU64::new(0),
            pumped: watch::Sender::new(false),
            handed: Mutex::default(),
            has_handed: AtomicBool::new(false),
        }
    }

    fn peers(&self) -> RwLockReadGuard<'_, Peers> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers_mut(&self) -> RwLockWriteGuard<'_, Peers> {
        self.peers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this member says of itself.
    pub(super) fn own(&self) -> Arc<Hello> {
        Arc::clone(&self.own.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_own(&self, hello: Hello) -> Arc<Hello> {
        let hello = Arc::new(hello);
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *own, hello)
    }

    /// Whether who shows this certificate was taken out of the cluster after it was issued.
    pub(super) fn is_barred(&self, identity: &Identity) -> bool {
        let barred = self.barred.read().unwrap_or_else(PoisonError::into_inner);
        barred.get(&identity.name).is_some_and(|until| identity.issued <= *until)
    }

    /// Whose certificates are no good from now on; their connections end. Who has another by then comes
    /// back.
    pub(super) fn set_barred(&self, barred: BTreeMap<MemberName, UnixSeconds>) {
        let before = {
            let mut now = self.barred.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *now, barred.clone())
        };
        for (name, until) in barred {
            if before.get(&name) == Some(&until) {
                continue;
            }
            tracing::warn!(
                "{name} is out of the cluster: who shows a certificate of its that was issued by now is \
                 refused"
            );
            let Some(peer) = self.peers().by_name.get(&name).cloned() else { continue };
            if let Some(link) = &peer.state().link {
                link.kill.notify_one();
            }
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Microseconds since the start, for heartbeats.
    pub(super) fn now_us(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn by_id(&self, id: MemberId) -> Option<Arc<Peer>> {
        self.peers().by_id.get(&id).cloned()
    }

    /// Whether a member is known to be reached there.
    pub(super) fn knows(&self, ip: IpAddr) -> bool {
        let is_there = |peer: &Arc<Peer>| peer.state().address.is_some_and(|at| at.ip() == ip);
        self.peers().by_name.values().any(is_there)
    }

    pub(super) fn all(&self) -> Vec<Arc<Peer>> {
        self.peers().by_name.values().cloned().collect()
    }

    /// The member of that name, and whether it is new here. `None`: there are too many.
    pub(super) fn by_name(&self, name: &MemberName) -> Option<(Arc<Peer>, bool)> {
        let mut peers = self.peers_mut();
        if let Some(peer) = peers.by_name.get(name) {
            return Some((Arc::clone(peer), false));
        }
        if peers.by_name.len() >= PEERS_MAX {
            return None;
        }
        let peer = Arc::new(Peer::new(name.clone()));
        peers.by_name.insert(name.clone(), Arc::clone(&peer));
        Some((peer, true))
    }

    /// Why a member that introduces itself this way is not who the list of members says.
    fn belied(&self, hello: &Hello) -> Option<String> {
        let (id, name) = (hello.member.id, &hello.member.name);
        let numbers = self.numbers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(whose) = numbers.get(&id).filter(|whose| *whose != name) {
            return Some(format!("it says to be number {id}, which is {whose}'s"));
        }
        let listed = numbers.iter().find(|(own, whose)| **own != id && *whose == name);
        listed.map(|(own, _)| format!("it says to be number {id}, and its own is {own}"))
    }

    /// Whose each number is. Connections of whoever goes by another's end.
    pub(super) fn set_numbers(&self, numbers: Numbers) {
        *self.numbers.write().unwrap_or_else(PoisonError::into_inner) = numbers;
        for peer in self.all() {
            let hello = peer.state().hello.clone();
            let Some(why) = hello.and_then(|hello| self.belied(&hello)) else { continue };
            if let Some(link) = &peer.state().link {
                tracing::warn!(member = %peer.name, "connection ended: {why}");
                link.kill.notify_one();
            }
        }
    }

    /// Forgets a member that nobody wants a connection to and that has none. `false`: it stays.
    pub(super) fn forget(&self, peer: &Arc<Peer>) -> bool {
        let mut peers = self.peers_mut();
        let state = peer.state();
        let is_down = state.live.as_ref().is_none_or(|live| live.health() == Health::Down);
        if state.is_wanted || state.link.is_some() || !is_down {
            return false;
        }
        peers.by_name.remove(&peer.name);
        peers.by_id.retain(|_, other| !Arc::ptr_eq(other, peer));
        true
    }

    /// Takes a connection as the one to that member.
    ///
    /// # Errors
    /// What the other side is told, and why, for the log.
    pub(super) fn admit(
        &self,
        hello: &Arc<Hello>,
        version: u16,
        is_decided: bool,
    ) -> Result<(Arc<Peer>, LinkNow, bool), (Leave, String)> {
        let (id, incarnation) = (hello.member.id, hello.member.incarnation);
        if self.signaling.is_full() || self.control.is_full() {
            return Err((Leave::Broken, "too much of what others have said waits here".to_owned()));
        }
        if let Some(why) = self.belied(hello) {
            return Err((Leave::Refused, why));
        }
        if let Some(other) = self.by_id(id)
            && other.name != hello.member.name
            && other.state().link.is_some()
        {
            return Err((Leave::Refused, format!("{} has the number {id}, too", other.name)));
        }
        let Some((peer, is_new)) = self.by_name(&hello.member.name) else {
            return Err((Leave::Refused, format!("there are {PEERS_MAX} members already")));
        };
        let (last, is_linked, was_up) = {
            let state = peer.state();
            let was_up = state.live.as_ref().is_some_and(|live| live.health() != Health::Down);
            (state.hello.clone(), state.link.is_some(), was_up)
        };
        if let Some(last) = &last {
            let known = last.member.incarnation;
            if incarnation < known {
                let why = format!("incarnation {incarnation} of it comes after {known}");
                return Err((Leave::Refused, why));
            }
            if is_linked && incarnation == known && !is_decided {
                return Err((Leave::Duplicate, "there is a connection to it".to_owned()));
            }
            if was_up && incarnation != known {
                self.tell(&MeshEvent::PeerDown {
                    member: last.member.id,
                    incarnation: known,
                    refused: false,
                });
            }
        }
        let now = Instant::now();
        let link = LinkNow::new(self.links.fetch_add(1, Ordering::Relaxed), version, now);
        peer.install(link.clone(), hello, now);
        let mut peers = self.peers_mut();
        peers.by_id.retain(|_, other| !Arc::ptr_eq(other, &peer));
        peers.by_id.insert(id, Arc::clone(&peer));
        drop(peers);
        self.tell(&MeshEvent::PeerUp(Arc::clone(hello)));
        Ok((peer, link, is_new))
    }

    /// The signaling thread is to read and write this connection.
    pub(super) fn hand_over(&self, pipe: &Arc<Pipe>) {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(pipe));
        self.has_handed.store(true, Ordering::Release);
        self.signaling.wake();
    }

    /// What was handed over since this was last called. Costs one atomic load while that is nothing.
    pub(super) fn take_handed(&self) -> Vec<Arc<Pipe>> {
        let has = self.has_handed.load(Ordering::Relaxed)
            && self.has_handed.swap(false, Ordering::Acquire);
        if !has {
            return Vec::new();
        }
        std::mem::take(&mut *self.handed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells both whom this is for.
    pub(super) fn tell(&self, event: &MeshEvent) {
        self.signaling.tell(event.clone());
        self.control.tell(event.clone());
    }

    /// Does what a change of a member's health asks for.
    pub(super) fn apply(&self, peer: &Peer, step: Step) {
        if step == Step::None {
            return;
        }
        let hello = peer.state().hello.clone();
        let Some(hello) = hello else { return };
        let (member, incarnation) = (hello.member.id, hello.member.incarnation);
        match step {
            Step::None => {}
            Step::Suspect => {
                tracing::info!(member = %peer.name, "is suspected: it has been silent");
                self.tell(&MeshEvent::PeerSuspect(member));
            }
            Step::Recovered => {
                tracing::info!(member = %peer.name, "is heard again");
                self.tell(&MeshEvent::PeerRecovered(member));
            }
            Step::Down { refused } => {
                tracing::warn!(member = %peer.name, %incarnation, refused, "is down");
                let link = peer.state().link.clone();
                if let Some(link) = link {
                    link.shut();
                    // Who is told of it below finds no queue to it any more.
                    peer.out.close();
                }
                peer.changed.notify_one();
                self.tell(&MeshEvent::PeerDown { member, incarnation, refused });
            }
        }
    }

    /// A sign of life for that peer.
    pub(super) fn heartbeat(&self, peer: &Peer, now: Instant) -> Frame {
        let load = self.load();
        Frame::Heartbeat(Heartbeat {
            calls: load.calls,
            cpu_permille: load.cpu_permille,
            epoch: control_core::cluster::Epoch(self.epoch.get()),
            sent_us: self.now_us(now),
            echo: peer.echo(now),
        })
    }

    pub(super) fn load(&self) -> Load {
        Load {
            calls: u32::try_from(self.calls.get()).unwrap_or(u32::MAX),
            cpu_permille: u16::try_from(self.cpu_permille.get()).unwrap_or(u16::MAX),
        }
    }

    /// Whether no connection is left, and no last word is on its way.
    pub(super) fn has_left(&self) -> bool {
        self.all().iter().all(|peer| peer.state().link.is_none()) && self.parting.is_over()
    }

    /// Ends all connections with a word.
    pub(super) fn leave_all(&self) {
        for peer in self.all() {
            peer.out.finish(&Frame::Goodbye(Goodbye { why: Leave::Stopping }));
        }
    }
}
