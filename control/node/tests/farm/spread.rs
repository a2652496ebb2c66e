//! Calls with media while every datagram and every connection goes to a random member.

use crate::harness::Transport;
use crate::lab::{Farm, Segment};
use crate::load::{Calls, Load};
use crate::{relay, strange};

/// Rows S28 to S31, B2: with every datagram and every connection at a random one of three frontends no call
/// fails and no packet of its media is lost, over UDP, TCP and TLS at once, and whatever belongs to a call is
/// processed by the one member that owns it: each call has ended once. A call to a phone over TCP or TLS comes
/// by the connection that it has registered by, whichever member that is at.
///
/// On the same farm, since it takes longer to start than to ask: strangers at the ports of the mesh are heard
/// by nobody, forged tokens steer nothing, and backends send out through farm members (see [`relay`]).
#[test]
fn calls_lose_nothing_while_everything_goes_to_a_random_member() {
    let segment = Segment::create();
    let farm = Farm::start(&segment, 3, 2);
    let calls = Calls::new(60, 15);
    let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
    let loads = transports.map(|transport| Load::start(&segment, calls.over(transport)));
    let strangers = strange::at_the_mesh(&segment, &farm);
    let reports = loads.map(Load::report);
    for report in &reports {
        eprintln!("over {}:\n{report}", report.transport);
        assert!(report.is_flawless(), "over {}:\n{report}", report.transport);
        assert_eq!(report.connections_lost, 0, "{report}");
    }
    let ended = farm.ended_calls();
    assert_eq!(ended.iter().sum::<usize>(), 3 * calls.count as usize, "{ended:?}");
    assert!(ended.iter().all(|count| *count > 0), "one member has owned no call: {ended:?}");
    let spread = farm.addresses().into_iter().map(|address| segment.datagrams_to(address));
    let spread: Vec<u64> = spread.collect();
    let sent: u64 = spread.iter().sum();
    assert!(spread.iter().all(|count| *count > sent / 5), "not at random: {spread:?}");
    // Two of three are not at their owner.
    let relayed = farm.figure(RELAYED_OUT);
    assert!(relayed > sent as f64 / 2.0, "{relayed} of {sent} datagrams went on");
    // As many calls to phones by their connections, two of three of which another member has.
    let written = farm.figure(WRITTEN_OUT);
    assert!(written > f64::from(calls.count), "{written} messages by others' connections");
    assert!(farm.frontends.iter().all(|member| member.sees() == 5));
    drop(strangers);
    strange::forge_tokens(&segment, &farm);
    relay::through_farm_members(&segment, &farm);
    relay::without_farm_members(&segment, farm);
}

/// Messages given to other members, and written to connections that other members have.
const RELAYED_OUT: &str = "ringfarm_farm_relayed_out_total";
const WRITTEN_OUT: &str = "ringfarm_farm_written_out_total";
