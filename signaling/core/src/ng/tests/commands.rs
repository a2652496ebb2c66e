//! What is read of a command, and whose commands are heard.

use std::time::Duration;

use super::harness::{Bench, PROXY, command, config, framed, list, offer, sdp, set_up};
use crate::ng::bencode::{Entries, Item};
use crate::ng::{Notice, PortFigures};

#[test]
fn a_ping_is_answered_under_its_cookie() {
    let mut bench = Bench::new(config());
    bench.datagram(PROXY, b"5323_1 d7:command4:pinge");
    assert_eq!(&bench.sent.pop_front().unwrap().bytes[..], b"5323_1 d6:result4:ponge");
}

/// A controller that heard nothing sends its command again.
#[test]
fn a_repeated_cookie_gets_the_same_answer_and_nothing_is_done_twice() {
    let mut bench = Bench::new(config());
    bench.relay_is_slow = true;
    let datagram = framed("9", &offer("c", "a", &sdp("198.51.100.10", 4000)));
    bench.datagram(PROXY, &datagram);
    bench.datagram(PROXY, &datagram);
    assert_eq!(bench.commands.len(), 1);
    bench.relay_answers();
    let first = bench.sent.pop_front().unwrap();
    bench.expect_silence();
    bench.datagram(PROXY, &datagram);
    assert_eq!(bench.sent.pop_front(), Some(first));
    assert_eq!((bench.commands.len(), bench.ng.counters().repeated), (1, 2));

    let delete = framed("10", &command("delete", "c").with("from-tag", "a"));
    bench.relay_is_slow = false;
    bench.datagram(PROXY, &delete);
    let deleted = bench.sent.pop_front();
    bench.datagram(PROXY, &delete);
    assert_eq!(bench.sent.pop_front(), deleted);

    // A description is made anew from what the repetition brings along, if its session still is.
    bench.datagram(PROXY, &datagram);
    let gone = bench.sent.pop_front().unwrap();
    assert!(String::from_utf8_lossy(&gone.bytes).contains("deleted meanwhile"), "{gone:?}");
    bench.notices.clear();

    // Two proxies may hit upon one cookie, and after a while so may one.
    bench.datagram("192.0.2.10:40000", &datagram);
    assert_eq!(bench.sent.pop_front().unwrap().target.remote.port(), 40000);
    bench.pass(Duration::from_secs(11));
    bench.datagram(PROXY, &datagram);
    assert_eq!(bench.ng.counters().repeated, 4);
}

/// Whoever speaks ng controls media.
#[test]
fn a_stranger_is_neither_heard_nor_answered() {
    let mut bench = Bench::new(config());
    bench.datagram("198.51.100.66:1", b"1 d7:command4:pinge");
    bench.expect_silence();
    assert!(matches!(&bench.notices[..], [Notice::Stranger { .. }]));
    assert_eq!(bench.ng.counters().strangers, 1);
    // A listener for IPv6 shows IPv4 addresses mapped.
    bench.datagram("[::ffff:192.0.2.9]:1", b"1 d7:command4:pinge");
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn without_a_cookie_there_is_no_answer() {
    let mut bench = Bench::new(config());
    let long = "x".repeat(129);
    for datagram in ["", "x", " d7:command4:pinge", "d7:command4:pinge", &format!("{long} de")] {
        bench.datagram(PROXY, datagram.as_bytes());
    }
    bench.expect_silence();
    assert_eq!(bench.ng.counters().malformed, 5);
}

#[test]
fn what_is_no_command_is_answered_with_an_error() {
    let mut bench = Bench::new(config());
    let cases = [
        ("i1e", "a dictionary"),
        ("d7:command", "not bencode"),
        ("{\"command\":\"ping\"}", "not bencode"),
        ("de", "\"command\" is missing"),
        ("d7:commandi1ee", "\"command\" has to be a string"),
        ("d7:command15:start recordinge", "unknown command \"start recording\""),
    ];
    for (number, (document, why)) in cases.into_iter().enumerate() {
        bench.datagram(PROXY, format!("{number} {document}").as_bytes());
        let reply = bench.reply_to(&number.to_string());
        assert_eq!(reply.text("result"), "error");
        assert!(reply.text("error-reason").contains(why), "{reply:?}");
    }
}

#[test]
fn a_missing_key_is_named() {
    let mut bench = Bench::new(config());
    let named = |key: &str| format!("\"{key}\" is missing");
    let sdp = sdp("198.51.100.10", 4000);
    let only = |keys: &[&str]| {
        let mut entries = Entries::new();
        keys.iter().for_each(|key| entries.put(*key, if *key == "sdp" { &*sdp } else { "x" }));
        entries
    };
    let call = ["call-id", "from-tag", "sdp"];
    for missing in call {
        let others: Vec<&str> = call.into_iter().filter(|key| *key != missing).collect();
        assert_eq!(bench.refused(&only(&others).with("command", "offer")), named(missing));
    }
    assert_eq!(bench.refused(&only(&call).with("command", "answer")), named("to-tag"));
    assert_eq!(bench.refused(&Entries::new().with("command", "delete")), named("call-id"));
    assert_eq!(bench.refused(&Entries::new().with("command", "query")), named("call-id"));
    // An empty tag is none.
    assert_eq!(bench.refused(&offer("c", "", &sdp)), named("from-tag"));
}

#[test]
fn a_value_of_a_wrong_type_is_refused_and_its_key_named() {
    let mut bench = Bench::new(config());
    let number = || Item::Integer(1);
    for (key, value) in [
        ("sdp", number()),
        ("call-id", list(&["c"])),
        ("from-tag", number()),
        ("flags", Item::from("trust-address")),
        ("flags", vec![number()].into()),
        ("replace", Item::from("origin")),
        ("rtcp-mux", Item::from("offer")),
        ("direction", list(&["a", "b", "c"])),
        ("received-from", list(&["IP4"])),
        ("received-from", list(&["IP4", "example.test"])),
        ("media-address", Item::from("0x7f")),
        ("address-family", Item::from("IP5")),
        ("ICE", Item::from("perhaps")),
        ("ICE", number()),
        ("transport-protocol", number()),
        ("supports", number()),
        ("label", number()),
        ("via-branch", Item::from("x".repeat(513))),
        ("limit", Item::Integer(0)),
    ] {
        let why = bench.refused(&offer("c", "a", &sdp("198.51.100.10", 4000)).with(key, value));
        assert!(why.starts_with(&format!("\"{key}\" has to be")), "{why}");
    }
    assert_eq!((bench.ng.calls(), bench.commands.len()), (0, 0));
}

/// Rtpengine has hundreds of keys and flags; most of them do not concern a relay like this.
#[test]
fn keys_and_flags_that_are_not_known_are_ignored_and_counted() {
    let mut bench = Bench::new(config());
    let flags = ["trust-address", "symmetric", "strict source", "SDES-off", "codec-strip-opus"];
    let many = offer("c", "a", &sdp("198.51.100.10", 4000))
        .with("flags", list(&flags))
        .with("TOS", Item::Integer(184))
        .with("DTLS", "off")
        .with("codec", Entries::new().with("strip", list(&["opus"])))
        .with("record call", "no");
    bench.describe(&many);
    assert_eq!(bench.ng.counters().ignored, 6);
}

/// Newer modules hand their script's flags on as one string.
#[test]
fn flags_in_one_string_are_read_as_keys_and_flags() {
    let mut bench = Bench::new(config());
    let offered = sdp("198.51.100.10", 4000) + "a=rtcp-mux\r\n";
    let flags = "replace-origin trust-address rtcp-mux-demux RTP/AVP ICE=remove \
                 media-address=203.0.113.77 label=left via-branch=x";
    let forwarded = bench.describe(&offer("c", "a", &offered).with("rtpp-flags", flags));
    assert!(!forwarded.contains("rtcp-mux"), "{forwarded}");
    assert_eq!(bench.ng.counters().ignored, 0);
    let remote = bench.last_spec().1.streams[0].legs[0].remote.unwrap();
    assert_eq!(remote.rtp.to_string(), "203.0.113.77:4000");
    assert_eq!(bench.ask(&command("query", "c")).text("tags/a/label"), "left");
}

/// Keys may be written with spaces or with hyphens.
#[test]
fn spaces_in_keys_and_flags_are_as_good_as_hyphens() {
    let mut bench = Bench::new(config());
    let spaced = offer("c", "a", &sdp("10.0.0.5", 4000))
        .with("media address", "203.0.113.77")
        .with("flags", list(&["SIP source address"]));
    bench.describe(&spaced);
    let remote = bench.last_spec().1.streams[0].legs[0].remote.unwrap();
    assert_eq!(remote.rtp.to_string(), "203.0.113.77:4000");
    assert_eq!(bench.ng.counters().ignored, 0);
}

#[test]
fn a_list_names_as_many_calls_as_it_is_asked_for() {
    let mut bench = Bench::new(config());
    for call in 0..40 {
        bench.describe(&offer(&call.to_string(), "a", &sdp("198.51.100.10", 4000)));
    }
    let list = |bench: &mut Bench, command: &Entries| bench.ask(command).len("calls");
    let command = Entries::new().with("command", "list");
    assert_eq!(list(&mut bench, &command), 32);
    assert_eq!(list(&mut bench, &command.clone().with("limit", 5_u64)), 5);
    assert_eq!(list(&mut bench, &command.with("limit", 1000_u64)), 40);
}

#[test]
fn statistics_tell_sessions_commands_and_packets() {
    let mut bench = Bench::new(config());
    set_up(&mut bench);
    bench.pass(Duration::from_secs(18));
    bench.describe(&offer("d", "a", &sdp("198.51.100.10", 4000)));
    bench.ask(&command("delete", "d").with("from-tag", "a"));
    bench.refused(&command("query", "nothing"));
    let reply = bench.ask(&Entries::new().with("command", "statistics"));
    assert_eq!(reply.number("statistics/currentstatistics/sessionstotal"), 1);
    assert_eq!(reply.text("statistics/totalstatistics/uptime"), "18");
    assert_eq!(reply.number("statistics/totalstatistics/managedsessions"), 2);
    assert_eq!(reply.number("statistics/totalstatistics/relayedpackets"), 900);
    assert_eq!(reply.number("statistics/control/offer"), 2);
    assert_eq!(reply.number("statistics/control/errors"), 1);
}

/// Whoever places calls on several relays sees which of them runs short of ports.
#[test]
fn statistics_tell_how_full_the_ports_are_and_how_many_rests_ended_early() {
    let mut bench = Bench::new(config());
    bench.ng.note_ports(PortFigures { used: 12, resting: 3, free: 1, rests_cut: 40 });
    let reply = bench.ask(&Entries::new().with("command", "statistics"));
    let figures = ["used", "resting", "free", "restscut"];
    let told = figures.map(|name| reply.number(&format!("statistics/ports/{name}")));
    assert_eq!(told, [12, 3, 1, 40]);
}

/// The largest UDP payload over IPv4 is 65,507 bytes.
#[test]
fn a_reply_that_does_not_fit_a_datagram_says_so() {
    let mut bench = Bench::new(config());
    // Each call-id is written with its length: 100 of them do not fit.
    for call in 0..100 {
        let id = format!("{call:0>512}");
        bench.describe(&offer(&id, "a", &sdp("198.51.100.10", 4000)));
    }
    let list = Entries::new().with("command", "list").with("limit", 1000_u64);
    assert_eq!(bench.ask(&list).len("calls"), 100);
    let mut bench = Bench::new(crate::ng::Config { calls_max: 1000, ..config() });
    for call in 0..200 {
        let id = format!("{call:0>512}");
        bench.describe(&offer(&id, "a", &sdp("198.51.100.10", 4000)));
    }
    assert!(bench.refused(&list).contains("does not fit"));
}
