//! The generator as a process of its own, as a parent drives it.

use std::io::{BufReader, Write};
use std::process::{Child, Command, Stdio};

use load::progress::{Event, Phase};

use crate::node::{Manners, Node, PASSWORD};

fn spawn(words: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ringfarm-load"))
        .args(words.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn events(child: &mut Child) -> Vec<Event> {
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    std::iter::from_fn(|| Event::read(&mut reader).unwrap()).collect()
}

#[test]
fn a_child_takes_its_users_from_stdin_and_tells_its_progress_in_lines() {
    let node = Node::start(Manners { register_auth: vec!["SHA-256"], ..Manners::default() });
    let mut child = spawn(&format!(
        "{} --cores any --users-file - --sessions 2 --seconds 0.5 --progress-json",
        node.address
    ));
    let user = |name: &str| format!(r#"{{"user":"{name}","password":"{PASSWORD}"}}"#);
    let users = format!(
        r#"{{"domain":"example.test","callers":[{}],"callees":[{},{}]}}"#,
        user("ann"),
        user("bob"),
        user("bea")
    );
    child.stdin.take().unwrap().write_all(users.as_bytes()).unwrap();

    let mut events = events(&mut child);
    let Some(Event::Report(report)) = events.pop() else { panic!("the report is the last line") };
    assert!(report.is_flawless(), "{report}");
    assert_eq!((report.registrations_ok, report.sessions_answered), (3, 2));
    let Some(Event::Progress(last)) = events.last() else { panic!("progress comes before") };
    assert_eq!((last.phase, last.registered), (Phase::Done, 3));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_child_with_a_bad_target_says_so_in_a_line() {
    let mut child = spawn("192.0.2.1:5060 --progress-json");
    let events = events(&mut child);
    let [Event::Error { message }] = events.as_slice() else { panic!("{events:?}") };
    assert!(message.contains("--allow-target 192.0.2.1"), "{message}");
    assert!(!child.wait().unwrap().success());
}

#[test]
fn a_child_whose_reader_is_gone_ends_by_itself() {
    let mut child = spawn("--direct --cores any --sessions 1 --seconds 600 --progress-json");
    drop(child.stdout.take());
    // Bounded by the progress period and a second's patience, not by the 600 s.
    let started = std::time::Instant::now();
    assert!(!child.wait().unwrap().success());
    assert!(started.elapsed().as_secs() < 60);
}
