//! What the SIP layer does beside plain calls, each with a scenario of its own at either end.
//!
//! The caller is on the trusted proxy's host, so that no scenario but those about passwords has any.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::harness::{
    CALLEE, CALLER_HUNG_UP, DOMAIN, Lab, Meter, PROXY, Settings, Transport, User, v6,
};
use crate::scenario::{Scenario, scenario};
use crate::sipp::{
    CALLEE_ECHOES, CALLEE_RINGS, CALLER_UNCHALLENGED, MEDIA_PORT, SIPP, Sipp, register,
};
use crate::sipp_calls::directions_between;

const LIMIT: Duration = Duration::from_secs(10);
const CALLEE_PORT: u16 = 5080;

/// Who talks to whom, and over what.
#[derive(Clone, Copy)]
struct Ends {
    caller: (IpAddr, Transport),
    callee: (IpAddr, Transport),
}

const UDP: Ends = over(Transport::Udp, Transport::Udp);

const fn over(caller: Transport, callee: Transport) -> Ends {
    Ends { caller: (IpAddr::V4(PROXY), caller), callee: (IpAddr::V4(CALLEE), callee) }
}

fn lab() -> Lab {
    Lab::start(&Settings::with_users(&["alice", "bob"]).with_outside(), &[SIPP])
}

fn asker(scenario: Scenario, (local, transport): (IpAddr, Transport)) -> Sipp {
    Sipp::new(scenario, transport, local, 5070)
        .callee(&format!("bob@{DOMAIN}"))
        .act_as(&User::new("alice"), "")
}

/// A call between two scenarios; both have to succeed.
fn call(lab: &Lab, ends: Ends, caller: Scenario, callee: Scenario, pause: Duration) {
    let (local, transport) = ends.callee;
    register(lab, &User::new("bob"), transport, SocketAddr::new(local, CALLEE_PORT));
    let callee = Sipp::new(callee, transport, local, CALLEE_PORT).pause(pause).echo();
    let callee = callee.start(lab, "callee");
    asker(caller, ends.caller).pause(pause).start(lab, "caller").succeed(LIMIT);
    callee.succeed(LIMIT);
}

/// Each side speaks a transport of its own, and its in-dialog requests find the other (RFC 3261 16.6,
/// 16.12, RFC 5658).
#[test]
fn a_call_crosses_from_one_transport_to_another() {
    for (caller, callee) in [(Transport::Udp, Transport::Tcp), (Transport::Tcp, Transport::Udp)] {
        let lab = lab();
        let pause = Duration::from_millis(300);
        call(&lab, over(caller, callee), CALLER_UNCHALLENGED, CALLEE_ECHOES, pause);
        lab.finish(&[CALLER_HUNG_UP]);
    }
}

/// Media before the answer is relayed, both ways (RFC 3960; RFC 3261 13.2.1).
#[test]
fn early_media_is_heard_before_the_answer() {
    let lab = lab();
    let meter = Meter::start(&lab, &directions_between(PROXY.into(), CALLEE.into()));
    let [caller, callee] =
        [scenario!("features/caller_early_media"), scenario!("features/callee_early_media")];
    call(&lab, UDP, caller, callee, Duration::from_secs(1));
    // One packet every 30 ms, for the second before the answer.
    for name in ["passed", "returned"] {
        let early = meter.packets(name);
        assert!(early >= 25, "only {early} packets {name}");
    }
    lab.finish(&[CALLER_HUNG_UP]);
}

/// An INVITE without SDP: the offer comes in the 200, the answer in the ACK (RFC 3264 4; RFC 3261 13.2.1).
/// Media flows through ports that the node was asked for that late.
#[test]
fn a_late_offer_is_answered_in_the_ack() {
    for v6_too in [false, true] {
        let lab = lab();
        let (caller, callee): (IpAddr, IpAddr) =
            if v6_too { (v6(PROXY), v6(CALLEE)) } else { (PROXY.into(), CALLEE.into()) };
        let ends = Ends { caller: (caller, Transport::Udp), callee: (callee, Transport::Udp) };
        let meter = Meter::start(&lab, &directions_between(caller, callee));
        let scenarios =
            [scenario!("features/caller_late_offer"), scenario!("features/callee_late_offer")];
        call(&lab, ends, scenarios[0], scenarios[1], Duration::from_secs(1));
        assert!(meter.packets("returned") >= 25, "the caller got {}", meter.packets("returned"));
        lab.finish(&[CALLER_HUNG_UP]);
    }
}

/// Hold and resume by re-INVITE: the direction arrives as it was sent (RFC 3264 8.4; RFC 3261 14).
#[test]
fn a_call_is_held_and_resumed() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let lab = lab();
        let scenarios = [scenario!("features/caller_holds"), scenario!("features/callee_held")];
        call(&lab, over(transport, transport), scenarios[0], scenarios[1], Duration::ZERO);
        lab.finish(&[CALLER_HUNG_UP]);
    }
}

/// A CANCEL that crosses the 200 ends nothing: it is answered, and the call is there to be hung up (RFC
/// 3261 9.2).
#[test]
fn a_cancel_behind_the_answer_changes_nothing() {
    let lab = lab();
    let caller = scenario!("features/caller_cancels_too_late");
    call(&lab, UDP, caller, CALLEE_ECHOES, Duration::ZERO);
    lab.finish(&[CALLER_HUNG_UP]);
}

/// The other way round: the callee has answered when the CANCEL reaches it. Its 200 still arrives, so
/// that the caller can hang up (RFC 3261 9.1, 16.7 step 5).
#[test]
fn an_answer_behind_the_cancel_still_arrives() {
    let lab = lab();
    let scenarios = [
        scenario!("features/caller_cancels_answered"),
        scenario!("features/callee_answers_cancelled"),
    ];
    call(&lab, UDP, scenarios[0], scenarios[1], Duration::ZERO);
    lab.finish(&[CALLER_HUNG_UP]);
}

/// Two devices of one user ring; one answers, the other is told to stop (RFC 3261 16.7 step 10).
#[test]
fn the_device_that_loses_is_cancelled() {
    let lab = lab();
    for port in [CALLEE_PORT, CALLEE_PORT + 2] {
        register(&lab, &User::new("bob"), Transport::Udp, SocketAddr::new(CALLEE.into(), port));
    }
    let wins =
        Sipp::new(scenario!("features/callee_answers_late"), Transport::Udp, CALLEE, CALLEE_PORT);
    let wins = wins.pause(Duration::from_millis(300)).start(&lab, "callee");
    let loses = Sipp::new(CALLEE_RINGS, Transport::Udp, CALLEE, CALLEE_PORT + 2);
    let loses = loses.media_port(MEDIA_PORT + 10).start(&lab, "other");
    let caller = asker(CALLER_UNCHALLENGED, UDP.caller).pause(Duration::from_millis(200));
    caller.start(&lab, "caller").succeed(LIMIT);
    wins.succeed(LIMIT);
    loses.succeed(LIMIT);
    lab.finish(&[CALLER_HUNG_UP]);
}

/// What belongs to a call finds its way along the route set, whatever its method (RFC 3261 16.12; RFC
/// 6086, 3428), and is answered by the phone.
#[test]
fn requests_in_a_call_reach_the_other_phone() {
    let lab = lab();
    let scenarios = [scenario!("features/caller_in_call"), scenario!("features/callee_in_call")];
    call(&lab, UDP, scenarios[0], scenarios[1], Duration::ZERO);
    lab.finish(&[CALLER_HUNG_UP]);
}

/// One request outside of calls.
#[derive(Clone, Copy)]
struct Ask<'a> {
    method: &'a str,
    uri: &'a str,
    /// A header line.
    extra: &'a str,
    body: &'a str,
    /// What is answered.
    status: u16,
    /// What has to be in the answer.
    check: &'a str,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Ask {
            method: "OPTIONS",
            uri: DOMAIN,
            extra: "Max-Forwards: 70",
            body: "",
            status: 200,
            check: "SIP/2.0",
        }
    }
}

impl Ask<'_> {
    fn sipp(self, scenario: Scenario, local: Ipv4Addr, port: u16, check: &str) -> Sipp {
        Sipp::new(scenario, Transport::Udp, local, port)
            .fill_in("@METHOD@", self.method)
            .fill_in("@EXTRA@", self.extra)
            .fill_in("@BODY@", self.body)
            .fill_in("@STATUS@", &self.status.to_string())
            .fill_in("@CHECK@", check)
            .callee(self.uri)
            .act_as(&User::new("alice"), "")
    }

    /// Asks the node.
    fn ask(self, lab: &Lab) {
        self.sipp(scenario!("features/asker"), PROXY, 5070, self.check)
            .start(lab, "asker")
            .succeed(LIMIT);
    }

    /// Asks a user's phone, which answers; `check` has to be in what it gets.
    fn ask_phone(self, lab: &Lab, check: &str) {
        let callee = self.sipp(scenario!("features/callee_of_asker"), CALLEE, CALLEE_PORT, check);
        let callee = callee.start(lab, "callee");
        self.ask(lab);
        callee.succeed(LIMIT);
    }
}

/// The node says what it can (RFC 3261 11.2), and what it is asked for in vain (8.2.2.3, 16.3).
#[test]
fn the_node_answers_what_it_is_asked_itself() {
    let lab = lab();
    let asks = [
        Ask { check: "Allow: .*INVITE", ..Ask::default() },
        Ask {
            extra: "Require: 100rel",
            status: 420,
            check: "Unsupported: 100rel",
            ..Ask::default()
        },
        Ask { method: "FROBNICATE", status: 501, check: "Allow: ", ..Ask::default() },
        Ask { uri: "nobody@ring.test", status: 404, ..Ask::default() },
        Ask { uri: "bob@ring.test", status: 480, ..Ask::default() },
        Ask { uri: "bob@ring.test", extra: "Max-Forwards: 0", status: 483, ..Ask::default() },
        Ask {
            uri: "bob@ring.test",
            extra: "Proxy-Require: frob",
            status: 420,
            check: "Unsupported: frob",
            ..Ask::default()
        },
    ];
    for ask in asks {
        ask.ask(&lab);
    }
    lab.finish(&[]);
}

/// Requests outside of calls reach a user's phone with what they carry, and its answer comes back as it
/// is: MESSAGE (RFC 3428), OPTIONS with Require (which is the phone's business), a method that nobody knows
/// (RFC 3261 16.1), and the last hop of a request (16.6 step 3).
#[test]
fn requests_outside_of_calls_reach_the_phone() {
    let lab = lab();
    register(&lab, &User::new("bob"), Transport::Udp, SocketAddr::new(CALLEE.into(), CALLEE_PORT));
    let to_bob = Ask { uri: "bob@ring.test", ..Ask::default() };
    let message = Ask { method: "MESSAGE", body: "hello bob", status: 202, ..to_bob };
    message.ask_phone(&lab, "hello bob");
    let require = Ask { extra: "Require: frob", status: 420, ..to_bob };
    require.ask_phone(&lab, "Require: frob");
    let unknown = Ask { method: "FROBNICATE", status: 405, ..to_bob };
    unknown.ask_phone(&lab, "FROBNICATE sip:");
    let last_hop = Ask { method: "INFO", extra: "Max-Forwards: 1", ..to_bob };
    last_hop.ask_phone(&lab, "Max-Forwards: 0");
    lab.finish(&[]);
}

/// RFC 3261 10.2 and 10.3: several contacts, each with its time; a query; too brief a time; one taken off
/// and all; a request that comes too late; `*` with a time.
#[test]
fn a_phone_asks_a_registrar_all_there_is_to_ask() {
    let lab = Lab::start(&Settings::with_users(&[]), &[SIPP]);
    Sipp::new(scenario!("features/registrations"), Transport::Udp, CALLEE, CALLEE_PORT)
        .act_as(&User::new("carol"), "")
        .start(&lab, "registrations")
        .succeed(LIMIT);
    lab.finish(&[]);
}
