//! What keys of a command change in descriptions and in what the relay is asked for.

use relay_core::api::{Learning, Leg, RtcpMode};

use super::harness::{Bench, address, answer, config, interface, list, offer, sdp};
use crate::call::LearningPolicy;
use crate::ng::Config;
use crate::ng::bencode::{Entries, Item};

fn from(source: &str) -> Item {
    list(&[if source.contains(':') { "IP6" } else { "IP4" }, source])
}

fn learned(config: Config, offer: &Entries) -> (String, Learning) {
    let mut bench = Bench::new(config);
    bench.describe(offer);
    let remote = bench.last_spec().1.streams[0].legs[0].remote.unwrap();
    (remote.rtp.to_string(), remote.learning)
}

fn within(net: &str) -> Learning {
    Learning::Within(net.parse().unwrap())
}

/// A private address in the SDP of a message that came from a public one: NAT.
#[test]
fn the_source_of_the_sip_message_is_learned_from_where_nat_is_seen() {
    let behind_nat =
        offer("c", "a", &sdp("10.0.0.5", 4000)).with("received-from", from("198.51.100.7"));
    let (address, learning) = learned(config(), &behind_nat);
    assert_eq!((&*address, learning), ("10.0.0.5:4000", within("198.51.100.7/32")));
    let in_the_open =
        offer("c", "a", &sdp("198.51.100.10", 4000)).with("received-from", from("198.51.100.7"));
    assert_eq!(learned(config(), &in_the_open).1, Learning::Signalled);
    let nat = Config { learning: LearningPolicy::Nat, ..config() };
    assert_eq!(learned(nat, &in_the_open).1, within("198.51.100.7/32"));
    // As OpenSIPS writes it where there is no message.
    let unknown = offer("c", "a", &sdp("10.0.0.5", 4000)).with("received-from", list(&[]));
    assert_eq!(learned(config(), &unknown).1, Learning::Signalled);
}

#[test]
fn asymmetric_media_is_not_learned() {
    let behind_nat = offer("c", "a", &sdp("10.0.0.5", 4000))
        .with("received-from", from("198.51.100.7"))
        .with("flags", list(&["asymmetric"]));
    assert_eq!(learned(config(), &behind_nat).1, Learning::Signalled);
}

#[test]
fn the_source_of_the_sip_message_or_a_given_address_stands_in_for_the_sdp() {
    let source = offer("c", "a", &sdp("10.0.0.5", 4000))
        .with("received-from", from("198.51.100.7"))
        .with("flags", list(&["SIP-source-address"]));
    let (address, learning) = learned(config(), &source);
    assert_eq!((&*address, learning), ("198.51.100.7:4000", within("198.51.100.7/32")));
    let given = source.with("media-address", "203.0.113.77");
    assert_eq!(learned(config(), &given).0, "203.0.113.77:4000");
}

/// The two sides' RTCP modes and remote RTCP ports, and both descriptions, for an exchange in which
/// the sides say rtcp-mux as told.
fn muxed(words: &[&str], offers: bool, answers: bool) -> (Bench, [String; 2]) {
    let mut bench = Bench::new(config());
    let with = |text: String, mux: bool| if mux { text + "a=rtcp-mux\r\n" } else { text };
    let offered = with(sdp("198.51.100.10", 4000), offers);
    let offered = bench.describe(&offer("c", "a", &offered).with("rtcp-mux", list(words)));
    let answered = with(sdp("198.51.100.20", 6000), answers);
    let answered = bench.describe(&answer("c", "a", "b", &answered));
    (bench, [offered, answered])
}

/// RFC 5761: each leg may have its RTCP where its peer wants it.
#[test]
fn rtcp_mux_is_negotiated_for_each_side_as_the_controller_wishes() {
    use RtcpMode::{Mux, Separate};
    // What is wished; who says mux; whether each then reads it; each leg's mode.
    type Case = (&'static [&'static str], [bool; 2], [bool; 2], [RtcpMode; 2]);
    let cases: [Case; 8] = [
        (&[], [true, true], [true, true], [Mux, Mux]),
        (&[], [true, false], [true, false], [Separate, Separate]),
        (&["demux"], [true, false], [false, true], [Mux, Separate]),
        (&["offer"], [false, true], [true, false], [Separate, Mux]),
        (&["offer"], [false, false], [true, false], [Separate, Separate]),
        (&["accept"], [true, false], [true, true], [Mux, Separate]),
        (&["reject"], [true, false], [false, false], [Separate, Separate]),
        (&["offer", "reject"], [true, true], [true, false], [Separate, Mux]),
    ];
    for (words, says, reads, modes) in cases {
        let (bench, [offered, answered]) = muxed(words, says[0], says[1]);
        let has = |text: &str| text.contains("a=rtcp-mux\r\n");
        assert_eq!([has(&offered), has(&answered)], reads, "{words:?} {says:?}");
        let legs = &bench.last_spec().1.streams[0].legs;
        assert_eq!([legs[0].rtcp, legs[1].rtcp], modes, "{words:?} {says:?}");
        for (leg, port) in legs.iter().zip([4000, 6000]) {
            let expected = if leg.rtcp == Mux { port } else { port + 1 };
            assert_eq!(leg.remote.unwrap().rtcp.port(), expected, "{words:?} {says:?}");
        }
    }
}

/// A different address for each network, inside and outside.
#[test]
fn interfaces_are_chosen_by_direction() {
    let interfaces = vec![
        interface("priv", "10.0.0.1", None),
        interface("pub", "192.0.2.1", Some("203.0.113.5")),
        interface("pub", "2001:db8::1", None),
    ];
    let mut bench = Bench::new(Config { interfaces, ..config() });
    let inside_out =
        offer("c", "a", &sdp("10.0.0.7", 4000)).with("direction", list(&["priv", "pub"]));
    let offered = bench.describe(&inside_out);
    assert!(offered.contains("c=IN IP4 203.0.113.5\r\n"), "{offered}");
    assert_eq!(bench.last_spec().1.local.map(|ip| ip.to_string()), ["10.0.0.1", "192.0.2.1"]);
    let answered = bench.describe(&answer("c", "a", "b", &sdp("198.51.100.20", 6000)));
    assert!(answered.contains("c=IN IP4 10.0.0.1\r\n"), "{answered}");

    let unknown = offer("d", "a", &sdp("10.0.0.7", 4000)).with("direction", list(&["priv", "dmz"]));
    assert!(bench.refused(&unknown).contains("no IPv4 address named \"dmz\""));
    let absent = unknown.with("direction", list(&["priv", "priv"])).with("address-family", "IP6");
    assert!(bench.refused(&absent).contains("no IPv6 address named \"priv\""));
    assert_eq!(bench.ng.calls(), 1);
}

/// Legacy names such as `internal` mean nothing where no interface has a name.
#[test]
fn a_direction_without_interfaces_is_ignored_and_counted() {
    let mut bench = Bench::new(config());
    let legacy = offer("c", "a", &sdp("10.0.0.7", 4000));
    bench.describe(&legacy.with("direction", list(&["internal", "external"])));
    assert_eq!(bench.ng.counters().ignored, 2);
}

#[test]
fn a_call_can_be_bridged_between_the_address_families() {
    let mut bench = Bench::new(config());
    let four = offer("c", "a", &sdp("198.51.100.10", 4000)).with("address-family", "IP6");
    let offered = bench.describe(&four);
    assert!(offered.contains("c=IN IP6 2001:db8::1\r\n"), "{offered}");
    let answered = bench.describe(&answer("c", "a", "b", &sdp("2001:db8::20", 6000)));
    assert!(answered.contains("c=IN IP4 192.0.2.1\r\n"), "{answered}");
    let remote = bench.last_spec().1.streams[0].legs[Leg::Callee.index()].remote.unwrap();
    assert_eq!(remote.rtp, address("[2001:db8::20]:6000"));
}

/// ICE is removed whatever is said, so a controller that counts on it is told.
#[test]
fn ice_is_removed_and_a_command_that_forces_it_is_refused() {
    let mut bench = Bench::new(config());
    let text = sdp("198.51.100.10", 4000)
        + "a=ice-ufrag:x\r\na=candidate:1 1 UDP 1 198.51.100.10 4000 typ host\r\n";
    for how in ["remove", "default", "optional"] {
        let offered = bench.describe(&offer("c", "a", &text).with("ICE", how));
        assert!(!offered.contains("ice-ufrag") && !offered.contains("candidate"), "{offered}");
    }
    for how in ["force", "force-relay"] {
        assert!(bench.refused(&offer("d", "a", &text).with("ICE", how)).contains("ICE"));
    }
}

/// Nothing here encrypts: a profile that would need it is refused, the others need no change.
#[test]
fn a_profile_that_would_need_encryption_is_refused() {
    let mut bench = Bench::new(config());
    let with = |own: &str, wanted: &str| {
        let text = sdp("198.51.100.10", 4000).replace("RTP/AVP", own);
        offer("c", "a", &text).with("transport-protocol", wanted)
    };
    bench.describe(&with("RTP/AVPF", "RTP/AVP"));
    bench.describe(&with("RTP/SAVP", "RTP/SAVPF"));
    bench.describe(&with("UDP/TLS/RTP/SAVPF", "accept"));
    let why = bench.refused(&with("RTP/AVP", "RTP/SAVP"));
    assert_eq!(why, "this relay cannot turn RTP/AVP into RTP/SAVP");
    bench.refused(&with("UDP/TLS/RTP/SAVPF", "RTP/SAVPF"));
    bench.refused(&with("RTP/SAVP", "RTP/AVP"));
}

#[test]
fn a_description_that_cannot_be_carried_is_refused_and_leaves_the_call_as_it_was() {
    let mut bench = Bench::new(config());
    assert!(bench.refused(&offer("c", "a", "v=1\r\n")).contains("bad SDP"));
    let many = sdp("198.51.100.10", 4000) + &"m=audio 4000 RTP/AVP 0\r\n".repeat(16);
    assert!(bench.refused(&offer("c", "a", &many)).contains("more than 16"));
    assert_eq!((bench.ng.calls(), bench.commands.len()), (0, 0));
    let early = answer("c", "a", "b", &sdp("198.51.100.20", 6000));
    assert!(bench.refused(&early).contains("not known here"));
    super::harness::set_up(&mut bench);
    let backwards = answer("c", "b", "a", &sdp("198.51.100.10", 4000));
    assert!(bench.refused(&backwards).contains("without an offer"));
    assert_eq!((bench.ng.calls(), bench.ng.sessions()), (1, 1));
}
