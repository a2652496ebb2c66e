//! One other member: its connection, how it does, what waits for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control_core::cluster::{Epoch, MemberName};
use control_core::mesh::{Echo, Frame, Health, Heartbeat, Hello, Liveness, Step};
use tokio::sync::Notify;

use super::figures::{Figures, PeerFigures};
use super::outgoing::{Outgoing, SendError};
use super::requests::Requests;

/// The connection that is used.
#[derive(Clone, Debug)]
pub(super) struct LinkNow {
    /// Tells it from earlier and later ones.
    pub(super) number: u64,
    /// The version of the protocol.
    pub(super) version: u16,
    /// Ends it.
    pub(super) kill: Arc<Notify>,
    gate: Arc<Mutex<Gate>>,
    since: Instant,
}

/// Held while something is read of a connection; once shut, nothing more is.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) is_shut: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Where it is dialled.
    pub(super) address: Option<SocketAddr>,
    /// Whether it is one of those that there is to be a connection to.
    pub(super) is_wanted: bool,
    /// What it has last said of itself.
    pub(super) hello: Option<Arc<Hello>>,
    /// How it does, once it has been heard of.
    pub(super) live: Option<Liveness>,
    /// The connection.
    pub(super) link: Option<LinkNow>,
    /// Its last heartbeat, and when it came.
    pub(super) heartbeat: Option<(Heartbeat, Instant)>,
    /// How long the last connection lasted.
    pub(super) lasted: Option<Duration>,
}

/// Another member.
pub(super) struct Peer {
    pub(super) name: MemberName,
    pub(super) out: Outgoing,
    pub(super) requests: Requests,
    pub(super) figures: Figures,
    /// Wakes whoever keeps a connection to it.
    pub(super) changed: Notify,
    state: Mutex<State>,
}

impl Peer {
    pub(super) fn new(name: MemberName) -> Peer {
        Peer {
            name,
            out: Outgoing::default(),
            requests: Requests::default(),
            figures: Figures::default(),
            changed: Notify::new(),
            state: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a frame.
    pub(super) fn send(&self, frame: &Frame) -> Result<(), SendError> {
        if self.out.push(frame, &self.figures)? {
            self.out.wake();
        }
        Ok(())
    }

    /// A new connection is the one that is used from here on; another one is told to end.
    pub(super) fn install(&self, link: LinkNow, hello: &Arc<Hello>, now: Instant) {
        let number = link.number;
        let old = self.state().link.replace(link);
        if let Some(old) = old {
            old.shut();
            self.requests.handle_lost();
        }
        let mut state = self.state();
        state.hello = Some(Arc::clone(hello));
        state.address.get_or_insert(hello.member.profile.mesh);
        state.heartbeat = None;
        match &mut state.live {
            Some(live) if live.health() != Health::Down => {
                live.handle_heard(now);
            }
            Some(_) | None => state.live = Some(Liveness::new(now)),
        }
        drop(state);
        self.out.open(number);
        self.figures.connections.add(1);
    }

    /// The connection of that number is no more. `None`: it was not the one in use.
    pub(super) fn uninstall(&self, number: u64, now: Instant) -> Option<()> {
        let mut state = self.state();
        state.link.take_if(|link| link.number == number).map(|link| {
            state.lasted = Some(now.saturating_duration_since(link.since));
            drop(state);
            self.out.close();
            self.requests.handle_lost();
        })
    }

    /// Something came from it.
    pub(super) fn heard(&self, now: Instant) -> Step {
        self.step(|live| live.handle_heard(now))
    }

    pub(super) fn step(&self, with: impl FnOnce(&mut Liveness) -> Step) -> Step {
        self.state().live.as_mut().map_or(Step::None, with)
    }

    /// Takes a heartbeat; the view's epoch, if that has changed.
    pub(super) fn note_heartbeat(
        &self,
        heartbeat: Heartbeat,
        now: Instant,
        now_us: u64,
    ) -> Option<Epoch> {
        if let Some(Echo { sent_us, held_us }) = heartbeat.echo {
            let away = now_us.saturating_sub(sent_us).saturating_sub(u64::from(held_us));
            self.figures.note_rtt(Duration::from_micros(away));
        }
        let last = self.state().heartbeat.replace((heartbeat, now));
        let is_other = last.is_none_or(|(last, _)| last.epoch != heartbeat.epoch);
        is_other.then_some(heartbeat.epoch)
    }

    /// The last heartbeat, to be sent back.
    pub(super) fn echo(&self, now: Instant) -> Option<Echo> {
        let (last, at) = self.state().heartbeat?;
        let held = now.saturating_duration_since(at).as_micros();
        Some(Echo { sent_us: last.sent_us, held_us: u32::try_from(held).ok()? })
    }

    pub(super) fn figures(&self) -> PeerFigures {
        let state = self.state();
        let heartbeat = state.heartbeat.map(|(heartbeat, _)| heartbeat).unwrap_or_default();
        let hello = state.hello.as_deref();
        let figures = &self.figures;
        PeerFigures {
            name: self.name.clone(),
            id: hello.map(|hello| (hello.member.id, hello.member.incarnation)),
            health: state.live.as_ref().map(Liveness::health),
            is_connected: state.link.is_some(),
            address: state.address,
            version: state.link.as_ref().map_or(0, |link| link.version),
            load: heartbeat.load(),
            epoch: heartbeat.epoch,
            frames_in: figures.frames_in.get(),
            bytes_in: figures.bytes_in.get(),
            frames_out: figures.frames_out.get(),
            bytes_out: figures.bytes_out.get(),
            writes: figures.writes.get(),
            queued: self.out.waiting(),
            dropped_in: figures.dropped_in.get(),
            dropped_out: figures.dropped_out.get(),
            not_connected: figures.not_connected.get(),
            unknown: figures.unknown.get(),
            connections: figures.connections.get(),
            requests: self.requests.len(),
            rtt: Duration::from_micros(figures.rtt_us.get()),
        }
    }
}

impl LinkNow {
    pub(super) fn new(number: u64, version: u16, now: Instant) -> LinkNow {
        let (kill, gate) = (Arc::new(Notify::new()), Arc::default());
        LinkNow { number, version, kill, gate, since: now }
    }

    /// To be held while something is read.
    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it: when this returns, nothing more is read of it.
    pub(super) fn shut(&self) {
        self.gate().is_shut = true;
        self.kill.notify_one();
    }
}
