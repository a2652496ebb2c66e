//! Too much of everything, from strangers and from a member that has been taken over: no call notices, and memory
//! stays where it is bounded.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use control_core::mesh::{Body, Frame, Registrations, SyncStep};

use crate::harness::{CALLER, PROXY, run, wait_for};
use crate::impostor::{Impostor, Papers, knock};
use crate::lab::{FRONTENDS, Farm, Segment};
use crate::load::{Calls, Load};
use crate::member::{MESH, keys, state};
use crate::phones::{Caller, SIP};

const SEEN: Duration = Duration::from_secs(40);
/// Most contacts that a member keeps here.
const CONTACTS_MAX: u32 = 2_000;
/// Users of whom the flood tells.
const FLOOD: u32 = 20_000;
/// Users of whom some are this member's to tell of. Their names, with a digit more, are as long as those of the
/// flood.
const USERS: std::ops::Range<u32> = 0..10;
const USER: &str = "u0000000";
/// Connections of strangers; some of them are kept open.
const KNOCKS: usize = 1_500;
const KEPT: usize = 50;
/// What all of it may take: a member's queue, being filled and being written (8 MiB each), its part of the inbox
/// (16 MiB, and 32,768 events), the calls that have begun meanwhile; and as much again for what allocators keep.
const GROWTH_KIB_MAX: u64 = 128 << 10;

fn resident_kib(segment: &Segment, host: Ipv4Addr) -> u64 {
    let pids = run(Command::new("ip").args(["netns", "pids", segment.host(host).name()]));
    let statuses = pids.split_whitespace().filter_map(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.starts_with("Name:\tringfarm").then_some(status)
    });
    let resident = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    statuses.filter_map(resident).max().expect("the member runs")
}

fn copy(part: u32) -> Frame {
    Frame::RegistrationSync(SyncStep { copy: 77, part, step: SyncStep::ASK }, Body(Bytes::new()))
}

/// A user's registration as members tell each other; it is written for others by putting their names into it.
fn registration(intruder: &mut Impostor) -> Vec<u8> {
    loop {
        let heard = intruder.hear().expect("what has changed");
        if let Frame::Registrations(Registrations(Body(bytes))) = heard {
            return bytes.to_vec();
        }
    }
}

fn of_user(registration: &[u8], user: &str) -> Vec<u8> {
    let mut bytes = registration.to_vec();
    for at in 0..bytes.len().saturating_sub(user.len()) {
        if bytes[at..].starts_with(USER.as_bytes()) {
            bytes[at..at + user.len()].copy_from_slice(user.as_bytes());
        }
    }
    bytes
}

#[test]
fn floods_of_strangers_and_of_one_member_cost_no_call() {
    let segment = Segment::create();
    let limits = format!("[users]\nopen = true\n\n[limits]\nregistrations = {CONTACTS_MAX}\n\n");
    let farm = Farm::start_with(&segment, 2, 0, &limits);
    let target = FRONTENDS[0];
    let at = format!("{target}:{MESH}");
    let token = keys(&segment, target, "token", &["--address", &at]);
    keys(&segment, FRONTENDS[2], "join", &[token.trim()]);
    let papers = Papers::of(&state(&segment, FRONTENDS[2]));
    let enter = || {
        let hello = papers.hello(&papers.name, 9);
        let mut intruder = Impostor::enter(&segment, target, &papers, hello)?;
        let heard = intruder.hear()?;
        if !matches!(heard, Frame::Welcome(_)) {
            return Err(std::io::Error::other(format!("{heard:?}")));
        }
        Ok(intruder)
    };
    let mut intruder = enter().expect("a connection");
    let mut phone = Caller::new(&segment, CALLER);
    let at = SocketAddr::new(target.into(), SIP);
    for number in USERS {
        let contact = SocketAddr::new(CALLER.into(), 9);
        assert_eq!(phone.register(at, &format!("{USER}{number}"), contact), Some(200));
    }
    let one = registration(&mut intruder);
    assert!(one.windows(USER.len()).any(|text| text == USER.as_bytes()), "it tells of the user");
    drop(intruder);
    let mut load = Load::start(&segment, Calls::new(60, 10));
    // Its users are registered before there is no room for others.
    load.wait_up(1);
    let before = resident_kib(&segment, target);
    // Strangers: connections, garbage, beginnings of handshakes, and longest lengths.
    let mut kept = Vec::new();
    for number in 0..KNOCKS {
        let Ok(mut stranger) = knock(&segment, PROXY, target) else { continue };
        let words = [&[0xff; 2048][..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b""][number % 3];
        // It may have been turned away.
        let _ = stranger.write_all(words);
        if kept.len() < KEPT {
            kept.push(stranger);
        }
    }
    let mut intruder = enter().expect("a connection beside the strangers'");
    // A member that tells of far more users than there may be.
    for first in (USERS.end..FLOOD).step_by(100) {
        let users = (first..first + 100).map(|number| of_user(&one, &format!("u{number:08}")));
        let bytes: Vec<u8> = users.flatten().collect();
        let frame = Frame::Registrations(Registrations(Body(bytes.into())));
        if intruder.say(&frame).is_err() {
            break;
        }
    }
    wait_for("as many registrations as there may be", SEEN, || {
        farm.frontends[0].figure(REGISTERED) as u32 >= CONTACTS_MAX - 10
    });
    // It asks and asks, and reads nothing.
    let mut asked = 0_u64;
    while intruder.say(&copy(0)).is_ok() {
        asked += 1;
        assert!(asked < 1_000_000, "nobody ends its connection");
    }
    let after = resident_kib(&segment, target);
    eprintln!("{asked} questions unread; {before} kB before all of it, {after} kB after it");
    assert!(after < before + GROWTH_KIB_MAX, "{before} kB before, {after} kB after");
    assert!(farm.frontends[0].figure(REGISTERED) as u32 <= CONTACTS_MAX);
    drop(kept);
    let report = load.report();
    assert!(report.is_flawless(), "{report}");
    wait_for("the two to be alone again", SEEN, || {
        farm.frontends.iter().all(|one| one.sees() == 2)
    });
}

/// Contacts that a member knows.
const REGISTERED: &str = "ringfarm_sip_registrations";
