//! A browser's phone on a WebSocket and a phone on UDP call each other through a node (RFC 7118 8).

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::client::{IntoClientRequest as _, client};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Message, WebSocket};

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Far less than the 32 s for which a request waits in vain (RFC 3261 17.1.1.2).
const AT_ONCE: Duration = Duration::from_secs(5);

/// The browser's made-up name (RFC 7118 5.1, 5.3).
const BROWSER: &str = "df7jal23ls0d.invalid";

/// A node that is killed at the end of its test.
struct Node {
    child: Child,
    udp: SocketAddr,
    ws: SocketAddr,
}

impl Node {
    fn start() -> Node {
        let mut settings = tempfile::NamedTempFile::new().expect("a temporary file");
        settings
            .write_all(
                b"[node]\nworkers = 1\n[media]\nrelay = \"never\"\n\
                  [[sip.listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:0\"\n\
                  [[sip.listen]]\ntransport = \"ws\"\naddress = \"127.0.0.1:0\"\n",
            )
            .expect("it can be written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfarm"))
            .args(["run", "--config"])
            .arg(settings.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut ready = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut ready).expect("a line");
        let find = |mark: &str| {
            let word = ready.split_whitespace().find_map(|word| word.strip_prefix(mark));
            word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{ready:?}"))
        };
        let (udp, ws) = (find("udp:"), find("ws:"));
        Node { child, udp, ws }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a phone sends and receives with.
enum Line {
    Udp(UdpSocket, SocketAddr),
    Web(Box<WebSocket<TcpStream>>),
}

/// As much of a phone as a call takes.
struct Phone {
    name: &'static str,
    domain: SocketAddr,
    line: Line,
    /// As in its Via and its Contact.
    own: String,
    via: &'static str,
    contact: String,
}

impl Phone {
    fn udp(node: &Node, name: &'static str) -> Phone {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let own = socket.local_addr().expect("an address").to_string();
        let contact = format!("<sip:{name}@{own}>");
        let line = Line::Udp(socket, node.udp);
        Phone { name, domain: node.udp, line, own, via: "UDP", contact }.registered()
    }

    fn web(node: &Node, name: &'static str) -> Phone {
        let stream = TcpStream::connect(node.ws).expect("it connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut request = format!("ws://{}/", node.ws).into_client_request().expect("a URL");
        let protocol = HeaderValue::from_static("sip");
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
        let (socket, _) = client(request, stream).expect("it opens");
        let contact = format!("<sip:{name}@{BROWSER};transport=ws>");
        let line = Line::Web(Box::new(socket));
        let own = BROWSER.to_owned();
        Phone { name, domain: node.udp, line, own, via: "WS", contact }.registered()
    }

    fn registered(mut self) -> Phone {
        let to = format!("sip:{}@{}", self.name, self.domain);
        let (uri, contact) = (format!("sip:{}", self.domain), self.contact.clone());
        let more = format!("To: <{to}>\r\nContact: {contact}\r\nExpires: 600\r\n");
        self.request("REGISTER", &uri, 1, &format!("reg-{}", self.name), &more);
        assert_status(&self.receive(), 200);
        self
    }

    fn request(&mut self, method: &str, uri: &str, number: u32, call: &str, more: &str) {
        let Phone { name, domain, own, via, .. } = self;
        let message = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via} {own};branch=z9hG4bK{call}{method}{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{name}@{domain}>;tag=from-{name}\r\n{more}\
             Call-ID: {call}\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
        );
        self.send(&message);
    }

    /// Answers a request with what RFC 3261 8.2.6 has copied.
    fn answer(&mut self, request: &str, status: &str) {
        let copied = ["Via", "Record-Route", "From", "Call-ID", "CSeq"];
        let mut lines: Vec<String> = vec![format!("SIP/2.0 {status}")];
        for line in request.lines().take_while(|line| !line.is_empty()) {
            let name = line.split(':').next().unwrap_or_default();
            if copied.contains(&name) {
                lines.push(line.to_owned());
            } else if name == "To" {
                let tag = if line.contains(";tag=") { "" } else { ";tag=to" };
                lines.push(format!("{line}{tag}"));
            }
        }
        lines.push(format!("Contact: {}\r\nContent-Length: 0\r\n\r\n", self.contact));
        self.send(&lines.join("\r\n"));
    }

    fn send(&mut self, message: &str) {
        match &mut self.line {
            Line::Udp(socket, node) => {
                socket.send_to(message.as_bytes(), *node).expect("it is sent");
            }
            Line::Web(socket) => socket.send(Message::text(message)).expect("it is sent"),
        }
    }

    /// The next message but 100 Trying.
    fn receive(&mut self) -> String {
        loop {
            let message = match &mut self.line {
                Line::Udp(socket, _) => {
                    let mut bytes = [0; 65_536];
                    let length = socket.recv(&mut bytes).expect("a message");
                    String::from_utf8_lossy(&bytes[..length]).into_owned()
                }
                Line::Web(socket) => {
                    socket.read().expect("a message").into_text().expect("text").to_string()
                }
            };
            if !message.starts_with("SIP/2.0 100 ") {
                return message;
            }
        }
    }

    /// Calls, is answered, and hangs up.
    fn calls(&mut self, other: &mut Phone) {
        let call = format!("call-{}", self.name);
        let callee = format!("sip:{}@{}", other.name, self.domain);
        let contact = self.contact.clone();
        let more = format!("To: <{callee}>\r\nContact: {contact}\r\n");
        self.request("INVITE", &callee, 1, &call, &more);
        let invite = other.receive();
        assert!(invite.starts_with("INVITE "), "{invite}");
        assert!(invite.contains(&format!(
            "\r\nVia: SIP/2.0/{} {}",
            other.via,
            other.node(&invite)
        )));
        other.answer(&invite, "200 OK");
        let ok = self.receive();
        assert_status(&ok, 200);
        let target = between(header(&ok, "Contact"), '<', '>').to_owned();
        let routes: Vec<&str> = headers(&ok, "Record-Route").into_iter().rev().collect();
        assert!(routes.iter().any(|route| route.contains(";transport=ws")), "{ok}");
        let to = header(&ok, "To").to_owned();
        let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        let more = format!("To: {to}\r\n{routes}");
        self.request("ACK", &target, 1, &call, &more);
        let ack = other.receive();
        assert!(ack.starts_with("ACK "), "{ack}");
        self.request("BYE", &target, 2, &call, &more);
        let bye = other.receive();
        assert!(bye.starts_with("BYE "), "{bye}");
        other.answer(&bye, "200 OK");
        assert_status(&self.receive(), 200);
    }

    /// The node's own address on the way to this phone.
    fn node(&self, request: &str) -> String {
        let via = headers(request, "Via")[0];
        via.split([' ', ';']).nth(1).unwrap_or_default().to_owned()
    }
}

fn assert_status(message: &str, status: u16) {
    assert!(message.starts_with(&format!("SIP/2.0 {status} ")), "{message}");
}

fn headers<'m>(message: &'m str, name: &str) -> Vec<&'m str> {
    let of = |line: &'m str| line.strip_prefix(name)?.strip_prefix(": ");
    message.lines().filter_map(of).collect()
}

fn header<'m>(message: &'m str, name: &str) -> &'m str {
    headers(message, name).first().copied().unwrap_or_else(|| panic!("no {name} in {message}"))
}

fn between(text: &str, first: char, last: char) -> &str {
    text.split(first).nth(1).and_then(|rest| rest.split(last).next()).unwrap_or_default()
}

/// RFC 7118 5: the browser is reached by its connection although its Contact and Via name nothing; each
/// side is told the transport of its own (RFC 5658).
#[test]
fn a_browser_and_a_phone_call_each_other() {
    let node = Node::start();
    let (mut browser, mut phone) = (Phone::web(&node, "alice"), Phone::udp(&node, "bob"));
    browser.calls(&mut phone);
    phone.calls(&mut browser);
}

/// Between two browsers every message goes by the connection of its receiver.
#[test]
fn browsers_call_each_other() {
    let node = Node::start();
    let (mut alice, mut bob) = (Phone::web(&node, "alice"), Phone::web(&node, "bob"));
    alice.calls(&mut bob);
    bob.calls(&mut alice);
}

/// RFC 7118 5: nobody can dial a browser, so that a caller is told at once that it has gone.
#[test]
fn a_browser_that_has_gone_is_not_waited_for() {
    let node = Node::start();
    let (browser, mut phone) = (Phone::web(&node, "alice"), Phone::udp(&node, "bob"));
    drop(browser);
    let callee = format!("sip:alice@{}", node.udp);
    let begun = Instant::now();
    let more = format!("To: <{callee}>\r\nContact: {}\r\n", phone.contact);
    phone.request("INVITE", &callee, 1, "gone", &more);
    let answer = phone.receive();
    let status = answer.get(8..11).unwrap_or_default();
    assert!(status == "480", "{answer}");
    assert!(begun.elapsed() < AT_ONCE);
}
