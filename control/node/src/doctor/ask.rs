//! Asks a balancer as a phone does, and notes where answers come from.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use control_core::doctor::{Asked, Outside};

/// Sockets, and questions from each: with three members two of three questions are answered by another member than the one
/// that the balancer chose, so that session binding shows many times.
const SOCKETS: usize = 12;
const ROUNDS: usize = 4;

/// Questions in fragments, and their size: an INVITE with much in it.
const LARGE: usize = 6;
const LARGE_BYTES: usize = 3_500;

/// Between two questions: far below what a node lets one source ask.
const PACE: Duration = Duration::from_millis(5);

/// How long answers are waited for before a question is asked again, and then until it counts as lost (RFC 3261 17.1.2.2:
/// twice T1).
const AGAIN_AFTER: Duration = Duration::from_millis(500);
const LOST_AFTER: Duration = Duration::from_millis(1_500);

/// How long a second answer to the same question is waited for once all have their first.
const GRACE: Duration = Duration::from_millis(200);

/// How long TCP may take, for each step.
const TCP_WITHIN: Duration = Duration::from_secs(3);

/// Longest answer.
const ANSWER_BYTES: usize = 65_535;

/// A question on its way.
struct Question {
    socket: usize,
    id: String,
    text: String,
    asked: Asked,
}

/// Asks.
///
/// # Errors
/// If this host cannot send there at all.
pub(super) fn outside(vip: SocketAddr, with_tcp: bool) -> anyhow::Result<Outside> {
    let any: IpAddr = match vip {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let own =
        own_address(any, vip).with_context(|| format!("{vip} cannot be reached from here"))?;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        // Not connected: an answer from elsewhere would not be heard.
        let socket = UdpSocket::bind((any, 0)).context("cannot open a UDP socket")?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    let run = random();
    let question = |number: usize, bytes: usize| -> anyhow::Result<Question> {
        let socket = number % SOCKETS;
        let from = sockets[socket].local_addr()?.port();
        let id = format!("{run:016x}{number:04}");
        let text = options(vip, SocketAddr::new(own, from), "UDP", &id, bytes);
        let asked = Asked { from, bytes: text.len(), answers: Vec::new(), status: None };
        Ok(Question { socket, id, text, asked })
    };
    let small = SOCKETS * ROUNDS;
    let mut questions = Vec::new();
    for number in 0..small + LARGE {
        questions.push(question(number, if number < small { 0 } else { LARGE_BYTES })?);
    }
    send(&sockets, vip, &mut questions)?;
    let large = questions.split_off(small);
    let asked = |questions: Vec<Question>| questions.into_iter().map(|one| one.asked).collect();
    let tcp =
        with_tcp.then(|| by_tcp(vip, &format!("{run:016x}tcp")).map_err(|error| error.to_string()));
    Ok(Outside { vip, small: asked(questions), large: asked(large), tcp })
}

/// The address that this host sends to `vip` from.
fn own_address(any: IpAddr, vip: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(vip)?;
    Ok(socket.local_addr()?.ip())
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Only two runs at the same moment could take each other's answers for theirs.
    if getrandom::fill(&mut bytes).is_err() {
        return u64::from(std::process::id());
    }
    u64::from_ne_bytes(bytes)
}

/// Asks all, those without an answer a second time, and collects.
fn send(sockets: &[UdpSocket], vip: SocketAddr, questions: &mut [Question]) -> anyhow::Result<()> {
    for again in [false, true] {
        for index in 0..questions.len() {
            let Question { socket, text, asked, .. } = &questions[index];
            if again && !asked.answers.is_empty() {
                continue;
            }
            sockets[*socket]
                .send_to(text.as_bytes(), vip)
                .with_context(|| format!("cannot send to {vip}"))?;
            std::thread::sleep(PACE);
            hear(sockets, questions);
        }
        let until = Instant::now() + if again { LOST_AFTER } else { AGAIN_AFTER };
        while Instant::now() < until && questions.iter().any(|one| one.asked.answers.is_empty()) {
            std::thread::sleep(PACE);
            hear(sockets, questions);
        }
    }
    let until = Instant::now() + GRACE;
    while Instant::now() < until {
        std::thread::sleep(PACE);
        hear(sockets, questions);
    }
    Ok(())
}

/// Takes what has come.
fn hear(sockets: &[UdpSocket], questions: &mut [Question]) {
    let mut answer = vec![0; ANSWER_BYTES];
    for socket in sockets {
        while let Ok((length, source)) = socket.recv_from(&mut answer) {
            let text = String::from_utf8_lossy(&answer[..length]);
            let Some(question) = questions.iter_mut().find(|one| text.contains(&one.id)) else {
                continue;
            };
            let asked = &mut question.asked;
            asked.status = asked.status.or_else(|| status(&text));
            // One that was asked twice is answered twice.
            if !asked.answers.contains(&source) {
                asked.answers.push(source);
            }
        }
    }
}

fn status(text: &str) -> Option<u16> {
    text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

/// OPTIONS as from a phone that is nobody's, of at least so many bytes.
fn options(vip: SocketAddr, from: SocketAddr, transport: &str, id: &str, bytes: usize) -> String {
    let mut text = format!(
        "OPTIONS sip:{vip} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {from};branch=z9hG4bK{id};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:doctor@{from}>;tag={id}\r\n\
         To: <sip:{vip}>\r\n\
         Call-ID: {id}\r\n\
         CSeq: 1 OPTIONS\r\n\
         Contact: <sip:doctor@{from}>\r\n\
         User-Agent: ringfarm-doctor\r\n"
    );
    while text.len() < bytes {
        text += &format!("X-Padding: {}\r\n", "x".repeat(100));
    }
    text + "Content-Length: 0\r\n\r\n"
}

/// Asks over a connection; the status of the answer.
fn by_tcp(vip: SocketAddr, id: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&vip, TCP_WITHIN)?;
    stream.set_read_timeout(Some(TCP_WITHIN))?;
    stream.set_write_timeout(Some(TCP_WITHIN))?;
    let text = options(vip, stream.local_addr()?, "TCP", id, 0);
    stream.write_all(text.as_bytes())?;
    let mut line = String::new();
    let read = BufReader::new(io::Read::take(stream, ANSWER_BYTES as u64)).read_line(&mut line);
    read.map_err(|error| match error.kind() == io::ErrorKind::WouldBlock {
        true => io::Error::other("connected, but not answered"),
        false => error,
    })?;
    status(&line).ok_or_else(|| io::Error::other("connected, but what answers speaks no SIP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_as_long_as_it_has_to_be_and_names_itself() {
        let (vip, from) = ("203.0.113.5:5060", "192.0.2.1:4000");
        let text = options(vip.parse().unwrap(), from.parse().unwrap(), "UDP", "abc", 3_500);
        assert!(text.len() >= 3_500 && text.ends_with("Content-Length: 0\r\n\r\n"));
        assert!(text.contains("Call-ID: abc\r\n") && text.contains("branch=z9hG4bKabc;rport"));
        assert_eq!(status("SIP/2.0 200 OK\r\n"), Some(200));
        assert_eq!(status("HTTP/1.1 400 Bad"), None);
    }
}
