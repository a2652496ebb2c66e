//! A name server on loopback, over UDP and TCP on one port, that answers as a script says.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NAPTR, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Seconds that records hold.
const TTL: u32 = 300;

/// What the server knows, and how it behaves.
#[derive(Default)]
pub(crate) struct Script {
    records: Vec<Record>,
    failing: HashSet<Name>,
    silent: HashSet<Name>,
    truncated: HashSet<Name>,
}

impl Script {
    pub(crate) fn add(&mut self, record: Record) {
        self.records.push(record);
    }

    /// SERVFAIL.
    pub(crate) fn fail(&mut self, at: &str) {
        self.failing.insert(name(at));
    }

    /// No answer at all.
    pub(crate) fn silence(&mut self, at: &str) {
        self.silent.insert(name(at));
    }

    /// Over UDP the answer does not fit.
    pub(crate) fn truncate(&mut self, at: &str) {
        self.truncated.insert(name(at));
    }

    fn answer(&self, message: &Message, udp: bool) -> Option<Message> {
        let query = message.queries.first()?;
        let (asked, kind) = (query.name().to_lowercase(), query.query_type());
        if self.silent.contains(&asked) {
            return None;
        }
        let mut answer = Message::new(message.metadata.id, MessageType::Response, OpCode::Query);
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        if self.failing.contains(&asked) {
            answer.metadata.response_code = ResponseCode::ServFail;
            return Some(answer);
        }
        if udp && self.truncated.contains(&asked) {
            answer.metadata.truncation = true;
            return Some(answer);
        }
        self.fill(&mut answer, asked, kind);
        Some(answer)
    }

    fn fill(&self, answer: &mut Message, asked: Name, kind: RecordType) {
        let mut at = asked;
        let known = self.records.iter().any(|record| record.name == at);
        // As a recursive server does, an alias is followed.
        for _ in 0..8 {
            let alias =
                self.records.iter().find(|r| r.name == at && r.record_type() == RecordType::CNAME);
            let Some(alias) = alias else { break };
            answer.add_answer(alias.clone());
            let RData::CNAME(to) = &alias.data else { break };
            at = to.0.clone();
        }
        let fits = |r: &&Record| r.name == at && r.record_type() == kind;
        for record in self.records.iter().filter(fits) {
            answer.add_answer(record.clone());
        }
        if !known {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        if answer.answers.is_empty() {
            let soa = hickory_proto::rr::rdata::SOA::new(
                name("ns.test"),
                name("root.test"),
                1,
                60,
                60,
                60,
                60,
            );
            answer.add_authority(Record::from_rdata(name("test"), TTL, RData::SOA(soa)));
        }
    }
}

/// A running server; it ends with the runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<(Query, bool)>>>,
}

impl Server {
    pub(crate) async fn start(script: impl FnOnce(&mut Script)) -> Server {
        let mut known = Script::default();
        script(&mut known);
        let (known, seen) = (Arc::new(known), Arc::default());
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().expect("it is bound");
        tokio::spawn(serve_udp(udp, Arc::clone(&known), Arc::clone(&seen)));
        tokio::spawn(serve_tcp(tcp, known, Arc::clone(&seen)));
        Server { address, seen }
    }

    pub(crate) fn asked(&self) -> usize {
        self.seen.lock().expect("no test panics with it").len()
    }

    pub(crate) fn asked_over_tcp(&self) -> usize {
        self.seen.lock().expect("no test panics with it").iter().filter(|(_, udp)| !udp).count()
    }

    pub(crate) fn asked_for_a(&self, host: &str) -> usize {
        let seen = self.seen.lock().expect("no test panics with it");
        let host = name(host);
        let fits = |query: &Query| *query.name() == host && query.query_type() == RecordType::A;
        seen.iter().filter(|(query, _)| fits(query)).count()
    }
}

type Seen = Arc<Mutex<Vec<(Query, bool)>>>;

/// Both sockets on one port that the system chooses.
async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a socket on loopback");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("it is bound")).await {
            return (udp, tcp);
        }
    }
    panic!("no port that is free for both");
}

fn respond(script: &Script, seen: &Seen, bytes: &[u8], udp: bool) -> Option<Vec<u8>> {
    let message = Message::from_vec(bytes).ok()?;
    seen.lock()
        .expect("no test panics with it")
        .extend(message.queries.first().map(|query| (query.clone(), udp)));
    script.answer(&message, udp)?.to_vec().ok()
}

async fn serve_udp(socket: UdpSocket, script: Arc<Script>, seen: Seen) {
    let mut bytes = vec![0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
        if let Some(answer) = respond(&script, &seen, &bytes[..length], true) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, script: Arc<Script>, seen: Seen) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_stream(stream, Arc::clone(&script), Arc::clone(&seen)));
    }
}

async fn serve_stream(mut stream: TcpStream, script: Arc<Script>, seen: Seen) {
    while let Ok(length) = stream.read_u16().await {
        let mut bytes = vec![0; length.into()];
        if stream.read_exact(&mut bytes).await.is_err() {
            return;
        }
        if let Some(answer) = respond(&script, &seen, &bytes, false) {
            let length = u16::try_from(answer.len()).expect("it fits");
            let _ = stream.write_u16(length).await;
            let _ = stream.write_all(&answer).await;
        }
    }
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

fn record(at: &str, data: RData) -> Record {
    Record::from_rdata(name(at), TTL, data)
}

pub(crate) fn a(at: &str, ip: &str) -> Record {
    record(at, RData::A(A(ip.parse().expect("an address"))))
}

pub(crate) fn aaaa(at: &str, ip: &str) -> Record {
    record(at, RData::AAAA(AAAA(ip.parse().expect("an address"))))
}

pub(crate) fn cname(at: &str, to: &str) -> Record {
    record(at, RData::CNAME(CNAME(name(to))))
}

pub(crate) fn srv(at: &str, priority: u16, port: u16, target: &str) -> Record {
    record(at, RData::SRV(SRV::new(priority, 0, port, name(target))))
}

pub(crate) fn naptr(at: &str, order: u16, service: &str, to: &str) -> Record {
    let (flags, service): (Box<[u8]>, _) = ((*b"s").into(), service.as_bytes().into());
    record(at, RData::NAPTR(NAPTR::new(order, 1, flags, service, [].into(), name(to))))
}
