//! What is read from a session description.

use signaling_core::sdp::{Connection, Direction, LINES_MAX, MEDIA_MAX, Rtcp, Sdp, SdpError};

use crate::{OFFER, addr, ip};

fn with_media(lines: &str) -> String {
    format!("v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{lines}")
}

#[test]
fn each_m_line_gives_kind_port_transport_and_formats() {
    let sdp = Sdp::parse(OFFER.as_bytes()).unwrap();
    let [audio, video] = sdp.media() else { panic!("two m= lines") };
    assert_eq!(
        (audio.kind, audio.port, audio.port_count, audio.proto),
        ("audio", 49170, 1, "RTP/AVP")
    );
    assert_eq!(&audio.formats[..], ["0", "8", "101"]);
    assert_eq!(audio.payload_types().collect::<Vec<_>>(), [0, 8, 101]);
    assert_eq!((audio.direction, video.direction), (Direction::SendRecv, Direction::SendOnly));
    assert_eq!(video.connection, Some(Connection::Ip(ip("10.0.0.5"))));
    assert_eq!(video.rtp_address(), Some(addr("10.0.0.5:51372")));
    assert_eq!(video.rtcp_address(), Some(addr("10.0.0.5:51373")));
    assert!(!audio.ice && !audio.bundled && !audio.rtcp_mux && !audio.is_held());
    assert_eq!(sdp.origin_version(), Some(("2890844526", "2890844527")));
}

#[test]
fn an_own_c_line_and_direction_override_those_of_the_session() {
    let text = with_media(
        "a=recvonly\r\nm=audio 5 RTP/AVP 0\r\nm=audio 7 RTP/AVP 0\r\nc=IN IP6 2001:db8::7\r\na=inactive\r\n",
    );
    let sdp = Sdp::parse(text.as_bytes()).unwrap();
    let [first, second] = sdp.media() else { panic!("two m= lines") };
    assert_eq!((first.direction, second.direction), (Direction::RecvOnly, Direction::Inactive));
    assert_eq!(second.rtp_address(), Some(addr("[2001:db8::7]:7")));
    assert!(first.direction.receives() && !first.direction.sends());
    assert!(!second.direction.receives() && !second.direction.sends());
}

/// RFC 3605, RFC 5761.
#[test]
fn rtcp_goes_where_a_rtcp_says_else_to_the_port_above() {
    let read = |lines: &str| {
        let text = with_media(lines);
        let sdp = Sdp::parse(text.as_bytes()).unwrap();
        let media = &sdp.media()[0];
        (media.rtcp, media.rtcp_address(), media.rtcp_mux)
    };
    assert_eq!(read("m=audio 5 RTP/AVP 0\r\n"), (None, Some(addr("192.0.2.1:6")), false));
    assert_eq!(
        read("m=audio 5 RTP/AVP 0\r\na=rtcp:9\r\na=rtcp-mux\r\n"),
        (Some(Rtcp { port: 9, address: None }), Some(addr("192.0.2.1:9")), true),
    );
    assert_eq!(
        read("m=audio 5 RTP/AVP 0\r\na=rtcp:9 IN IP4 192.0.2.9\r\n").1,
        Some(addr("192.0.2.9:9")),
    );
    assert_eq!(read("m=audio 65535 RTP/AVP 0\r\n").1, None);
}

/// RFC 3264 8.4 and 6.
#[test]
fn hold_by_address_and_a_closed_stream_have_nowhere_to_send() {
    let text = with_media(
        "m=audio 5 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\nm=video 0 RTP/AVP 31\r\nm=audio 7 RTP/AVP 0\r\nc=IN IP4 host.example.com\r\n",
    );
    let sdp = Sdp::parse(text.as_bytes()).unwrap();
    assert!(sdp.media()[0].is_held());
    assert!(!sdp.media()[2].is_held());
    assert_eq!(sdp.media()[2].connection, Some(Connection::Unresolved("host.example.com")));
    for media in sdp.media() {
        assert_eq!((media.rtp_address(), media.rtcp_address()), (None, None));
    }
}

#[test]
fn transports_are_told_apart() {
    for (proto, rtp, udp, dtls) in [
        ("RTP/AVP", true, true, false),
        ("RTP/AVPF", true, true, false),
        ("RTP/SAVP", true, true, false),
        ("RTP/SAVPF", true, true, false),
        ("rtp/avp", true, true, false),
        ("UDP/TLS/RTP/SAVP", true, true, true),
        ("UDP/TLS/RTP/SAVPF", true, true, true),
        ("UDP/DTLS/SCTP", false, true, true),
        ("UDP/TLS/UDPTL", false, true, true),
        ("udptl", false, true, false),
        ("udp", false, true, false),
        ("TCP/MSRP", false, false, false),
        ("TCP/RTP/AVP", false, false, false),
        ("DTLS/SCTP", false, false, false),
    ] {
        let text = with_media(&format!("m=application 5 {proto} 5\r\n"));
        let sdp = Sdp::parse(text.as_bytes()).unwrap();
        let media = &sdp.media()[0];
        assert_eq!((media.is_rtp(), media.is_udp(), media.is_dtls()), (rtp, udp, dtls), "{proto}");
        assert_eq!(media.payload_types().count(), usize::from(rtp));
    }
}

/// RFC 8839, RFC 9143.
#[test]
fn ice_and_bundle_are_noticed() {
    let text = with_media(
        "a=group:BUNDLE a b\r\nm=audio 5/2 RTP/AVP 0\r\na=mid:a\r\na=candidate:1 1 UDP 1 192.0.2.1 5 typ host\r\n\
         m=audio 7 RTP/AVP 0\r\na=mid:c\r\n",
    );
    let sdp = Sdp::parse(text.as_bytes()).unwrap();
    let [first, second] = sdp.media() else { panic!("two m= lines") };
    assert!(first.ice && first.bundled && !second.ice && !second.bundled);
    assert_eq!((first.mid, first.port_count), (Some("a"), 2));
    let text = with_media("a=ice-lite\r\nm=audio 5 RTP/AVP 0\r\n");
    assert!(Sdp::parse(text.as_bytes()).unwrap().media()[0].ice);
}

#[test]
fn lines_may_end_in_lf_alone_and_the_last_in_nothing() {
    let text = OFFER.replace("\r\n", "\n");
    let sdp = Sdp::parse(text.trim_end().as_bytes()).unwrap();
    assert_eq!(sdp.media().len(), 2);
    assert_eq!(sdp.media()[1].direction, Direction::SendOnly);
}

#[test]
fn a_description_without_streams_is_one() {
    assert!(Sdp::parse(with_media("").as_bytes()).unwrap().media().is_empty());
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, line) in [
        ("", 1),
        ("v=1\r\n", 1),
        ("o=- 1 1 IN IP4 a\r\nv=0\r\n", 1),
        ("v=0\r\ns=-\r\n", 3),
        ("v=0\r\nm=audio 5 RTP/AVP 0\r\no=- 1 1 IN IP4 a\r\n", 2),
        ("v=0\r\no=- 1 1 IN IP4\r\n", 2),
        (&with_media("m =video 3227 RTP/AVP 31\r\n"), 6),
        (&with_media("m=audio\r\n"), 6),
        (&with_media("m=audio x RTP/AVP 0\r\n"), 6),
        (&with_media("m=audio +5 RTP/AVP 0\r\n"), 6),
        (&with_media("m=audio 70000 RTP/AVP 0\r\n"), 6),
        (&with_media("m=audio 5/0 RTP/AVP 0\r\n"), 6),
        (&with_media("m=audio 5\r\n"), 6),
        (&with_media("m=audio 5 RTP/AVP 0\r\nc=IN IP4\r\n"), 7),
        (&with_media("m=audio 5 RTP/AVP 0\r\nc=IN IP4 ::1\r\n"), 7),
        (&with_media("m=audio 5 RTP/AVP 0\r\na=rtcp:x\r\n"), 7),
        (&with_media("m=audio 5 RTP/AVP 0\r\njunk\r\n"), 7),
    ] {
        let error = Sdp::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.line, line, "{text:?} {error}");
    }
    let error = SdpError { line: 7, what: "not of the form k=value" };
    assert_eq!(error.to_string(), "SDP line 7: not of the form k=value");
}

#[test]
fn more_lines_or_streams_than_allowed_are_refused() {
    let fits = with_media(&"a=x\r\n".repeat(LINES_MAX - 5));
    assert!(Sdp::parse(fits.as_bytes()).is_ok());
    assert_eq!(Sdp::parse(format!("{fits}a=x\r\n").as_bytes()).unwrap_err().line, LINES_MAX + 1);
    let fits = with_media(&"m=audio 5 RTP/AVP 0\r\n".repeat(MEDIA_MAX));
    assert_eq!(Sdp::parse(fits.as_bytes()).unwrap().media().len(), MEDIA_MAX);
    assert!(Sdp::parse(format!("{fits}m=audio 5 RTP/AVP 0\r\n").as_bytes()).is_err());
}
