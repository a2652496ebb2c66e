//! Between the mesh and the membership: who is heard, and views that are sent directly, which is
//! faster than the engine and goes on without it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use control_core::cluster::membership::PeerState;
use control_core::cluster::{Document as _, Incarnate, Member, MemberId, MemberName, View};
use control_core::mesh::{Body, Frame, ViewFrame};

use super::{Busy, Handle};
use crate::cluster::mesh::MeshEvent;

/// Tells the membership what the mesh tells.
#[derive(Default)]
pub(crate) struct MeshNews {
    /// Members with a connection, of which there are as many as the mesh has peers.
    members: BTreeMap<MemberId, (MemberName, Incarnate)>,
}

impl MeshNews {
    /// Hands on what concerns the membership; everything else is passed over.
    ///
    /// # Errors
    /// The membership has too much to do. It learns of a change of this peer with the next one.
    pub(crate) fn hand_on(&mut self, event: &MeshEvent, to: &Handle) -> Result<(), Busy> {
        match event {
            MeshEvent::PeerUp(hello) | MeshEvent::PeerChanged(hello) => {
                let Member { id, name, .. } = &hello.member;
                self.members.insert(*id, (name.clone(), hello.member.incarnate()));
                self.state(*id, PeerState::Up, to)
            }
            MeshEvent::PeerSuspect(id) => self.state(*id, PeerState::Suspect, to),
            MeshEvent::PeerRecovered(id) => self.state(*id, PeerState::Up, to),
            MeshEvent::PeerDown { member, incarnation, refused } => {
                let down = if *refused { PeerState::Refused } else { PeerState::Down };
                let Some((name, _)) = self.members.get(member) else { return Ok(()) };
                let was = Incarnate { id: *member, incarnation: *incarnation };
                to.peer(name.clone(), was, down)
            }
            MeshEvent::Frame(from, Frame::View(frame)) => self.view(*from, frame, to),
            MeshEvent::Frame(..) | MeshEvent::PeerEpoch(..) => Ok(()),
        }
    }

    fn state(&self, id: MemberId, state: PeerState, to: &Handle) -> Result<(), Busy> {
        let Some((name, incarnate)) = self.members.get(&id) else { return Ok(()) };
        to.peer(name.clone(), *incarnate, state)
    }

    fn view(&self, from: MemberId, frame: &ViewFrame, to: &Handle) -> Result<(), Busy> {
        let Some((name, _)) = self.members.get(&from) else { return Ok(()) };
        let present = to.present();
        if present.view.as_ref().is_some_and(|view| view.epoch >= frame.epoch) {
            return Ok(());
        }
        match View::from_bytes(&frame.body.0) {
            // What becomes of it is published.
            Ok(view) => to.view(name.clone(), Box::new(view)).map(drop),
            Err(error) => {
                tracing::warn!(member = %name, %error, "a view from another member is left alone");
                Ok(())
            }
        }
    }
}

/// The frame that carries a view to other members.
pub(crate) fn view_frame(view: &View) -> Frame {
    // Without the layout that documents have in the engine for people to read.
    let bytes = serde_json::to_vec(view).unwrap_or_default();
    Frame::View(ViewFrame { epoch: view.epoch, body: Body(Bytes::from(bytes)) })
}

/// With whom the member `own` has connections while it goes by `view`.
pub(crate) fn peers_of(view: &View, own: &MemberName) -> Vec<(MemberName, SocketAddr)> {
    let others = view.members.iter().filter(|member| member.name != *own);
    others.map(|member| (member.name.clone(), member.profile.mesh)).collect()
}
