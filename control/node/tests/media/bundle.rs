//! BUNDLE (RFC 9143): a browser's offer to send everything over one port is turned down for it.

use crate::node::Node;
use crate::packet::{Media, pass, port, rtp};
use crate::phone::{Call, Phone, sdp};

/// What a browser offers that gathers a port for each kind of media ("balanced", RFC 8829 4.1.1): audio,
/// video, a second video that is there only if bundled, and a data channel.
const BROWSER_OFFER: &str = include_str!("browser_offer.sdp");

/// The offer with the ports of these sockets.
fn browser_offer([audio, video, data]: &[Media; 3]) -> String {
    let with = |text: String, name: &str, media: &Media| {
        let rtcp = format!("{name}_RTCP");
        text.replace(&rtcp, &port(&media.rtcp).to_string())
            .replace(name, &port(&media.rtp).to_string())
    };
    let text = with(BROWSER_OFFER.to_owned(), "AUDIO", audio);
    let text = with(text, "VIDEO", video);
    with(text, "DATA", data).replace('\n', "\r\n")
}

/// RFC 9143 7.2, 7.3: both sides read what an endpoint without BUNDLE would have them read. No group
/// is left, each m= line has ports of its own, and a bundle-only one, whose port is 0, is refused.
#[test]
fn each_stream_of_a_bundle_gets_ports_of_its_own_and_a_bundle_only_one_is_refused() {
    let node = Node::start("");
    let (browser, phone) = (Phone::new(&node, "browser"), Phone::new(&node, "phone"));
    let near = [(); 3].map(|()| Media::new());
    let far = [(); 3].map(|()| Media::new());
    let answer = sdp(&format!(
        "{}{}m=video 0 UDP/TLS/RTP/SAVPF 96\r\nm=application {} UDP/DTLS/SCTP webrtc-datachannel\r\n",
        far[0].line("audio", "UDP/TLS/RTP/SAVPF 111"),
        far[1].line("video", "UDP/TLS/RTP/SAVPF 96"),
        port(&far[2].rtp),
    ));
    let (call, exchange) = Call::new(&browser, &phone, &browser_offer(&near), &answer);
    for gone in ["BUNDLE", "bundle-only", "candidate", "ice-ufrag"] {
        assert!(!exchange.offered.body().contains(gone), "{gone} in {:?}", exchange.offered);
    }
    for kept in ["a=mid:1", "a=fingerprint:sha-256 19:E2", "a=ssrc-group:FID", "a=setup:actpass"] {
        assert!(exchange.offered.body().contains(kept), "no {kept} in {:?}", exchange.offered);
    }
    for message in [&exchange.offered, &exchange.answered] {
        let ports = [0, 1, 2, 3].map(|line| message.media_port(line));
        assert_eq!(ports[2], 0, "{message:?}");
        let mut open = [ports[0], ports[1], ports[3]];
        open.sort_unstable();
        assert!(open[0] > 0 && open[0] < open[1] && open[1] < open[2], "{ports:?}");
    }
    assert!(!exchange.answered.body().contains("a=group"));

    let handshake = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    let packets = [rtp(111, 1, 1), rtp(96, 2, 1), handshake.to_vec()];
    for (place, (line, packet)) in [0, 1, 3].into_iter().zip(packets).enumerate() {
        let doors = [exchange.answered.door(line), exchange.offered.door(line)];
        for bytes in [&handshake[..], &packet] {
            pass(&near[place].rtp, doors[0], &far[place].rtp, doors[1], bytes);
            pass(&far[place].rtp, doors[1], &near[place].rtp, doors[0], bytes);
        }
    }
    node.media_of(&call.hang_up());
}
