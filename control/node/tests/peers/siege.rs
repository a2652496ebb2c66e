//! The node under attack by many, while somebody calls.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::harness::{
    self, CALLER_HUNG_UP, DOMAIN, Lab, NODE, NODE_PORT, PROXY, Settings, Transport,
};
use crate::sipp::{CALLEE_ECHOES, CALLER, SIPP, Sipp, register, register_callee};

const LIMIT: Duration = Duration::from_secs(60);
const CALLS: u32 = 20;
/// Hosts that attack, each with an address of its own.
const ATTACKERS: u8 = 50;
/// What each of them sends of either kind: more than has it banned.
const ATTEMPTS: usize = 100;
/// Sent at a time, and how often: 2,000 datagrams a second.
const AT_ONCE: usize = 20;
const EACH: Duration = Duration::from_millis(10);

/// Guesses of passwords and unauthenticated calls from fifty addresses: all of them are banned, and not one
/// call of an honest phone fails.
#[test]
fn calls_go_on_while_fifty_hosts_guess_passwords_and_are_banned() {
    let settings = Settings::with_users(&["alice", "bob"]);
    let lab = Lab::start(&settings, &[SIPP]);
    lab.host(PROXY).ip("route add local 10.66.0.0/24 dev lo");
    lab.host(NODE).ip(&format!("route add 10.66.0.0/24 via {PROXY}"));
    let sockets = lab.host(PROXY).enter(|| {
        let hosts = (1..=ATTACKERS).map(|n| Ipv4Addr::new(10, 66, 0, n));
        hosts.map(|host| UdpSocket::bind((host, 5060)).expect("a socket")).collect::<Vec<_>>()
    });
    let [alice, bob] = &settings.users[..] else { unreachable!("two users") };
    register_callee(&lab, bob, Transport::Udp, 5080);
    // Sources that have shown a right password come before strangers where there is too much.
    register(&lab, alice, Transport::Udp, SocketAddr::from((harness::CALLER, 5070)));
    let callee = Sipp::new(CALLEE_ECHOES, Transport::Udp, harness::CALLEE, 5080)
        .calls(CALLS, 10)
        .start(&lab, "callee");
    thread::scope(|scope| {
        scope.spawn(|| attack(&sockets));
        Sipp::new(CALLER, Transport::Udp, harness::CALLER, 5070)
            .calls(CALLS, 4)
            .pause(Duration::from_secs(1))
            .callee(&format!("bob@{DOMAIN}"))
            .act_as(alice, "")
            .start(&lab, "honest")
            .succeed(LIMIT);
    });
    callee.succeed(LIMIT);
    let bans = lab.tell("bans");
    let banned = bans.lines().filter(|line| line.contains("by defence.ban_failures: ")).count();
    assert_eq!(banned, usize::from(ATTACKERS), "{bans}");
    lab.finish(&[CALLER_HUNG_UP; CALLS as usize]);
}

fn attack(sockets: &[UdpSocket]) {
    let turns = (0..ATTEMPTS).flat_map(|n| sockets.iter().map(move |socket| (n, socket)));
    for (index, (n, socket)) in turns.enumerate() {
        let host = socket.local_addr().expect("an address").ip();
        for method in ["REGISTER", "INVITE"] {
            let authorization = match method {
                "REGISTER" => format!(
                    "Authorization: Digest username=\"u{n}\", realm=\"{DOMAIN}\", nonce=\"0\", \
                     uri=\"sip:{DOMAIN}\", response=\"{:032x}\"\r\n",
                    n
                ),
                _ => String::new(),
            };
            let text = format!(
                "{method} sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {host};branch=z9hG4bK{method}{n}\r\n\
                 From: <sip:u{n}@{DOMAIN}>;tag=x{n}\r\nTo: <sip:u{n}@{DOMAIN}>\r\n\
                 Call-ID: {method}{n}@{host}\r\nCSeq: 1 {method}\r\nContact: <sip:u{n}@{host}>\r\n\
                 {authorization}Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            );
            // What the network does not take is lost, as in any attack.
            let _ = socket.send_to(text.as_bytes(), (NODE, NODE_PORT));
        }
        if index % (AT_ONCE / 2) == 0 {
            thread::sleep(EACH);
        }
    }
}
