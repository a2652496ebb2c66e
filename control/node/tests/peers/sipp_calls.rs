//! Registrations and calls of SIPp through the node.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::harness::{
    self, CALLEE_HUNG_UP, CALLER_HUNG_UP, DOMAIN, Direction, Lab, MEDIA_PORTS, Meter, Settings,
    Transport, User, node_facing, v6,
};
use crate::sipp::{
    CALLEE_ECHOES, CALLEE_HANGS_UP, CALLER, CALLER_WAITS, MEDIA_PORT, REGISTER, SIPP, Sipp,
    register,
};

/// Calls that are up at the same time.
const CALLS: u32 = 50;
/// As many where only the way matters.
const FEW: u32 = 10;
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

/// Who calls whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides {
    pub(crate) transport: Transport,
    pub(crate) caller: IpAddr,
    /// The address of the caller's media.
    pub(crate) plays: IpAddr,
    pub(crate) callee: IpAddr,
}

impl Sides {
    /// Media and SIP of each side on the same address.
    pub(crate) fn new(
        transport: Transport,
        caller: impl Into<IpAddr>,
        callee: impl Into<IpAddr>,
    ) -> Sides {
        let caller = caller.into();
        Sides { transport, caller, plays: caller, callee: callee.into() }
    }

    fn v4(transport: Transport) -> Sides {
        Sides::new(transport, harness::CALLER, harness::CALLEE)
    }

    fn v6(transport: Transport) -> Sides {
        Sides::new(transport, v6(harness::CALLER), v6(harness::CALLEE))
    }
}

/// Fifty calls at once, each authenticated, with audio that comes back: nothing fails, and the node
/// passes on every packet of both directions.
#[test]
fn fifty_calls_at_once_over_udp_carry_all_their_audio() {
    calls(Sides::v4(Transport::Udp), CALLS);
}

/// As over UDP; the media is the same, the signaling goes over TCP to both sides.
#[test]
fn fifty_calls_at_once_over_tcp_carry_all_their_audio() {
    calls(Sides::v4(Transport::Tcp), CALLS);
}

/// As over IPv4, with SIP and media over IPv6.
#[test]
fn fifty_calls_at_once_over_ipv6_and_udp_carry_all_their_audio() {
    calls(Sides::v6(Transport::Udp), CALLS);
}

/// As over UDP.
#[test]
fn fifty_calls_at_once_over_ipv6_and_tcp_carry_all_their_audio() {
    calls(Sides::v6(Transport::Tcp), CALLS);
}

/// RFC 6157: the two sides share no address family, in SIP or in media.
#[test]
fn calls_from_ipv6_to_ipv4_carry_all_their_audio() {
    calls(Sides::new(Transport::Udp, v6(harness::CALLER), harness::CALLEE), FEW);
}

/// The other way round, over TCP.
#[test]
fn calls_from_ipv4_to_ipv6_carry_all_their_audio() {
    calls(Sides::new(Transport::Tcp, harness::CALLER, v6(harness::CALLEE)), FEW);
}

/// A caller's media is where its offer says, whatever its SIP travels on.
#[test]
fn calls_with_media_over_ipv6_and_sip_over_ipv4_carry_all_their_audio() {
    let sides = Sides::v4(Transport::Udp);
    calls(Sides { plays: v6(harness::CALLER), ..sides }, FEW);
}

fn calls(sides: Sides, count: u32) {
    let lab = Lab::start(&Settings::with_users(&["alice", "bob"]), &[SIPP]);
    let meter = Meter::start(&lab, &directions_between(sides.plays, sides.callee));
    carry(&lab, sides, count);
    assert_eq!(
        meter.packets("sent"),
        u64::from(count) * PACKETS_A_CALL,
        "SIPp played less than the recording"
    );
    assert_audio_passed(&meter);
    let media = format!("caller {PACKETS_A_CALL}p/0 lost");
    for line in lab.finish(&vec![CALLER_HUNG_UP; count as usize]) {
        assert!(line.contains(&media), "the node counted something else than was sent: {line}");
    }
}

/// Calls that are up at the same time and play the whole recording; SIPp counts each as a success.
pub(crate) fn carry(lab: &Lab, sides: Sides, count: u32) {
    let (alice, bob) = (User::new("alice"), User::new("bob"));
    let Sides { transport, caller, plays, callee } = sides;
    register(lab, &bob, transport, SocketAddr::new(callee, 5080));
    let callee = Sipp::new(CALLEE_ECHOES, transport, callee, 5080)
        .calls(count, count)
        .echo()
        .start(lab, "callee");
    let caller = Sipp::new(CALLER, transport, caller, 5070)
        .media(plays)
        .calls(count, count.div_ceil(2))
        .pause(CALL_LENGTH)
        .callee(&format!("bob@{DOMAIN}"))
        .act_as(&alice, "")
        .start(lab, "caller");
    caller.succeed(Duration::from_secs(40));
    callee.succeed(Duration::from_secs(20));
}

/// The callee ends the call: its BYE finds the way back along the route set (RFC 3261 12.2.1.1).
#[test]
fn callee_hangs_up_over_udp() {
    callee_hangs_up(Sides::v4(Transport::Udp));
}

/// As over UDP.
#[test]
fn callee_hangs_up_over_tcp() {
    callee_hangs_up(Sides::v4(Transport::Tcp));
}

/// As over IPv4.
#[test]
fn callee_hangs_up_over_ipv6() {
    callee_hangs_up(Sides::v6(Transport::Udp));
}

/// The route set leads from one family to the other (RFC 5658).
#[test]
fn callee_on_ipv6_hangs_up_on_a_caller_on_ipv4() {
    callee_hangs_up(Sides::new(Transport::Udp, harness::CALLER, v6(harness::CALLEE)));
}

fn callee_hangs_up(sides: Sides) {
    let lab = Lab::start(&Settings::with_users(&["alice", "bob"]), &[SIPP]);
    let meter = Meter::start(&lab, &directions_between(sides.plays, sides.callee));
    let (alice, bob) = (User::new("alice"), User::new("bob"));
    let Sides { transport, caller, callee, .. } = sides;
    register(&lab, &bob, transport, SocketAddr::new(callee, 5080));
    let callee = Sipp::new(CALLEE_HANGS_UP, transport, callee, 5080)
        .pause(Duration::from_secs(1))
        .echo()
        .start(&lab, "callee");
    let caller = Sipp::new(CALLER_WAITS, transport, caller, 5070)
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
    directions_between(harness::CALLER.into(), harness::CALLEE.into())
}

/// As [`directions`], for hosts with these addresses.
pub(crate) fn directions_between(caller: IpAddr, callee: IpAddr) -> [Direction; 4] {
    let player_ports = MEDIA_PORT..=MEDIA_PORT + 4 * 50;
    let echo_port = MEDIA_PORT..=MEDIA_PORT;
    let [above, below] = [caller, callee].map(node_facing);
    [
        Direction { name: "sent", from: caller, to: above, ports: MEDIA_PORTS, swallow: false },
        Direction { name: "passed", from: below, to: callee, ports: echo_port, swallow: false },
        Direction { name: "echoed", from: callee, to: below, ports: MEDIA_PORTS, swallow: false },
        // SIPp plays recordings from ports on which it has no socket.
        Direction { name: "returned", from: above, to: caller, ports: player_ports, swallow: true },
    ]
}

/// Panics unless the node passed on every packet, both ways, and the callee echoed about every one.
pub(crate) fn assert_audio_passed(meter: &Meter<'_>) {
    assert_audio_passed_but(meter, 0);
}

/// As [`assert_audio_passed`], of a call that ends while it plays: the packets that are between the node's
/// sockets by then, one each way, need not arrive.
pub(crate) fn assert_audio_passed_till_the_end(meter: &Meter<'_>) {
    assert_audio_passed_but(meter, 1);
}

fn assert_audio_passed_but(meter: &Meter<'_>, cut_off: u64) {
    let [sent, passed, echoed, returned] =
        ["sent", "passed", "echoed", "returned"].map(|name| meter.packets(name));
    assert!(sent > 0, "the caller sent no audio");
    let all = |into: u64, out: u64| (out..=out + cut_off).contains(&into);
    assert!(all(sent, passed), "of {sent} packets to the callee the node passed on {passed}");
    assert!(all(echoed, returned), "of {echoed} to the caller the node passed on {returned}");
    // SIPp's echo is one thread behind one socket: what it drops under load is not the node's.
    assert!(echoed * 100 >= passed * 95, "SIPp echoed only {echoed} of {passed} packets");
}
