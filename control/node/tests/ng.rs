//! A node that is controlled over ng: commands and media over real sockets on the loopback network.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// An address of the loopback network that no other test process uses: ports on it are ours.
fn home() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 1 + high % 250, low, 200)
}

/// A running node with an ng socket; ended with the value.
struct Node {
    child: Child,
    ng: SocketAddr,
    _settings: NamedTempFile,
}

impl Node {
    fn start() -> Node {
        let mut settings = NamedTempFile::new().expect("a temporary file");
        let home = home();
        write!(
            settings,
            "[media]\naddresses = [\"{home}\"]\n[ng]\nlisten = \"127.0.0.1:0\"\n\
             [[sip.listen]]\ntransport = \"udp\"\naddress = \"{home}:0\"\n"
        )
        .expect("it can be written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfarm"))
            .args(["run", "--config"])
            .arg(settings.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let (found, ng) = mpsc::sync_channel(1);
        let out = BufReader::new(child.stdout.take().expect("its output is piped"));
        // Reads to the end, so that the node never writes into a closed pipe.
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let word =
                    line.trim().strip_prefix("ng ").and_then(|l| l.split_whitespace().next());
                if let Some(address) = word.and_then(|word| word.parse().ok()) {
                    let _ = found.try_send(address);
                }
            }
        });
        let ng = ng.recv_timeout(PATIENCE).expect("the welcome names the ng socket");
        Node { child, ng, _settings: settings }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket(ip: impl Into<std::net::IpAddr>) -> UdpSocket {
    let socket = UdpSocket::bind((ip.into(), 0)).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// `key` and `value` as a dictionary has them.
fn pair(key: &str, value: &str) -> String {
    format!("{}:{key}{}:{value}", key.len(), value.len())
}

/// A SIP server, as far as ng goes.
struct Controller {
    socket: UdpSocket,
    node: SocketAddr,
}

impl Controller {
    fn command(&self, cookie: &str, pairs: &[(&str, &str)]) -> String {
        let pairs: String = pairs.iter().map(|(key, value)| pair(key, value)).collect();
        self.socket
            .send_to(format!("{cookie} d{pairs}e").as_bytes(), self.node)
            .expect("it is sent");
        let mut buffer = [0; 65_536];
        let (length, from) = self.socket.recv_from(&mut buffer).expect("a reply");
        assert_eq!(from, self.node);
        let reply = String::from_utf8(buffer[..length].to_vec()).expect("text");
        assert!(reply.starts_with(&format!("{cookie} d")), "{reply}");
        reply
    }
}

fn sdp(peer: &UdpSocket) -> String {
    let address = peer.local_addr().expect("it is bound");
    let (ip, port) = (address.ip(), address.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    )
}

/// Where a reply's description sends media.
fn promised(reply: &str) -> SocketAddr {
    let after = |mark: &str| reply.split(mark).nth(1).expect(mark).split_whitespace().next();
    let ip = after("c=IN IP4 ").and_then(|ip| ip.parse::<Ipv4Addr>().ok());
    let port = after("m=audio ").and_then(|port| port.parse::<u16>().ok());
    (ip.expect("an address"), port.expect("a port")).into()
}

fn number(reply: &str, key: &str) -> u64 {
    let after = reply.split(&format!("{}:{key}i", key.len())).nth(1).expect(key);
    after.split('e').next().and_then(|digits| digits.parse().ok()).expect(key)
}

fn rtp(ssrc: u8, sequence: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, sequence, 0, 0, sequence, 0xa0, 0, 0, 0, ssrc];
    packet.extend([0x55; 160]);
    packet
}

/// Sends 50 packets by way of the node; each arrives unchanged and from the promised port.
fn talk(from: &UdpSocket, door: SocketAddr, to: &UdpSocket, back_door: SocketAddr, ssrc: u8) {
    let mut buffer = [0; 2000];
    for sequence in 0..50 {
        let packet = rtp(ssrc, sequence);
        from.send_to(&packet, door).expect("it is sent");
        let (length, source) = to.recv_from(&mut buffer).expect("it arrives");
        assert_eq!((&buffer[..length], source), (&packet[..], back_door));
    }
}

/// A call by commands alone: offer, answer, media both ways, query, delete; then its ports are free.
#[test]
fn two_peers_talk_through_ports_that_a_controller_has_asked_for() {
    let node = Node::start();
    let controller = Controller { socket: socket([127, 0, 0, 1]), node: node.ng };
    assert_eq!(controller.command("1_1", &[("command", "ping")]), "1_1 d6:result4:ponge");

    let (caller, callee) = (socket(home()), socket(home()));
    let call = [("call-id", "loopback call"), ("from-tag", "a")];
    let with = |command, more: &[(&'static str, &str)]| {
        let mut pairs = vec![("command", command)];
        pairs.extend(call);
        pairs.extend(more.iter().map(|(key, value)| (*key, *value)));
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    let ask = |cookie, pairs: Vec<(String, String)>| {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
        controller.command(cookie, &pairs)
    };
    let offer = with("offer", &[("sdp", &sdp(&caller))]);
    let offered = ask("1_2", offer.clone());
    // Sent again, as if the reply had been lost.
    assert_eq!(ask("1_2", offer), offered);
    let answered = ask("1_3", with("answer", &[("to-tag", "b"), ("sdp", &sdp(&callee))]));
    let (callee_door, caller_door) = (promised(&offered), promised(&answered));
    assert_eq!([callee_door.ip(), caller_door.ip()], [home(), home()]);
    assert_ne!(callee_door, caller_door);

    talk(&caller, caller_door, &callee, callee_door, 1);
    talk(&callee, callee_door, &caller, caller_door, 2);

    let totals = ask("1_4", with("query", &[("to-tag", "b")]));
    assert_eq!(number(totals.split("totals").nth(1).expect("totals"), "packets"), 0, "RTCP first");
    assert_eq!(number(totals.split("3:RTPd").nth(1).expect("RTP"), "packets"), 100, "{totals}");
    let deleted = ask("1_5", with("delete", &[]));
    assert_eq!(number(deleted.split("3:RTPd").nth(1).expect("RTP"), "bytes"), 100 * 172);
    assert!(ask("1_6", with("query", &[])).contains("6:result5:error"));
    let deadline = Instant::now() + PATIENCE;
    for door in [caller_door, callee_door] {
        while UdpSocket::bind(door).is_err() {
            assert!(Instant::now() < deadline, "{door} is still bound");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
