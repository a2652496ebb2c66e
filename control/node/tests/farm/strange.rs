//! Who is no member, and what is no token, steers nothing.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::harness::PROXY;
use crate::lab::{Farm, Segment, VIP};
use crate::member::MESH;

const ANSWER: Duration = Duration::from_secs(5);

/// How long is waited for a word to a stranger.
const WORD: Duration = Duration::from_millis(300);

/// Strangers at the mesh's ports send nothing, garbage, a request of HTTP and half a TLS handshake; the
/// connections stay until they are dropped.
pub(crate) fn at_the_mesh(segment: &Segment, farm: &Farm<'_>) -> Vec<TcpStream> {
    let mut strangers = Vec::new();
    for words in [&b""[..], &[0xff; 4096], b"GET / HTTP/1.0\r\n\r\n", &CLIENT_HELLO] {
        for address in farm.addresses() {
            strangers.push(stranger(segment, address, words));
        }
    }
    strangers
}

/// The head of a handshake record and of the first message in it, which promise more.
const CLIENT_HELLO: [u8; 9] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];

fn stranger(segment: &Segment, address: Ipv4Addr, words: &[u8]) -> TcpStream {
    segment.host(PROXY).enter(|| {
        let mut stream = TcpStream::connect((address, MESH)).expect("the mesh listens");
        stream.write_all(words).expect("words can be sent");
        stream.set_read_timeout(Some(WORD)).expect("a timeout");
        let mut said = [0; 1024];
        // A refusal of TLS, the end of the connection, or nothing: no frame of the mesh.
        let length = stream.read(&mut said).unwrap_or(0);
        assert!(length < 64, "{length} bytes for a stranger");
        stream
    })
}

/// Row B1: a Route that claims to be a member's, with a token that it has not made, leads to no member: it is
/// as if there were none, wherever the datagram arrives.
pub(crate) fn forge_tokens(segment: &Segment, farm: &Farm<'_>) {
    let before = farm.figure(RELAYED_PINNED);
    for number in 0..60u32 {
        let status = ask_with_forged_route(segment, number);
        assert!(status.is_some_and(|status| status >= 400), "{status:?}");
    }
    assert!((farm.figure(RELAYED_PINNED) - before).abs() < 0.5, "a forged token steered a request");
}

/// Messages given to other members because of their tokens.
const RELAYED_PINNED: &str = "ringfarm_farm_relayed_out_total{why=\"pinned\"}";

/// Sends a BYE of no dialog; its final answer's status.
fn ask_with_forged_route(segment: &Segment, number: u32) -> Option<u16> {
    segment.host(PROXY).enter(|| {
        let socket = UdpSocket::bind((PROXY, 0)).ok()?;
        socket.set_read_timeout(Some(ANSWER)).ok()?;
        let own = socket.local_addr().ok()?;
        let token = format!("{:032x}", u128::from(number) * 0x9e37_79b9_7f4a_7c15);
        let request = format!(
            "BYE sip:nobody@{PROXY}:9 SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKf{number};rport\r\n\
             Route: <sip:{VIP};lr;rf={token}>\r\nMax-Forwards: 70\r\nFrom: <sip:mallory@{VIP}>;tag=m{number}\r\n\
             To: <sip:nobody@{VIP}>;tag={token}\r\nCall-ID: forged-{number}\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
        );
        socket.send_to(request.as_bytes(), (VIP, 5060)).ok()?;
        loop {
            let mut answer = [0; 2048];
            let length = socket.recv(&mut answer).ok()?;
            let text = String::from_utf8_lossy(&answer[..length]).into_owned();
            let status: u16 = text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
            if status >= 200 {
                return Some(status);
            }
        }
    })
}
