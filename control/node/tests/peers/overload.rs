//! More calls than the node may take.

use std::time::Duration;

use crate::harness::{
    self, CALLER_HUNG_UP, DOMAIN, Lab, MEDIA_PORTS, NODE, Settings, Transport, User, wait_for,
};
use crate::raw::Raw;
use crate::sipp::{CALLEE_ECHOES, CALLER_SHED, SIPP, Sipp};

const LIMIT: Duration = Duration::from_secs(40);

/// Calls that are up before it gets busy.
const UP: u32 = 10;
/// Offered each second, three times what is allowed, for five seconds.
const RATE: u32 = 60;
const OFFERED: u32 = 300;
const EMERGENCIES: u32 = 5;

/// At three times the settable limit (`overload.new_per_s`): calls in progress live and end as ever, as
/// many new ones come through as are allowed, the others are refused before they repeat themselves, and
/// emergency calls (RFC 5031) all come through.
#[test]
fn at_three_times_the_limit_calls_in_progress_go_on_and_emergency_calls_come_through() {
    let more = format!("[overload]\nnew_per_s = {}\n", RATE / 3);
    let lab = Lab::start(&Settings { more, ..Settings::default() }, &[SIPP]);
    let _callee = Sipp::new(CALLEE_ECHOES, Transport::Udp, harness::CALLEE, 5080)
        .calls(10_000, 10)
        .start(&lab, "callee");
    for user in ["bob", "112"] {
        register(&lab, user);
    }
    let caller = |host, port, user: &str| {
        Sipp::new(CALLER_SHED, Transport::Udp, host, port)
            .media_port(2 * port)
            .callee(&format!("{user}@{DOMAIN}"))
            .act_as(&User::new("alice"), "")
    };
    let up = caller(harness::CALLER, 5070, "bob")
        .calls(UP, 8)
        .pause(Duration::from_secs(9))
        .start(&lab, "up");
    // Two legs with RTP and RTCP.
    let sockets = 4 * UP as usize;
    wait_for("the first calls to be up", Duration::from_secs(8), || {
        lab.host(NODE).udp_sockets(MEDIA_PORTS).len() >= sockets
    });
    let flood = caller(harness::CALLER, 5072, "bob")
        .calls(OFFERED, RATE)
        .pause(Duration::from_millis(500))
        .start(&lab, "flood");
    let emergency = caller(harness::PROXY, 5070, "112")
        .calls(EMERGENCIES, 2)
        .pause(Duration::from_millis(500))
        .start(&lab, "emergency");
    assert_eq!(emergency.count_refused(LIMIT), 0, "emergency calls come first");
    let taken = u64::from(OFFERED) - flood.count_refused(LIMIT);
    assert_eq!(up.count_refused(LIMIT), 0);
    // A third is 100; what is slower for a moment comes in bursts.
    assert!((60..=150).contains(&taken), "{taken} of {OFFERED} calls were taken");
    let ends = usize::try_from(taken).expect("few") + (UP + EMERGENCIES) as usize;
    lab.finish(&vec![CALLER_HUNG_UP; ends]);
}

/// In a domain where nobody is asked for a password.
fn register(lab: &Lab, user: &str) {
    let mut phone = Raw::open(lab, harness::CALLEE, Transport::Udp);
    let (from, contact) = (phone.address(), harness::CALLEE);
    phone.send(&format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{user};rport\r\n\
         From: <sip:{user}@{DOMAIN}>;tag=r\r\nTo: <sip:{user}@{DOMAIN}>\r\nCall-ID: {user}@{from}\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:{user}@{contact}:5080>\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n"
    ));
    assert_eq!(phone.answer().status, 200);
}
