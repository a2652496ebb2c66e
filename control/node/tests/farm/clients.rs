//! Other people's clients at a farm: SIPp, baresip, Kamailio.

use std::net::SocketAddr;
use std::thread;
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
/// Pairs of baresips, and the calls of each.
const PHONES: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

/// The called SIPps: their pairs, transports and ports.
const CALLEES: [(&str, Transport, u16); 3] = [
    ("sipp-udp", Transport::Udp, 5080),
    ("sipp-tcp", Transport::Tcp, 5082),
    ("kamailio", Transport::Udp, 5084),
];

/// Those who call and those who are called, by what the pair is called.
fn pair(of: &str) -> (User, User) {
    (User::new(&format!("alice-{of}")), User::new(&format!("bob-{of}")))
}

fn settings() -> String {
    let phones = PHONES.map(|transport| format!("phone-{}", transport.name()));
    let peers = ["sipp-udp", "sipp-tcp", "kamailio"].map(str::to_owned);
    let mut text = String::new();
    for of in phones.iter().chain(&peers) {
        let (caller, callee) = pair(of);
        for User { name, password } in [caller, callee] {
            text += &format!("[[users.list]]\nname = \"{name}\"\npassword = \"{password}\"\n\n");
        }
    }
    text + &format!(
        "[peers]\ntrusted = [\"{PROXY}\"]\n\n[[routes]]\ndomain = \"{OUTSIDE_DOMAIN}\"\n\
         next_hop = \"{PROXY}:5060\"\ntransport = \"udp\"\n"
    )
}

/// Each of them sees one server, whichever member its packets and connections reach; each is authenticated (any
/// member takes what another has challenged), and all of them are there at once.
#[test]
fn calls_of_other_peoples_clients_lose_nothing() {
    let segment = Segment::create();
    let farm = Farm::start_with(&segment, 3, 0, &settings());
    // One by one, since they all come from one port.
    for (of, transport, port) in CALLEES {
        register(&segment, &pair(of).1, transport, SocketAddr::new(CALLEE.into(), port));
    }
    thread::scope(|scope| {
        scope.spawn(|| sipp_calls(&segment, Transport::Udp));
        scope.spawn(|| sipp_calls(&segment, Transport::Tcp));
        scope.spawn(|| calls_of_kamailio(&segment));
        scope.spawn(|| PHONES.map(|transport| phones_hear_each_other(&segment, transport)));
    });
    let all = 4 * COUNT as usize + PHONES.len();
    wait_for("the calls to have ended", LIMIT, || farm.ended_calls().iter().sum::<usize>() == all);
    let media = format!("caller {PACKETS_A_CALL}p/0 lost");
    let lines: Vec<String> = farm.frontends.iter().flat_map(|one| one.ended_calls()).collect();
    let whole = lines.iter().filter(|line| line.contains(&media)).count();
    assert_eq!(whole, 2 * COUNT as usize, "{lines:#?}");
}

/// Calls with audio that comes back. Over TCP the caller's connection ends at a random member, which writes what
/// the owners of its calls answer (row B2); the owners open connections to the callee from addresses of their
/// own, to which it answers.
fn sipp_calls(segment: &Segment, transport: Transport) {
    let name = transport.name();
    let (alice, bob) = pair(&format!("sipp-{name}"));
    // The phones have the media ports below.
    let (port, media) = if transport == Transport::Udp { (5080, 17_000) } else { (5082, 17_200) };
    let callee = Sipp::new(CALLEE_ECHOES, transport, CALLEE, port)
        .media_port(media)
        .calls(COUNT, COUNT)
        .echo()
        .start(segment, &format!("callee-{name}"));
    let caller = Sipp::new(CALLS, transport, CALLER, port)
        .media_port(media)
        .calls(COUNT, COUNT / 2)
        .pause(CALL_LENGTH)
        .callee(&format!("{}@{DOMAIN}", bob.name))
        .act_as(&alice, "")
        .start(segment, &format!("caller-{name}"));
    caller.succeed(LIMIT);
    callee.succeed(LIMIT);
}

/// Phones hear each other through whichever members; what a phone over TCP or TLS is sent goes over the
/// connection that it has opened to some member.
fn phones_hear_each_other(segment: &Segment, transport: Transport) {
    let (alice, bob) = pair(&format!("phone-{}", transport.name()));
    let caller = Baresip::start(segment, &alice, CALLER, transport, 440);
    let callee = Baresip::start(segment, &bob, CALLEE, transport, 1000);
    caller.call(&bob);
    wait_for("both to hear a second of audio", LIMIT, || {
        caller.recorded_bytes() > SECOND_BYTES && callee.recorded_bytes() > SECOND_BYTES
    });
    caller.hang_up();
    callee.wait_call_end();
    assert!(caller.quit().purity(1000.0) > 0.5, "the caller did not hear the callee's tone");
    assert!(callee.quit().purity(440.0) > 0.5, "the callee did not hear the caller's tone");
}

/// Another vendor's proxy sends calls to the farm and stays in their dialogs: it sees one proxy.
fn calls_of_kamailio(segment: &Segment) {
    let (alice, bob) = pair("kamailio");
    let mut kamailio = Kamailio::start(segment, 5084);
    let callee = Sipp::new(CALLEE_ECHOES, Transport::Udp, CALLEE, 5084)
        .media_port(17_400)
        .calls(2 * COUNT, COUNT)
        .echo()
        .start(segment, "callee-kamailio");
    let inward = Sipp::new(CALLER_UNCHALLENGED, Transport::Udp, CALLER, 5084)
        .media_port(17_400)
        .calls(COUNT, COUNT / 2)
        .via(PROXY, 5060)
        .pause(SHORT)
        .callee(&format!("{}@{DOMAIN}", bob.name))
        .act_as(&User::new("stranger"), "")
        .start(segment, "inward");
    inward.succeed(LIMIT);
    let outward = Sipp::new(CALLS, Transport::Udp, CALLER, 5084)
        .media_port(17_400)
        .calls(COUNT, COUNT / 2)
        .pause(SHORT)
        .callee(&format!("friend@{OUTSIDE_DOMAIN}"))
        .act_as(&alice, "")
        .start(segment, "outward");
    outward.succeed(LIMIT);
    callee.succeed(LIMIT);
    for method in ["INVITE", "ACK", "BYE"] {
        kamailio.wait_passed_on(method);
    }
}
