//! How users are reached: along Paths, by one of several flows, by GRUU, and through the proxies that
//! they are told to use (RFC 3327, 5626, 5627, 3608).

use std::net::SocketAddr;
use std::time::Duration;

use crate::baresip::{BARESIP, Baresip, Extras};
use crate::harness::{
    CALLEE, CALLER, CALLER_HUNG_UP, DOMAIN, Direction, Lab, Meter, NODE, OUTSIDE, OUTSIDE_DOMAIN,
    PROXY, Settings, Transport, User, wait_for,
};
use crate::kamailio::{KAMAILIO, Kamailio};
use crate::scenario::{Scenario, scenario};
use crate::sipp::{
    CALLEE_ECHOES, CALLER as CALLER_WITH_PASSWORD, CALLER_UNCHALLENGED, MEDIA_PORT, SIPP, Sipp,
    register,
};

const LIMIT: Duration = Duration::from_secs(15);
const CALLEE_PORT: u16 = 5080;
const OTHER_PORT: u16 = 5082;

fn lab() -> Lab {
    lab_with("")
}

fn lab_with(more: &str) -> Lab {
    let settings = Settings::with_users(&["alice", "bob"]).with_outside();
    Lab::start(&Settings { more: more.to_owned(), ..settings }, &[SIPP])
}

/// A REGISTER of Bob's; the 200 has to have both of `checks`.
struct Register<'a> {
    port: u16,
    /// Behind its URI.
    contact: String,
    extra: &'a str,
    status: u16,
    checks: [&'a str; 2],
}

impl Default for Register<'_> {
    fn default() -> Self {
        Register {
            port: CALLEE_PORT,
            contact: format!("<sip:bob@{CALLEE}:{CALLEE_PORT}>"),
            extra: "Supported: path, outbound, gruu",
            status: 200,
            checks: ["Contact: ", "SIP/2.0"],
        }
    }
}

impl Register<'_> {
    fn run(&self, lab: &Lab) {
        Sipp::new(scenario!("flows/register"), Transport::Udp, CALLEE, self.port)
            .fill_in("@CONTACT@", &self.contact)
            .fill_in("@EXTRA@", self.extra)
            .fill_in("@STATUS@", &self.status.to_string())
            .fill_in("@CHECK@", self.checks[0])
            .fill_in("@CHECK2@", self.checks[1])
            .act_as(&User::new("bob"), "")
            .start(lab, "register")
            .succeed(LIMIT);
    }
}

/// A flow of one device of Bob's, behind NAT as far as its Contact tells.
fn flow(port: u16, reg_id: u32) -> String {
    format!("<sip:bob@192.0.2.77:{port}>;+sip.instance=\"<urn:uuid:a1>\";reg-id={reg_id}")
}

fn callee(scenario: Scenario, port: u16) -> Sipp {
    Sipp::new(scenario, Transport::Udp, CALLEE, port).pause(Duration::from_millis(300)).echo()
}

/// From the trusted proxy's host, so without a password.
fn caller(callee: &str) -> Sipp {
    Sipp::new(CALLER_UNCHALLENGED, Transport::Udp, PROXY, 5070)
        .callee(callee)
        .act_as(&User::new("alice"), "")
        .pause(Duration::from_millis(300))
}

/// RFC 3327 5.2 to 5.4: the Path is told to the client, and a call takes it as its Route, in its order.
#[test]
fn a_call_takes_the_path_of_the_registration() {
    let lab = lab();
    let path = format!("<sip:edge@{CALLEE}:{OTHER_PORT};lr>, <sip:inner.test;lr>");
    Register {
        contact: "<sip:bob@192.0.2.77:5060>".to_owned(),
        extra: &format!("Supported: path\n      Path: {path}"),
        checks: ["Path: .sip:edge@[0-9.:]*;lr., .sip:inner.test;lr.", "192.0.2.77"],
        ..Register::default()
    }
    .run(&lab);
    let edge = callee(scenario!("flows/callee_checks"), OTHER_PORT)
        .fill_in("@LINE@", "INVITE sip:bob@192.0.2.77:5060 SIP/2.0")
        .fill_in("@CHECK@", "Route: .sip:edge@[0-9.:]*;lr., *.sip:inner.test;lr.")
        .start(&lab, "edge");
    caller(&format!("bob@{DOMAIN}")).start(&lab, "caller").succeed(LIMIT);
    edge.succeed(LIMIT);
    lab.finish(&[CALLER_HUNG_UP]);
}

/// RFC 3327 5.3: a client that could not see who is in its way is refused, and so is a way that leads
/// back here.
#[test]
fn a_path_that_must_not_be_taken_is_refused() {
    let lab = lab();
    let path = format!("Path: <sip:edge@{CALLEE}:{OTHER_PORT};lr>");
    Register { extra: &path, status: 421, checks: ["Require: path", "421"], ..Register::default() }
        .run(&lab);
    let own = format!("Supported: path\n      Path: <sip:{NODE};lr>");
    Register {
        extra: &own,
        status: 400,
        checks: ["Names This Node", "400"],
        ..Register::default()
    }
    .run(&lab);
    lab.finish(&[]);
}

/// RFC 5626 6, 7: of the two flows of one device the later rings alone; where its edge says that it has
/// failed (430), the other one rings.
#[test]
fn of_two_flows_of_a_device_one_rings_and_the_other_where_that_has_failed() {
    let lab = lab();
    let confirmed = ["Require: outbound", "reg-id=1"];
    let contact = flow(CALLEE_PORT, 1);
    Register { contact, checks: confirmed, ..Register::default() }.run(&lab);
    let contact = flow(OTHER_PORT, 2);
    let both = ["reg-id=1", "reg-id=2"];
    Register { port: OTHER_PORT, contact, checks: both, ..Register::default() }.run(&lab);
    let failed = callee(scenario!("features/callee_refuses").expecting(430), OTHER_PORT);
    let failed = failed.media_port(MEDIA_PORT + 10).start(&lab, "failed");
    let answers = callee(CALLEE_ECHOES, CALLEE_PORT).start(&lab, "callee");
    caller(&format!("bob@{DOMAIN}")).start(&lab, "caller").succeed(LIMIT);
    failed.succeed(LIMIT);
    answers.succeed(LIMIT);
    lab.finish(&[CALLER_HUNG_UP]);
}

/// RFC 5626 7: nobody is at the address of the later flow any more, which the host there says (ICMP).
#[test]
fn a_flow_that_is_gone_makes_way_for_the_other() {
    let lab = lab();
    for (port, reg_id) in [(CALLEE_PORT, 1), (OTHER_PORT, 2)] {
        Register { port, contact: flow(port, reg_id), ..Register::default() }.run(&lab);
    }
    let answers = callee(CALLEE_ECHOES, CALLEE_PORT).start(&lab, "callee");
    caller(&format!("bob@{DOMAIN}")).start(&lab, "caller").succeed(LIMIT);
    answers.succeed(LIMIT);
    lab.finish(&[CALLER_HUNG_UP]);
}

/// RFC 5627 5.1, 5.3: the device gets its GRUUs, and a call to the public one reaches it alone: the other,
/// which would be busy for everybody, is not asked.
#[test]
fn a_call_to_a_gruu_reaches_its_device() {
    let lab = lab();
    let gruus = ["pub-gruu=.sip:bob@ring.test;gr=urn:uuid:a1.", "temp-gruu=.sip:[^,]*;gr."];
    Register { contact: flow(CALLEE_PORT, 1), checks: gruus, ..Register::default() }.run(&lab);
    let other = SocketAddr::new(CALLEE.into(), OTHER_PORT);
    register(&lab, &User::new("bob"), Transport::Udp, other);
    let answers = callee(scenario!("flows/callee_checks"), CALLEE_PORT)
        .fill_in("@LINE@", &format!("INVITE sip:bob@192.0.2.77:{CALLEE_PORT} SIP/2.0"))
        .fill_in("@CHECK@", "To: .*gr=urn:uuid:a1")
        .start(&lab, "callee");
    let probe = Direction {
        name: "other",
        from: NODE.into(),
        to: CALLEE.into(),
        ports: OTHER_PORT..=OTHER_PORT,
        swallow: false,
    };
    let meter = Meter::start(&lab, &[probe]);
    caller(&format!("bob@{DOMAIN};gr=urn:uuid:a1")).start(&lab, "caller").succeed(LIMIT);
    answers.succeed(LIMIT);
    assert_eq!(meter.packets("other"), 0);
    lab.finish(&[CALLER_HUNG_UP]);
}

/// RFC 5626 3.5.1, 4.4, 6, by a phone that speaks it: two flows of one device, one a transport, of which
/// one rings. It shows on its connection that it is alive (every 16 to 20 s, the least that it does), and
/// is answered, without which it would give the flow up.
#[test]
fn baresip_keeps_two_flows_and_is_called_by_one() {
    let (alice, bob) = (User::new("alice"), User::new("bob"));
    let settings = Settings::with_users(&["alice", "bob"]);
    let more = "[sip.registrar]\nflow_timer_s = 5\n".to_owned();
    let lab = Lab::start(&Settings { more, ..settings }, &[BARESIP]);
    let shown = Meter::of_short_segments(&lab, "shown", CALLEE, NODE);
    let answered = Meter::of_short_segments(&lab, "answered", NODE, CALLEE);
    let second = format!("sipnat=outbound;outbound2=\"sip:{NODE}:5060;transport=udp\"");
    let extras = Extras { account: &second, ..Extras::default() };
    let callee = Baresip::start_with(&lab, &bob, CALLEE, Transport::Tcp, 1000, extras);
    wait_for("both flows", LIMIT, || {
        let printed = callee.printed();
        let ok = printed.rsplit("SIP/2.0 200 OK").next().unwrap_or_default();
        ["reg-id=1", "reg-id=2", "Require: outbound"].iter().all(|what| ok.contains(what))
    });
    wait_for("a sign of life and its answer", Duration::from_secs(25), || {
        shown.packets("shown") > 0 && answered.packets("answered") > 0
    });
    let caller = Baresip::start(&lab, &alice, CALLER, Transport::Udp, 440);
    caller.call(&bob);
    wait_for("a second of the tone", LIMIT, || caller.recorded_bytes() > 16_000);
    let invites = callee.printed().matches("\nINVITE sip:bob").count();
    assert_eq!(invites, 1, "one flow rings");
    caller.hang_up();
    callee.wait_call_end();
    caller.quit();
    callee.quit();
    lab.finish(&[CALLER_HUNG_UP]);
}

/// RFC 5626 5, 3327 5.2: the node stands between a phone and its registrar, somebody else's. What that calls
/// comes back along the Path, and reaches the phone over the connection that it has opened.
#[test]
fn a_phone_of_another_registrar_is_called_over_its_connection() {
    let settings = Settings::with_users(&["alice"]);
    let more = format!(
        "[peers]\ntrusted = [\"{PROXY}\", \"{OUTSIDE}\"]\n\n[[routes]]\ndomain = \"{OUTSIDE_DOMAIN}\"\n\
         next_hop = \"{PROXY}:5060\"\ntransport = \"udp\"\n"
    );
    let lab = Lab::start(&Settings { more, ..settings }, &[BARESIP, KAMAILIO, SIPP]);
    let _registrar = Kamailio::start_registrar(&lab);
    let extras =
        Extras { account: "sipnat=outbound", domain: Some(OUTSIDE_DOMAIN), ..Extras::default() };
    let bob = User::new("bob");
    let phone = Baresip::start_with(&lab, &bob, OUTSIDE, Transport::Tcp, 1000, extras);
    assert!(phone.printed().contains(";lr;ft;ob>"), "no Path in the answer: {}", phone.printed());
    Sipp::new(CALLER_WITH_PASSWORD, Transport::Udp, CALLER, 5070)
        .pause(Duration::from_millis(500))
        .callee(&format!("bob@{OUTSIDE_DOMAIN}"))
        .act_as(&User::new("alice"), "")
        .start(&lab, "caller")
        .succeed(LIMIT);
    phone.wait_call_end();
    phone.quit();
    // It has passed the node twice.
    lab.finish(&[CALLER_HUNG_UP, CALLER_HUNG_UP]);
}

/// RFC 3608 6.1: what a client is told to send through leads to whom it calls.
#[test]
fn a_call_goes_through_the_service_route_that_the_client_was_told() {
    let route = format!("sip:{NODE}:5060;lr");
    let lab = lab_with(&format!("[sip.registrar]\nservice_route = [\"{route}\"]\n"));
    let told = format!("Service-Route: .{route}.");
    Register { checks: [&told, "200"], ..Register::default() }.run(&lab);
    let answers = callee(CALLEE_ECHOES, CALLEE_PORT).start(&lab, "callee");
    let preloaded = format!("CSeq: 1 INVITE\n      Route: <{route}>");
    let caller = caller(&format!("bob@{DOMAIN}")).fill_in("CSeq: 1 INVITE", &preloaded);
    caller.start(&lab, "caller").succeed(LIMIT);
    answers.succeed(LIMIT);
    lab.finish(&[CALLER_HUNG_UP]);
}

/// RFC 5626 5.3: neither Contact of the subscription can be reached; its NOTIFY and its end find their
/// way by the flow tokens in our Record-Routes.
#[test]
fn a_subscription_between_two_phones_behind_nat_is_notified_and_ended() {
    let lab = lab();
    let contact = format!("<sip:bob@192.0.2.78:{CALLEE_PORT}>");
    Register { contact, ..Register::default() }.run(&lab);
    let notifier = callee(scenario!("flows/callee_notifies"), CALLEE_PORT).start(&lab, "notifier");
    Sipp::new(scenario!("flows/subscriber"), Transport::Udp, PROXY, 5070)
        .callee(&format!("bob@{DOMAIN}"))
        .act_as(&User::new("alice"), "")
        .start(&lab, "subscriber")
        .succeed(LIMIT);
    notifier.succeed(LIMIT);
    lab.finish(&[]);
}
