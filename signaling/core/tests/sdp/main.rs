//! Behaviour of SDP reading and rewriting through its public interface.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test by panicking")]

mod multipart;
mod props;
mod reading;
mod rewriting;

use std::net::{IpAddr, SocketAddr};

use signaling_core::sdp::{MediaTarget, Rewrite};

/// An offer of audio with a telephone-event and video, one address for both.
const OFFER: &str = "v=0\r\n\
o=alice 2890844526 2890844527 IN IP4 10.0.0.5\r\n\
s=-\r\n\
c=IN IP4 10.0.0.5\r\n\
b=AS:512\r\n\
t=0 0\r\n\
m=audio 49170 RTP/AVP 0 8 101\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=x-unknown:  spaced  \r\n\
m=video 51372 RTP/AVP 99\r\n\
i=camera\r\n\
b=AS:384\r\n\
a=rtpmap:99 H264/90000\r\n\
a=sendonly\r\n";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A target with RTCP on the port above.
fn target(address: &str, port: u16) -> Option<MediaTarget> {
    Some(MediaTarget { address: ip(address), port, rtcp_port: Some(port + 1), mux: None })
}

fn rewrite(origin: Option<&str>, media: &[Option<MediaTarget>]) -> Rewrite {
    Rewrite { origin: origin.map(ip), media: media.iter().copied().collect() }
}
