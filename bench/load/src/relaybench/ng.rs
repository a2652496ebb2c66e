//! A client of the ng control protocol: bencoded commands over UDP, each behind a cookie.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::ids::Side;
use crate::media::flow::Remote;
use crate::relaybench::bencode::Value;
use crate::relaybench::control::{Control, Ends, Remotes};
use crate::sip::sdp;

/// How long an answer may take before the command is sent again: far above any answer seen, so that
/// a repeat is never what is measured.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Times that a command is sent. The server knows repeats by their cookie and answers them alike.
const TRIES_MAX: u32 = 4;

/// How long a server may take to its first answer after it was started.
const START_WAIT: Duration = Duration::from_secs(15);

/// Between two questions to a server that is starting.
const START_PAUSE: Duration = Duration::from_millis(50);

/// Longest answer.
const ANSWER_BYTES_MAX: usize = 65_536;

/// What a SIP proxy tells of where a description came from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sight {
    /// The source of the SIP message.
    pub(crate) received_from: Option<Ipv4Addr>,
    pub(crate) flags: &'static [&'static str],
}

/// A client of one server.
pub(crate) struct NgClient {
    socket: UdpSocket,
    server: SocketAddrV4,
    prefix: u64,
    cookies: u64,
    buffer: Box<[u8]>,
    /// The names that the server has for the networks of caller and callee, if it has two.
    directions: Option<[&'static str; 2]>,
    /// Commands that had to be sent again.
    pub(crate) repeats: u64,
}

impl NgClient {
    /// A client at `address`.
    pub(crate) fn bind(
        address: Ipv4Addr,
        server: SocketAddrV4,
        directions: Option<[&'static str; 2]>,
    ) -> Result<NgClient> {
        let socket = UdpSocket::bind((address, 0)).context("binding the ng client")?;
        Ok(NgClient {
            socket,
            server,
            prefix: crate::os::random_u64(),
            cookies: 0,
            buffer: vec![0; ANSWER_BYTES_MAX].into(),
            directions,
            repeats: 0,
        })
    }

    /// Waits until the server answers a ping; `check` says whether there is still hope.
    ///
    /// # Errors
    /// It does not answer in time, or `check` has given up.
    pub(crate) fn wait_ready(&mut self, mut check: impl FnMut() -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + START_WAIT;
        loop {
            check()?;
            if let Ok(Some(answer)) = self.attempt(&ping(), START_PAUSE) {
                return pong(&answer);
            }
            ensure!(Instant::now() < deadline, "no answer to ping for {START_WAIT:?}");
            std::thread::sleep(START_PAUSE);
        }
    }

    /// One try under a cookie of its own.
    fn attempt(&mut self, command: &Value, wait: Duration) -> Result<Option<Value>> {
        let cookie = self.next_cookie();
        self.send(&cookie, command)?;
        self.receive(&cookie, wait)
    }

    /// Sends a command until it is answered.
    ///
    /// # Errors
    /// It is not, or with an error.
    pub(crate) fn command(&mut self, command: &Value) -> Result<Value> {
        let cookie = self.next_cookie();
        for attempt in 0..TRIES_MAX {
            self.repeats += u64::from(attempt > 0);
            self.send(&cookie, command)?;
            if let Some(answer) = self.receive(&cookie, ANSWER_WAIT)? {
                return judged(command, answer);
            }
        }
        bail!("{} was not answered in {TRIES_MAX} tries", name_of(command))
    }

    fn next_cookie(&mut self) -> String {
        self.cookies += 1;
        format!("{:x}_{}", self.prefix, self.cookies)
    }

    fn send(&self, cookie: &str, command: &Value) -> Result<()> {
        let mut message = format!("{cookie} ").into_bytes();
        command.write(&mut message);
        match self.socket.send_to(&message, self.server) {
            // What an earlier datagram met (ICMP), not this one.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            sent => sent.map(drop).context("sending an ng command"),
        }
    }

    /// The answer under `cookie`; `None` if there is none within `wait`. Late answers to earlier
    /// commands are skipped.
    fn receive(&mut self, cookie: &str, wait: Duration) -> Result<Option<Value>> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left)).context("setting a timeout")?;
            let (length, source) = match self.socket.recv_from(&mut self.buffer) {
                Ok(received) => received,
                Err(error) => {
                    let is = |kinds: [ErrorKind; 2]| kinds.contains(&error.kind());
                    if is([ErrorKind::WouldBlock, ErrorKind::TimedOut]) {
                        return Ok(None);
                    }
                    if is([ErrorKind::Interrupted, ErrorKind::ConnectionRefused]) {
                        continue;
                    }
                    return Err(error).context("receiving an ng answer");
                }
            };
            let answer = &self.buffer[..length];
            let body = answer.strip_prefix(cookie.as_bytes()).and_then(|a| a.strip_prefix(b" "));
            let (Some(body), true) = (body, source == self.server.into()) else { continue };
            return Value::read(body)
                .map(Some)
                .ok_or_else(|| anyhow!("the ng answer is not bencode"));
        }
    }

    fn offer_or_answer(
        &mut self,
        session: u32,
        from: Side,
        media: [Option<SocketAddrV4>; 2],
    ) -> Result<[Option<Remote>; 2]> {
        self.describe(session, from, media, Sight::default())
    }

    /// The offer of the caller or the answer of the callee, with what the SIP proxy has seen of its
    /// sender; returns where the other side is to send.
    ///
    /// # Errors
    /// It is not answered, or with an error.
    pub(crate) fn describe(
        &mut self,
        session: u32,
        from: Side,
        media: [Option<SocketAddrV4>; 2],
        sight: Sight,
    ) -> Result<[Option<Remote>; 2]> {
        let kinds = media.map(|address| address.is_some());
        let command = media_command(session, from, media, self.directions, sight);
        let answer = self.command(&command)?;
        let body = answer.get_bytes("sdp").context("an answer without sdp")?;
        sdp::read_kinds(body, kinds)
    }
}

impl Control for NgClient {
    fn set_up(&mut self, session: u32, ends: &Ends) -> Result<Remotes> {
        // What the offer becomes is for the callee: where it is to send.
        let of_callee = self.offer_or_answer(session, Side::Caller, ends[0])?;
        let of_caller = self.offer_or_answer(session, Side::Callee, ends[1])?;
        Ok([of_caller, of_callee])
    }

    fn ping(&mut self) -> Result<()> {
        let answer = self.attempt(&ping(), ANSWER_WAIT)?;
        pong(&answer.context("a ping was not answered")?)
    }

    fn tear_down(&mut self, session: u32) -> Result<()> {
        let command = Value::dictionary([
            ("command", Value::text("delete")),
            ("call-id", Value::Bytes(call_id(session).into_bytes())),
            ("from-tag", Value::text("a")),
            ("delete-delay", Value::Integer(0)),
        ]);
        self.command(&command).map(drop)
    }
}

fn ping() -> Value {
    Value::dictionary([("command", Value::text("ping"))])
}

fn pong(answer: &Value) -> Result<()> {
    let result = answer.get_text("result").unwrap_or_default();
    ensure!(result == "pong", "ping was answered {result:?}");
    Ok(())
}

fn call_id(session: u32) -> String {
    format!("bench-{session}")
}

/// An offer of the caller or the answer of the callee, with the flags that a SIP proxy would give.
fn media_command(
    session: u32,
    from: Side,
    media: [Option<SocketAddrV4>; 2],
    directions: Option<[&str; 2]>,
    sight: Sight,
) -> Value {
    let mut entries = vec![
        ("call-id", Value::Bytes(call_id(session).into_bytes())),
        ("from-tag", Value::text("a")),
        ("sdp", Value::text(&sdp::write(session, media.map(|at| at.map(Into::into))))),
        ("ICE", Value::text("remove")),
        ("replace", Value::list(&["origin"])),
    ];
    if let Some(address) = sight.received_from {
        entries.push(("received-from", Value::list(&["IP4", &address.to_string()])));
    }
    if !sight.flags.is_empty() {
        entries.push(("flags", Value::list(sight.flags)));
    }
    match from {
        Side::Caller => {
            entries.push(("command", Value::text("offer")));
            if let Some(directions) = directions {
                entries.push(("direction", Value::list(&directions)));
            }
        }
        Side::Callee => {
            entries.push(("command", Value::text("answer")));
            entries.push(("to-tag", Value::text("b")));
        }
    }
    Value::dictionary(entries)
}

fn name_of(command: &Value) -> String {
    command.get_text("command").unwrap_or_default()
}

fn judged(command: &Value, answer: Value) -> Result<Value> {
    let result = answer.get_text("result").unwrap_or_default();
    if result == "ok" {
        return Ok(answer);
    }
    let reason = answer.get_text("error-reason").unwrap_or_else(|| "no reason given".into());
    bail!("{} was answered {result:?}: {reason}", name_of(command))
}

#[cfg(test)]
mod tests {
    use std::thread::{self, JoinHandle};

    use super::*;

    const ENOUGH: Duration = Duration::from_secs(10);

    /// A server that answers each of `replies` to one datagram, after `silent` ones that it ignores.
    /// Returns the datagrams.
    fn server(
        silent: usize,
        replies: Vec<&'static str>,
    ) -> (SocketAddrV4, JoinHandle<Vec<Vec<u8>>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(ENOUGH)).unwrap();
        let std::net::SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!() };
        let thread = thread::spawn(move || {
            let mut seen = Vec::new();
            let mut buffer = [0; 4096];
            for at in 0..silent + replies.len() {
                let (length, source) = socket.recv_from(&mut buffer).unwrap();
                seen.push(buffer[..length].to_vec());
                if at >= silent {
                    let end = buffer.iter().position(|byte| *byte == b' ').unwrap();
                    // An answer to something else comes first and is skipped.
                    socket.send_to(b"other_1 d6:result2:noe", source).unwrap();
                    let reply = [&buffer[..=end], replies[at - silent].as_bytes()].concat();
                    socket.send_to(&reply, source).unwrap();
                }
            }
            seen
        });
        (address, thread)
    }

    fn client(server: SocketAddrV4) -> NgClient {
        NgClient::bind(Ipv4Addr::LOCALHOST, server, None).unwrap()
    }

    #[test]
    fn an_unanswered_command_is_repeated_under_its_cookie() {
        let (address, thread) = server(1, vec!["d6:result2:oke"]);
        let mut client = client(address);
        client.tear_down(7).unwrap();
        assert_eq!(client.repeats, 1);
        let seen = thread.join().unwrap();
        assert_eq!(seen[0], seen[1]);
    }

    #[test]
    fn an_error_is_given_with_its_reason() {
        let (address, thread) = server(0, vec!["d12:error-reason12:out of ports6:result5:errore"]);
        let error = client(address).tear_down(7).unwrap_err().to_string();
        assert_eq!(error, "delete was answered \"error\": out of ports");
        thread.join().unwrap();
    }

    #[test]
    fn a_session_is_an_offer_and_an_answer_and_the_ports_go_to_the_other_side() {
        let sdp = |port: u16| {
            let text = format!(
                "v=0\r\no=- 1 1 IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
            );
            let reply = format!("d6:result2:ok3:sdp{}:{text}e", text.len());
            &*Box::leak(reply.into_boxed_str())
        };
        let (address, thread) = server(0, vec![sdp(4000), sdp(5000)]);
        let ends = [["127.0.0.1:100".parse().ok(), None], ["127.0.0.1:200".parse().ok(), None]];
        let [caller, callee] = client(address).set_up(3, &ends).unwrap();
        assert_eq!(callee[0].unwrap().rtp, "127.0.0.9:4000".parse().unwrap());
        assert_eq!(caller[0].unwrap().rtp, "127.0.0.9:5000".parse().unwrap());
        let seen = thread.join().unwrap();
        let text = String::from_utf8_lossy(&seen[0]).into_owned();
        assert!(text.contains("7:command5:offer") && text.contains("m=audio 100 "), "{text}");
        let text = String::from_utf8_lossy(&seen[1]).into_owned();
        assert!(text.contains("7:command6:answer") && text.contains("m=audio 200 "), "{text}");
    }

    #[test]
    fn a_server_that_never_comes_is_given_up_when_its_process_is_gone() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(address) = nobody.local_addr().unwrap() else { panic!() };
        let mut looks = 0;
        let error = client(address).wait_ready(|| {
            looks += 1;
            if looks < 3 { Ok(()) } else { Err(anyhow!("gone")) }
        });
        assert_eq!(error.unwrap_err().to_string(), "gone");
    }
}
