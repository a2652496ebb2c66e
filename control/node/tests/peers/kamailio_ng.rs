//! Kamailio's rtpengine module with the node as its relay: Kamailio routes the calls, and the node
//! sees of them what the ng protocol tells it.

use std::time::Duration;

use crate::harness::{
    CALLEE, CALLER, Lab, Meter, OUTSIDE_DOMAIN, PROXY, Settings, Transport, User,
};
use crate::kamailio::{KAMAILIO, Kamailio};
use crate::sipp::{
    CALLEE_ECHOES, CALLEE_HANGS_UP, CALLER_UNCHALLENGED, CALLER_UNCHALLENGED_WAITS, SIPP, Scenario,
    Sipp,
};
use crate::sipp_calls::{assert_audio_passed_till_the_end, directions};

const LIMIT: Duration = Duration::from_secs(15);
const CALL_LENGTH: Duration = Duration::from_secs(2);
const CALLEE_PORT: u16 = 5080;

/// Offer on the INVITE, answer on the 200, query and delete on the BYE (`from-tag` is the caller's).
#[test]
fn kamailio_has_its_media_relayed_over_ng_and_the_caller_hangs_up() {
    call(CALLER_UNCHALLENGED, CALLEE_ECHOES);
}

/// As above; the delete names the callee's tag.
#[test]
fn kamailio_has_its_media_relayed_over_ng_and_the_callee_hangs_up() {
    call(CALLER_UNCHALLENGED_WAITS, CALLEE_HANGS_UP);
}

fn call(caller: Scenario, callee: Scenario) {
    let mut lab = Lab::start(&Settings::with_ng(), &[SIPP, KAMAILIO]);
    let relayed = {
        let meter = Meter::start(&lab, &directions());
        let mut kamailio = Kamailio::start_with_ng(&lab, CALLEE_PORT);
        let callee = Sipp::new(callee, Transport::Udp, CALLEE, CALLEE_PORT)
            .pause(CALL_LENGTH)
            .echo()
            .start(&lab, "callee");
        let caller = Sipp::new(caller, Transport::Udp, CALLER, 5070)
            .via(PROXY, 5060)
            .pause(CALL_LENGTH)
            .callee(&format!("friend@{OUTSIDE_DOMAIN}"))
            .act_as(&User::new("alice"), "")
            .start(&lab, "caller");
        caller.succeed(LIMIT);
        callee.succeed(LIMIT);
        for method in ["INVITE", "ACK", "BYE"] {
            kamailio.wait_passed_on(method);
        }
        // The callee's media has another address than the node: nothing went past it.
        assert_audio_passed_till_the_end(&meter);
        kamailio.wait_relayed()
    };
    // What came after the query is missing in its figure.
    assert!(relayed > 50, "the module was told of {relayed} packets");
    let ended = lab.wait_logged("ng session ended");
    assert!(ended.contains("end=\"deleted\"") && ended.contains("/0 lost"), "{ended}");
    lab.finish(&[]);
}
