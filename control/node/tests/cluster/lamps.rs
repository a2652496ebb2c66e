//! Lamps for calls that are on other members (RFC 4235).

use std::net::SocketAddr;
use std::time::Instant;

use crate::PATIENCE;
use crate::member::{Cluster, logs};
use crate::phone::{Phone, method, sender, status};

/// So many calls are made until one is on one member, and its watcher's subscription on another.
const TRIES: u64 = 40;

/// Waits until the lamp shows this, and answers every notification; the member that has the subscription.
fn shows(cluster: &Cluster, watcher: &mut Phone, members: &[SocketAddr], state: &str) -> String {
    let (end, wanted) = (Instant::now() + PATIENCE, format!("<state>{state}</state>"));
    let mut last = String::new();
    while Instant::now() < end {
        let Some(message) = watcher.receive() else { continue };
        if method(&message) != "NOTIFY" {
            assert!(status(&message) < 300, "{message}\n{}", logs(cluster));
            continue;
        }
        let ok = watcher.ok(&message, false);
        watcher.send(members, &ok);
        if state.is_empty() || message.contains(&wanted) {
            return sender(&message).to_owned();
        }
        last = message;
    }
    panic!("the lamp does not show {state:?}: {last}\n{}", logs(cluster));
}

fn request(phone: &mut Phone, method: &str, of: &str, more: &str) -> String {
    let (via, user, local) = (phone.via(), phone.user.clone(), phone.local());
    format!(
        "{method} sip:{of}@farm.test SIP/2.0\r\n{via}Max-Forwards: 70\r\n\
         From: <sip:{user}@farm.test>;tag={user}\r\nTo: <sip:{of}@farm.test>\r\n\
         Call-ID: {method}-{user}-{}\r\nCSeq: 1 {method}\r\nContact: <sip:{user}@{local}>\r\n\
         {more}Content-Length: 0\r\n\r\n",
        local.port()
    )
}

/// A call rings on one member, and a lamp shows it whose subscription is on another; the call is over for it when its
/// member dies.
#[test]
fn a_lamp_shows_calls_of_other_members_and_their_end_when_the_member_dies() {
    let mut cluster = Cluster::start(2);
    let members: Vec<SocketAddr> = cluster.members.iter().map(|member| member.sip).collect();
    let lives = [members[0]];
    for n in 0..TRIES {
        let mut callee = Phone::new(&format!("b{n}"), 3 * n);
        assert_eq!(callee.register(&lives), 200, "{}", logs(&cluster));
        cluster.members[1]
            .until("it knows the phone", |list| list["registrations"].as_u64() > Some(n));
        let mut watcher = Phone::new(&format!("w{n}"), 3 * n + 1);
        let subscribe = "Event: dialog\r\nExpires: 600\r\n";
        let subscribe = request(&mut watcher, "SUBSCRIBE", &callee.user, subscribe);
        watcher.send(&lives, &subscribe);
        let notifier = shows(&cluster, &mut watcher, &lives, "");

        let mut caller = Phone::new(&format!("a{n}"), 3 * n + 2);
        let invite = request(&mut caller, "INVITE", &callee.user, "");
        caller.send(&lives, &invite);
        let end = Instant::now() + PATIENCE;
        let invited = loop {
            assert!(Instant::now() < end, "nobody is called\n{}", logs(&cluster));
            let came = callee.receive().filter(|message| method(message) == "INVITE");
            if let Some(message) = came {
                break message;
            }
        };
        let ringing = callee.ok(&invited, true).replace("200 OK", "180 Ringing");
        callee.send(&lives, &ringing);
        assert_eq!(shows(&cluster, &mut watcher, &lives, "early"), notifier);
        let owner = sender(&invited);
        if owner == members[1].to_string() && notifier == members[0].to_string() {
            cluster.members[1].kill();
            shows(&cluster, &mut watcher, &lives, "terminated");
            return;
        }
    }
    panic!("no call was on another member than its watcher");
}
