//! The cluster in the words of the proxy core, and messages of SIP in those of the mesh.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::node::translate::transport as of_settings;
use control_core::cluster::membership::CONTINUES_MAX;
use control_core::cluster::{self, Incarnate, TokenKeys, TokenSalt};
use control_core::mesh::{self, ClusterSecret, Hop, ListenerKind, SendOut};
use sha2::{Digest as _, Sha256};
use signaling_core::farm::{
    self, Earlier, Errand, Identity, Incarnation, Lasting, MemberId, Mode, PeerState, Secrets,
    TokenKey, Why,
};
use signaling_core::transport::{Arrival, ConnectionId, ListenerId, Target, Transport};

use super::link::Stand;

/// Whatever a member's word names of a listener: this node finds its own.
const ANY_LISTENER: ListenerId = ListenerId(0);

/// How another member looks from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) incarnation: cluster::Incarnation,
    pub(super) state: PeerState,
    /// It says that it drains, which the view may not say yet.
    pub(super) draining: bool,
    /// It has just come, and takes nothing new yet.
    pub(super) joining: bool,
}

pub(super) fn identity(incarnate: Incarnate) -> Identity {
    Identity { member: member(incarnate.id), incarnation: Incarnation(incarnate.incarnation.0) }
}

pub(super) fn member(id: cluster::MemberId) -> MemberId {
    MemberId::new(id.get()).expect("no member's number is 0")
}

/// The secrets of the farm: each is made of the cluster's for one use alone.
pub(super) fn secrets(cluster: &ClusterSecret, keys: &TokenKeys) -> Secrets {
    Secrets {
        current: token_key(cluster, keys.writes()),
        // The one before, or the next one, which is read before anybody makes tokens with it.
        previous: keys.also().map(|also| token_key(cluster, also)),
        lasting: Lasting(derive(cluster, "farm lasting")),
    }
}

/// Whoever lacks the cluster's secret or the salt cannot make it.
fn token_key(cluster: &ClusterSecret, TokenSalt { number, salt }: TokenSalt) -> TokenKey {
    let usage = format!("farm tokens {number} {:032x}", u128::from_be_bytes(salt.0));
    // The two that there are at a time are neighbours.
    TokenKey { id: number.to_le_bytes()[0], secret: derive(cluster, &usage) }
}

/// A secret for one use, as all members make it.
pub(in crate::node) fn derive(cluster: &ClusterSecret, usage: &str) -> [u8; 32] {
    let hash = Sha256::new().chain_update(b"ringfarm ").chain_update(usage.as_bytes());
    hash.chain_update([0]).chain_update(cluster.0).finalize().into()
}

/// The members as the proxy core is to know them.
pub(super) fn view(
    stand: &Stand,
    view: &cluster::View,
    peers: &BTreeMap<cluster::MemberId, Peer>,
) -> farm::View {
    let own = stand.own;
    let members = view.members.iter().map(|other| {
        let peer = peers.get(&other.id).filter(|peer| peer.incarnation == other.incarnation);
        let is_own = own == Some(other.incarnate());
        farm::Member {
            identity: identity(other.incarnate()),
            weight: u32::from(other.profile.capacity.get()),
            mode: mode(view.farm(other)),
            draining: other.profile.draining || peer.is_some_and(|peer| peer.draining),
            joining: match peer {
                _ if is_own => stand.joining,
                peer => peer.is_some_and(|peer| peer.joining),
            },
            earlier: earlier(other),
            state: match peer {
                _ if is_own => PeerState::Up,
                Some(peer) => peer.state,
                None => PeerState::Down,
            },
            addresses: other.profile.sip.iter().map(sip_address).collect(),
        }
    });
    // S23: one that is set to `Relay` itself has no other way out than the farm.
    let set = view.members.iter().find(|member| own == Some(member.incarnate()));
    let sends_itself = set.is_none_or(|own| own.profile.farm != cluster::FarmSetting::Relay);
    farm::View { members: members.collect(), sends_itself }
}

/// The lives that a member says to have had in the same process. One that is not over yet is none of them.
fn earlier(member: &cluster::Member) -> Earlier {
    let continues = member.profile.continues.iter().filter(|of| **of < member.incarnation);
    continues.take(CONTINUES_MAX).map(|of| Incarnation(of.0)).collect()
}

fn sip_address(sip: &cluster::SipAddress) -> farm::SipAddress {
    farm::SipAddress { transport: of_settings(sip.transport), address: sip.address }
}

const fn mode(farm: cluster::Farm) -> Mode {
    match farm {
        cluster::Farm::Member => Mode::Member,
        cluster::Farm::Disabled => Mode::Disabled,
        cluster::Farm::Relay => Mode::Relay,
    }
}

/// The number of a transport between members; the same in each version.
pub(super) const fn number(transport: Transport) -> u8 {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
        Transport::Ws => 3,
        Transport::Wss => 4,
    }
}

/// `None`: one that only a newer version knows.
pub(super) fn transport(number_of: u8) -> Option<Transport> {
    Transport::ALL.into_iter().find(|transport| number(*transport) == number_of)
}

pub(super) fn hop(target: &Target) -> Hop {
    Hop {
        transport: number(target.transport),
        listener: ListenerKind::Address,
        local: target.local,
        remote: target.remote,
        connection: target.connection.map_or(0, |connection| connection.0),
    }
}

/// Where a message goes that another member sends.
pub(super) const fn way(transport: Transport, remote: SocketAddr) -> Target {
    let listener = ANY_LISTENER;
    Target { transport, listener, local: remote, remote, connection: None, name: None }
}

/// As [`way`]; `None`: a transport that only a newer version knows.
pub(super) fn way_to(send: &SendOut) -> Option<Target> {
    transport(send.transport).map(|transport| way(transport, send.remote))
}

pub(super) fn target(hop: &Hop) -> Option<Target> {
    Some(Target {
        transport: transport(hop.transport)?,
        listener: ANY_LISTENER,
        local: hop.local,
        remote: hop.remote,
        connection: Some(ConnectionId(hop.connection)).filter(|connection| connection.0 != 0),
        name: None,
    })
}

pub(super) fn arrival(hop: &Hop) -> Option<Arrival> {
    let Target { transport, listener, local, remote, connection, name: _ } = target(hop)?;
    Some(Arrival { transport, listener, local, remote, connection })
}

pub(super) const fn errand(errand: Errand) -> mesh::Errand {
    mesh::Errand { why: errand.why.number(), asked: errand.asked }
}

pub(super) fn errand_of(errand: mesh::Errand) -> Errand {
    Errand { why: Why::from_number(errand.why), asked: errand.asked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_over_the_mesh_comes_back_the_same() {
        for transport in Transport::ALL {
            for connection in [None, Some(ConnectionId::of_member(7, 3, 9))] {
                let target = Target {
                    transport,
                    listener: ANY_LISTENER,
                    local: "192.0.2.1:5060".parse().unwrap(),
                    remote: "[2001:db8::1]:5061".parse().unwrap(),
                    connection,
                    name: None,
                };
                assert_eq!(super::target(&hop(&target)), Some(target));
            }
        }
        for why in Why::ALL {
            let one = Errand { why, asked: 2 };
            assert_eq!(errand_of(errand(one)), one);
        }
    }

    #[test]
    fn a_transport_of_a_newer_version_is_none_of_ours() {
        let address = "192.0.2.1:5060".parse().unwrap();
        let listener = ListenerKind::Address;
        let hop = Hop { transport: 9, listener, local: address, remote: address, connection: 0 };
        assert_eq!(target(&hop), None);
        assert_eq!(arrival(&hop), None);
    }

    /// B1: a key is its number and salt, whoever makes it, and no other.
    #[test]
    fn tokens_are_made_with_one_key_and_read_with_its_neighbour() {
        use control_core::cluster::{Salt, UnixSeconds};
        let cluster = ClusterSecret([1; 32]);
        let made = |keys: &TokenKeys| {
            let Secrets { current, previous, .. } = secrets(&cluster, keys);
            (current, previous)
        };
        let first = TokenKeys::default();
        let announced = first.announce(Salt([7; 16])).unwrap();
        let switched = announced.switch(UnixSeconds(1)).unwrap();
        let (old, none) = made(&first);
        assert!(none.is_none());
        let (still, next) = made(&announced);
        let (now, before) = made(&switched);
        let [next, before] = [next, before].map(Option::unwrap);
        let id_and_secret = |key: TokenKey| (key.id, key.secret);
        assert_eq!(id_and_secret(old), id_and_secret(still));
        assert_eq!(id_and_secret(next), id_and_secret(now));
        assert_eq!(id_and_secret(old), id_and_secret(before));
        assert_ne!(now.id, before.id);
        let other = first.announce(Salt([8; 16])).unwrap();
        assert_ne!(made(&other).1.unwrap().secret, next.secret, "the salt counts");
    }

    #[test]
    fn each_use_has_a_secret_of_its_own_that_all_members_make() {
        let (one, other) = (ClusterSecret([1; 32]), ClusterSecret([2; 32]));
        assert_eq!(derive(&one, "a"), derive(&one, "a"));
        assert_ne!(derive(&one, "a"), derive(&one, "b"));
        assert_ne!(derive(&one, "a"), derive(&other, "a"));
    }
}
