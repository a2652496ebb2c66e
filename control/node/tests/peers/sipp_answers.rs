//! Calls that do not come about, as SIPp sees them.

use std::time::Duration;

use crate::harness::{self, DOMAIN, Lab, Settings, Transport, User};
use crate::sipp::{
    CALLEE_BUSY, CALLEE_RINGS, CALLER_CANCELS, SIPP, Scenario, Sipp, caller_refused,
    register_callee,
};

const LIMIT: Duration = Duration::from_secs(10);

/// A user of our domain that does not exist: 404 (RFC 3261 21.4.5).
#[test]
fn call_to_an_unknown_user_gets_404() {
    refused("nobody", 404);
}

/// A user that exists and is registered nowhere: 480 (RFC 3261 21.4.18).
#[test]
fn call_to_an_unregistered_user_gets_480() {
    refused("bob", 480);
}

fn refused(callee: &str, status: u16) {
    let lab = Lab::start(&Settings::with_users(&["alice", "bob"]), &[SIPP]);
    caller(caller_refused(status), Transport::Udp, callee, &User::new("alice"))
        .start(&lab, "caller")
        .succeed(LIMIT);
    lab.finish(&[]);
}

/// The callee's own 486 reaches the caller unchanged (RFC 3261 16.7).
#[test]
fn busy_passes_through() {
    let lab = Lab::start(&Settings::with_users(&["alice", "bob"]), &[SIPP]);
    register_callee(&lab, &User::new("bob"), Transport::Udp, 5080);
    let callee =
        Sipp::new(CALLEE_BUSY, Transport::Udp, harness::CALLEE, 5080).start(&lab, "callee");
    caller(caller_refused(486), Transport::Udp, "bob", &User::new("alice"))
        .start(&lab, "caller")
        .succeed(LIMIT);
    callee.succeed(LIMIT);
    lab.finish(&["refused 486"]);
}

/// CANCEL of a ringing call stops the ringing and ends the INVITE with 487 (RFC 3261 9.2, 16.10),
/// over UDP.
#[test]
fn cancel_of_a_ringing_call_gives_487_over_udp() {
    cancelled(Transport::Udp);
}

/// As over UDP.
#[test]
fn cancel_of_a_ringing_call_gives_487_over_tcp() {
    cancelled(Transport::Tcp);
}

fn cancelled(transport: Transport) {
    let lab = Lab::start(&Settings::with_users(&["alice", "bob"]), &[SIPP]);
    register_callee(&lab, &User::new("bob"), transport, 5080);
    let callee = Sipp::new(CALLEE_RINGS, transport, harness::CALLEE, 5080).start(&lab, "callee");
    caller(CALLER_CANCELS, transport, "bob", &User::new("alice"))
        .start(&lab, "caller")
        .succeed(LIMIT);
    callee.succeed(LIMIT);
    lab.finish(&["cancelled"]);
}

fn caller(scenario: Scenario, transport: Transport, callee: &str, user: &User) -> Sipp {
    Sipp::new(scenario, transport, harness::CALLER, 5070)
        .callee(&format!("{callee}@{DOMAIN}"))
        .act_as(user, "")
}
