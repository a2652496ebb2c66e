//! SIP by hand, for what no well-behaved peer sends.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::harness::{Lab, NODE, NODE_PORT, Transport};

/// How long an answer may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

const NODE_ADDRESS: SocketAddrV4 = SocketAddrV4::new(NODE, NODE_PORT);

/// An answer, as far as the tests look at it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: String,
    head: String,
}

impl Answer {
    fn parse(text: &str) -> Answer {
        let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
        let mut words = head.lines().next().unwrap_or_default().splitn(3, ' ');
        let version = words.next().unwrap_or_default();
        assert_eq!(version, "SIP/2.0", "not an answer: {text}");
        let status = words.next().and_then(|word| word.parse().ok());
        let status = status.unwrap_or_else(|| panic!("an answer without a status: {text}"));
        Answer { status, reason: words.next().unwrap_or_default().to_owned(), head }
    }

    /// The value of the first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The nonce of its challenge.
    pub(crate) fn nonce(&self) -> String {
        let challenge =
            self.header("WWW-Authenticate").or_else(|| self.header("Proxy-Authenticate"));
        let nonce = challenge.and_then(|value| value.split("nonce=\"").nth(1)?.split('"').next());
        nonce.unwrap_or_else(|| panic!("no challenge in {self:?}")).to_owned()
    }
}

/// A peer that sends whatever a test says, over one socket.
pub(crate) enum Raw {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Raw {
    /// Opens a socket on the host `local`, to the node.
    pub(crate) fn open(lab: &Lab, local: Ipv4Addr, transport: Transport) -> Raw {
        Raw::open_to(lab, local.into(), transport, NODE_ADDRESS.into())
    }

    /// Opens a socket on the host `local`, to this address: what comes from another is not received.
    pub(crate) fn open_to(
        lab: &Lab,
        local: IpAddr,
        transport: Transport,
        remote: SocketAddr,
    ) -> Raw {
        let open = || match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind((local, 0))?;
                socket.connect(remote)?;
                Ok(Raw::Udp(socket))
            }
            Transport::Tcp => TcpStream::connect(remote).map(Raw::Tcp),
            Transport::Tls => panic!("a raw peer speaks no TLS"),
        };
        lab.host(local)
            .enter(open)
            .unwrap_or_else(|e: std::io::Error| panic!("cannot reach the node: {e}"))
    }

    /// The address it sends from.
    pub(crate) fn address(&self) -> SocketAddr {
        let address = match self {
            Raw::Udp(socket) => socket.local_addr(),
            Raw::Tcp(stream) => stream.local_addr(),
        };
        address.unwrap_or_else(|e| panic!("a socket without an address: {e}"))
    }

    pub(crate) fn send(&mut self, text: &str) {
        let sent = match self {
            Raw::Udp(socket) => socket.send(text.as_bytes()).map(|_| ()),
            Raw::Tcp(stream) => stream.write_all(text.as_bytes()),
        };
        sent.unwrap_or_else(|e| panic!("the node does not take a message: {e}"));
    }

    /// The next message (one that has a body arrives cut off over TCP, which no test here needs).
    pub(crate) fn receive(&mut self, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        let mut text = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no message within {limit:?}, only {:?}",
                String::from_utf8_lossy(&text)
            );
            let read = match self {
                Raw::Udp(socket) => {
                    let mut bytes = [0; 65_536];
                    let read =
                        socket.set_read_timeout(Some(left)).and_then(|()| socket.recv(&mut bytes));
                    read.map(|length| text.extend_from_slice(&bytes[..length]))
                }
                Raw::Tcp(stream) => {
                    // One byte at a time, so that the next message stays in the socket.
                    let mut byte = [0];
                    let read = stream
                        .set_read_timeout(Some(left))
                        .and_then(|()| stream.read_exact(&mut byte));
                    read.map(|()| text.extend_from_slice(&byte))
                }
            };
            match read {
                // A TCP peer's keep-alive (RFC 5626 3.5.1) is no message.
                Ok(()) if text == b"\r\n" => text.clear(),
                Ok(()) if matches!(self, Raw::Udp(_)) || text.ends_with(b"\r\n\r\n") => {
                    return String::from_utf8_lossy(&text).into_owned();
                }
                Ok(()) => {}
                Err(e)
                    if matches!(
                        e.kind(),
                        std::io::ErrorKind::WouldBlock
                            | std::io::ErrorKind::TimedOut
                            | std::io::ErrorKind::Interrupted
                    ) => {}
                Err(e) => panic!("the node closed the connection or cannot be reached: {e}"),
            }
        }
    }

    /// The next message, which must be an answer.
    pub(crate) fn answer(&mut self) -> Answer {
        Answer::parse(&self.receive(ANSWER))
    }

    /// The next final answer (RFC 3261 7.2).
    pub(crate) fn final_answer(&mut self, limit: Duration) -> Answer {
        let deadline = Instant::now() + limit;
        loop {
            let answer =
                Answer::parse(&self.receive(deadline.saturating_duration_since(Instant::now())));
            if answer.status >= 200 {
                return answer;
            }
        }
    }
}
