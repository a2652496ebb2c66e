//! A phone whose packets each reach a member at random, as a stateless spreader would have it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer may take, repetitions included (RFC 3261 17.1.2.2: 64*T1).
const ANSWERED_WITHIN: Duration = Duration::from_secs(32);
/// When a request or answer is sent again (RFC 3261 17.1.2.2: T1).
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Numbers that look random and are the same in each run (splitmix64).
struct Spread(u64);

impl Spread {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or(0)
    }
}

/// How a phone is connected.
enum Line {
    Udp(UdpSocket),
    /// To one member, with what has been read and is no whole message yet.
    Tcp(TcpStream, Vec<u8>),
}

/// How long a phone listens at a time.
const LISTENS: Duration = Duration::from_millis(50);

pub(crate) struct Phone {
    pub(crate) user: String,
    line: Line,
    spread: Spread,
    sequence: u32,
    /// For answers that come late.
    pending: Vec<String>,
}

/// A call as its caller or callee knows it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    id: String,
    /// What requests within it are sent to.
    remote_target: String,
    routes: Vec<String>,
    from: String,
    to: String,
    sequence: u32,
}

pub(crate) fn header<'m>(message: &'m str, name: &str) -> &'m str {
    headers(message, name).next().unwrap_or_else(|| panic!("no {name} in {message}"))
}

fn headers<'m>(message: &'m str, name: &str) -> impl Iterator<Item = &'m str> {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    head.lines().skip(1).filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

pub(crate) fn status(message: &str) -> u16 {
    let code = message.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}

pub(crate) fn method(message: &str) -> &str {
    message.split(' ').next().unwrap_or_default()
}

/// The address of the member that has sent a request.
pub(crate) fn sender(message: &str) -> &str {
    header(message, "Via").split([' ', ';']).nth(1).unwrap_or_default()
}

fn uri(value: &str) -> &str {
    let inside = value.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or(value, |(uri, _)| uri)
}

impl Phone {
    pub(crate) fn new(user: &str, seed: u64) -> Phone {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(LISTENS)).expect("a timeout");
        Phone::on(Line::Udp(socket), user, seed)
    }

    /// One that has a connection to that member, and sends everything there.
    pub(crate) fn connected(user: &str, seed: u64, member: SocketAddr) -> Phone {
        let stream = TcpStream::connect(member).expect("a connection");
        stream.set_read_timeout(Some(LISTENS)).expect("a timeout");
        Phone::on(Line::Tcp(stream, Vec::new()), user, seed)
    }

    fn on(line: Line, user: &str, seed: u64) -> Phone {
        Phone {
            user: user.to_owned(),
            line,
            spread: Spread(seed),
            sequence: 0,
            pending: Vec::new(),
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        match &self.line {
            Line::Udp(socket) => socket.local_addr().expect("an address"),
            Line::Tcp(stream, _) => stream.local_addr().expect("an address"),
        }
    }

    pub(crate) fn send(&mut self, members: &[SocketAddr], message: &str) {
        let to = members[self.spread.below(members.len())];
        match &mut self.line {
            // What nobody listens to is repeated, as what is lost.
            Line::Udp(socket) => drop(socket.send_to(message.as_bytes(), to)),
            Line::Tcp(stream, _) => stream.write_all(message.as_bytes()).expect("it is written"),
        }
    }

    pub(crate) fn receive(&mut self) -> Option<String> {
        if let Some(waiting) = self.pending.pop() {
            return Some(waiting);
        }
        let mut buffer = [0; 8192];
        match &mut self.line {
            Line::Udp(socket) => {
                let length = socket.recv(&mut buffer).ok()?;
                Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
            }
            Line::Tcp(stream, held) => {
                if let Ok(length) = stream.read(&mut buffer) {
                    held.extend_from_slice(&buffer[..length]);
                }
                // Nothing here has a body.
                let end = held.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
                Some(String::from_utf8_lossy(&held.drain(..end).collect::<Vec<u8>>()).into_owned())
            }
        }
    }

    pub(crate) fn via(&mut self) -> String {
        let branch = self.spread.next();
        let transport = match self.line {
            Line::Udp(_) => "UDP",
            Line::Tcp(..) => "TCP",
        };
        format!("Via: SIP/2.0/{transport} {};branch=z9hG4bK{branch:016x};rport\r\n", self.local())
    }

    /// Sends a request until its final answer is there.
    fn request(&mut self, members: &[SocketAddr], message: &str) -> String {
        let (call, sequence) = (header(message, "Call-ID"), header(message, "CSeq"));
        let begun = Instant::now();
        let mut again = begun;
        let mut is_answered = false;
        while begun.elapsed() < ANSWERED_WITHIN {
            if Instant::now() >= again && !is_answered {
                self.send(members, message);
                again = Instant::now() + AGAIN_AFTER;
            }
            let Some(answer) = self.receive() else { continue };
            let is_ours = header(&answer, "Call-ID") == call && header(&answer, "CSeq") == sequence;
            if is_ours && status(&answer) >= 200 {
                return answer;
            }
            // RFC 3261 17.1.1.2: an INVITE is not sent again once it has been answered at all.
            is_answered |= is_ours && status(&answer) > 100 && method(message) == "INVITE";
        }
        panic!("not answered:\n{message}");
    }

    /// Registers; the status.
    pub(crate) fn register(&mut self, members: &[SocketAddr]) -> u16 {
        self.sequence += 1;
        let transport = match self.line {
            Line::Udp(_) => "",
            Line::Tcp(..) => ";transport=tcp",
        };
        let (via, user, local) = (self.via(), &self.user, self.local());
        let message = format!(
            "REGISTER sip:farm.test SIP/2.0\r\n{via}Max-Forwards: 70\r\n\
             From: <sip:{user}@farm.test>;tag=r\r\nTo: <sip:{user}@farm.test>\r\n\
             Call-ID: r-{user}-{}\r\nCSeq: {} REGISTER\r\nContact: <sip:{user}@{local}{transport}>\r\n\
             Expires: 600\r\nContent-Length: 0\r\n\r\n",
            local.port(),
            self.sequence
        );
        status(&self.request(members, &message))
    }

    /// The Call-ID of an INVITE that has come, and the address of the member that has sent it.
    pub(crate) fn invited(&mut self) -> Option<(String, String)> {
        let message = self.receive().filter(|message| method(message) == "INVITE")?;
        Some((header(&message, "Call-ID").to_owned(), sender(&message).to_owned()))
    }

    /// OPTIONS to that member's own address, as balancers ask (S57); the status.
    pub(crate) fn ping(&mut self, member: SocketAddr) -> u16 {
        self.sequence += 1;
        let (via, sequence) = (self.via(), self.sequence);
        let message = format!(
            "OPTIONS sip:{member} SIP/2.0\r\n{via}Route: <sip:{member};lr>\r\nMax-Forwards: 70\r\n\
             From: <sip:ping@ping.test>;tag=p\r\nTo: <sip:{member}>\r\n\
             Call-ID: ping-{}-{sequence}\r\nCSeq: {sequence} OPTIONS\r\nContent-Length: 0\r\n\r\n",
            self.local().port(),
        );
        status(&self.request(&[member], &message))
    }

    /// Begins a call and waits for its final answer, which `callee` gives; the call, or the status.
    pub(crate) fn call(
        &mut self,
        members: &[SocketAddr],
        callee: &mut Phone,
    ) -> Result<(Call, Call), u16> {
        self.sequence += 1;
        let (via, user, local) = (self.via(), self.user.clone(), self.local());
        let id = format!("c-{user}-{}-{}", local.port(), self.sequence);
        let from = format!("<sip:{user}@farm.test>;tag=f{}", self.sequence);
        let peer = format!("sip:{}@farm.test", callee.user);
        let invite = format!(
            "INVITE {peer} SIP/2.0\r\n{via}Max-Forwards: 70\r\nFrom: {from}\r\nTo: <{peer}>\r\n\
             Call-ID: {id}\r\nCSeq: 1 INVITE\r\nContact: <sip:{user}@{local}>\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let begun = Instant::now();
        let mut again = begun;
        let (mut answer, mut taken): (Option<String>, Option<Call>) = (None, None);
        while begun.elapsed() < ANSWERED_WITHIN {
            if Instant::now() >= again {
                match &answer {
                    // RFC 3261 13.3.1.4: until the ACK is there.
                    Some(answer) => callee.send(members, answer),
                    None => self.send(members, &invite),
                }
                again = Instant::now() + AGAIN_AFTER;
            }
            if let Some(message) = callee.receive()
                && header(&message, "Call-ID") == id
            {
                match method(&message) {
                    "INVITE" if answer.is_none() => {
                        let ok = callee.ok(&message, true);
                        taken = Some(Call::of_callee(&message, &ok));
                        callee.send(members, &ok);
                        again = Instant::now() + AGAIN_AFTER;
                        answer = Some(ok);
                    }
                    _ => {}
                }
            }
            let Some(message) = self.receive() else { continue };
            let is_ours =
                header(&message, "Call-ID") == id && header(&message, "CSeq") == "1 INVITE";
            match (is_ours, status(&message)) {
                (true, 200..=299) => {
                    let call = Call::of_caller(&message);
                    let ack = self.within(&call, "ACK", 1);
                    self.send(members, &ack);
                    return Ok((call, taken.expect("nobody else has answered")));
                }
                (true, failure @ 300..) => {
                    let to = header(&message, "To");
                    let ack = format!(
                        "ACK {peer} SIP/2.0\r\n{via}Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\n\
                         Call-ID: {id}\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
                    );
                    self.send(members, &ack);
                    return Err(failure);
                }
                (true | false, _) => {}
            }
        }
        panic!("no final answer to:\n{invite}");
    }

    /// 200 to a request.
    pub(crate) fn ok(&mut self, request: &str, is_invite: bool) -> String {
        let tag = if is_invite { format!(";tag=t{}", self.local().port()) } else { String::new() };
        let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
        for name in ["Via", "Record-Route"] {
            headers(request, name).for_each(|value| answer += &format!("{name}: {value}\r\n"));
        }
        answer
            + &format!(
                "From: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:{}@{}>\r\n\
             Content-Length: 0\r\n\r\n",
                header(request, "From"),
                header(request, "To"),
                header(request, "Call-ID"),
                header(request, "CSeq"),
                self.user,
                self.local(),
            )
    }

    fn within(&mut self, call: &Call, method: &str, sequence: u32) -> String {
        let via = self.via();
        let routes: String =
            call.routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        format!(
            "{method} {} SIP/2.0\r\n{via}{routes}Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: {sequence} {method}\r\nContent-Length: 0\r\n\r\n",
            call.remote_target, call.from, call.to, call.id
        )
    }

    /// Ends a call, which `peer` confirms; the status.
    pub(crate) fn hang_up(
        &mut self,
        members: &[SocketAddr],
        call: &mut Call,
        peer: &mut Phone,
    ) -> u16 {
        self.ask_within(members, call, "BYE", peer)
    }

    /// A request within a call, which `peer` answers by 200 if it reaches it; the status.
    pub(crate) fn ask_within(
        &mut self,
        members: &[SocketAddr],
        call: &mut Call,
        asked: &str,
        peer: &mut Phone,
    ) -> u16 {
        call.sequence += 1;
        let request = self.within(call, asked, call.sequence);
        let sequence = format!("{} {asked}", call.sequence);
        let begun = Instant::now();
        let mut again = begun;
        while begun.elapsed() < ANSWERED_WITHIN {
            if Instant::now() >= again {
                self.send(members, &request);
                again = Instant::now() + AGAIN_AFTER;
            }
            if let Some(message) = peer.receive()
                && header(&message, "Call-ID") == call.id
                && method(&message) == asked
            {
                let ok = peer.ok(&message, false);
                peer.send(members, &ok);
            }
            if let Some(answer) = self.receive()
                && header(&answer, "Call-ID") == call.id
                && header(&answer, "CSeq") == sequence
                && status(&answer) >= 200
            {
                return status(&answer);
            }
        }
        panic!("not answered:\n{request}");
    }
}

impl Call {
    fn of_caller(answer: &str) -> Call {
        let mut routes: Vec<String> = headers(answer, "Record-Route").map(str::to_owned).collect();
        routes.reverse();
        Call {
            id: header(answer, "Call-ID").to_owned(),
            remote_target: uri(header(answer, "Contact")).to_owned(),
            routes,
            from: header(answer, "From").to_owned(),
            to: header(answer, "To").to_owned(),
            sequence: 1,
        }
    }

    fn of_callee(invite: &str, answer: &str) -> Call {
        Call {
            id: header(invite, "Call-ID").to_owned(),
            remote_target: uri(header(invite, "Contact")).to_owned(),
            routes: headers(invite, "Record-Route").map(str::to_owned).collect(),
            from: header(answer, "To").to_owned(),
            to: header(answer, "From").to_owned(),
            sequence: 0,
        }
    }
}
