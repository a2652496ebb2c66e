//! Calls whose media goes past the node (`media.relay = "never"`).

use crate::harness::{
    self, CALLER_HUNG_UP, Direction, Lab, MEDIA_PORTS, Meter, NODE, Settings, Transport,
};
use crate::sipp::{MEDIA_PORT, SIPP};
use crate::sipp_calls::{Sides, carry};

/// Calls at once.
const CALLS: u32 = 10;

/// The phones are told each other's addresses and talk past the node, which opens no port, relays no
/// packet and knows the calls all the same, over UDP.
#[test]
fn media_of_calls_over_udp_goes_from_phone_to_phone() {
    media_goes_past_the_node(Transport::Udp);
}

/// As over UDP.
#[test]
fn media_of_calls_over_tcp_goes_from_phone_to_phone() {
    media_goes_past_the_node(Transport::Tcp);
}

fn media_goes_past_the_node(transport: Transport) {
    let (caller, callee) = (harness::CALLER.into(), harness::CALLEE.into());
    let settings = Settings { unrelayed: true, ..Settings::with_users(&["alice", "bob"]) };
    let lab = Lab::start(&settings, &[SIPP]);
    let way = |name, from, to, ports, swallow| Direction { name, from, to, ports, swallow };
    let player = MEDIA_PORT..=MEDIA_PORT + 4 * 50;
    let meter = Meter::start(
        &lab,
        &[
            way("past", caller, callee, MEDIA_PORT..=MEDIA_PORT, false),
            way("returned", callee, caller, player, true),
            way("through", caller, NODE.into(), MEDIA_PORTS, false),
        ],
    );
    carry(&lab, Sides::new(transport, caller, callee), CALLS);
    assert_eq!(meter.packets("through"), 0, "media came to the node");
    let (past, returned) = (meter.packets("past"), meter.packets("returned"));
    assert!(past > 0 && returned > 0, "{past} packets to the callee, {returned} back");
    for line in lab.finish(&[CALLER_HUNG_UP; CALLS as usize]) {
        assert!(!line.contains("caller 1"), "the node counted media: {line}");
    }
}
