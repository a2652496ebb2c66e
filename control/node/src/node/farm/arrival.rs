//! When a member that has just come knows what the others know.

use std::collections::{BTreeMap, BTreeSet};

use control_core::cluster::MemberId;
use signaling_core::farm::PeerState;

use super::link::Stand;
use super::words::Peer;

/// From whom everything has been copied since this process is the member that it is.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    copied: BTreeSet<MemberId>,
}

impl Arrival {
    /// All registrations of that member have come.
    pub(super) fn copied(&mut self, from: MemberId) {
        self.copied.insert(from);
    }

    /// Whether there is nothing to wait for any more: one that was there before has given what it has, or
    /// everybody has, as all of them have just come.
    pub(super) fn is_over(&self, stand: &Stand, peers: &BTreeMap<MemberId, Peer>) -> bool {
        let Some(view) = &stand.view else { return false };
        let own = stand.own.map(|own| own.id);
        let mut others = view.members.iter().filter(|other| Some(other.id) != own);
        let knows = |id: &MemberId| peers.get(id).is_some_and(|peer| !peer.joining);
        let has_given = |id: MemberId| {
            let is_up = peers.get(&id).is_some_and(|peer| peer.state != PeerState::Down);
            is_up && self.copied.contains(&id)
        };
        self.copied.iter().any(knows) || others.all(|other| has_given(other.id))
    }
}
