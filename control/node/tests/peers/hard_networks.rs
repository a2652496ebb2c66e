//! Phones behind NAT, and networks that lose packets.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::harness::{
    CALLEE, CALLEE_HUNG_UP, CALLER, CALLER_HUNG_UP, DOMAIN, Direction, Lab, Meter, NODE, NODE_PORT,
    PROXY, Settings, Transport, User, run,
};
use crate::scenario::{Scenario, scenario};
use crate::sipp::{
    CALLEE_HANGS_UP, CALLER_WAITS, MEDIA_PORT, REGISTER, SIPP, Sipp, register_callee,
};

const LIMIT: Duration = Duration::from_secs(10);
const CALLEE_PORT: u16 = 5080;
/// Hosts behind the NAT that is [`CALLER`].
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 2);
const ALSO_INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 3);

fn lab(behind: &[Ipv4Addr]) -> Lab {
    let mut lab = Lab::start(&Settings::with_users(&["alice", "bob"]), &[SIPP]);
    for host in behind {
        lab.put_behind(CALLER, *host);
    }
    lab
}

fn caller(scenario: Scenario, local: Ipv4Addr) -> Sipp {
    Sipp::new(scenario, Transport::Udp, local, 5070)
        .callee(&format!("bob@{DOMAIN}"))
        .act_as(&User::new("alice"), "")
        .pause(Duration::from_secs(1))
}

/// Media that arrives at one of these hosts, on its way from the node.
fn arriving(name: &'static str, host: Ipv4Addr, ports: u16) -> Direction {
    Direction {
        name,
        from: NODE.into(),
        to: host.into(),
        ports: ports..=ports,
        // A player has no socket.
        swallow: true,
    }
}

/// A phone whose Via, Contact and SDP name an address that leads nowhere: it is answered where it sends from
/// (RFC 3581), and so are its media (row S66) and the BYE of the phone that it has called.
#[test]
fn a_caller_behind_nat_is_answered_heard_and_hung_up_on() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let lab = lab(&[INSIDE]);
        let meter = Meter::start(&lab, &[arriving("returned", INSIDE, MEDIA_PORT)]);
        register_callee(&lab, &User::new("bob"), transport, CALLEE_PORT);
        let callee = Sipp::new(CALLEE_HANGS_UP, transport, CALLEE, CALLEE_PORT)
            .pause(Duration::from_secs(1))
            .echo()
            .start(&lab, "callee");
        Sipp::new(CALLER_WAITS, transport, INSIDE, 5070)
            .callee(&format!("bob@{DOMAIN}"))
            .act_as(&User::new("alice"), "")
            .start(&lab, "caller")
            .succeed(LIMIT);
        callee.succeed(LIMIT);
        let returned = meter.packets("returned");
        assert!(returned >= 20, "it has heard {returned}");
        lab.finish(&[CALLEE_HUNG_UP]);
    }
}

/// A phone behind NAT that has registered is called by the way that its REGISTER came (RFC 3261 10.3, RFC 5626
/// 1), by somebody outside and by somebody behind the same NAT.
#[test]
fn a_callee_behind_nat_is_called_where_it_registered_from() {
    for from in [CALLEE, ALSO_INSIDE] {
        let lab = lab(&[INSIDE, ALSO_INSIDE]);
        let hears =
            [arriving("to_bob", INSIDE, MEDIA_PORT), arriving("to_alice", from, MEDIA_PORT)];
        let meter = Meter::start(&lab, &hears);
        // From the port that it is called on: the NAT knows it by that.
        Sipp::new(REGISTER, Transport::Udp, INSIDE, CALLEE_PORT)
            .act_as(&User::new("bob"), &format!("sip:bob@{INSIDE}:{CALLEE_PORT}"))
            .start(&lab, "register")
            .succeed(LIMIT);
        let callee = scenario!("features/callee_plays");
        let callee = Sipp::new(callee, Transport::Udp, INSIDE, CALLEE_PORT).start(&lab, "callee");
        caller(crate::sipp::CALLER, from).start(&lab, "caller").succeed(LIMIT);
        callee.succeed(LIMIT);
        for name in ["to_bob", "to_alice"] {
            assert!(meter.packets(name) >= 20, "{} packets {name}", meter.packets(name));
        }
        lab.finish(&[CALLER_HUNG_UP]);
    }
}

/// One in ten of all datagrams is lost, each way on each side: what is repeated (RFC 3261 17) brings every
/// call about and ends it, and each is one call.
#[test]
fn calls_survive_the_loss_of_every_tenth_datagram() {
    const CALLS: u32 = 10;
    let lab = Lab::start(&Settings::with_users(&["alice", "bob"]).with_outside(), &[SIPP]);
    register_callee(&lab, &User::new("bob"), Transport::Udp, CALLEE_PORT);
    for (host, side) in [(NODE, "dport"), (CALLEE, "sport"), (PROXY, "sport")] {
        let lossy = format!(
            "table ip lossy {{\ncounter lost {{}}\nchain input {{\ntype filter hook input priority 0\n\
             udp {side} {NODE_PORT} numgen inc mod 10 == 9 counter name lost drop\n}}\n}}"
        );
        run(lab.host(host).command("nft").arg(lossy));
    }
    let callee = scenario!("features/callee_loses_acks");
    let callee = Sipp::new(callee, Transport::Udp, CALLEE, CALLEE_PORT)
        // One more than there are: it stays to answer what comes again.
        .calls(CALLS + 1, CALLS)
        .start(&lab, "callee");
    caller(scenario!("features/caller_loses"), PROXY)
        .calls(CALLS, CALLS)
        .pause(Duration::from_millis(500))
        .start(&lab, "caller")
        .succeed(Duration::from_secs(40));
    drop(callee);
    lab.finish(&[CALLER_HUNG_UP; CALLS as usize]);
}
