//! A call between an inside and an outside network: two local addresses, and each side is told its own.

use std::net::IpAddr;

use crate::harness::{
    CALLEE, CALLER, CALLER_HUNG_UP, Direction, Lab, MEDIA_PORTS, Meter, NODE_OUTSIDE, OUTSIDE,
    Settings, Transport, WAN, run,
};
use crate::sipp::SIPP;
use crate::sipp_calls::{Sides, assert_audio_passed, carry, directions_between};

/// Calls at the same time.
const CALLS: u32 = 10;

/// Row S66 and the interpretation: who calls from outside plays to the WAN IP that he is told, and
/// reaches the node's media by no other address. All audio passes both ways.
#[test]
fn outside_is_served_on_its_own_address_and_told_the_one_before_it() {
    let directions = |mut directions: [Direction; 4]| {
        directions[3].from = WAN.into();
        directions
    };
    call(OUTSIDE.into(), CALLEE.into(), directions);
}

/// Who calls from inside is told an address that is reached from there, which the WAN IP is not.
#[test]
fn inside_is_told_its_own_address_where_there_is_a_wan_ip() {
    let directions = |mut directions: [Direction; 4]| {
        directions[1].from = WAN.into();
        directions
    };
    call(CALLER.into(), OUTSIDE.into(), directions);
}

fn call(caller: IpAddr, callee: IpAddr, seen: impl Fn([Direction; 4]) -> [Direction; 4]) {
    let settings = Settings { networks: true, ..Settings::with_users(&["alice", "bob"]) };
    let lab = Lab::start(&settings, &[SIPP]);
    stand_before_the_node(&lab);
    let meter = Meter::start(&lab, &seen(directions_between(caller, callee)));
    carry(&lab, Sides::new(Transport::Udp, caller, callee), CALLS);
    assert_audio_passed(&meter);
    lab.finish(&[CALLER_HUNG_UP; CALLS as usize]);
}

/// What the outside host sees of the node's media is [`WAN`], as a NAT in front of the node would show
/// it; what it sends to the address behind is lost.
fn stand_before_the_node(lab: &Lab) {
    let outside = lab.host(OUTSIDE);
    outside.ip(&format!("route add {WAN}/32 via {NODE_OUTSIDE}"));
    let (first, last) = (MEDIA_PORTS.start(), MEDIA_PORTS.end());
    let ruleset = format!(
        "table ip nat_in_front {{\n\
         chain out {{\ntype route hook output priority -300\n\
         ip daddr {NODE_OUTSIDE} udp dport {first}-{last} drop\n\
         ip daddr {WAN} ip daddr set {NODE_OUTSIDE}\n}}\n\
         chain in {{\ntype filter hook prerouting priority -300\n\
         ip saddr {NODE_OUTSIDE} udp sport {first}-{last} ip saddr set {WAN}\n}}\n}}\n"
    );
    run(outside.command("nft").arg(ruleset));
}
