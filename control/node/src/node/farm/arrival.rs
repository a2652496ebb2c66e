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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use control_core::cluster::{
        self, Capacity, FarmSetting, Incarnate, Incarnation, Member, MemberName, PlacementSetting,
        Profile, Role, Term, UnixMillis, Versions, View,
    };
    use control_core::settings::{AddressPair, PortRange};

    use super::*;

    fn id(number: u16) -> MemberId {
        MemberId::new(number).unwrap()
    }

    fn member(number: u16) -> Member {
        let profile = Profile {
            role: Role::Frontend,
            farm: FarmSetting::Auto,
            call_legs: PlacementSetting::Auto,
            signals: PlacementSetting::Auto,
            draining: false,
            joining: false,
            continues: Vec::new(),
            capacity: Capacity::USUAL,
            media_ports: PortRange::new(20_000, 29_999).unwrap(),
            wan_ip: AddressPair::default(),
            own_wan_ip: AddressPair::default(),
            mesh: SocketAddr::from(([127, 0, 0, 1], 7443)),
            sip: Vec::new(),
            protocol: Versions { oldest: 1, newest: 1 },
        };
        let name = MemberName::new(&format!("m{number}")).unwrap();
        Member { name, id: id(number), incarnation: Incarnation(1), profile }
    }

    /// Member 1, in a view of so many.
    fn stand(count: u16) -> Stand {
        let members: Vec<Member> = (1..=count).map(member).collect();
        let view = View {
            version: 1,
            epoch: cluster::Epoch(1),
            term: Term(1),
            controller: members[0].name.clone(),
            published: UnixMillis(1),
            members,
        };
        let own = Some(Incarnate { id: id(1), incarnation: Incarnation(1) });
        Stand { own, view: Some(Arc::new(view)), joining: true, ..Stand::default() }
    }

    fn peer(state: PeerState, joining: bool) -> Peer {
        Peer { incarnation: Incarnation(1), state, draining: false, joining }
    }

    fn arrived(from: &[u16]) -> Arrival {
        let mut arrival = Arrival::default();
        from.iter().for_each(|number| arrival.copied(id(*number)));
        arrival
    }

    /// What one that was there before has given is what everybody has been told.
    #[test]
    fn a_copy_of_one_that_was_there_before_is_enough() {
        let peers = [(id(2), peer(PeerState::Up, false)), (id(3), peer(PeerState::Up, true))];
        let peers = BTreeMap::from(peers);
        assert!(!arrived(&[]).is_over(&stand(3), &peers));
        assert!(!arrived(&[3]).is_over(&stand(3), &peers), "it has just come itself");
        assert!(arrived(&[2]).is_over(&stand(3), &peers));
        assert!(!arrived(&[2]).is_over(&Stand::default(), &peers), "without a view nobody knows");
    }

    /// A cluster begins somehow: where all have just come, none of them waits for another that waits for it.
    #[test]
    fn members_that_have_all_just_come_need_what_each_of_the_others_has() {
        let joining = |state| peer(state, true);
        let peers =
            BTreeMap::from([(id(2), joining(PeerState::Up)), (id(3), joining(PeerState::Up))]);
        assert!(!arrived(&[2]).is_over(&stand(3), &peers));
        assert!(arrived(&[2, 3]).is_over(&stand(3), &peers));
        // What it has given since then is not known to be all.
        let peers =
            BTreeMap::from([(id(2), joining(PeerState::Up)), (id(3), joining(PeerState::Down))]);
        assert!(!arrived(&[2, 3]).is_over(&stand(3), &peers));
        assert!(arrived(&[]).is_over(&stand(1), &BTreeMap::new()), "alone it waits for nobody");
    }
}
