//! Members for tests.

use control_core::cluster::{
    Capacity, Epoch, FarmSetting, Incarnation, Member, MemberId, MemberName, PlacementSetting,
    Profile, Role, SipAddress, Term, UnixMillis, Versions, View,
};
use control_core::settings::{AddressPair, PortRange, Transport};

pub(crate) fn name(text: &str) -> MemberName {
    MemberName::new(text).expect("a name")
}

pub(crate) fn profile(role: Role, farm: FarmSetting) -> Profile {
    Profile {
        role,
        farm,
        call_legs: PlacementSetting::Auto,
        signals: PlacementSetting::Auto,
        draining: false,
        joining: false,
        continues: Vec::new(),
        capacity: Capacity::USUAL,
        media_ports: PortRange::new(20_000, 29_999).expect("a range"),
        wan_ip: AddressPair::default(),
        own_wan_ip: AddressPair::default(),
        mesh: "10.0.0.1:7000".parse().expect("an address"),
        sip: vec![SipAddress {
            transport: Transport::Udp,
            address: "10.0.0.1:5060".parse().expect("an address"),
        }],
        protocol: Versions { oldest: 1, newest: 1 },
    }
}

/// The member with that number, named after it.
pub(crate) fn member(id: u16, role: Role, farm: FarmSetting) -> Member {
    Member {
        name: name(&format!("m{id}")),
        id: MemberId::new(id).expect("not 0"),
        incarnation: Incarnation(1),
        profile: profile(role, farm),
    }
}

pub(crate) fn view(members: Vec<Member>) -> View {
    View {
        version: 1,
        epoch: Epoch(1),
        term: Term(1),
        controller: name("m1"),
        published: UnixMillis(0),
        members,
    }
}
