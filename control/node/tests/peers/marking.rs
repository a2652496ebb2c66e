//! How what the node says is marked for the network, as the network sees it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::harness::{
    CALLEE, CALLER, CALLER_HUNG_UP, DOMAIN, Lab, Settings, Transport, User, run, v6,
};
use crate::sipp::{CALLEE_ECHOES, CALLER as CALLS, SIPP, Sipp, register};

const LIMIT: Duration = Duration::from_secs(10);

/// `sip.dscp`, 40 (CS5) by default (RFC 4594 4.2): every message to the callee bears it, over UDP and on the
/// connection that the node opens to it, over IPv4 and IPv6.
#[test]
fn sip_is_marked_for_the_network() {
    for transport in [Transport::Udp, Transport::Tcp] {
        for (caller, callee) in [(CALLER.into(), IpAddr::from(CALLEE)), (v6(CALLER), v6(CALLEE))] {
            let lab = Lab::start(&Settings::with_users(&["alice", "bob"]), &[SIPP]);
            register(&lab, &User::new("bob"), transport, SocketAddr::new(callee, 5080));
            let (family, by) = (if callee.is_ipv4() { "ip" } else { "ip6" }, transport.name());
            // Of a connection what carries messages: the kernel ends one in its own words.
            let carries = if transport == Transport::Tcp { "tcp flags & psh == psh" } else { "" };
            let ruleset = format!(
                "table inet marks {{\ncounter marked {{}}\ncounter plain {{}}\n\
                 chain input {{\ntype filter hook input priority 0\n\
                 {by} dport 5080 {carries} {family} dscp cs5 counter name marked accept\n\
                 {by} dport 5080 {carries} counter name plain\n}}\n}}"
            );
            run(lab.host(callee).command("nft").arg(ruleset));
            let answers = Sipp::new(CALLEE_ECHOES, transport, callee, 5080).start(&lab, "callee");
            Sipp::new(CALLS, transport, caller, 5070)
                .callee(&format!("bob@{DOMAIN}"))
                .act_as(&User::new("alice"), "")
                .pause(Duration::from_millis(100))
                .start(&lab, "caller")
                .succeed(LIMIT);
            answers.succeed(LIMIT);
            let [marked, plain] = ["marked", "plain"].map(|name| {
                run(lab
                    .host(callee)
                    .command("nft")
                    .args(["list", "counter", "inet", "marks", name]))
            });
            assert!(
                !marked.contains("packets 0 "),
                "nothing over {transport:?} is marked: {marked}"
            );
            assert!(plain.contains("packets 0 "), "over {transport:?} not all is marked: {plain}");
            lab.finish(&[CALLER_HUNG_UP]);
        }
    }
}
