//! Virtual addresses: a /32 alias of the loopback interface that a balancer sends packets for, beside the
//! node's own address (rows S44, S50 to S53).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::harness::{self, DOMAIN, Lab, NODE, NODE_PORT, Settings, Transport, run, v6};
use crate::raw::{ANSWER, Raw};

/// The virtual address.
const VIP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 100);

/// The same for IPv6.
const VIP6: &str = "fd99::100";

fn vip(is_v4: bool) -> IpAddr {
    if is_v4 { VIP.into() } else { VIP6.parse().expect("an address") }
}

fn any(is_v4: bool) -> IpAddr {
    if is_v4 { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) }
}

fn node(is_v4: bool) -> IpAddr {
    if is_v4 { NODE.into() } else { v6(NODE) }
}

fn caller(is_v4: bool) -> IpAddr {
    if is_v4 { harness::CALLER.into() } else { v6(harness::CALLER) }
}

fn at(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, NODE_PORT)
}

/// Gives the node its virtual address, or takes it away; the network brings packets for it all along.
fn give_vip(lab: &Lab, is_v4: bool, verb: &str) {
    let address = format!("{}/{}", vip(is_v4), if is_v4 { 32 } else { 128 });
    let mut command = lab.host(NODE).command("ip");
    command.args(["address", verb, &address, "dev", "lo"]);
    // Nobody else has it: no need to wait until that has been found out (RFC 4862 5.4).
    run(if is_v4 || verb == "delete" { &mut command } else { command.arg("nodad") });
}

/// Has the hosts send what is for the virtual address to the node.
fn route_vip(lab: &Lab, is_v4: bool) {
    for host in [harness::CALLER, harness::CALLEE] {
        let (vip, way) = (vip(is_v4).to_string(), node(is_v4).to_string());
        run(lab.host(host).command("ip").args(["route", "add", &vip, "via", &way]));
    }
}

/// What the node answers to OPTIONS, sent to `to`; the answer has to come from there, too.
fn ping(lab: &Lab, transport: Transport, to: SocketAddr, route: SocketAddr, id: &str) -> u16 {
    let mut peer = Raw::open_to(lab, caller(to.is_ipv4()), transport, to);
    let (from, name) = (peer.address(), transport.name().to_uppercase());
    peer.send(&format!(
        "OPTIONS sip:{route} SIP/2.0\r\nVia: SIP/2.0/{name} {from};branch=z9hG4bK{id};rport\r\n\
         Route: <sip:{route};lr>\r\nMax-Forwards: 70\r\nFrom: <sip:ping@{from}>;tag=p\r\n\
         To: <sip:{to}>\r\nCall-ID: {id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ));
    peer.answer().status
}

/// S52, S53: an answer leaves from the virtual address if the request came to it, and from the node's own
/// if it came there: by two sockets, or by the one for all addresses alone. S51: and over TCP.
#[test]
fn answers_leave_from_the_address_that_was_asked_over_ipv4() {
    answers_leave_from_the_address_that_was_asked(true);
}

/// As over IPv4.
#[test]
fn answers_leave_from_the_address_that_was_asked_over_ipv6() {
    answers_leave_from_the_address_that_was_asked(false);
}

fn answers_leave_from_the_address_that_was_asked(is_v4: bool) {
    for two_sockets in [true, false] {
        let all = [Transport::Udp, Transport::Tcp].map(|transport| (transport, at(any(is_v4))));
        let own = two_sockets.then_some((Transport::Udp, at(vip(is_v4))));
        let listen = own.into_iter().chain(all).collect();
        let lab = Lab::start(&Settings { listen, ..Settings::default() }, &[]);
        give_vip(&lab, is_v4, "add");
        route_vip(&lab, is_v4);
        for (i, asked) in [at(vip(is_v4)), at(node(is_v4))].into_iter().enumerate() {
            for transport in [Transport::Udp, Transport::Tcp] {
                let id = format!("{i}{}", transport.name());
                assert_eq!(ping(&lab, transport, asked, asked, &id), 200, "{asked} {id}");
            }
        }
        lab.finish(&[]);
    }
}

/// S53: what is sent to a phone that came by the virtual address leaves from there, whoever calls.
#[test]
fn calls_to_a_phone_that_came_by_the_virtual_address_leave_from_it() {
    let listen = vec![(Transport::Udp, at(VIP.into())), (Transport::Udp, at(any(true)))];
    let lab = Lab::start(&Settings { listen, ..Settings::default() }, &[]);
    give_vip(&lab, true, "add");
    route_vip(&lab, true);
    let mut phone = Raw::open_to(&lab, harness::CALLEE.into(), Transport::Udp, at(VIP.into()));
    let bob = phone.address();
    phone.send(&format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {bob};branch=z9hG4bKreg;rport\r\n\
         From: <sip:bob@{DOMAIN}>;tag=r\r\nTo: <sip:bob@{DOMAIN}>\r\nCall-ID: reg@{bob}\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:bob@{bob}>\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n"
    ));
    assert_eq!(phone.answer().status, 200);
    let mut other = Raw::open(&lab, harness::CALLER, Transport::Udp);
    let alice = other.address();
    other.send(&format!(
        "MESSAGE sip:bob@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {alice};branch=z9hG4bKm;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@{DOMAIN}>;tag=a\r\nTo: <sip:bob@{DOMAIN}>\r\n\
         Call-ID: m@{alice}\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
    ));
    // Its socket takes what comes from the virtual address alone.
    let message = phone.receive(ANSWER);
    let top = message.lines().find(|line| line.starts_with("Via:")).unwrap_or_default();
    assert!(message.starts_with("MESSAGE ") && top.contains(&format!("UDP {VIP}:5060")), "{top}");
    lab.finish(&[]);
}

/// S50: an address that comes while the node runs is listened on and known as the node's own; one that
/// goes is said to be gone, and harms nothing.
#[test]
fn an_address_that_comes_while_the_node_runs_is_used() {
    let own = at(NODE.into());
    let later = at(VIP.into());
    let listen = [Transport::Udp, Transport::Tcp].map(|t| [(t, own), (t, later)]).concat();
    let mut lab = Lab::start(&Settings { listen, ..Settings::default() }, &[]);
    lab.wait_logged("sip.listen[1] = 10.99.0.100 is not an address of this host");
    assert!(lab.tell("refresh").contains("not an address of this host: sip.listen[1]"));
    route_vip(&lab, true);
    for round in 0..2 {
        give_vip(&lab, true, "add");
        assert_eq!(lab.tell("refresh"), "refreshed\n", "nothing is absent");
        for transport in [Transport::Udp, Transport::Tcp] {
            let id = format!("{round}{}", transport.name());
            assert_eq!(ping(&lab, transport, later, later, &id), 200);
        }
        give_vip(&lab, true, "delete");
        assert!(lab.tell("refresh").contains("sip.listen[3] = 10.99.0.100"));
        assert_eq!(ping(&lab, Transport::Udp, own, own, &format!("{round}own")), 200);
    }
    lab.finish(&[]);
}

/// S50, S56: on a socket for all addresses a new one is the node's own as soon as it is known, also in a
/// Route of a request that came to another.
#[test]
fn a_new_address_in_a_route_is_the_nodes_own() {
    let listen = vec![(Transport::Udp, at(any(true)))];
    let lab = Lab::start(&Settings { listen, ..Settings::default() }, &[]);
    let (own, new) = (at(NODE.into()), at(VIP.into()));
    assert_eq!(ping(&lab, Transport::Udp, own, new, "before"), 403, "another's address");
    give_vip(&lab, true, "add");
    lab.tell("refresh");
    assert_eq!(ping(&lab, Transport::Udp, own, new, "after"), 200);
    lab.finish(&[]);
}
