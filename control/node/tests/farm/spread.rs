//! Calls with media while every datagram goes to a random member.

use crate::lab::{FRONTENDS, Farm, Segment};
use crate::load::{Calls, Load};
use crate::member::{Member, OPEN};

/// The lab itself: a balancer that has nobody to choose from disturbs nothing.
#[test]
fn calls_through_the_shared_address_of_one_member_lose_nothing() {
    let segment = Segment::create();
    let member = Member::start(&segment, FRONTENDS[0], OPEN);
    segment.spread_over(&FRONTENDS[..1]);
    let calls = Calls::new(20);
    let report = Load::start(&segment, calls).report();
    assert!(report.is_flawless(), "{report}");
    assert!(segment.datagrams_to(FRONTENDS[0]) > u64::from(calls.count) * 4);
    assert_eq!(member.ended_calls().len(), calls.count as usize);
    member.stop();
}

/// Rows S28 to S31, B2: with every datagram at a random one of three frontends no call fails and no packet
/// of its media is lost, and whatever belongs to a call is processed by the one member that owns it: each call
/// has ended once.
#[test]
fn calls_lose_nothing_while_every_datagram_goes_to_a_random_member() {
    let segment = Segment::create();
    let farm = Farm::start(&segment, 3, 2);
    let calls = Calls::new(60);
    let report = Load::start(&segment, calls).report();
    assert!(report.is_flawless(), "{report}");
    let ended = farm.ended_calls();
    assert_eq!(ended.iter().sum::<usize>(), calls.count as usize, "{ended:?}");
    assert!(ended.iter().all(|count| *count > 0), "one member has owned no call: {ended:?}");
    let spread = farm.addresses().into_iter().map(|address| segment.datagrams_to(address));
    let spread: Vec<u64> = spread.collect();
    let sent: u64 = spread.iter().sum();
    assert!(spread.iter().all(|count| *count > sent / 5), "not at random: {spread:?}");
    // Two of three are not at their owner.
    let relayed = farm.figure(RELAYED_OUT);
    assert!(relayed > sent as f64 / 2.0, "{relayed} of {sent} datagrams went on");
}

/// Messages given to other members.
const RELAYED_OUT: &str = "ringfarm_farm_relayed_out_total";
