//! A little SIP node for the tests: registrar with digest, stateless record-routing proxy, and a
//! media relay that can be made to misbehave. It works on text and knows nothing of the generator.

pub(crate) mod relay;

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use md5::Digest;

use self::relay::{Fault, Relay};

/// Every user's password here.
pub(crate) const PASSWORD: &str = "right";

/// How the node behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manners {
    /// Algorithms offered to a REGISTER, the preferred one first; none: anyone may register.
    pub(crate) register_auth: Vec<&'static str>,
    /// An INVITE needs credentials (407).
    pub(crate) invite_auth: bool,
    /// Every so many SIP datagrams that arrive, one is lost.
    pub(crate) sip_loss_every: Option<u64>,
    /// Requests of this method are swallowed.
    pub(crate) swallow: Option<&'static str>,
    /// The media address that is written into descriptions instead of the relay's.
    pub(crate) media_address: Option<&'static str>,
    /// The second stream of every answer is refused.
    pub(crate) refuse_video: bool,
    /// Registrations cannot be taken back.
    pub(crate) clings: bool,
    /// Registered users are asked for their OPTIONS.
    pub(crate) ping: bool,
    /// What the media relay does.
    pub(crate) fault: Fault,
}

/// A running node; it ends when it is dropped.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    /// How often the relay's fault was committed.
    pub(crate) faults: Arc<AtomicU64>,
    /// Requests that came in, by method.
    pub(crate) requests: Arc<Mutex<HashMap<String, u64>>>,
    /// OPTIONS that were answered with 200.
    pub(crate) pongs: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Node {
    pub(crate) fn start(manners: Manners) -> Node {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let faults = Arc::new(AtomicU64::new(0));
        let requests = Arc::new(Mutex::new(HashMap::new()));
        let pongs = Arc::new(AtomicU64::new(0));
        let mut proxy = Proxy {
            socket,
            address,
            relay: Relay::start(manners.fault, Arc::clone(&faults)),
            manners,
            contacts: HashMap::new(),
            requests: Arc::clone(&requests),
            pongs: Arc::clone(&pongs),
            seen: 0,
            nonces: 0,
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_535];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, source)) = proxy.socket.recv_from(&mut buffer) {
                    proxy.take(&buffer[..length], source);
                }
            }
        });
        Node { address, faults, requests, pongs, stop, thread: Some(thread) }
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self, method: &str) -> u64 {
        self.requests.lock().unwrap().get(method).copied().unwrap_or(0)
    }
}

struct Proxy {
    socket: UdpSocket,
    address: SocketAddr,
    relay: Relay,
    manners: Manners,
    contacts: HashMap<String, String>,
    requests: Arc<Mutex<HashMap<String, u64>>>,
    pongs: Arc<AtomicU64>,
    seen: u64,
    nonces: u64,
}

/// Start line, header lines and body.
struct Message {
    start: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Message {
    fn read(bytes: &[u8]) -> Message {
        let text = std::str::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Message { start, headers, body: body.to_owned() }
    }

    fn write(&self) -> String {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            let value = if name == "Content-Length" { &self.body.len().to_string() } else { value };
            text += &format!("{name}: {value}\r\n");
        }
        format!("{text}\r\n{}", self.body)
    }

    fn get(&self, wanted: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    fn push_front(&mut self, name: &str, value: String) {
        self.headers.insert(0, (name.to_owned(), value));
    }

    fn remove_first(&mut self, wanted: &str) -> String {
        let at = self.headers.iter().position(|(name, _)| name == wanted).unwrap();
        self.headers.remove(at).1
    }

    /// An answer to this request.
    fn answer(&self, code: &str, more: &[(&str, String)]) -> Message {
        let copied = ["Via", "From", "To", "Call-ID", "CSeq"];
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| copied.contains(&name.as_str()))
            .map(|(name, value)| {
                let tagged = name == "To" && !value.contains("tag=");
                (name.clone(), if tagged { format!("{value};tag=node") } else { value.clone() })
            })
            .collect();
        headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        headers.push(("Content-Length".into(), "0".into()));
        Message { start: format!("SIP/2.0 {code}"), headers, body: String::new() }
    }
}

/// The address in `sip:user@1.2.3.4:5;params`, with or without brackets.
fn address_in(uri: &str) -> SocketAddr {
    let uri = uri.trim_matches(['<', '>']);
    let host = uri.split(['@', ':']).next_back().map(|_| uri.rsplit('@').next().unwrap());
    let host = host.unwrap().trim_start_matches("sip:");
    host.split([';', '>']).next().unwrap().parse().unwrap()
}

fn user_in(uri: &str) -> String {
    let rest = uri.split("sip:").nth(1).unwrap();
    rest.split('@').next().unwrap().to_owned()
}

impl Proxy {
    fn take(&mut self, bytes: &[u8], source: SocketAddr) {
        self.seen += 1;
        if self.manners.sip_loss_every.is_some_and(|every| self.seen.is_multiple_of(every)) {
            return;
        }
        let message = Message::read(bytes);
        if message.start.starts_with("SIP/2.0") {
            return self.response(message);
        }
        let method = message.start.split(' ').next().unwrap().to_owned();
        *self.requests.lock().unwrap().entry(method.clone()).or_default() += 1;
        if self.manners.swallow == Some(method.as_str()) {
            return;
        }
        if method == "REGISTER" {
            self.register(&message, source)
        } else {
            self.forward(message, source, &method)
        }
    }

    fn send(&self, message: &Message, to: SocketAddr) {
        self.socket.send_to(message.write().as_bytes(), to).unwrap();
    }

    fn register(&mut self, message: &Message, source: SocketAddr) {
        let offered = self.manners.register_auth.clone();
        let granted = match message.get("Authorization") {
            _ if offered.is_empty() => true,
            None => false,
            Some(credentials) => verify(credentials, "REGISTER", offered[0]),
        };
        if !granted {
            let challenges: Vec<_> = offered
                .iter()
                .map(|algorithm| ("WWW-Authenticate", self.challenge(algorithm)))
                .collect();
            return self.send(&message.answer("401 Unauthorized", &challenges), source);
        }
        let contact = message.get("Contact").unwrap().to_owned();
        let user = user_in(message.get("To").unwrap());
        if message.get("Expires") == Some("0") && !self.manners.clings {
            self.contacts.remove(&user);
            return self.send(&message.answer("200 OK", &[]), source);
        }
        self.contacts.insert(user, contact.clone());
        let listed = format!("{contact};expires=3600");
        self.send(&message.answer("200 OK", &[("Contact", listed)]), source);
        if self.manners.ping {
            let text = format!(
                "OPTIONS {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKping{}\r\nFrom: <sip:node@d>;tag=n\r\nTo: {contact}\r\nCall-ID: ping-{contact}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
                contact.trim_matches(['<', '>']),
                self.address,
                self.seen
            );
            self.socket.send_to(text.as_bytes(), source).unwrap();
        }
    }

    fn challenge(&mut self, algorithm: &str) -> String {
        self.nonces += 1;
        format!(
            "Digest realm=\"test\", nonce=\"nonce{}\", algorithm={algorithm}, qop=\"auth\"",
            self.nonces
        )
    }

    fn forward(&mut self, mut message: Message, source: SocketAddr, method: &str) {
        let initial = !message.get("To").unwrap().contains("tag=");
        if method == "INVITE" && initial && self.manners.invite_auth {
            let credentials = message.get("Proxy-Authorization");
            if !credentials.is_some_and(|credentials| verify(credentials, "INVITE", "MD5")) {
                let challenge = [("Proxy-Authenticate", self.challenge("MD5"))];
                let answer = message.answer("407 Proxy Authentication Required", &challenge);
                return self.send(&answer, source);
            }
        }
        let mut words = message.start.split(' ');
        let (_, uri) = (words.next(), words.next().unwrap().to_owned());
        let next = if message.get("Route").is_some_and(|route| route.contains(";lr")) {
            let route = message.remove_first("Route");
            assert!(route.contains(&self.address.to_string()), "routed to us by {route}");
            uri
        } else {
            // An ACK of a failure is for us and goes no further than the INVITE went.
            let Some(contact) = self.contacts.get(&user_in(&uri)) else {
                let unknown = message.answer("404 Not Found", &[]);
                if method != "ACK" {
                    self.send(&unknown, source);
                }
                return;
            };
            contact.trim_matches(['<', '>']).to_owned()
        };
        message.start = format!("{method} {next} SIP/2.0");
        if method == "INVITE" {
            let trying = message.answer("100 Trying", &[]);
            self.send(&trying, source);
            message.push_front("Record-Route", format!("<sip:{};lr>", self.address));
            self.rewrite(&mut message, 0);
        }
        let above = message.get("Via").unwrap().split("branch=").nth(1).unwrap().to_owned();
        message.push_front("Via", format!("SIP/2.0/UDP {};branch=z9hG4bK.{above}", self.address));
        self.send(&message, address_in(&next));
    }

    fn response(&mut self, mut message: Message) {
        message.remove_first("Via");
        let Some(via) = message.get("Via") else {
            // The answer to an OPTIONS of ours.
            if message.start.contains("200") {
                self.pongs.fetch_add(1, Ordering::Relaxed);
            }
            return;
        };
        let to = via.split(['/', ' ', ';']).nth(3).unwrap().parse().unwrap();
        let is_answer = message.start.contains(" 200 ") && !message.body.is_empty();
        if is_answer {
            self.rewrite(&mut message, 1);
        }
        self.send(&message, to);
    }

    /// Puts the relay between the two sides; `from` is the side that wrote the description.
    fn rewrite(&mut self, message: &mut Message, from: usize) {
        let call = message.get("Call-ID").unwrap().to_owned();
        let mut stream = 0;
        let mut lines: Vec<String> = Vec::new();
        for line in message.body.lines() {
            let line = match line.strip_prefix("m=") {
                Some(media) => {
                    let (name, rest) = media.split_once(' ').unwrap();
                    let (port, rest) = rest.split_once(' ').unwrap();
                    let relayed = self.relay.peer(&call, stream, from, port.parse().unwrap());
                    let refused = self.manners.refuse_video && name == "video" && from == 1;
                    stream += 1;
                    format!("m={name} {} {rest}", if refused { 0 } else { relayed })
                }
                None if line.starts_with("c=") => {
                    format!("c=IN IP4 {}", self.manners.media_address.unwrap_or("127.0.0.1"))
                }
                None => line.to_owned(),
            };
            lines.push(line);
        }
        message.body = lines.join("\r\n") + "\r\n";
    }
}

/// Checks a digest (RFC 7616 3.4.1 with qop=auth) without any SIP library.
fn verify(credentials: &str, method: &str, algorithm: &str) -> bool {
    let field = |name: &str| {
        let fields = credentials.trim_start_matches("Digest ").split(", ");
        let mut fields = fields.map(|field| field.split_once('=').unwrap());
        fields.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"').to_owned())
    };
    let hash = |text: String| match algorithm {
        "MD5" => hex(&md5::Md5::digest(text)),
        "SHA-256" => hex(&sha2::Sha256::digest(text)),
        other => panic!("algorithm {other}"),
    };
    let get = |name: &str| field(name).unwrap();
    assert_eq!(get("algorithm"), algorithm, "the preferred algorithm is used");
    let ha1 = hash(format!("{}:{}:{PASSWORD}", get("username"), get("realm")));
    let ha2 = hash(format!("{method}:{}", get("uri")));
    let proof = [&ha1, &get("nonce"), &get("nc"), &get("cnonce"), &get("qop"), &ha2];
    get("response") == hash(proof.map(String::as_str).join(":"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
