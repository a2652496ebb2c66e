//! Members whose own addresses no client sees: a balancer's stands for all of them (S33).

use std::time::Duration;

use bytes::Bytes;

use super::super::calls::{ALICE, BOB, invite};
use super::super::harness::{Bench, NODE, Plan, address, register, sdp, show};
use super::{connection, identity, secrets};
use crate::farm::{Errand, Member, Mode, PeerState, SipAddress, View, Why};
use crate::transport::{Arrival, ListenerId, Transport};
use crate::wire::Message;

/// The balancer's.
const SHARED: &str = "203.0.113.5:5060";
/// The other member's own.
const OTHER: &str = "10.0.0.2:5060";

fn member(at: usize, own: &[&str]) -> Member {
    let of = |text: &&str| {
        let address = address(text);
        [Transport::Udp, Transport::Tcp].map(|transport| SipAddress { transport, address })
    };
    Member {
        identity: identity(at, 1),
        weight: 1,
        mode: Mode::Member,
        draining: false,
        joining: false,
        earlier: Default::default(),
        state: PeerState::Up,
        addresses: own.iter().flat_map(of).collect(),
    }
}

/// What a phone is sent by its connection to another member, where this one is called `advertised`, and the
/// other has these addresses.
fn rung(advertised: Option<&str>, other: &[&str]) -> Message {
    let plan = Plan { advertised: advertised.map(address), ..Plan::default() };
    let mut bench = Bench::new(plan);
    bench.proxy.set_farm(identity(0, 1), &secrets(1));
    let own: Vec<&str> = advertised.into_iter().chain([NODE]).collect();
    let view = View { members: vec![member(0, &own), member(1, other)], sends_itself: false };
    bench.proxy.set_membership(bench.now, view);
    bench.pass(Duration::from_secs(300));
    let mut relayed = |from: &str, transport, connection, text: String| {
        let arrival = Arrival {
            transport,
            listener: ListenerId(0),
            local: address(OTHER),
            remote: address(from),
            connection,
        };
        let errand = Errand { why: Why::Spread, asked: 0 };
        let bytes = Bytes::from(text);
        bench.proxy.handle_relayed(bench.now, identity(1, 1), errand, arrival, bytes);
        bench.settle();
    };
    let hers = register("bob", BOB, "1").replace("/UDP", "/TCP");
    relayed(BOB, Transport::Tcp, Some(connection(1)), hers);
    relayed(ALICE, Transport::Udp, None, invite("bob", &sdp("198.51.100.10", 4000)));
    let is_for_bob = |sent: &&crate::transport::Transmit| sent.bytes.starts_with(b"INVITE");
    let sent = bench.sent.iter().find(is_for_bob).expect("an INVITE");
    assert_eq!(sent.target.connection, Some(connection(1)));
    Message::parse_datagram(sent.bytes.clone()).unwrap()
}

/// S33, S36: the peer of another member's connection is told the address by which it reaches any member.
#[test]
fn a_phone_on_anothers_connection_is_told_the_balancers_address() {
    let invite = rung(Some(SHARED), &[SHARED, OTHER]);
    assert_eq!(invite.top_via().host_text(), "203.0.113.5", "{}", show(&invite));
    let routes: Vec<_> = invite.record_routes().map(|route| route.unwrap()).collect();
    assert!(routes.iter().all(|route| route.uri_text().contains(SHARED)), "{}", show(&invite));
}

/// Where nothing stands for both, a peer is told the address that it is connected to.
#[test]
fn a_phone_on_anothers_connection_is_told_that_ones_address_where_no_other_is_common() {
    for (advertised, other) in
        [(None, &[OTHER][..]), (None, &[SHARED, OTHER]), (Some(SHARED), &[OTHER])]
    {
        let invite = rung(advertised, other);
        assert_eq!(invite.top_via().host_text(), "10.0.0.2", "{}", show(&invite));
    }
}
