//! Requests that are too large for UDP (RFC 3261 18.1.1).

use std::time::Duration;

use crate::harness::{self, CALLER_HUNG_UP, DOMAIN, Lab, Settings, Transport, User};
use crate::raw::Raw;
use crate::sipp::{CALLEE_ECHOES, CALLER_UNCHALLENGED, SIPP, Sipp};

const LIMIT: Duration = Duration::from_secs(15);

/// An INVITE of 4 kB goes over TCP to a phone that has registered over UDP and named no transport.
#[test]
fn a_large_invite_reaches_a_phone_over_tcp() {
    large_call(Transport::Tcp);
}

/// The same to a phone that refuses TCP: it gets the call over UDP, in fragments.
#[test]
fn a_large_invite_reaches_a_phone_without_tcp_over_udp() {
    large_call(Transport::Udp);
}

/// `taken`: what the phone listens on. Nobody is listed, so nobody is asked for a password.
fn large_call(taken: Transport) {
    let lab = Lab::start(&Settings::default(), &[SIPP]);
    let callee = Sipp::new(CALLEE_ECHOES, taken, harness::CALLEE, 5080).start(&lab, "callee");
    let mut phone = Raw::open(&lab, harness::CALLEE, Transport::Udp);
    let (from, contact) = (phone.address(), harness::CALLEE);
    phone.send(&format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKreg;rport\r\n\
         From: <sip:bob@{DOMAIN}>;tag=r\r\nTo: <sip:bob@{DOMAIN}>\r\nCall-ID: reg@{from}\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:bob@{contact}:5080>\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n"
    ));
    assert_eq!(phone.answer().status, 200);
    Sipp::new(CALLER_UNCHALLENGED, Transport::Udp, harness::CALLER, 5070)
        .callee(&format!("bob@{DOMAIN}"))
        .act_as(&User::new("alice"), "")
        .padded(4_000)
        .start(&lab, "caller")
        .succeed(LIMIT);
    callee.succeed(LIMIT);
    lab.finish(&[CALLER_HUNG_UP]);
}
