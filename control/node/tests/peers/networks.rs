//! A call between an inside and an outside network: two local addresses, and each side is told its own.

use crate::harness::{
    CALLER, CALLER_HUNG_UP, Lab, MEDIA_PORTS, Meter, NODE_OUTSIDE, OUTSIDE, Settings, Transport,
    WAN, run,
};
use crate::sipp::SIPP;
use crate::sipp_calls::{Sides, assert_audio_passed, carry, directions_between};

/// Calls at the same time.
const CALLS: u32 = 10;

/// Row S66 and the interpretation: a caller inside and a callee outside, who has been told the WAN IP
/// and reaches the node's media by no other address. All audio passes both ways.
#[test]
fn inside_and_outside_are_each_served_on_and_told_their_own_address() {
    let settings = Settings { networks: true, ..Settings::with_users(&["alice", "bob"]) };
    let lab = Lab::start(&settings, &[SIPP, "nft"]);
    stand_before_the_node(&lab);
    let mut directions = directions_between(CALLER.into(), OUTSIDE.into());
    directions[1].from = WAN.into();
    let meter = Meter::start(&lab, &directions);
    carry(&lab, Sides::new(Transport::Udp, CALLER, OUTSIDE), CALLS);
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
