//! Calls from and to an outside proxy. Both proxies stay in the dialog, and media goes through the
//! node.

use std::time::Duration;

use crate::harness::{
    CALLEE, CALLEE_HUNG_UP, CALLER, CALLER_HUNG_UP, DOMAIN, Lab, Meter, OUTSIDE_DOMAIN, PROXY,
    Settings, Transport, User, sip_facing,
};
use crate::kamailio::{KAMAILIO, Kamailio};
use crate::sipp::{
    CALLEE_ECHOES, CALLEE_HANGS_UP, CALLER_UNCHALLENGED, CALLER_UNCHALLENGED_WAITS, CALLER_WAITS,
    SIPP, Scenario, Sipp, SippRun, register_callee,
};
use crate::sipp_calls::{assert_audio_passed_till_the_end, directions};

const LIMIT: Duration = Duration::from_secs(15);
const CALL_LENGTH: Duration = Duration::from_secs(2);
/// Where only the way matters.
const SHORT: Duration = Duration::from_millis(300);
const CALLEE_PORT: u16 = 5080;

/// A call that comes in from the outside proxy, which is trusted, to a user of the node; the caller
/// hangs up.
#[test]
fn call_from_the_outside_proxy_reaches_a_user_and_the_caller_hangs_up() {
    call_from_outside(CALLER_UNCHALLENGED, CALLEE_ECHOES, CALLER_HUNG_UP);
}

/// As above; the callee hangs up: its BYE goes back through both proxies (RFC 3261 12.2.1.1,
/// 16.12).
#[test]
fn call_from_the_outside_proxy_reaches_a_user_and_the_callee_hangs_up() {
    call_from_outside(CALLER_UNCHALLENGED_WAITS, CALLEE_HANGS_UP, CALLEE_HUNG_UP);
}

fn call_from_outside(caller: Scenario, callee: Scenario, end: &str) {
    let lab = start();
    let meter = Meter::start(&lab, &directions());
    let mut kamailio = Kamailio::start(&lab, CALLEE_PORT);
    register_callee(&lab, &User::new("bob"), Transport::Udp, CALLEE_PORT);
    let callee = start_callee(&lab, callee);
    let caller = Sipp::new(caller, Transport::Udp, CALLER, 5070)
        .via(PROXY, 5060)
        .pause(CALL_LENGTH)
        .callee(&format!("bob@{DOMAIN}"))
        .act_as(&User::new("stranger"), "")
        .start(&lab, "caller");
    succeed(caller, callee, &mut kamailio, &meter);
    lab.finish(&[end]);
}

/// A call of the node's user to the outside domain leaves over the static route; the caller hangs
/// up.
#[test]
fn call_to_the_outside_domain_leaves_through_the_proxy_and_the_caller_hangs_up() {
    call_to_outside(crate::sipp::CALLER, CALLEE_ECHOES, CALLER_HUNG_UP);
}

/// As above; the callee hangs up.
#[test]
fn call_to_the_outside_domain_leaves_through_the_proxy_and_the_callee_hangs_up() {
    call_to_outside(CALLER_WAITS, CALLEE_HANGS_UP, CALLEE_HUNG_UP);
}

fn call_to_outside(caller: Scenario, callee: Scenario, end: &str) {
    let lab = start();
    let meter = Meter::start(&lab, &directions());
    let mut kamailio = Kamailio::start(&lab, CALLEE_PORT);
    let callee = start_callee(&lab, callee);
    let caller = Sipp::new(caller, Transport::Udp, CALLER, 5070)
        .pause(CALL_LENGTH)
        .callee(&format!("friend@{OUTSIDE_DOMAIN}"))
        .act_as(&User::new("alice"), "")
        .start(&lab, "caller");
    succeed(caller, callee, &mut kamailio, &meter);
    lab.finish(&[end]);
}

/// Both ways and whoever hangs up, over connections between the two proxies: each stays in the dialog under the
/// address and the transport that the other reaches it by (RFC 3261 16.6 step 4, RFC 5658; TLS 26.2.1), and
/// requests of both directions share what connections there are or open their own.
#[test]
fn calls_cross_between_the_proxies_over_tcp() {
    calls_cross_between_the_proxies(Transport::Tcp);
}

/// As over TCP.
#[test]
fn calls_cross_between_the_proxies_over_tls() {
    calls_cross_between_the_proxies(Transport::Tls);
}

fn calls_cross_between_the_proxies(transport: Transport) {
    let port = sip_facing(PROXY.into(), transport).port();
    let more = format!(
        "[peers]\ntrusted = [\"{PROXY}\"]\n\n[[routes]]\ndomain = \"{OUTSIDE_DOMAIN}\"\n\
         next_hop = \"{PROXY}:{port}\"\ntransport = \"{}\"\n",
        transport.name()
    );
    let tls = transport == Transport::Tls;
    let settings = Settings { tls, more, ..Settings::with_users(&["alice", "bob"]) };
    let lab = Lab::start(&settings, &[SIPP, KAMAILIO]);
    let mut kamailio = Kamailio::start_over(&lab, transport, CALLEE_PORT);
    register_callee(&lab, &User::new("bob"), Transport::Udp, CALLEE_PORT);
    let inward =
        [(CALLER_UNCHALLENGED, CALLEE_ECHOES), (CALLER_UNCHALLENGED_WAITS, CALLEE_HANGS_UP)];
    for (number, (caller, callee)) in inward.into_iter().enumerate() {
        let callee = start_callee(&lab, callee);
        let caller = Sipp::new(caller, Transport::Udp, CALLER, 5070)
            .via(PROXY, 5060)
            .callee(&format!("bob@{DOMAIN}"));
        run_call(&lab, caller, "stranger", callee, &format!("inward{number}"));
    }
    let outward = [(crate::sipp::CALLER, CALLEE_ECHOES), (CALLER_WAITS, CALLEE_HANGS_UP)];
    for (number, (caller, callee)) in outward.into_iter().enumerate() {
        let callee = start_callee(&lab, callee);
        let caller = Sipp::new(caller, Transport::Udp, CALLER, 5070)
            .callee(&format!("friend@{OUTSIDE_DOMAIN}"));
        run_call(&lab, caller, "alice", callee, &format!("outward{number}"));
    }
    for method in ["INVITE", "ACK", "BYE"] {
        kamailio.wait_passed_on(method);
    }
    lab.finish(&[CALLER_HUNG_UP, CALLEE_HUNG_UP, CALLER_HUNG_UP, CALLEE_HUNG_UP]);
}

fn run_call(lab: &Lab, caller: Sipp, user: &str, callee: SippRun<'_>, name: &str) {
    let caller = caller.pause(SHORT).act_as(&User::new(user), "").start(lab, name);
    caller.succeed(LIMIT);
    callee.succeed(LIMIT);
}

fn start() -> Lab {
    Lab::start(&Settings::with_users(&["alice", "bob"]).with_outside(), &[SIPP, KAMAILIO])
}

fn start_callee(lab: &Lab, scenario: Scenario) -> SippRun<'_> {
    Sipp::new(scenario, Transport::Udp, CALLEE, CALLEE_PORT)
        .pause(CALL_LENGTH)
        .echo()
        .start(lab, "callee")
}

fn succeed(caller: SippRun<'_>, callee: SippRun<'_>, kamailio: &mut Kamailio, meter: &Meter<'_>) {
    caller.succeed(LIMIT);
    callee.succeed(LIMIT);
    for method in ["INVITE", "ACK", "BYE"] {
        kamailio.wait_passed_on(method);
    }
    assert_audio_passed_till_the_end(meter);
}
