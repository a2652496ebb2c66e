//! What a rewrite changes, and that it changes nothing else.

use sdp_types::{AddrType, Session};
use signaling_core::sdp::{MediaTarget, Sdp};

use crate::{OFFER, addr, ip, rewrite, target};

/// `text` rewritten must be `text` with these replacements.
fn same_but(text: &str, wanted: &signaling_core::sdp::Rewrite, pairs: &[(&str, &str)]) {
    let mut expected = text.to_owned();
    for (old, new) in pairs {
        assert!(expected.contains(old), "{old:?}");
        expected = expected.replacen(old, new, 1);
    }
    let done = Sdp::parse(text.as_bytes()).unwrap().rewrite(wanted);
    assert_eq!(String::from_utf8(done).unwrap(), expected);
}

#[test]
fn addresses_and_ports_are_replaced_and_nothing_else() {
    same_but(
        OFFER,
        &rewrite(
            Some("203.0.113.1"),
            &[target("203.0.113.1", 20000), target("203.0.113.1", 20002)],
        ),
        &[
            (
                "o=alice 2890844526 2890844527 IN IP4 10.0.0.5",
                "o=alice 2890844526 2890844527 IN IP4 203.0.113.1",
            ),
            ("c=IN IP4 10.0.0.5", "c=IN IP4 203.0.113.1"),
            ("m=audio 49170", "m=audio 20000"),
            ("m=video 51372", "m=video 20002"),
        ],
    );
}

#[test]
fn a_rewrite_of_nothing_is_an_exact_copy() {
    same_but(OFFER, &rewrite(None, &[]), &[]);
    same_but(&OFFER.replace("\r\n", "\n"), &rewrite(None, &[None, None]), &[]);
}

/// A second opinion: the result reads the same in an implementation that is not ours.
#[test]
fn another_implementation_reads_the_result_alike() {
    let sdp = Sdp::parse(OFFER.as_bytes()).unwrap();
    let wanted =
        rewrite(Some("2001:db8::1"), &[target("2001:db8::1", 20000), target("2001:db8::2", 20002)]);
    let done = Session::parse(&sdp.rewrite(&wanted)).unwrap();
    let before = Session::parse(OFFER.as_bytes()).unwrap();
    assert_eq!(done.origin.unicast_address, "2001:db8::1");
    assert_eq!(done.origin.addrtype, AddrType::Ip6);
    assert_eq!(done.connection.as_ref().unwrap().connection_address, "2001:db8::1");
    assert_eq!((done.medias[0].port, done.medias[1].port), (20000, 20002));
    assert!(done.medias[0].connections.is_empty());
    assert_eq!(done.medias[1].connections[0].connection_address, "2001:db8::2");
    assert_eq!(done.medias[1].media_title.as_deref(), Some("camera"));
    assert_eq!(done.medias[0].attributes, before.medias[0].attributes);
    assert_eq!(done.medias[1].bandwidths, before.medias[1].bandwidths);
}

#[test]
fn a_stream_that_the_sessions_address_does_not_fit_gets_its_own_after_its_title() {
    same_but(
        OFFER,
        &rewrite(None, &[target("203.0.113.1", 20000), target("2001:db8::1", 20002)]),
        &[
            ("c=IN IP4 10.0.0.5", "c=IN IP4 203.0.113.1"),
            ("49170", "20000"),
            (
                "m=video 51372 RTP/AVP 99\r\ni=camera\r\n",
                "m=video 20002 RTP/AVP 99\r\ni=camera\r\nc=IN IP6 2001:db8::1\r\n",
            ),
        ],
    );
}

#[test]
fn a_stream_without_a_target_keeps_the_address_that_it_had() {
    same_but(
        &OFFER.replace("RTP/AVP 99", "TCP/MSRP *"),
        &rewrite(None, &[target("203.0.113.1", 20000), None]),
        &[
            ("c=IN IP4 10.0.0.5", "c=IN IP4 203.0.113.1"),
            ("49170", "20000"),
            ("i=camera\r\n", "i=camera\r\nc=IN IP4 10.0.0.5\r\n"),
        ],
    );
}

#[test]
fn own_c_lines_change_family_and_the_sessions_goes_along() {
    let text = OFFER
        .replace("a=rtpmap:0", "c=IN IP4 10.0.0.6\r\na=rtpmap:0")
        .replace("b=AS:384", "c=IN IP4 10.0.0.7/127\r\nb=AS:384");
    same_but(
        &text,
        &rewrite(None, &[target("2001:db8::1", 20000), target("203.0.113.2", 20002)]),
        &[
            ("c=IN IP4 10.0.0.5", "c=IN IP6 2001:db8::1"),
            ("c=IN IP4 10.0.0.6", "c=IN IP6 2001:db8::1"),
            ("c=IN IP4 10.0.0.7/127", "c=IN IP4 203.0.113.2"),
            ("49170", "20000"),
            ("51372", "20002"),
        ],
    );
}

#[test]
fn a_missing_c_line_is_added() {
    same_but(
        &OFFER.replace("c=IN IP4 10.0.0.5\r\n", ""),
        &rewrite(None, &[target("203.0.113.1", 20000), None]),
        &[(
            "m=audio 49170 RTP/AVP 0 8 101\r\n",
            "m=audio 20000 RTP/AVP 0 8 101\r\nc=IN IP4 203.0.113.1\r\n",
        )],
    );
}

/// RFC 3264 8.4: hold by address must reach the other side as such; ports are given all the same.
#[test]
fn hold_by_address_stays() {
    let both = rewrite(None, &[target("203.0.113.1", 20000), target("203.0.113.1", 20002)]);
    let ports = [("49170", "20000"), ("51372", "20002")];
    same_but(&OFFER.replace("c=IN IP4 10.0.0.5", "c=IN IP4 0.0.0.0"), &both, &ports);
    let one = OFFER.replace("a=rtpmap:0", "c=IN IP4 0.0.0.0\r\na=rtpmap:0");
    same_but(&one, &both, &[("c=IN IP4 10.0.0.5", "c=IN IP4 203.0.113.1"), ports[0], ports[1]]);
}

/// RFC 3264 8.4, RFC 6157: what says hold says so in the family that the other side has.
#[test]
fn hold_by_address_changes_family_and_stays_hold() {
    let both = rewrite(None, &[target("2001:db8::1", 20000), target("2001:db8::1", 20002)]);
    let ports = [("49170", "20000"), ("51372", "20002")];
    let held = OFFER.replace("c=IN IP4 10.0.0.5", "c=IN IP4 0.0.0.0");
    same_but(&held, &both, &[("c=IN IP4 0.0.0.0", "c=IN IP6 ::"), ports[0], ports[1]]);
    let one = OFFER.replace("a=rtpmap:0", "c=IN IP4 0.0.0.0\r\na=rtpmap:0");
    same_but(
        &one,
        &both,
        &[
            ("c=IN IP4 10.0.0.5", "c=IN IP6 2001:db8::1"),
            ("c=IN IP4 0.0.0.0", "c=IN IP6 ::"),
            ports[0],
            ports[1],
        ],
    );
    let v4 = rewrite(None, &[target("203.0.113.1", 20000), target("203.0.113.1", 20002)]);
    let held = held.replace("IP4 0.0.0.0", "IP6 ::");
    same_but(&held, &v4, &[("c=IN IP6 ::", "c=IN IP4 0.0.0.0"), ports[0], ports[1]]);
}

/// RFC 3264 6, 8.2.
#[test]
fn a_closed_stream_stays_closed() {
    same_but(
        &OFFER.replace("51372", "0").replace("a=sendonly\r\n", "a=rtcp:9 IN IP4 10.0.0.5\r\n"),
        &rewrite(None, &[target("203.0.113.1", 20000), target("2001:db8::1", 20002)]),
        &[
            ("c=IN IP4 10.0.0.5", "c=IN IP4 203.0.113.1"),
            ("49170", "20000"),
            ("a=rtcp:9 IN IP4 10.0.0.5\r\n", ""),
        ],
    );
}

/// RFC 3605.
#[test]
fn a_rtcp_is_replaced_added_or_removed_as_the_ports_need_it() {
    let at = |rtcp_port| {
        Some(MediaTarget { address: ip("203.0.113.1"), port: 20000, rtcp_port, mux: None })
    };
    let session = ("c=IN IP4 10.0.0.5", "c=IN IP4 203.0.113.1");
    let with = |line: &str| OFFER.replace("a=x-unknown:  spaced  \r\n", line);
    let port = ("49170", "20000");
    let written = with("a=rtcp:9 IN IP6 2001:db8::9\r\na=rtcp:8\r\n");
    same_but(
        &written,
        &rewrite(None, &[at(Some(20001))]),
        &[
            session,
            port,
            ("9 IN IP6 2001:db8::9", "20001 IN IP4 203.0.113.1"),
            ("a=rtcp:8\r\n", ""),
            video_keeps(),
        ],
    );
    same_but(
        &with("a=rtcp:9\r\na=rtcp-mux\r\n"),
        &rewrite(None, &[at(Some(20000))]),
        &[session, port, ("a=rtcp:9", "a=rtcp:20000"), video_keeps()],
    );
    same_but(
        &with("a=rtcp:9\r\n"),
        &rewrite(None, &[at(None)]),
        &[session, port, ("a=rtcp:9\r\n", ""), video_keeps()],
    );
    same_but(&with("a=y\r\n"), &rewrite(None, &[at(Some(20000))]), &[session, port, video_keeps()]);
    same_but(
        &with("a=y\r\n"),
        &rewrite(None, &[at(Some(30000))]),
        &[session, port, ("a=y\r\n", "a=y\r\na=rtcp:30000\r\n"), video_keeps()],
    );
}

/// The video stream of [`OFFER`] has no target in these tests and inherits the session's address.
fn video_keeps() -> (&'static str, &'static str) {
    ("i=camera\r\n", "i=camera\r\nc=IN IP4 10.0.0.5\r\n")
}

/// RFC 8839: what names addresses that no longer hold. RFC 9143: groups, and what has a meaning only
/// in one.
#[test]
fn ice_and_bundle_are_removed_and_other_groups_stay() {
    let ice = "a=ice-ufrag:x\r\na=ice-pwd:y\r\na=candidate:1 1 UDP 1 10.0.0.5 49170 typ host\r\na=end-of-candidates\r\n\
               a=remote-candidates:1 10.0.0.5 1\r\n";
    let session = "a=group:BUNDLE a b\r\na=ice-lite\r\na=ice-options:trickle\r\n";
    let text = OFFER
        .replace("t=0 0\r\n", &format!("t=0 0\r\n{session}a=group:LS a b\r\n"))
        .replace("a=rtpmap:0 ", &format!("{ice}a=rtcp-mux\r\na=setup:actpass\r\na=rtpmap:0 "))
        .replace("b=AS:384", "a=bundle-only\r\nb=AS:384");
    let gone = [(session, ""), (ice, ""), ("a=bundle-only\r\n", "")];
    same_but(&text, &rewrite(None, &[]), &gone);
}

/// One pair of ports is promised, whatever was asked for.
#[test]
fn a_port_count_is_dropped_and_spacing_kept() {
    same_but(
        &OFFER.replace("m=audio 49170 RTP", "m=audio  49170/2  RTP"),
        &rewrite(None, &[target("10.0.0.5", 20000)]),
        &[("49170/2", "20000")],
    );
}

#[test]
fn a_last_line_without_an_end_is_ended_before_another_follows() {
    let text = "v=0\no=- 1 1 IN IP4 10.0.0.5\ns=-\nt=0 0\nm=audio 5 RTP/AVP 0";
    let done = Sdp::parse(text.as_bytes())
        .unwrap()
        .rewrite(&rewrite(None, &[target("203.0.113.1", 20000)]));
    assert_eq!(
        String::from_utf8(done).unwrap(),
        "v=0\no=- 1 1 IN IP4 10.0.0.5\ns=-\nt=0 0\nm=audio 20000 RTP/AVP 0\nc=IN IP4 203.0.113.1\n",
    );
}

#[test]
fn a_name_in_place_of_an_address_is_replaced() {
    let text = OFFER.replace("IP4 10.0.0.5", "IP4 host.example.com");
    let done = Sdp::parse(text.as_bytes()).unwrap().rewrite(&rewrite(
        Some("203.0.113.1"),
        &[target("203.0.113.1", 20000), target("203.0.113.1", 20002)],
    ));
    assert!(!String::from_utf8(done.clone()).unwrap().contains("host.example.com"));
    assert_eq!(
        Sdp::parse(&done).unwrap().media()[0].rtp_address(),
        Some(addr("203.0.113.1:20000"))
    );
}
