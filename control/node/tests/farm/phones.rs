//! Two phones whose every message the test sees.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::{CALLEE, CALLER, DOMAIN};
use crate::lab::{Segment, VIP};

/// Longer than transactions of SIP last where nobody answers (RFC 3261 timer B, 32 s), so that the farm's own
/// answer is heard.
const ANSWER: Duration = Duration::from_secs(40);
/// RFC 3261 17.1.1.1: T1.
const AGAIN: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(50);

/// The port of all that is shared.
pub(crate) const SIP: u16 = 5060;

/// The shared address.
pub(crate) const SHARED: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(VIP), SIP);

/// A phone that asks.
pub(crate) struct Caller {
    socket: UdpSocket,
    own: SocketAddr,
    count: u32,
}

/// What the caller knows of a call that is up.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) target: String,
    /// In the order in which requests carry them.
    pub(crate) routes: Vec<String>,
    pub(crate) cseq: u32,
}

impl Caller {
    pub(crate) fn new(segment: &Segment, host: Ipv4Addr) -> Caller {
        let socket = segment.host(host).enter(|| UdpSocket::bind((host, 0)).expect("a socket"));
        socket.set_read_timeout(Some(LOOK)).expect("a timeout");
        let own = socket.local_addr().expect("an address");
        Caller { socket, own, count: 0 }
    }

    fn branch(&mut self) -> String {
        self.count += 1;
        format!("z9hG4bKby-hand-{}-{}", self.own.port(), self.count)
    }

    /// Sends a request, again and again where nobody answers (RFC 3261 17.1); the final response.
    pub(crate) fn ask(&self, to: SocketAddr, request: &str) -> Option<String> {
        let cseq = header(request, "CSeq").expect("each request has one");
        let call_id = header(request, "Call-ID").expect("each request has one");
        let end = Instant::now() + ANSWER;
        let mut next = Instant::now();
        let mut is_heard = false;
        while Instant::now() < end {
            if next <= Instant::now() && !is_heard {
                self.socket.send_to(request.as_bytes(), to).ok()?;
                next += AGAIN;
            }
            let mut answer = [0; 4096];
            let Ok(length) = self.socket.recv(&mut answer) else { continue };
            let text = String::from_utf8_lossy(&answer[..length]).into_owned();
            let is_ours = header(&text, "CSeq").as_ref() == Some(&cseq)
                && header(&text, "Call-ID").as_ref() == Some(&call_id);
            match status(&text).filter(|_| is_ours) {
                Some(100..200) => is_heard = true,
                Some(_) => return Some(text),
                None => {}
            }
        }
        None
    }

    /// Sends something that has no answer.
    pub(crate) fn throw(&self, to: SocketAddr, message: &str) {
        self.socket.send_to(message.as_bytes(), to).expect("it leaves");
    }

    /// The status of the answer; `None`: there was none.
    pub(crate) fn status_of(&self, to: SocketAddr, request: &str) -> Option<u16> {
        status(&self.ask(to, request)?)
    }

    /// A request outside of dialogs about a user.
    pub(crate) fn request(&mut self, method: &str, user: &str, more: &str) -> String {
        let (branch, own) = (self.branch(), self.own);
        let uri = if method == "REGISTER" {
            format!("sip:{DOMAIN}")
        } else {
            format!("sip:{user}@{DOMAIN}")
        };
        let (number, port) = (self.count, own.port());
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@{DOMAIN}>;tag=f{number}\r\nTo: <sip:{user}@{DOMAIN}>\r\n\
             Call-ID: by-hand-{port}-{number}\r\nCSeq: 1 {method}\r\nContact: <sip:{user}@{own}>\r\n{more}\
             Content-Length: 0\r\n\r\n"
        )
    }

    /// Registers a user at another address, by way of that member.
    pub(crate) fn register(
        &mut self,
        at: SocketAddr,
        user: &str,
        contact: SocketAddr,
    ) -> Option<u16> {
        let request = self.request("REGISTER", user, "Expires: 600\r\n");
        let own = format!("<sip:{user}@{}>", self.own);
        self.status_of(
            at,
            &request
                .replace(&format!("Contact: {own}"), &format!("Contact: <sip:{user}@{contact}>")),
        )
    }

    /// Calls the user.
    pub(crate) fn call(&mut self, user: &str) -> Dialog {
        let body = description(*CALLER.octets().last().expect("four"), 30_000);
        let invite = self.request("INVITE", user, "Content-Type: application/sdp\r\n");
        let invite = invite.replace(
            "Content-Length: 0\r\n\r\n",
            &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        );
        let answer = self.ask(SHARED, &invite).expect("the call is answered");
        assert_eq!(status(&answer), Some(200), "{answer}");
        let of = |name| header(&answer, name).unwrap_or_else(|| panic!("no {name}: {answer}"));
        let mut routes = headers(&answer, "Record-Route");
        routes.reverse();
        let dialog = Dialog {
            call_id: of("Call-ID"),
            from: of("From"),
            to: of("To"),
            target: of("Contact").trim_matches(['<', '>']).to_owned(),
            routes,
            cseq: 1,
        };
        let ack = self.within(&dialog, "ACK", 1);
        self.socket.send_to(ack.as_bytes(), SHARED).expect("an ACK leaves");
        dialog
    }

    /// A request within a call.
    pub(crate) fn within(&mut self, dialog: &Dialog, method: &str, cseq: u32) -> String {
        let (branch, own) = (self.branch(), self.own);
        let Dialog { call_id, from, to, target, routes, .. } = dialog;
        let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             {routes}From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:alice@{own}>\r\nContent-Length: 0\r\n\r\n"
        )
    }

    /// Asks something within a call, by way of that address; the answer's status.
    pub(crate) fn ask_within(
        &mut self,
        dialog: &mut Dialog,
        method: &str,
        by: SocketAddr,
    ) -> Option<u16> {
        dialog.cseq += 1;
        let request = self.within(dialog, method, dialog.cseq);
        self.status_of(by, &request)
    }
}

/// A phone that answers everything, until the value is dropped.
pub(crate) struct Callee {
    heard: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Callee {
    /// Begins, as the user bob.
    pub(crate) fn start(segment: &Segment) -> Callee {
        let mut phone = Caller::new(segment, CALLEE);
        let own = phone.own;
        assert_eq!(phone.register(SHARED, "bob", own), Some(200));
        let socket = phone.socket;
        let (heard, is_over) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (log, over) = (Arc::clone(&heard), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let mut bytes = [0; 4096];
                let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                let answer = answer(&text, own);
                // Before whoever hears the answer looks.
                log.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                if let Some(answer) = answer {
                    // A farm that does not hear it asks again.
                    let _ = socket.send_to(answer.as_bytes(), from);
                }
            }
        });
        Callee { heard, is_over, thread: Some(thread) }
    }

    /// Requests of that method that have come, each once, however often it was sent.
    pub(crate) fn requests(&self, method: &str) -> Vec<String> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let of_method = heard.iter().filter(|text| text.starts_with(&format!("{method} ")));
        let mut branches = Vec::new();
        let is_first = |text: &&String| {
            let via = header(text, "Via");
            let is_new = !branches.contains(&via);
            branches.push(via);
            is_new
        };
        of_method.filter(is_first).cloned().collect()
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // A panic of it has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn answer(request: &str, own: SocketAddr) -> Option<String> {
    let method =
        request.split(' ').next().filter(|first| *first != "ACK" && !first.starts_with("SIP"))?;
    let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
    for line in request.split("\r\n").take_while(|line| !line.is_empty()).skip(1) {
        let name = line.split(':').next().unwrap_or_default();
        let is_new_to = name == "To" && !line.contains(";tag=");
        if ["Via", "From", "To", "Call-ID", "CSeq", "Record-Route"].contains(&name) {
            answer += line;
            answer += if is_new_to { ";tag=callee\r\n" } else { "\r\n" };
        }
    }
    let body = if method == "INVITE" {
        answer += "Content-Type: application/sdp\r\n";
        description(*CALLEE.octets().last().expect("four"), 31_000)
    } else {
        String::new()
    };
    Some(
        answer
            + &format!("Contact: <sip:bob@{own}>\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
    )
}

fn description(host: u8, port: u16) -> String {
    let ip = format!("10.77.0.{host}");
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    )
}

/// All values of that header, in order.
pub(crate) fn headers(message: &str, name: &str) -> Vec<String> {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    let of_name = |line: &str| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    head.split("\r\n").skip(1).filter_map(of_name).collect()
}

/// The first value of that header.
pub(crate) fn header(message: &str, name: &str) -> Option<String> {
    headers(message, name).into_iter().next()
}

/// The status of a response.
pub(crate) fn status(message: &str) -> Option<u16> {
    message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}
