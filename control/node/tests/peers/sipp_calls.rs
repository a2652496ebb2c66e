//! Registrations and calls of SIPp through the node.

use std::time::Duration;

use crate::harness::{
    self, CALLEE_HUNG_UP, CALLER_HUNG_UP, DOMAIN, Direction, Lab, MEDIA_PORTS, Meter, NODE,
    Settings, Transport, User,
};
use crate::sipp::{
    CALLEE_ECHOES, CALLEE_HANGS_UP, CALLER, CALLER_WAITS, MEDIA_PORT, REGISTER, SIPP, Sipp,
    register_callee,
};

/// Calls that are up at the same time.
const CALLS: u32 = 50;
/// Users that register.
const USERS: usize = 200;
/// `g711a.pcap` of Debian's sip-tester holds this many RTP packets, one every 30 ms.
const PACKETS_A_CALL: u64 = 236;
/// Longer than the 7.08 s that the recording lasts, so that none of it is cut off by the BYE.
const CALL_LENGTH: Duration = Duration::from_millis(7_500);

/// Every user gets in with digest and is told of the binding (RFC 3261 10.3, 22), over UDP.
#[test]
fn two_hundred_users_register_over_udp() {
    users_register(Transport::Udp);
}

/// As over UDP, all on one TCP connection (RFC 3261 18.3).
#[test]
fn two_hundred_users_register_over_tcp() {
    users_register(Transport::Tcp);
}

fn users_register(transport: Transport) {
    let names: Vec<String> = (0..USERS).map(|number| format!("user{number:03}")).collect();
    let settings = Settings::with_users(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let lab = Lab::start(&settings, &[SIPP]);
    let mut sipp = Sipp::new(REGISTER, transport, harness::CALLER, 5070).calls(200, 100);
    for user in &settings.users {
        sipp = sipp.act_as(user, &format!("sip:{}@{}:5070", user.name, harness::CALLER));
    }
    sipp.start(&lab, "register").succeed(Duration::from_secs(30));
    lab.finish(&[]);
}

/// Fifty calls at once, each authenticated, with audio that comes back: nothing fails, and the node
/// passes on every packet of both directions.
#[test]
fn fifty_calls_at_once_over_udp_carry_all_their_audio() {
    fifty_calls(Transport::Udp);
}

/// As over UDP; the media is the same, the signaling goes over TCP to both sides.
#[test]
fn fifty_calls_at_once_over_tcp_carry_all_their_audio() {
    fifty_calls(Transport::Tcp);
}

fn fifty_calls(transport: Transport) {
    let lab = Lab::start(&Settings::with_users(&["alice", "bob"]), &[SIPP]);
    let meter = Meter::start(&lab, &directions());
    let (alice, bob) = (User::new("alice"), User::new("bob"));
    register_callee(&lab, &bob, transport, 5080);
    let callee = Sipp::new(CALLEE_ECHOES, transport, harness::CALLEE, 5080)
        .calls(CALLS, CALLS)
        .echo()
        .start(&lab, "callee");
    let caller = Sipp::new(CALLER, transport, harness::CALLER, 5070)
        .calls(CALLS, CALLS / 2)
        .pause(CALL_LENGTH)
        .callee(&format!("bob@{DOMAIN}"))
        .act_as(&alice, "")
        .start(&lab, "caller");
    caller.succeed(Duration::from_secs(40));
    callee.succeed(Duration::from_secs(20));

    assert_eq!(
        meter.packets("sent"),
        u64::from(CALLS) * PACKETS_A_CALL,
        "SIPp played less than the recording"
    );
    assert_audio_passed(&meter);
    let media = format!("caller {PACKETS_A_CALL}p/0 lost");
    for line in lab.finish(&[CALLER_HUNG_UP; CALLS as usize]) {
        assert!(line.contains(&media), "the node counted something else than was sent: {line}");
    }
}

/// The callee ends the call: its BYE finds the way back along the route set (RFC 3261 12.2.1.1).
#[test]
fn callee_hangs_up_over_udp() {
    callee_hangs_up(Transport::Udp);
}

/// As over UDP.
#[test]
fn callee_hangs_up_over_tcp() {
    callee_hangs_up(Transport::Tcp);
}

fn callee_hangs_up(transport: Transport) {
    let lab = Lab::start(&Settings::with_users(&["alice", "bob"]), &[SIPP]);
    let meter = Meter::start(&lab, &directions());
    let (alice, bob) = (User::new("alice"), User::new("bob"));
    register_callee(&lab, &bob, transport, 5080);
    let callee = Sipp::new(CALLEE_HANGS_UP, transport, harness::CALLEE, 5080)
        .pause(Duration::from_secs(1))
        .echo()
        .start(&lab, "callee");
    let caller = Sipp::new(CALLER_WAITS, transport, harness::CALLER, 5070)
        .callee(&format!("bob@{DOMAIN}"))
        .act_as(&alice, "")
        .start(&lab, "caller");
    callee.succeed(Duration::from_secs(15));
    caller.succeed(Duration::from_secs(5));
    assert!(meter.packets("echoed") > 0, "the callee got no audio to echo");
    lab.finish(&[CALLEE_HUNG_UP]);
}

/// The four hops that the audio of a call makes: to the node, on to the callee, back to the node,
/// on to the caller.
pub(crate) fn directions() -> [Direction; 4] {
    let player_ports = MEDIA_PORT..=MEDIA_PORT + 4 * 50;
    let echo_port = MEDIA_PORT..=MEDIA_PORT;
    let (caller, callee) = (harness::CALLER, harness::CALLEE);
    [
        Direction { name: "sent", from: caller, to: NODE, ports: MEDIA_PORTS, swallow: false },
        Direction { name: "passed", from: NODE, to: callee, ports: echo_port, swallow: false },
        Direction { name: "echoed", from: callee, to: NODE, ports: MEDIA_PORTS, swallow: false },
        // SIPp plays recordings from ports on which it has no socket.
        Direction { name: "returned", from: NODE, to: caller, ports: player_ports, swallow: true },
    ]
}

/// Panics unless the node passed on every packet, both ways, and the callee echoed about every one.
pub(crate) fn assert_audio_passed(meter: &Meter<'_>) {
    let [sent, passed, echoed, returned] =
        ["sent", "passed", "echoed", "returned"].map(|name| meter.packets(name));
    assert!(sent > 0, "the caller sent no audio");
    assert_eq!(passed, sent, "the node lost audio towards the callee");
    assert_eq!(returned, echoed, "the node lost audio towards the caller");
    // SIPp's echo is one thread behind one socket: what it drops under load is not the node's.
    assert!(echoed * 100 >= passed * 95, "SIPp echoed only {echoed} of {passed} packets");
}
