//! NATS servers that die, freeze, come back, come back empty, or let nobody in.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::nats_servers::{ELECTED_WITHIN, Servers, until};
use super::{
    Access, Coord, EngineState, Entry, Expected, Key, Nats, Outcome, Prefix, Revision, Watch,
    WatchEvent,
};

/// A lost engine is known to be lost within this.
const NOTICED_WITHIN: Duration = Duration::from_secs(3);

fn key(text: &str) -> Key {
    Key::parse(text).expect("a key")
}

fn is_lost(state: EngineState) -> bool {
    matches!(state, EngineState::Lost { .. })
}

fn is_connected(state: EngineState) -> bool {
    state == EngineState::Connected
}

/// Writes `value` over whatever is there, again and again until it is acknowledged.
async fn put(coord: &Coord, key: &Key, value: &str) -> Revision {
    let start = Instant::now();
    while start.elapsed() < ELECTED_WITHIN {
        if let Ok(old) = coord.get(key).await {
            let expected = old.as_ref().map_or(Expected::Absent, |old| Expected::At(old.revision));
            match coord.cas_settled(key, expected, Bytes::from(value.to_owned())).await {
                Outcome::Done(revision) => return revision,
                Outcome::Conflict { current: Some(entry) } if entry.value == value => {
                    return entry.revision;
                }
                Outcome::Conflict { .. } | Outcome::Unavailable(_) | Outcome::Unknown => {}
                Outcome::Refused => panic!("a small value"),
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing could be written within {ELECTED_WITHIN:?}");
}

/// Reads `watch` up to the entry with this revision; returns everything that was told.
async fn read_to(watch: &mut Watch, end: Revision) -> Vec<WatchEvent> {
    let mut told = Vec::new();
    loop {
        let next = tokio::time::timeout(ELECTED_WITHIN, watch.next()).await;
        let event = next.unwrap_or_else(|_| panic!("revision {end:?} never came after {told:?}"));
        told.push(event.expect("a watch goes on"));
        if let Some(WatchEvent::Changed(Entry { revision, .. })) = told.last()
            && *revision == end
        {
            return told;
        }
    }
}

fn values(told: &[WatchEvent]) -> Vec<&[u8]> {
    let mut last = Revision(0);
    let mut found = Vec::new();
    for event in told {
        match event {
            WatchEvent::Changed(entry) => {
                assert!(entry.revision > last, "{:?} after {last:?}", entry.revision);
                last = entry.revision;
                found.push(entry.value.as_ref());
            }
            WatchEvent::Complete => {}
            WatchEvent::Gone { .. } | WatchEvent::Restarted => panic!("{event:?}"),
        }
    }
    found
}

/// `Complete` stands in what was told, or comes next: a listing may have ended with the last of it.
async fn completes_once(told: &[WatchEvent], watch: &mut Watch) {
    match told.iter().filter(|event| **event == WatchEvent::Complete).count() {
        0 => {
            let next = tokio::time::timeout(ELECTED_WITHIN, watch.next()).await;
            assert_eq!(next.expect("in time"), Some(WatchEvent::Complete));
        }
        count => assert_eq!(count, 1),
    }
}

/// Writes a row of values while `disturb` happens after the second one. Every value is written
/// by compare-and-set over the one before, so a lost or doubled write would show.
async fn write_a_row_through(coord: &Coord, disturb: impl FnOnce()) {
    let mut watch = coord.watch(&Prefix::all());
    let row = key("controller");
    put(coord, &row, "0").await;
    put(coord, &row, "1").await;
    disturb();
    let mut last = Revision(0);
    for value in 2..6 {
        let revision = put(coord, &row, &value.to_string()).await;
        assert!(revision > last);
        last = revision;
    }
    let told = read_to(&mut watch, last).await;
    assert_eq!(values(&told).last(), Some(&b"5".as_ref()));
    completes_once(&told, &mut watch).await;
    assert_eq!(coord.get(&row).await.expect("an answer").expect("it is there").revision, last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_after_the_leader_was_killed_and_after_it_came_back() {
    let servers = Servers::start(3);
    let coord = servers.coord("killed").await;
    let leader = servers.leader("killed").await;
    write_a_row_through(&coord, || servers.kill(leader)).await;
    until(&coord, ELECTED_WITHIN, is_connected).await;
    servers.run(leader);
    put(&coord, &key("after"), "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_while_the_leader_is_frozen_and_after_it_was_thawed() {
    let servers = Servers::start(3);
    let coord = servers.coord("frozen").await;
    let leader = servers.leader("frozen").await;
    write_a_row_through(&coord, || servers.freeze(leader)).await;
    servers.thaw(leader);
    put(&coord, &key("after"), "after").await;
    // What the frozen leader had taken in and not passed on changed nothing.
    let row = coord.get(&key("controller")).await.expect("an answer").expect("it is there");
    assert_eq!(row.value, "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_frozen_is_lost_within_three_seconds_and_comes_back() {
    let servers = Servers::start(3);
    let coord = servers.coord("all-frozen").await;
    let frozen = Instant::now();
    (0..servers.count()).for_each(|server| servers.freeze(server));
    until(&coord, NOTICED_WITHIN, is_lost).await;
    let state = *coord.state().borrow();
    let EngineState::Lost { since } = state else { panic!("{state:?}") };
    assert!(since <= frozen + Duration::from_secs(1), "it answered last before it was frozen");
    let call = Instant::now();
    assert!(coord.get(&key("view")).await.is_err());
    assert!(call.elapsed() < Duration::from_secs(3), "a call has its time limit");
    (0..servers.count()).for_each(|server| servers.thaw(server));
    until(&coord, ELECTED_WITHIN, is_connected).await;
    put(&coord, &key("view"), "v").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_whose_servers_are_all_killed_is_lost_and_comes_back_with_what_it_knew() {
    let servers = Servers::start(3);
    let coord = servers.coord("all-killed").await;
    let mut watch = coord.watch(&Prefix::all());
    let before = put(&coord, &key("view"), "before").await;
    read_to(&mut watch, before).await;
    (0..servers.count()).for_each(|server| servers.kill(server));
    until(&coord, NOTICED_WITHIN, is_lost).await;
    let refused = coord.cas(&key("view"), Expected::At(before), Bytes::from("x")).await;
    assert!(matches!(refused, Outcome::Unavailable(_) | Outcome::Unknown), "{refused:?}");
    (0..servers.count()).for_each(|server| servers.run(server));
    until(&coord, ELECTED_WITHIN, is_connected).await;
    let kept = coord.get(&key("view")).await.expect("an answer").expect("it is there");
    assert_eq!((kept.value, kept.revision), (Bytes::from("before"), before));
    let after = put(&coord, &key("view"), "after").await;
    let told = read_to(&mut watch, after).await;
    assert_eq!(values(&told), [b"after"], "what the reader knows is not told twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_that_the_servers_came_back_without_their_memory() {
    let servers = Servers::start(1);
    let coord = servers.coord("wiped").await;
    let mut watch = coord.watch(&Prefix::all());
    for value in ["a", "b", "c"] {
        put(&coord, &key(value), value).await;
    }
    let before = put(&coord, &key("view"), "before").await;
    read_to(&mut watch, before).await;
    servers.kill(0);
    servers.wipe(0);
    servers.run(0);
    let event = tokio::time::timeout(ELECTED_WITHIN, watch.next()).await.expect("in time");
    assert_eq!(event, Some(WatchEvent::Restarted));
    let after = put(&coord, &key("view"), "after").await;
    assert!(after < before, "the new memory counts from its own beginning");
    let told = read_to(&mut watch, after).await;
    assert_eq!(values(&told), [b"after"]);
    completes_once(&told, &mut watch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_starts_after_its_users_is_used_when_it_is_there() {
    let servers = Servers::start(1);
    servers.kill(0);
    let coord = Coord::Nats(Nats::connect(&servers.setup("late")).await.expect("a fit setup"));
    let mut watch = coord.watch(&Prefix::all());
    assert!(is_lost(*coord.state().borrow()));
    assert!(coord.get(&key("view")).await.is_err());
    servers.run(0);
    until(&coord, ELECTED_WITHIN, is_connected).await;
    let revision = put(&coord, &key("view"), "v").await;
    read_to(&mut watch, revision).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_wants_a_password_lets_in_who_has_it_and_nobody_else() {
    let servers = Servers::start_with(1, "authorization { user: ringfarm, password: secret }");
    let folder = tempfile::tempdir().expect("a folder");
    let connect = async |password: &str| {
        let password_file = folder.path().join(password);
        std::fs::write(&password_file, format!("{password}\n")).expect("a file");
        let mut setup = servers.setup("closed");
        setup.access = Access::Password { user: "ringfarm".into(), password_file };
        Coord::Nats(Nats::connect(&setup).await.expect("a fit setup"))
    };
    let right = connect("secret").await;
    let wrong = connect("wrong").await;
    until(&right, ELECTED_WITHIN, is_connected).await;
    let revision = put(&right, &key("view"), "v").await;
    assert!(revision > Revision(0));
    assert!(is_lost(*wrong.state().borrow()));
    assert!(wrong.get(&key("view")).await.is_err());
}

/// A certificate for 127.0.0.1 and its key, in PEM, of an authority of its own: the files' names.
fn certificate(folder: &Path) -> [PathBuf; 3] {
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("a name");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(params, authority_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let chain = params.signed_by(&key, &issuer).expect("a certificate");
    let files = ["authority.pem", "chain.pem", "key.pem"].map(|name| folder.join(name));
    for (file, text) in files.iter().zip([authority.pem(), chain.pem(), key.serialize_pem()]) {
        std::fs::write(file, text).expect("a file");
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_tls_is_believed_if_the_trusted_authority_vouches_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let [authority, chain, key_file] = certificate(folder.path());
    let [other, ..] = {
        let folder = folder.path().join("other");
        std::fs::create_dir(&folder).expect("a folder");
        certificate(&folder)
    };
    let tls = format!("tls {{ cert_file: {chain:?}, key_file: {key_file:?} }}");
    let servers = Servers::start_with(1, &tls);
    let connect = async |ca_file: PathBuf| {
        let mut setup = servers.setup("tls");
        setup.servers = setup.servers.iter().map(|server| format!("tls://{server}")).collect();
        setup.ca_file = Some(ca_file);
        Coord::Nats(Nats::connect(&setup).await.expect("a fit setup"))
    };
    let deceived = connect(other).await;
    let coord = connect(authority).await;
    until(&coord, ELECTED_WITHIN, is_connected).await;
    put(&coord, &key("view"), "v").await;
    assert!(is_lost(*deceived.state().borrow()));
}

#[tokio::test]
async fn a_setup_that_cannot_work_is_refused_with_what_is_wrong() {
    let servers = Servers::start(1);
    let fit = servers.setup("fit");
    let mut no_file = fit.clone();
    no_file.ca_file = Some("/nonexistent/ca.pem".into());
    let mut no_credentials = fit.clone();
    no_credentials.access = Access::Credentials("/nonexistent/user.creds".into());
    let mut no_name = fit.clone();
    no_name.cluster = "Two Words".into();
    let mut no_server = fit.clone();
    no_server.servers.clear();
    let mut bad_server = fit.clone();
    bad_server.servers.push("no server".into());
    for (setup, says) in [
        (no_file, "/nonexistent/ca.pem"),
        (no_credentials, "/nonexistent/user.creds"),
        (no_name, "`Two Words`"),
        (no_server, "names no server"),
        (bad_server, "`no server`"),
    ] {
        let Err(error) = Nats::connect(&setup).await else { panic!("{says}") };
        let error = error.to_string();
        assert!(error.starts_with("[cluster.engine] ") && error.contains(says), "{error}");
    }
}
