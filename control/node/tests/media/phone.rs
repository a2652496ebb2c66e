//! A SIP phone by hand, over UDP: as much of RFC 3261 as a call between two of them takes.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::node::Node;
use crate::packet::socket;

/// A number that no other branch, tag or Call-ID has.
fn fresh() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A message that was received.
#[derive(Clone, Debug)]
pub(crate) struct Message(String);

impl Message {
    /// A description that came without SIP around it.
    pub(crate) fn of_body(body: &str) -> Message {
        Message(format!("\r\n\r\n{body}"))
    }

    fn start_line(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    pub(crate) fn status(&self) -> u16 {
        let status = self.start_line().strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
        status.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{self:?}"))
    }

    pub(crate) fn reason(&self) -> &str {
        self.start_line().get(12..).unwrap_or_default()
    }

    fn is_request(&self, method: &str) -> bool {
        self.start_line().starts_with(&format!("{method} "))
    }

    fn head(&self) -> &str {
        self.0.split("\r\n\r\n").next().unwrap_or_default()
    }

    pub(crate) fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The values of every header line of this name.
    fn all(&self, name: &str) -> Vec<&str> {
        let value = |line: &'_ str| -> Option<usize> {
            let (found, _) = line.split_once(':')?;
            found.trim().eq_ignore_ascii_case(name).then_some(found.len() + 1)
        };
        let lines = self.head().lines().skip(1);
        lines.filter_map(|line| value(line).map(|at| line[at..].trim())).collect()
    }

    fn one(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The URI of its Contact.
    fn contact(&self) -> String {
        let value = self.one("Contact");
        let uri = value.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        uri.map_or_else(|| value.to_owned(), |(uri, _)| uri.to_owned())
    }

    /// Where its description sends the RTP of a m= line, by the line's number.
    pub(crate) fn door(&self, line: usize) -> SocketAddr {
        let (session, section) = self.section(line);
        let address = |part: &str| {
            let value = part.split("c=IN IP4 ").nth(1)?.lines().next()?;
            value.trim().parse::<std::net::IpAddr>().ok()
        };
        let ip = address(section).or_else(|| address(session)).expect("an address");
        SocketAddr::new(ip, self.media_port(line))
    }

    /// Where it sends the RTCP of that line: `a=rtcp`, else the port above.
    pub(crate) fn rtcp_door(&self, line: usize) -> SocketAddr {
        let rtp = self.door(line);
        let stated = self.section(line).1.split("\r\na=rtcp:").nth(1);
        let stated = stated.and_then(|rest| rest.split([' ', '\r']).next()?.parse().ok());
        SocketAddr::new(rtp.ip(), stated.unwrap_or(rtp.port() + 1))
    }

    /// The port of a m= line, which is 0 for a stream that is refused.
    pub(crate) fn media_port(&self, line: usize) -> u16 {
        let port = self.section(line).1.split(' ').nth(1).and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("no port in m= line {line} of {self:?}"))
    }

    /// The session's part of its description, and that of a m= line from the line's kind on.
    fn section(&self, line: usize) -> (&str, &str) {
        let sections: Vec<&str> = self.body().split("\r\nm=").collect();
        let section = sections.get(line + 1);
        (sections[0], section.unwrap_or_else(|| panic!("no m= line {line} in {self:?}")))
    }
}

/// A phone, registered with the node.
pub(crate) struct Phone {
    name: &'static str,
    sip: UdpSocket,
    node: SocketAddr,
}

impl Phone {
    pub(crate) fn new(node: &Node, name: &'static str) -> Phone {
        let phone = Phone { name, sip: socket(), node: node.sip };
        let own = phone.address();
        let id = fresh();
        phone.send(&format!(
            "REGISTER sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{id};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{name}@{to}>;tag={id}\r\nTo: <sip:{name}@{to}>\r\n\
             Call-ID: r{id}\r\nCSeq: 1 REGISTER\r\nContact: <sip:{name}@{own}>\r\n\
             Expires: 600\r\nContent-Length: 0\r\n\r\n",
            to = node.sip
        ));
        assert_eq!(phone.receive().status(), 200);
        phone
    }

    fn address(&self) -> SocketAddr {
        self.sip.local_addr().expect("it is bound")
    }

    fn send(&self, text: &str) {
        self.sip.send_to(text.as_bytes(), self.node).expect("it is sent");
    }

    fn receive(&self) -> Message {
        let mut bytes = [0; 65_536];
        let length = self.sip.recv(&mut bytes).expect("no SIP message came");
        Message(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// The next request of this method; answers, and repetitions of other requests, are passed over.
    fn request(&self, method: &str) -> Message {
        loop {
            let message = self.receive();
            if message.is_request(method) {
                return message;
            }
        }
    }

    /// The next final answer to a request of this method.
    fn final_answer(&self, method: &str) -> Message {
        loop {
            let message = self.receive();
            let answers = message.start_line().starts_with("SIP/2.0 ");
            if answers && message.one("CSeq").ends_with(method) && message.status() >= 200 {
                return message;
            }
        }
    }

    /// Answers a request.
    fn answer(&self, request: &Message, status: &str, tag: u32, sdp: &str) {
        let mut head = String::new();
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in request.all(name) {
                let needs_tag = name == "To" && !value.contains(";tag=");
                let tag = if needs_tag { format!(";tag={tag}") } else { String::new() };
                head += &format!("{name}: {value}{tag}\r\n");
            }
        }
        self.send(&format!(
            "SIP/2.0 {status}\r\n{head}Contact: <sip:{}@{}>\r\n{}",
            self.name,
            self.address(),
            with_body(sdp)
        ));
    }

    /// Asks for a call to `callee`; the request as it left, for the answers.
    pub(crate) fn invite(&self, callee: &str, offer: &str) -> String {
        let (own, node, name, id) = (self.address(), self.node, self.name, fresh());
        let call_id = format!("{name}-{callee}-{id}");
        self.send(&format!(
            "INVITE sip:{callee}@{node} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{id};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{name}@{node}>;tag=f{id}\r\nTo: <sip:{callee}@{node}>\r\n\
             Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <sip:{name}@{own}>\r\n{}",
            with_body(offer)
        ));
        call_id
    }

    /// The final answer to an INVITE that is refused.
    pub(crate) fn refusal(&self) -> Message {
        // RFC 3261 17.1.1.3: repeated until it is acknowledged, which no test waits for.
        self.final_answer("INVITE")
    }
}

fn with_body(sdp: &str) -> String {
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{kind}Content-Length: {}\r\n\r\n{sdp}", sdp.len())
}

/// Which phone of a call does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Caller,
    Callee,
}

/// One side's knowledge of the dialog (RFC 3261 12).
struct Dialog {
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    cseq: u32,
}

/// A call that is up.
pub(crate) struct Call<'p> {
    phones: [&'p Phone; 2],
    pub(crate) id: String,
    dialogs: [Dialog; 2],
}

/// What each side has read of an exchange.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The offer as it reached the other side.
    pub(crate) offered: Message,
    /// The answer as it reached the offerer.
    pub(crate) answered: Message,
}

impl<'p> Call<'p> {
    /// Sets up a call: the callee answers at once.
    pub(crate) fn new(
        caller: &'p Phone,
        callee: &'p Phone,
        offer: &str,
        answer: &str,
    ) -> (Call<'p>, Exchange) {
        let id = caller.invite(callee.name, offer);
        let offered = callee.request("INVITE");
        callee.answer(&offered, "200 OK", fresh(), answer);
        let answered = caller.final_answer("INVITE");
        assert_eq!(answered.status(), 200, "{answered:?}");
        let owned = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let (from, to) = (answered.one("From").to_owned(), answered.one("To").to_owned());
        let mut routes = owned(answered.all("Record-Route"));
        routes.reverse();
        let near = Dialog {
            local: from.clone(),
            remote: to.clone(),
            target: answered.contact(),
            routes,
            cseq: 1,
        };
        let far = Dialog {
            local: to,
            remote: from,
            target: offered.contact(),
            routes: owned(offered.all("Record-Route")),
            cseq: 1,
        };
        let call = Call { phones: [caller, callee], id, dialogs: [near, far] };
        caller.send(&call.text(Side::Caller, "ACK", 1, ""));
        callee.request("ACK");
        (call, Exchange { offered, answered })
    }

    fn text(&self, from: Side, method: &str, cseq: u32, sdp: &str) -> String {
        let (phone, dialog) = (self.phones[from as usize], &self.dialogs[from as usize]);
        let routes: String = dialog.routes.iter().map(|r| format!("Route: {r}\r\n")).collect();
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{branch};rport\r\n\
             {routes}Max-Forwards: 70\r\nFrom: {local}\r\nTo: {remote}\r\nCall-ID: {id}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:{name}@{own}>\r\n{body}",
            target = dialog.target,
            own = phone.address(),
            branch = fresh(),
            local = dialog.local,
            remote = dialog.remote,
            id = self.id,
            name = phone.name,
            body = with_body(sdp),
        )
    }

    /// A re-INVITE from one side, answered by the other.
    pub(crate) fn renew(&mut self, from: Side, offer: &str, answer: &str) -> Exchange {
        let other = match from {
            Side::Caller => Side::Callee,
            Side::Callee => Side::Caller,
        };
        let [near, far] = [from, other].map(|side| self.phones[side as usize]);
        self.dialogs[from as usize].cseq += 1;
        let cseq = self.dialogs[from as usize].cseq;
        near.send(&self.text(from, "INVITE", cseq, offer));
        let offered = far.request("INVITE");
        far.answer(&offered, "200 OK", 0, answer);
        let answered = near.final_answer("INVITE");
        assert_eq!(answered.status(), 200, "{answered:?}");
        near.send(&self.text(from, "ACK", cseq, ""));
        far.request("ACK");
        Exchange { offered, answered }
    }

    /// The caller hangs up.
    pub(crate) fn hang_up(mut self) -> String {
        self.dialogs[0].cseq += 1;
        self.phones[0].send(&self.text(Side::Caller, "BYE", self.dialogs[0].cseq, ""));
        let bye = self.phones[1].request("BYE");
        self.phones[1].answer(&bye, "200 OK", 0, "");
        assert_eq!(self.phones[0].final_answer("BYE").status(), 200);
        self.id
    }
}

/// A description of a phone on this host with these m= lines and what belongs to them, each ended by
/// CR LF.
pub(crate) fn sdp(media: &str) -> String {
    let ip = "127.0.0.1";
    format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n{media}")
}
