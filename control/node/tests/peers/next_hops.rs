//! Other domains' servers, several of them: which one gets the call.

use std::time::{Duration, Instant};

use crate::harness::{CALLEE, CALLER_HUNG_UP, Lab, PROXY, Settings, Transport, User, run};
use crate::scenario::scenario;
use crate::sipp::{CALLEE_ECHOES, CALLER_UNCHALLENGED, MEDIA_PORT, SIPP, Sipp};

const LIMIT: Duration = Duration::from_secs(10);
/// Where nobody is: what is sent there comes back as an ICMP error.
const NOBODY: u16 = 5090;
/// Where a server is that says 503.
const BUSY: u16 = 5080;
/// Where one is that answers.
const GOOD: u16 = 5082;
/// Where what is sent disappears.
const SILENT: u16 = 5084;

/// A node with a route to servers on these ports, and a trusted proxy.
fn lab(transport: Transport, ports: &[u16]) -> Lab {
    let hops: Vec<_> = ports.iter().map(|port| format!("\"{CALLEE}:{port}\"")).collect();
    let more = format!(
        "\n[[routes]]\ndomain = \"far.test\"\nnext_hop = [{}]\ntransport = \"{}\"\n",
        hops.join(", "),
        transport.name()
    );
    Lab::start(&Settings { more, ..Settings::with_users(&["alice"]).with_outside() }, &[SIPP])
}

fn caller(transport: Transport) -> Sipp {
    Sipp::new(CALLER_UNCHALLENGED, transport, PROXY, 5070)
        .callee("friend@far.test")
        .act_as(&User::new("alice"), "")
        .pause(Duration::from_millis(200))
}

/// RFC 3261 16.7 step 6, RFC 3263 4.3: a server that is not there and one that is overloaded make
/// way for the next of the list.
#[test]
fn the_next_server_of_a_route_gets_the_call() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let lab = lab(transport, &[NOBODY, BUSY, GOOD]);
        let busy = scenario!("features/callee_refuses").expecting(503);
        let busy = Sipp::new(busy, transport, CALLEE, BUSY)
            .media_port(MEDIA_PORT + 10)
            .start(&lab, "callee-busy");
        let good = Sipp::new(CALLEE_ECHOES, transport, CALLEE, GOOD).start(&lab, "callee-good");
        caller(transport).start(&lab, "caller").succeed(LIMIT);
        busy.succeed(LIMIT);
        good.succeed(LIMIT);
        lab.finish(&[CALLER_HUNG_UP]);
    }
}

/// RFC 3263 4.3: a server that says nothing makes way after `sip.server_timeout_s`, and the call after that
/// does not wait for it again.
#[test]
fn a_silent_server_of_a_route_is_waited_for_once() {
    let lab = lab(Transport::Udp, &[SILENT, GOOD]);
    let silent = format!(
        "table ip silent {{\nchain input {{\ntype filter hook input priority 0\nudp dport {SILENT} drop\n}}\n}}"
    );
    run(lab.host(CALLEE).command("nft").arg(silent));
    let good = Sipp::new(CALLEE_ECHOES, Transport::Udp, CALLEE, GOOD).calls(2, 1);
    let good = good.start(&lab, "callee");
    let took = ["first", "second"].map(|name| {
        let started = Instant::now();
        caller(Transport::Udp).start(&lab, name).succeed(LIMIT);
        started.elapsed()
    });
    good.succeed(LIMIT);
    // Four seconds by default.
    assert!(took[0] > Duration::from_secs(4) && took[1] < Duration::from_secs(3), "{took:?}");
    lab.finish(&[CALLER_HUNG_UP; 2]);
}
