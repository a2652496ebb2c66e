//! What a member was given over another one's connection, and has not answered, when it dies (B5).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::PATIENCE;
use crate::member::{Cluster, logs};
use crate::phone::{Phone, header, status};

/// So many requests of a kind: some of them are another member's.
const COUNT: usize = 16;

/// A member counts as dead after a second of silence, or at once when its host says so; the rest is for a busy
/// machine. Far less than the 32 s after which a client gives up by itself.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// A connection that many requests are sent on at once, as another server does.
struct Trunk {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Trunk {
    fn to(member: SocketAddr) -> Trunk {
        let stream = TcpStream::connect(member).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        Trunk { stream, held: Vec::new() }
    }

    fn request(&mut self, method: &str, uri: &str, user: &str, number: usize) {
        let local = self.stream.local_addr().expect("an address");
        let message = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP {local};branch=z9hG4bK{method}{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:t{number}@farm.test>;tag=t{number}\r\n\
             To: <sip:{user}@farm.test>\r\nCall-ID: {method}-{number}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:t{number}@{local};transport=tcp>\r\nContent-Length: 0\r\n\r\n"
        );
        self.stream.write_all(message.as_bytes()).expect("it is written");
    }

    /// Reads answers into `answers` by Call-ID, until they are as wanted.
    fn until(
        &mut self,
        within: Duration,
        answers: &mut BTreeMap<String, Vec<u16>>,
        is: impl Fn(&BTreeMap<String, Vec<u16>>) -> bool,
    ) -> bool {
        let end = Instant::now() + within;
        let mut buffer = [0; 16_384];
        while !is(answers) {
            if Instant::now() >= end {
                return false;
            }
            let read = self.stream.read(&mut buffer).unwrap_or(0);
            self.held.extend_from_slice(&buffer[..read]);
            while let Some(end) = self.held.windows(4).position(|four| four == b"\r\n\r\n") {
                let message: Vec<u8> = self.held.drain(..end + 4).collect();
                let message = String::from_utf8_lossy(&message).into_owned();
                let of = answers.entry(header(&message, "Call-ID").to_owned()).or_default();
                of.push(status(&message));
            }
        }
        true
    }
}

fn finals(answers: &BTreeMap<String, Vec<u16>>) -> Vec<(&str, u16)> {
    let all = answers.iter().flat_map(|(id, all)| all.iter().map(move |code| (&**id, *code)));
    all.filter(|(_, status)| *status >= 200).collect()
}

/// B5: requests over TCP, which nobody repeats, are answered when the member that they were given to dies: those
/// that it has not begun by the next member, calls that it was setting up by 500. Each is answered once, and what
/// other members have goes on.
#[test]
fn what_came_over_a_connection_is_answered_when_the_member_that_had_it_dies() {
    let mut cluster = Cluster::start(2);
    let mut callee = Phone::new("b", 1);
    let members: Vec<SocketAddr> = cluster.members.iter().map(|member| member.sip).collect();
    assert_eq!(callee.register(&members), 200, "{}", logs(&cluster));
    for member in &cluster.members {
        member.until("it knows the phone", |list| list["registrations"] == 1);
    }
    let mut trunk = Trunk::to(members[0]);
    for number in 0..COUNT {
        trunk.request("INVITE", "sip:b@farm.test", "b", number);
    }
    let mut calls = BTreeMap::new();
    assert!(trunk.until(PATIENCE, &mut calls, |calls| calls.len() == COUNT), "{calls:?}");
    // Each of them is with the callee, which says nothing.
    let mut owners = BTreeMap::new();
    let end = Instant::now() + PATIENCE;
    while owners.len() < COUNT {
        assert!(Instant::now() < end, "{owners:?}\n{}", logs(&cluster));
        owners.extend(callee.invited());
    }
    let dies = members[1].to_string();
    let doomed: BTreeSet<&str> =
        owners.iter().filter(|(_, by)| **by == dies).map(|(id, _)| &**id).collect();
    assert!(!doomed.is_empty() && doomed.len() < COUNT, "{owners:?}");

    // It takes nothing any more, and nobody knows yet.
    cluster.members[1].signal(Signal::SIGSTOP);
    for number in 0..COUNT {
        trunk.request("REGISTER", "sip:farm.test", &format!("t{number}"), number);
    }
    cluster.members[1].kill();
    let mut answers = BTreeMap::new();
    let wanted = COUNT + doomed.len();
    let all = trunk.until(ANSWERED_WITHIN, &mut answers, |all| finals(all).len() >= wanted);
    assert!(all, "{:?}\n{}", finals(&answers), logs(&cluster));
    for (call_id, status) in finals(&answers) {
        let expected = if call_id.starts_with("INVITE") {
            assert!(doomed.contains(call_id), "{call_id} is of a member that lives");
            500
        } else {
            200
        };
        assert_eq!(status, expected, "{call_id}\n{}", logs(&cluster));
    }
    assert!(answers.values().all(|all| all.iter().filter(|code| **code >= 200).count() == 1));
}
