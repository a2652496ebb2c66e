//! What comes from peers, for the thread that it is for.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control_core::cluster::{Epoch, Incarnation, MemberId};
use control_core::mesh::{Frame, Hello};

/// Wakes whom an inbox is for.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// Most frames of SIP that wait here: a fifth of a second at a hundred thousand a second.
const SIP_FRAMES_MAX: usize = 16_384;
/// Most bytes of frames of SIP that wait here.
const SIP_BYTES_MAX: usize = 16 << 20;
/// Most of everything else.
const OTHERS_MAX: usize = 65_536;
/// Most bytes of everything else.
const OTHERS_BYTES_MAX: usize = 32 << 20;

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
            MeshEvent::PeerUp(_)
            | MeshEvent::PeerChanged(_)
            | MeshEvent::PeerSuspect(_)
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
        Frame::RegistrationSync(_, body) | Frame::Event(body) => body.0.len(),
        Frame::View(view) => view.body.0.len(),
        Frame::Request(request) => request.body.0.len(),
        Frame::Reply(reply) => reply.body.0.len(),
        Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::Heartbeat(_)
        | Frame::Closed(_)
        | Frame::Undelivered(_)
        | Frame::Goodbye(_)
        | Frame::JoinAsk(_)
        | Frame::Grant(_)
        | Frame::JoinRefused(_) => 0,
    }
}

#[derive(Default)]
struct Held {
    events: Vec<MeshEvent>,
    sip: usize,
    sip_bytes: usize,
    others_bytes: usize,
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
        (held.sip, held.sip_bytes, held.others_bytes) = (0, 0, 0);
    }

    /// Adds `events`, which is empty then. Of SIP, the newest is dropped where there is too much; how
    /// many of them that were.
    pub(super) fn post(&self, events: &mut Vec<MeshEvent>) -> Result<u64, Overflow> {
        if events.is_empty() {
            return Ok(0);
        }
        let mut dropped = 0;
        let mut held = self.held();
        let was_empty = held.events.is_empty();
        let mut outcome = Ok(());
        for event in events.drain(..) {
            match event.size() {
                (true, bytes) => {
                    if held.sip >= SIP_FRAMES_MAX || held.sip_bytes >= SIP_BYTES_MAX {
                        dropped += 1;
                        continue;
                    }
                    held.sip += 1;
                    held.sip_bytes += bytes;
                }
                (false, bytes) => {
                    let is_frame = matches!(event, MeshEvent::Frame(..));
                    let others = held.events.len() - held.sip;
                    if is_frame && (others >= OTHERS_MAX || held.others_bytes >= OTHERS_BYTES_MAX) {
                        outcome = Err(Overflow);
                        continue;
                    }
                    held.others_bytes += bytes;
                }
            }
            held.events.push(event);
        }
        drop(held);
        if was_empty {
            (self.wake)();
        }
        outcome.map(|()| dropped)
    }

    /// Adds what may not be left out: how a peer does. There are as many of these as connections come and
    /// go.
    pub(super) fn tell(&self, event: MeshEvent) {
        let mut held = self.held();
        let was_empty = held.events.is_empty();
        held.events.push(event);
        drop(held);
        if was_empty {
            (self.wake)();
        }
    }

    /// Whether connections had better not come up now.
    pub(super) fn is_full(&self) -> bool {
        let held = self.held();
        held.events.len() - held.sip >= OTHERS_MAX
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

    #[test]
    fn whom_it_is_for_is_woken_once_until_he_looks() {
        let (inbox, wakes) = inbox();
        for _ in 0..3 {
            assert_eq!(inbox.post(&mut vec![sip(1), event(1)]), Ok(0));
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        let mut events = Vec::new();
        inbox.drain(&mut events);
        assert_eq!(events.len(), 6);
        inbox.tell(MeshEvent::PeerSuspect(MemberId::FIRST));
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_newest_sip_of_too_much_is_dropped_and_all_else_stays() {
        let (inbox, _) = inbox();
        let mut flood: Vec<_> = (0..SIP_FRAMES_MAX + 5).map(|_| sip(1)).collect();
        flood.push(event(1));
        assert_eq!(inbox.post(&mut flood), Ok(5));
        let mut events = Vec::new();
        inbox.drain(&mut events);
        assert_eq!(events.len(), SIP_FRAMES_MAX + 1);
        let mut large: Vec<_> = (0..400).map(|_| sip(60_000)).collect();
        assert_eq!(inbox.post(&mut large), Ok(400 - 280), "16 MiB of them");
    }

    #[test]
    fn too_much_of_what_must_not_be_dropped_is_told() {
        let (inbox, _) = inbox();
        let mut flood: Vec<_> = (0..=OTHERS_MAX).map(|_| event(1)).collect();
        assert_eq!(inbox.post(&mut flood), Err(Overflow));
        assert!(inbox.is_full());
        inbox.tell(MeshEvent::PeerSuspect(MemberId::FIRST));
        let mut events = Vec::new();
        inbox.drain(&mut events);
        assert_eq!(events.len(), OTHERS_MAX + 1);
        assert!(!inbox.is_full());
        let mut large: Vec<_> = (0..700).map(|_| event(60_000)).collect();
        assert_eq!(inbox.post(&mut large), Err(Overflow));
    }
}
