//! Other people's clients at a farm: SIPp, baresip, Kamailio.

use std::net::SocketAddr;
use std::time::Duration;

use crate::baresip::Baresip;
use crate::harness::{CALLEE, CALLER, DOMAIN, OUTSIDE_DOMAIN, PROXY, Transport, User, wait_for};
use crate::kamailio::Kamailio;
use crate::lab::{Farm, Segment};
use crate::sipp::{CALLEE_ECHOES, CALLER as CALLS, CALLER_UNCHALLENGED, Sipp, register};

/// Longer than the 7.08 s that SIPp's recording lasts, so that none of it is cut off by the BYE.
const CALL_LENGTH: Duration = Duration::from_millis(7_500);
/// Where only the way matters.
const SHORT: Duration = Duration::from_millis(300);
const LIMIT: Duration = Duration::from_secs(60);
/// A second of recorded audio: 8,000 samples of 16 bits.
const SECOND_BYTES: u64 = 16_000;
/// `g711a.pcap` of Debian's sip-tester holds this many RTP packets.
const PACKETS_A_CALL: u64 = 236;
/// Calls of each SIPp.
const COUNT: u32 = 20;

fn users() -> String {
    ["alice", "bob"]
        .map(User::new)
        .map(|user| {
            format!(
                "[[users.list]]\nname = \"{}\"\npassword = \"{}\"\n\n",
                user.name, user.password
            )
        })
        .concat()
}

/// Calls of SIPp, each authenticated (any member takes what another has challenged), each with audio that comes
/// back.
#[test]
fn calls_of_sipp_over_udp_lose_nothing() {
    sipp_calls(Transport::Udp);
}

/// As over UDP: the caller's connection ends at a random member, which writes what the owners of its calls
/// answer (row B2); the owners open connections to the callee from addresses of their own, to which it answers.
#[test]
fn calls_of_sipp_over_tcp_lose_nothing() {
    sipp_calls(Transport::Tcp);
}

fn sipp_calls(transport: Transport) {
    let segment = Segment::create();
    let farm = Farm::start_with(&segment, 3, 0, &users());
    register(&segment, &User::new("bob"), transport, SocketAddr::new(CALLEE.into(), 5080));
    let callee = Sipp::new(CALLEE_ECHOES, transport, CALLEE, 5080)
        .calls(COUNT, COUNT)
        .echo()
        .start(&segment, "callee");
    let caller = Sipp::new(CALLS, transport, CALLER, 5070)
        .calls(COUNT, COUNT / 2)
        .pause(CALL_LENGTH)
        .callee(&format!("bob@{DOMAIN}"))
        .act_as(&User::new("alice"), "")
        .start(&segment, "caller");
    caller.succeed(LIMIT);
    callee.succeed(LIMIT);
    let media = format!("caller {PACKETS_A_CALL}p/0 lost");
    let lines: Vec<String> = farm.frontends.iter().flat_map(|one| one.ended_calls()).collect();
    assert_eq!(lines.len(), COUNT as usize, "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains(&media)), "{lines:#?}");
}

/// Phones hear each other through whichever members.
#[test]
fn phones_hear_each_other_over_udp() {
    phones_hear_each_other(Transport::Udp);
}

/// As over UDP.
#[test]
fn phones_hear_each_other_over_tcp() {
    phones_hear_each_other(Transport::Tcp);
}

/// As over UDP: what the called phone is sent goes over the connection that it has opened to some member.
#[test]
fn phones_hear_each_other_over_tls() {
    phones_hear_each_other(Transport::Tls);
}

fn phones_hear_each_other(transport: Transport) {
    let segment = Segment::create();
    let farm = Farm::start_with(&segment, 3, 0, &users());
    let (alice, bob) = (User::new("alice"), User::new("bob"));
    let caller = Baresip::start(&segment, &alice, CALLER, transport, 440);
    let callee = Baresip::start(&segment, &bob, CALLEE, transport, 1000);
    caller.call(&bob);
    wait_for("both to hear a second of audio", LIMIT, || {
        caller.recorded_bytes() > SECOND_BYTES && callee.recorded_bytes() > SECOND_BYTES
    });
    caller.hang_up();
    callee.wait_call_end();
    assert!(caller.quit().purity(1000.0) > 0.5, "the caller did not hear the callee's tone");
    assert!(callee.quit().purity(440.0) > 0.5, "the callee did not hear the caller's tone");
    wait_for("the call to have ended", LIMIT, || farm.ended_calls().iter().sum::<usize>() == 1);
}

/// Another vendor's proxy sends calls to the farm and stays in their dialogs: it sees one proxy.
#[test]
fn calls_of_kamailio_lose_nothing() {
    let segment = Segment::create();
    let outside = format!(
        "[peers]\ntrusted = [\"{PROXY}\"]\n\n[[routes]]\ndomain = \"{OUTSIDE_DOMAIN}\"\n\
         next_hop = \"{PROXY}:5060\"\ntransport = \"udp\"\n"
    );
    let farm = Farm::start_with(&segment, 3, 0, &(users() + &outside));
    let mut kamailio = Kamailio::start(&segment, 5080);
    register(&segment, &User::new("bob"), Transport::Udp, SocketAddr::new(CALLEE.into(), 5080));
    let callee = Sipp::new(CALLEE_ECHOES, Transport::Udp, CALLEE, 5080)
        .calls(2 * COUNT, COUNT)
        .echo()
        .start(&segment, "callee");
    let inward = Sipp::new(CALLER_UNCHALLENGED, Transport::Udp, CALLER, 5070)
        .calls(COUNT, COUNT / 2)
        .via(PROXY, 5060)
        .pause(SHORT)
        .callee(&format!("bob@{DOMAIN}"))
        .act_as(&User::new("stranger"), "")
        .start(&segment, "inward");
    inward.succeed(LIMIT);
    let outward = Sipp::new(CALLS, Transport::Udp, CALLER, 5070)
        .calls(COUNT, COUNT / 2)
        .pause(SHORT)
        .callee(&format!("friend@{OUTSIDE_DOMAIN}"))
        .act_as(&User::new("alice"), "")
        .start(&segment, "outward");
    outward.succeed(LIMIT);
    callee.succeed(LIMIT);
    for method in ["INVITE", "ACK", "BYE"] {
        kamailio.wait_passed_on(method);
    }
    assert_eq!(farm.ended_calls().iter().sum::<usize>(), 2 * COUNT as usize);
}
