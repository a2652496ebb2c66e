//! Subscriptions and publications with SIPp at the other end (RFC 6665, RFC 3903), and presence among
//! baresips.

use std::net::SocketAddr;
use std::time::Duration;

use crate::baresip::{BARESIP, Baresip, Extras};
use crate::harness::{
    CALLEE, CALLER, CALLER_HUNG_UP, DOMAIN, Lab, Meter, PROXY, Settings, Transport, User, wait_for,
};
use crate::scenario::scenario;
use crate::sipp::{CALLEE_ECHOES, CALLER_UNCHALLENGED, SIPP, Sipp, register};
use crate::sipp_calls::directions_between;

const LIMIT: Duration = Duration::from_secs(20);

/// All packages, and a list of both users.
const EVENTS: &str = "[events]\npackages = [\"reg\", \"presence\", \"dialog\", \"message-summary\"]\n\
                      [[events.lists]]\nuri = \"sip:team@ring.test\"\n\
                      members = [\"sip:alice@ring.test\", \"sip:bob@ring.test\"]\n";

fn lab(more: &[&str]) -> Lab {
    let settings = Settings::with_users(&["alice", "bob"]).with_outside();
    Lab::start(&Settings { more: EVENTS.to_owned(), ..settings }, more)
}

/// RFC 6665 4.1.2, 4.2; RFC 3903 4; RFC 4235: with passwords, over UDP and over the subscriber's own
/// connection.
#[test]
fn a_watcher_is_told_what_is_published_changed_and_taken_back() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let lab = lab(&[SIPP]);
        Sipp::new(scenario!("features/watcher"), transport, CALLER, 5070)
            .callee(&format!("alice@{DOMAIN}"))
            .act_as(&User::new("alice"), "")
            .start(&lab, "watcher")
            .succeed(LIMIT);
        lab.finish(&[]);
    }
}

/// A peer that is trusted asks once about a user or list; `check` has to be in what it is told.
fn fetch(lab: &Lab, event: &str, whom: &str, check: &str) {
    Sipp::new(scenario!("features/fetcher"), Transport::Udp, PROXY, 5072)
        .fill_in("@EVENT@", event)
        .fill_in("@CHECK@", &check.replace('<', "&lt;"))
        .callee(&format!("{whom}@{DOMAIN}"))
        .act_as(&User::new("alice"), "")
        .media_port(17_000)
        .start(lab, "fetcher")
        .succeed(LIMIT);
}

/// RFC 4235: a lamp shows a call that the node has, and no longer once it is over.
#[test]
fn a_lamp_shows_who_talks() {
    let lab = lab(&[SIPP]);
    let meter = Meter::start(&lab, &directions_between(PROXY.into(), CALLEE.into()));
    let contact = SocketAddr::new(CALLEE.into(), 5080);
    register(&lab, &User::new("bob"), Transport::Udp, contact);
    let pause = Duration::from_secs(3);
    let callee = Sipp::new(CALLEE_ECHOES, Transport::Udp, CALLEE, 5080).pause(pause).echo();
    let callee = callee.start(&lab, "callee");
    let caller = Sipp::new(CALLER_UNCHALLENGED, Transport::Udp, PROXY, 5070)
        .callee(&format!("bob@{DOMAIN}"))
        .act_as(&User::new("alice"), "")
        .pause(pause)
        .start(&lab, "caller");
    wait_for("the call's audio", LIMIT, || meter.packets("passed") > 0);
    fetch(&lab, "dialog", "bob", "direction=.recipient.><state>confirmed</state>");
    caller.succeed(LIMIT);
    callee.succeed(LIMIT);
    fetch(&lab, "dialog", "bob", "state=.full. entity=.sip:bob@ring.test.></dialog-info>");
    lab.finish(&[CALLER_HUNG_UP]);
}

/// RFC 6665 4.4.3, RFC 3680, 3856, 3842, 4662: each package by a fetch, by a peer that is trusted.
#[test]
fn states_of_each_package_and_of_lists_are_fetched() {
    let lab = lab(&[SIPP]);
    let contact = SocketAddr::new(CALLEE.into(), 5080);
    register(&lab, &User::new("bob"), Transport::Udp, contact);
    for (event, whom, check) in [
        ("reg", "bob", "event=.registered. .*<uri>sip:bob@10.77.0.3:5080"),
        ("presence", "bob", "<basic>open</basic>"),
        ("presence", "alice", "<basic>closed</basic>"),
        ("message-summary", "bob", "Messages-Waiting: no"),
        ("dialog;id=5", "bob", "Event: dialog;id=5"),
        ("presence", "team", "Require: eventlist"),
        ("presence", "team", "multipart/related;type=.application/rlmi.xml."),
        ("presence", "team", "<basic>closed</basic>.*<basic>open</basic>"),
    ] {
        fetch(&lab, event, whom, check);
    }
    lab.finish(&[]);
}

/// Its contacts' presence, and its own.
const PRESENCE: &str = "module_app contact.so\nmodule_app presence.so\n";

/// RFC 3856 with a phone at either end: Alice's sees what Bob's publishes, through challenges and all.
#[test]
fn a_phone_sees_the_presence_that_another_publishes() {
    let lab = Lab::start(&Settings::with_users(&["alice", "bob"]), &[BARESIP]);
    let watcher = Extras {
        config: PRESENCE,
        account: "",
        contacts: "\"Bob\" <sip:bob@ring.test>;presence=p2p\n",
        ..Extras::default()
    };
    let udp = Transport::Udp;
    let mut alice = Baresip::start_with(&lab, &User::new("alice"), CALLER, udp, 440, watcher);
    alice.wait_said("<basic>closed</basic>");
    let publisher = Extras { config: PRESENCE, account: "pubint=60", ..Extras::default() };
    let mut bob = Baresip::start_with(&lab, &User::new("bob"), CALLEE, udp, 1000, publisher);
    alice.wait_said("changed status from Offline to Online");
    // It replaces what it has published only once it knows its entity-tag.
    bob.wait_said("SIP-ETag");
    bob.tell("presence_offline");
    alice.wait_said("changed status from Online to Offline");
}
