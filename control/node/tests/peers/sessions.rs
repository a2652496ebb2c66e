//! What becomes of calls once they are there, or on the way there: session timers, transfers, reliable
//! provisional responses, redirections, contacts by their q. Each has a scenario of its own at either end.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::harness::{CALLEE, CALLER_HUNG_UP, DOMAIN, Lab, PROXY, Settings, Transport, User};
use crate::scenario::{Scenario, scenario};
use crate::sipp::{
    CALLEE_BUSY, CALLEE_ECHOES, CALLER_UNCHALLENGED, MEDIA_PORT, REGISTER, SIPP, Sipp, SippRun,
};

const LIMIT: Duration = Duration::from_secs(15);

fn lab() -> Lab {
    let users = ["alice", "bob", "carol", "dave"];
    Lab::start(&Settings::with_users(&users).with_outside(), &[SIPP])
}

/// A device of `user` at this port, registered with this q, that answers by `scenario`.
fn device<'a>(lab: &'a Lab, user: &str, port: u16, q: &str, scenario: Scenario) -> SippRun<'a> {
    let contact = SocketAddr::new(IpAddr::V4(CALLEE), port);
    // The media of those that listen already are in its way.
    Sipp::new(REGISTER, Transport::Udp, CALLEE, 5099)
        .media_port(MEDIA_PORT + 100)
        .fill_in("[transport]>", &format!("[transport]>;q={q}"))
        .act_as(&User::new(user), &format!("sip:{user}@{contact}"))
        .start(lab, &format!("register-{port}"))
        .succeed(LIMIT);
    Sipp::new(scenario, Transport::Udp, CALLEE, port)
        .media_port(MEDIA_PORT + 2 * (port - 5080))
        .start(lab, &format!("callee-{port}"))
}

/// Alice, on the trusted proxy's host so that nobody asks for her password, calls Bob.
fn calls_bob(lab: &Lab, scenario: Scenario) {
    Sipp::new(scenario, Transport::Udp, PROXY, 5070)
        .pause(Duration::from_millis(200))
        .callee(&format!("bob@{DOMAIN}"))
        .act_as(&User::new("alice"), "")
        .start(lab, "caller")
        .succeed(LIMIT);
}

fn call(caller: Scenario, callee: Scenario, end: &str) {
    let lab = lab();
    let bob = device(&lab, "bob", 5080, "1", callee);
    calls_bob(&lab, caller);
    bob.succeed(LIMIT);
    lab.finish(&[end]);
}

/// RFC 4028 8: 422 with Min-SE; the caller is the refresher where the callee knows no session timers; each
/// refresh is answered as one.
#[test]
fn a_session_is_refreshed_with_a_phone_that_knows_no_session_timers() {
    let scenarios =
        [scenario!("sessions/caller_refreshes"), scenario!("sessions/callee_refreshed")];
    call(scenarios[0], scenarios[1], CALLER_HUNG_UP);
}

/// RFC 4028 8.3: both parties hear of it.
#[test]
fn a_session_that_nobody_refreshes_is_ended() {
    let scenarios =
        [scenario!("sessions/caller_falls_silent"), scenario!("sessions/callee_expires")];
    call(scenarios[0], scenarios[1], "session expired");
}

/// RFC 3515, 3891, 3892: REFER goes one way, its NOTIFY the other, both within the call.
#[test]
fn a_transfer_passes_with_whom_to_call_in_whose_place_and_its_outcome() {
    let scenarios =
        [scenario!("sessions/caller_transfers"), scenario!("sessions/callee_transferred")];
    call(scenarios[0], scenarios[1], CALLER_HUNG_UP);
}

/// RFC 3262, RFC 3311: in an early dialog.
#[test]
fn a_reliable_provisional_response_is_acknowledged_and_the_early_dialog_updated() {
    let scenarios = [scenario!("sessions/caller_pracks"), scenario!("sessions/callee_pracked")];
    call(scenarios[0], scenarios[1], CALLER_HUNG_UP);
}

/// RFC 3261 16.5: a 302 to two users here is followed, the better one first; that one is busy, and the
/// other has the call.
#[test]
fn a_redirection_is_followed_by_q_until_somebody_answers() {
    let lab = lab();
    let bob = device(&lab, "bob", 5080, "1", scenario!("sessions/callee_forwards"));
    let carol = device(&lab, "carol", 5082, "1", CALLEE_ECHOES);
    let dave = device(&lab, "dave", 5084, "1", CALLEE_BUSY);
    calls_bob(&lab, CALLER_UNCHALLENGED);
    for callee in [bob, carol, dave] {
        callee.succeed(LIMIT);
    }
    lab.finish(&[CALLER_HUNG_UP]);
}

/// RFC 3261 16.6: the device of the highest q is called first; it is busy, and the next has its turn.
#[test]
fn a_device_that_is_busy_is_followed_by_the_one_of_the_next_q() {
    let lab = lab();
    let answers = device(&lab, "bob", 5080, "0.3", CALLEE_ECHOES);
    let is_busy = device(&lab, "bob", 5082, "0.8", CALLEE_BUSY);
    calls_bob(&lab, CALLER_UNCHALLENGED);
    answers.succeed(LIMIT);
    is_busy.succeed(LIMIT);
    lab.finish(&[CALLER_HUNG_UP]);
}
