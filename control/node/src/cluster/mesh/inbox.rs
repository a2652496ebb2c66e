//! What comes from peers, for the thread that it is for.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control_core::cluster::{Epoch, Incarnation, MemberId};
use control_core::mesh::{Frame, HELLO_BYTES_MAX, Hello};

/// Wakes whom an inbox is for.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// Who is woken when something is left in an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waking {
    /// Whom it is for.
    Whoever,
    /// Nobody: whom it is for leaves it there, and is about to look.
    Others,
}

/// Most frames of SIP that wait here: a fifth of a second at a hundred thousand a second.
const SIP_FRAMES_MAX: usize = 16_384;
/// Most bytes of frames of SIP that wait here.
const SIP_BYTES_MAX: usize = 16 << 20;
/// Most of everything else.
const OTHERS_MAX: usize = 65_536;
/// Most bytes of everything else.
const OTHERS_BYTES_MAX: usize = 32 << 20;
/// One member's part of each of these is at most one of so many: a member that floods has room left for
/// the others.
const PARTS: usize = 2;

/// What the mesh tells.
#[derive(Clone, Debug)]
pub(crate) enum MeshEvent {
    /// A connection to a member has come up. Also told when one replaces another: what was on the way
    /// then may be lost, and what both hold in common is to be compared.
    PeerUp(Arc<Hello>),
    /// What a member says of itself has changed.
    PeerChanged(Arc<Hello>),
    /// It has been silent for a little, or its connection is lost.
    PeerSuspect(MemberId),
    /// It is heard again, without having been down.
    PeerRecovered(MemberId),
    /// It is gone.
    PeerDown {
        /// Which.
        member: MemberId,
        /// Which start of it.
        incarnation: Incarnation,
        /// Its host says so: nobody listens there.
        refused: bool,
    },
    /// It goes by another view than before.
    PeerEpoch(MemberId, Epoch),
    /// It has said this.
    Frame(MemberId, Frame),
}

impl MeshEvent {
    /// What it counts as: SIP or not, bytes.
    fn size(&self) -> (bool, usize) {
        match self {
            MeshEvent::Frame(_, frame) => (frame.is_sip(), payload_len(frame)),
            // As much as there may be to it.
            MeshEvent::PeerUp(_) | MeshEvent::PeerChanged(_) => (false, HELLO_BYTES_MAX),
            MeshEvent::PeerSuspect(_)
            | MeshEvent::PeerRecovered(_)
            | MeshEvent::PeerDown { .. }
            | MeshEvent::PeerEpoch(..) => (false, 0),
        }
    }
}

fn payload_len(frame: &Frame) -> usize {
    match frame {
        Frame::SipRelay(_, sip) | Frame::Write(sip) => sip.bytes.len(),
        Frame::SendOut(send) => send.bytes.len(),
        Frame::Registrations(registrations) => registrations.0.0.len(),
        Frame::RegistrationSync(_, body) | Frame::Calls(body) | Frame::Event(body) => body.0.len(),
        Frame::View(view) => view.body.0.len(),
        Frame::Request(request) => request.body.0.len(),
        Frame::Reply(reply) => reply.body.0.len(),
        Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::Heartbeat(_)
        | Frame::Closed(_)
        | Frame::Undelivered(..)
        | Frame::Goodbye(_)
        | Frame::JoinAsk(_)
        | Frame::Grant(_)
        | Frame::JoinRefused(_) => 0,
    }
}

/// How much waits of something.
#[derive(Clone, Copy, Default)]
struct Amount {
    events: usize,
    bytes: usize,
}

impl Amount {
    const fn add(&mut self, bytes: usize) {
        self.events += 1;
        self.bytes += bytes;
    }

    const fn reaches(self, events: usize, bytes: usize) -> bool {
        self.events >= events || self.bytes >= bytes
    }
}

/// How much waits: of SIP and of everything else.
#[derive(Clone, Copy, Default)]
struct Waiting {
    sip: Amount,
    others: Amount,
}

impl Waiting {
    const fn add(&mut self, is_sip: bool, bytes: usize) {
        if is_sip {
            self.sip.add(bytes);
        } else {
            self.others.add(bytes);
        }
    }

    /// Whether one of `parts` of the room for SIP is taken.
    const fn is_sip_full(self, parts: usize) -> bool {
        self.sip.reaches(SIP_FRAMES_MAX / parts, SIP_BYTES_MAX / parts)
    }

    /// As [`Waiting::is_sip_full`], of everything else.
    const fn is_others_full(self, parts: usize) -> bool {
        self.others.reaches(OTHERS_MAX / parts, OTHERS_BYTES_MAX / parts)
    }
}

#[derive(Default)]
struct Held {
    events: Vec<MeshEvent>,
    all: Waiting,
    /// Of each member that something has come from; so there are as many as members.
    of: HashMap<MemberId, Waiting>,
}

/// What has come and has not been taken.
#[derive(Clone)]
pub(crate) struct Inbox {
    held: Arc<Mutex<Held>>,
    wake: Wake,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({} events)", self.held().events.len())
    }
}

/// Too much waits of what must not be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

impl Inbox {
    pub(super) fn new(wake: Wake) -> Inbox {
        Inbox { held: Arc::default(), wake }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that has come, in its order, into `events`, which is empty.
    pub(crate) fn drain(&self, events: &mut Vec<MeshEvent>) {
        let mut held = self.held();
        mem::swap(&mut held.events, events);
        held.all = Waiting::default();
        held.of.clear();
    }

    /// Adds `events`, which is empty then, of that member. Of SIP, the newest is dropped where there is too
    /// much, here or of that member; how many of them that were.
    pub(super) fn post(
        &self,
        from: MemberId,
        events: &mut Vec<MeshEvent>,
        waking: Waking,
    ) -> Result<u64, Overflow> {
        if events.is_empty() {
            return Ok(0);
        }
        let mut dropped = 0;
        let mut guard = self.held();
        let held = &mut *guard;
        let was_empty = held.events.is_empty();
        let mut outcome = Ok(());
        let own = held.of.entry(from).or_default();
        for event in events.drain(..) {
            let (is_sip, bytes) = event.size();
            if is_sip && (held.all.is_sip_full(1) || own.is_sip_full(PARTS)) {
                dropped += 1;
            } else if !is_sip && (held.all.is_others_full(1) || own.is_others_full(PARTS)) {
                outcome = Err(Overflow);
            } else {
                held.all.add(is_sip, bytes);
                own.add(is_sip, bytes);
                held.events.push(event);
            }
        }
        drop(guard);
        if was_empty && waking == Waking::Whoever {
            (self.wake)();
        }
        outcome.map(|()| dropped)
    }

    /// Wakes whom it is for, for another reason.
    pub(super) fn wake(&self) {
        (self.wake)();
    }

    /// Adds what may not be left out: how a peer does. There are as many of these as connections come and
    /// go.
    pub(super) fn tell(&self, event: MeshEvent) {
        let mut held = self.held();
        let was_empty = held.events.is_empty();
        held.all.add(false, event.size().1);
        held.events.push(event);
        drop(held);
        if was_empty {
            (self.wake)();
        }
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.held().events.is_empty()
    }

    /// Whether connections had better not come up now.
    pub(super) fn is_full(&self) -> bool {
        self.held().all.is_others_full(1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use control_core::mesh::{Body, Errand, Hop, ListenerKind, Sip};

    use super::*;

    fn inbox() -> (Inbox, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&wakes);
        let wake = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (Inbox::new(Arc::new(wake)), wakes)
    }

    fn sip(bytes: usize) -> MeshEvent {
        let address = "192.0.2.1:5060".parse().expect("an address");
        let listener = ListenerKind::Address;
        let hop = Hop { transport: 0, listener, local: address, remote: address, connection: 0 };
        let frame = Frame::SipRelay(
            Errand { why: 0, asked: 0 },
            Sip { hop, bytes: Bytes::from(vec![0; bytes]) },
        );
        MeshEvent::Frame(MemberId::FIRST, frame)
    }

    fn event(bytes: usize) -> MeshEvent {
        MeshEvent::Frame(MemberId::FIRST, Frame::Event(Body(Bytes::from(vec![0; bytes]))))
    }

    const ONE: MemberId = MemberId::FIRST;

    fn two() -> MemberId {
        MemberId::new(2).expect("not 0")
    }

    #[test]
    fn whom_it_is_for_is_woken_once_until_he_looks() {
        let (inbox, wakes) = inbox();
        for _ in 0..3 {
            assert_eq!(inbox.post(ONE, &mut vec![sip(1), event(1)], Waking::Whoever), Ok(0));
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        let mut events = Vec::new();
        inbox.drain(&mut events);
        assert_eq!(events.len(), 6);
        inbox.tell(MeshEvent::PeerSuspect(ONE));
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
        inbox.drain(&mut events);
        assert_eq!(inbox.post(ONE, &mut vec![sip(1)], Waking::Others), Ok(0));
        assert!(!inbox.is_empty());
        assert_eq!(wakes.load(Ordering::Relaxed), 2, "it is about to look");
    }

    #[test]
    fn the_newest_sip_of_too_much_is_dropped_and_all_else_stays() {
        let (inbox, _) = inbox();
        let mut flood: Vec<_> = (0..SIP_FRAMES_MAX / PARTS + 5).map(|_| sip(1)).collect();
        flood.push(event(1));
        assert_eq!(inbox.post(ONE, &mut flood, Waking::Whoever), Ok(5));
        let mut events = Vec::new();
        inbox.drain(&mut events);
        assert_eq!(events.len(), SIP_FRAMES_MAX / PARTS + 1);
        let mut large: Vec<_> = (0..400).map(|_| sip(60_000)).collect();
        assert_eq!(inbox.post(ONE, &mut large, Waking::Whoever), Ok(400 - 140), "8 MiB of them");
    }

    /// A member that sends more than it should costs the others nothing.
    #[test]
    fn what_one_member_floods_leaves_room_for_the_others() {
        let (inbox, _) = inbox();
        let mut flood: Vec<_> = (0..1_000).map(|_| sip(60_000)).collect();
        assert_eq!(inbox.post(ONE, &mut flood, Waking::Whoever), Ok(1_000 - 140));
        let mut flood: Vec<_> = (0..1_000).map(|_| event(60_000)).collect();
        assert_eq!(inbox.post(ONE, &mut flood, Waking::Whoever), Err(Overflow));
        assert!(!inbox.is_full());
        let mut few: Vec<_> = (0..100).flat_map(|_| [sip(60_000), event(60_000)]).collect();
        assert_eq!(inbox.post(two(), &mut few, Waking::Whoever), Ok(0));
    }

    /// Each introduction may be long, and each heartbeat may name another view.
    #[test]
    fn introductions_and_epochs_are_counted_as_what_they_are() {
        let (inbox, _) = inbox();
        let epoch = |number| MeshEvent::PeerEpoch(ONE, Epoch(number));
        let mut flood: Vec<_> = (0..=OTHERS_MAX as u64).map(epoch).collect();
        assert_eq!(inbox.post(ONE, &mut flood, Waking::Whoever), Err(Overflow));
        let mut events = Vec::new();
        inbox.drain(&mut events);
        assert_eq!(events.len(), OTHERS_MAX / PARTS);
    }

    #[test]
    fn too_much_of_what_must_not_be_dropped_is_told() {
        let (inbox, _) = inbox();
        for from in [ONE, two()] {
            let mut flood: Vec<_> = (0..=OTHERS_MAX / PARTS).map(|_| event(1)).collect();
            assert_eq!(inbox.post(from, &mut flood, Waking::Whoever), Err(Overflow));
        }
        assert!(inbox.is_full());
        inbox.tell(MeshEvent::PeerSuspect(ONE));
        let mut events = Vec::new();
        inbox.drain(&mut events);
        assert_eq!(events.len(), OTHERS_MAX + 1);
        assert!(!inbox.is_full());
        let mut large: Vec<_> = (0..700).map(|_| event(60_000)).collect();
        assert_eq!(inbox.post(ONE, &mut large, Waking::Whoever), Err(Overflow));
    }
}
