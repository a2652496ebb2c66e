//! Media ports and WAN IP that are changed in the cluster while calls go on (S60, S63, S71).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use crate::node::{Node, PATIENCE};
use crate::packet::{Media, pass, rtp};
use crate::phone::{Call, Exchange, Phone, Side, sdp};

/// What the cluster says that peers are told.
const WAN_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));

fn ringfarm(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfarm")).args(args).output().expect("the binary runs")
}

/// A node that is the only member of its cluster, `n1`, with ports 21000-21099.
struct Member {
    node: Node,
    folder: tempfile::TempDir,
}

impl Member {
    fn start() -> Member {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let keys = path("keys");
        let made = ringfarm(&["cluster", "init", "--name", "n1", "--state", &keys]);
        assert!(made.status.success(), "{made:?}");
        let node = Node::listening(
            5060,
            &format!(
                "ports = \"21000-21099\"\nrest_s = 0\n[control]\nsocket = \"{}\"\n[cluster]\nstate = \"{keys}\"\n\
                 listen = \"{{home}}:7443\"\ndrain_s = 0",
                path("control")
            ),
        );
        Member { node, folder }
    }

    fn socket(&self) -> String {
        Path::new(self.folder.path()).join("control").display().to_string()
    }

    fn set(&self, args: &[&str]) {
        let socket = self.socket();
        let all: Vec<&str> =
            ["settings", "set"].iter().chain(args).chain(&["--socket", &socket]).copied().collect();
        let set = ringfarm(&all);
        assert!(set.status.success(), "{set:?}");
    }

    /// Waits until the list of members says this.
    fn until_listed(&self, what: &str, is_there: bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let list = ringfarm(&["members", "--socket", &self.socket()]);
            let text = String::from_utf8_lossy(&list.stdout).into_owned();
            if text.contains(what) == is_there {
                return;
            }
            assert!(Instant::now() < end, "{what:?}: {text}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// RTP from one phone to the other and an equal packet back, by the ports that they were told.
fn both_ways(node: &Node, exchange: &Exchange, line: usize, media: [&Media; 2], packet: &[u8]) {
    // Where the WAN IP leads to, as a balancer in front would have it.
    let door = |told: SocketAddr| SocketAddr::new(node.sip.ip(), told.port());
    let doors = [&exchange.answered, &exchange.offered].map(|message| door(message.door(line)));
    let [caller, callee] = media;
    pass(&caller.rtp, doors[0], &callee.rtp, doors[1], packet);
    pass(&callee.rtp, doors[1], &caller.rtp, doors[0], packet);
}

fn told(exchange: &Exchange, line: usize) -> [SocketAddr; 2] {
    [&exchange.answered, &exchange.offered].map(|message| message.door(line))
}

/// S60, S63, S71: no packet of a call is lost by a change, and the old ports are given back once it has ended.
#[test]
fn new_calls_have_the_new_ports_and_address_and_those_that_stand_keep_theirs() {
    let member = Member::start();
    let phones = ["alice", "bob", "carol", "dave"].map(|name| Phone::new(&member.node, name));
    let media = [Media::new(), Media::new(), Media::new(), Media::new()];
    let [alice, bob, carol, dave] = &phones;
    let [a, b, c, d] = &media;
    let (mut before, exchange) = Call::new(
        alice,
        bob,
        &sdp(&a.line("audio", "RTP/AVP 0 101")),
        &sdp(&b.line("audio", "RTP/AVP 0 101")),
    );
    both_ways(&member.node, &exchange, 0, [a, b], &rtp(0, 1, 1));

    member.set(&["member.media_ports", "31000-31099", "--member", "n1"]);
    member.until_listed("31000-31099", true);
    member.node.wait_logged("new calls use these media ports");
    both_ways(&member.node, &exchange, 0, [a, b], &rtp(0, 1, 2));
    let (after, later) = Call::new(
        carol,
        dave,
        &sdp(&c.line("audio", "RTP/AVP 0 101")),
        &sdp(&d.line("audio", "RTP/AVP 0 101")),
    );
    for told in told(&later, 0) {
        assert!((31_000..31_100).contains(&told.port()), "{told}");
        assert_eq!(told.ip(), member.node.sip.ip());
    }
    both_ways(&member.node, &later, 0, [c, d], &rtp(0, 1, 1));
    member.until_listed("calls still use media ports 21000-21099 of before", true);

    member.set(&["cluster.wan_ip", &WAN_IP.to_string()]);
    member.until_listed(&WAN_IP.to_string(), true);
    // A stream that joins a call is received where the call's others are.
    let lines = |media: [&Media; 2]| {
        sdp(&(media[0].line("audio", "RTP/AVP 0 101") + &media[1].line("audio", "RTP/AVP 0 101")))
    };
    let renewed = before.renew(Side::Caller, &lines([a, c]), &lines([b, d]));
    for told in told(&renewed, 0).into_iter().chain(told(&renewed, 1)) {
        assert!((21_000..21_100).contains(&told.port()), "{told}");
        assert_eq!(told.ip(), member.node.sip.ip());
    }
    both_ways(&member.node, &renewed, 0, [a, b], &rtp(0, 1, 3));
    both_ways(&member.node, &renewed, 1, [c, d], &rtp(0, 2, 1));
    after.hang_up();
    let changed = format!("wan_ip=[{WAN_IP}]");
    member.node.wait_logged(&changed);
    let (call, last) = Call::new(
        carol,
        dave,
        &sdp(&c.line("audio", "RTP/AVP 0 101")),
        &sdp(&d.line("audio", "RTP/AVP 0 101")),
    );
    assert_eq!(told(&last, 0).map(|told| told.ip()), [WAN_IP; 2]);
    call.hang_up();
    let counted = member.node.media_of(&before.hang_up());
    assert_eq!(counted.matches(" lost").count(), counted.matches("/0 lost").count(), "{counted}");
    member.until_listed("calls still use media ports", false);
}
