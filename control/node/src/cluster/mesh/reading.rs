//! What comes on a connection in use: to whom it goes.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use control_core::cluster::MemberId;
use control_core::mesh::{Cut, Frame, Goodbye, Hello, cut};

use super::inbox::{MeshEvent, Waking};
use super::peer::Peer;
use super::pipe::Ended;
use super::shared::Shared;

/// What is read of a connection.
pub(super) struct Reading {
    hello: Arc<Hello>,
    signaling: Vec<MeshEvent>,
    control: Vec<MeshEvent>,
}

impl Reading {
    /// Of a connection to the member that has said this of itself.
    pub(super) fn new(hello: Arc<Hello>) -> Reading {
        Reading { hello, signaling: Vec::new(), control: Vec::new() }
    }

    /// Takes each whole frame off `buffer`.
    pub(super) fn take_all(
        &mut self,
        shared: &Shared,
        peer: &Peer,
        buffer: &mut BytesMut,
    ) -> Result<(), Ended> {
        loop {
            match cut(buffer).map_err(Ended::Malformed)? {
                None => return Ok(()),
                Some(Cut::Unknown(_)) => peer.figures.unknown.add(1),
                Some(Cut::Frame(frame)) => {
                    peer.figures.frames_in.add(1);
                    self.take(shared, peer, frame)?;
                }
            }
        }
    }

    /// Which member says it.
    pub(super) fn member(&self) -> MemberId {
        self.hello.member.id
    }

    fn take(&mut self, shared: &Shared, peer: &Peer, frame: Frame) -> Result<(), Ended> {
        let id = self.member();
        match frame {
            Frame::SipRelay(..)
            | Frame::Write(_)
            | Frame::Closed(_)
            | Frame::SendOut(_)
            | Frame::Undelivered(..)
            | Frame::Registrations(_)
            | Frame::Calls(_)
            | Frame::RegistrationSync(..) => self.signaling.push(MeshEvent::Frame(id, frame)),
            Frame::View(_) | Frame::Request(_) | Frame::Event(_) => {
                self.control.push(MeshEvent::Frame(id, frame));
            }
            Frame::Reply(reply) => peer.requests.handle_reply(reply),
            Frame::Heartbeat(heartbeat) => {
                let now = Instant::now();
                let epoch = peer.note_heartbeat(heartbeat, now, shared.now_us(now));
                self.control.extend(epoch.map(|epoch| MeshEvent::PeerEpoch(id, epoch)));
            }
            Frame::Hello(hello) => self.take_hello(peer, *hello)?,
            Frame::Goodbye(Goodbye { why }) => return Err(Ended::Goodbye(why)),
            Frame::Welcome(_) | Frame::JoinAsk(_) | Frame::Grant(_) | Frame::JoinRefused(_) => {
                let why = format!("a frame of kind {} on a connection in use", frame.kind());
                return Err(Ended::Unexpected(why));
            }
        }
        Ok(())
    }

    /// It says something else of itself than before; who it is does not change.
    fn take_hello(&mut self, peer: &Peer, hello: Hello) -> Result<(), Ended> {
        let who = |hello: &Hello| {
            let member = &hello.member;
            (hello.cluster, member.name.clone(), member.id, member.incarnation)
        };
        if who(&hello) != who(&self.hello) {
            return Err(Ended::Unexpected("it says to be somebody else than before".to_owned()));
        }
        self.hello = Arc::new(hello);
        peer.state().hello = Some(Arc::clone(&self.hello));
        self.signaling.push(MeshEvent::PeerChanged(Arc::clone(&self.hello)));
        self.control.push(MeshEvent::PeerChanged(Arc::clone(&self.hello)));
        Ok(())
    }

    /// Leaves what was taken with those that it is for.
    pub(super) fn post(
        &mut self,
        shared: &Shared,
        peer: &Peer,
        waking: Waking,
    ) -> Result<(), Ended> {
        let from = self.member();
        let posted = [
            shared.signaling.post(from, &mut self.signaling, waking),
            shared.control.post(from, &mut self.control, Waking::Whoever),
        ];
        for one in posted {
            peer.figures.dropped_in.add(one.map_err(|_| Ended::TooMuch)?);
        }
        Ok(())
    }
}
