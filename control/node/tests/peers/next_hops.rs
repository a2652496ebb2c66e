//! Other domains' servers, several of them: which one gets the call.

use std::time::Duration;

use crate::harness::{CALLEE, CALLER_HUNG_UP, Lab, PROXY, Settings, Transport, User};
use crate::scenario::scenario;
use crate::sipp::{CALLEE_ECHOES, CALLER_UNCHALLENGED, MEDIA_PORT, SIPP, Sipp};

const LIMIT: Duration = Duration::from_secs(10);
/// Where nobody is: what is sent there comes back as an ICMP error.
const NOBODY: u16 = 5090;
/// Where a server is that says 503.
const BUSY: u16 = 5080;
/// Where one is that answers.
const GOOD: u16 = 5082;

fn trusted(more: String) -> Settings {
    Settings { more, ..Settings::with_users(&["alice"]).with_outside() }
}

/// RFC 3261 16.7 step 6, RFC 3263 4.3: a server that is not there and one that is overloaded make
/// way for the next of the list.
#[test]
fn the_next_server_of_a_route_gets_the_call() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let hops = [NOBODY, BUSY, GOOD].map(|port| format!("\"{CALLEE}:{port}\""));
        let lab = Lab::start(
            &trusted(format!(
                "\n[[routes]]\ndomain = \"far.test\"\nnext_hop = [{}]\ntransport = \"{}\"\n",
                hops.join(", "),
                transport.name()
            )),
            &[SIPP],
        );
        let busy = scenario!("features/callee_refuses").expecting(503);
        let busy = Sipp::new(busy, transport, CALLEE, BUSY)
            .media_port(MEDIA_PORT + 10)
            .start(&lab, "callee-busy");
        let good = Sipp::new(CALLEE_ECHOES, transport, CALLEE, GOOD).start(&lab, "callee-good");
        Sipp::new(CALLER_UNCHALLENGED, transport, PROXY, 5070)
            .callee("friend@far.test")
            .act_as(&User::new("alice"), "")
            .pause(Duration::from_millis(200))
            .start(&lab, "caller")
            .succeed(LIMIT);
        busy.succeed(LIMIT);
        good.succeed(LIMIT);
        lab.finish(&[CALLER_HUNG_UP]);
    }
}
