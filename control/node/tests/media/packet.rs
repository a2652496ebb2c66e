//! RTP and RTCP by hand (RFC 3550).

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::node::PATIENCE;

/// A socket of a phone, on an address that SDP can name.
pub(crate) fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

pub(crate) fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("it is bound").port()
}

/// An RTP packet of 20 ms.
pub(crate) fn rtp(payload_type: u8, ssrc: u8, sequence: u16) -> Vec<u8> {
    rtp_with(payload_type, ssrc, sequence, u32::from(sequence) * 160, &[0x55; 160])
}

/// An RTP packet; a payload type above 127 sets the marker.
pub(crate) fn rtp_with(
    payload_type: u8,
    ssrc: u8,
    sequence: u16,
    timestamp: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend([0, 0, 0, ssrc]);
    packet.extend(payload);
    packet
}

/// The next datagram and where it came from.
pub(crate) fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 65_536];
    let (length, from) = socket.recv_from(&mut buffer).expect("no packet came");
    (buffer[..length].to_vec(), from)
}

/// Sends a datagram by way of the node; it must arrive as it is, and from that door.
pub(crate) fn pass(
    from: &UdpSocket,
    door: SocketAddr,
    to: &UdpSocket,
    back_door: SocketAddr,
    bytes: &[u8],
) {
    from.send_to(bytes, door).expect("it is sent");
    let (received, source) = receive(to);
    assert_eq!(source, back_door);
    assert!(received == bytes, "{received:02x?} instead of {bytes:02x?}");
}

/// Nothing comes to the socket, after everything that could cause it has been seen elsewhere.
pub(crate) fn hears_nothing(socket: &UdpSocket) {
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let heard = socket.recv_from(&mut [0; 2000]);
    assert!(heard.is_err(), "heard {heard:?}");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
}

/// The media of one phone's stream: RTCP is not on the port above, as the system has chosen both.
pub(crate) struct Media {
    pub(crate) rtp: UdpSocket,
    pub(crate) rtcp: UdpSocket,
}

impl Media {
    pub(crate) fn new() -> Media {
        Media { rtp: socket(), rtcp: socket() }
    }

    /// Its m= line (RFC 8866) with where its RTCP is (RFC 3605).
    pub(crate) fn line(&self, kind: &str, profile_and_types: &str) -> String {
        let (rtp, rtcp) = (port(&self.rtp), port(&self.rtcp));
        format!("m={kind} {rtp} {profile_and_types}\r\na=rtcp:{rtcp}\r\n")
    }

    /// A description of nothing but audio.
    pub(crate) fn audio(&self) -> String {
        crate::phone::sdp(&self.line("audio", "RTP/AVP 0 101"))
    }
}
