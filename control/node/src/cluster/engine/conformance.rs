//! What every engine keeps: one suite, run on each.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::nats_servers::Servers;
use super::{
    Coord, Embedded, Entry, Expected, Key, Outcome, Prefix, Revision, VALUE_MAX, Watch, WatchEvent,
};

/// Longest that one step of a test waits.
const STEP_MAX: Duration = Duration::from_secs(20);
/// Attempts of a call that may meet an election.
const ATTEMPTS: usize = 20;

/// Each test on each engine. A test gets three clients of one engine without keys.
macro_rules! on_each_engine {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let engine = super::Coord::Embedded(super::Embedded::new());
                super::$test(&[engine.clone(), engine.clone(), engine]).await;
            })*
        }
        mod nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let servers = super::Servers::shared();
                let cluster = stringify!($test).replace('_', "-");
                let (a, b, c) = tokio::join!(
                    servers.coord(&cluster), servers.coord(&cluster), servers.coord(&cluster),
                );
                super::$test(&[a, b, c]).await;
            })*
        }
    };
}

on_each_engine!(
    what_one_client_writes_all_can_read,
    a_conflict_tells_what_is_there,
    one_of_many_creators_wins,
    one_of_many_writers_wins_every_round,
    no_count_of_many_counters_is_lost,
    revisions_grow,
    a_deleted_key_is_gone_and_can_be_made_again,
    a_deletion_of_another_revision_is_refused,
    a_value_at_the_bound_is_kept_and_one_past_it_refused,
    a_listing_is_what_is_there,
    a_watch_of_nothing_is_complete_at_once,
    a_watch_tells_what_is_there_and_then_that_it_is_complete,
    a_watch_tells_every_last_value_in_order,
    a_watch_tells_of_deletion_and_rebirth,
    a_prefix_shows_its_own_keys_only,
    a_cancelled_write_is_whole_or_not_at_all,
    a_dropped_watch_disturbs_no_other,
    a_watch_with_a_slow_reader_ends_with_the_truth,
    a_settled_write_tells_done_or_conflict,
);

fn key(text: &str) -> Key {
    Key::parse(text).expect("a key")
}

fn bytes(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}

async fn within<T>(what: &str, step: impl Future<Output = T>) -> T {
    match tokio::time::timeout(STEP_MAX, step).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {STEP_MAX:?}"),
    }
}

/// Asks again while the engine cannot say: an election may go on.
async fn get(coord: &Coord, key: &Key) -> Option<Entry> {
    for _ in 0..ATTEMPTS {
        match coord.get(key).await {
            Ok(entry) => return entry,
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    panic!("the engine does not answer");
}

/// The outcome of a write whose value nobody else writes; never `Unavailable` or `Unknown`.
async fn cas(coord: &Coord, key: &Key, expected: Expected, value: Bytes) -> Outcome {
    for _ in 0..ATTEMPTS {
        match coord.cas_settled(key, expected, value.clone()).await {
            Outcome::Unavailable(_) | Outcome::Unknown => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Outcome::Conflict { current: Some(current) } if current.value == value => {
                return Outcome::Done(current.revision);
            }
            told @ (Outcome::Done(_) | Outcome::Conflict { .. } | Outcome::Refused) => return told,
        }
    }
    panic!("the engine does not answer");
}

async fn put(coord: &Coord, key: &Key, value: impl Into<String>) -> Revision {
    let expected = get(coord, key).await.map_or(Expected::Absent, |old| Expected::At(old.revision));
    done(cas(coord, key, expected, bytes(value)).await)
}

fn done(outcome: Outcome) -> Revision {
    match outcome {
        Outcome::Done(revision) => revision,
        other @ (Outcome::Conflict { .. }
        | Outcome::Unavailable(_)
        | Outcome::Unknown
        | Outcome::Refused) => panic!("{other:?}"),
    }
}

async fn next(watch: &mut Watch) -> WatchEvent {
    within("the next event", watch.next()).await.expect("a watch goes on")
}

async fn what_one_client_writes_all_can_read(coords: &[Coord]) {
    let ids = key("ids");
    let revision = done(cas(&coords[0], &ids, Expected::Absent, bytes("one")).await);
    for coord in coords {
        let entry = get(coord, &ids).await.expect("it is there");
        assert_eq!((entry.value, entry.revision), (bytes("one"), revision));
    }
    assert_eq!(get(&coords[1], &key("other")).await, None);
}

async fn a_conflict_tells_what_is_there(coords: &[Coord]) {
    let view = key("view");
    let first = put(&coords[0], &view, "one").await;
    let second = done(cas(&coords[0], &view, Expected::At(first), bytes("two")).await);
    let current = Some(Entry { key: view.clone(), revision: second, value: bytes("two") });
    for expected in [Expected::Absent, Expected::At(first), Expected::At(Revision(second.0 + 7))] {
        let outcome = cas(&coords[1], &view, expected, bytes("three")).await;
        assert_eq!(outcome, Outcome::Conflict { current: current.clone() }, "{expected:?}");
    }
    let missing = cas(&coords[1], &key("none"), Expected::At(first), bytes("x")).await;
    assert_eq!(missing, Outcome::Conflict { current: None });
}

/// Four tasks a client write at once, each a value of its own; returns the winner's value.
async fn race(
    coords: &[Coord],
    target: &Key,
    expected: Expected,
    round: usize,
) -> (Revision, Bytes) {
    let mut tasks = tokio::task::JoinSet::new();
    for (writer, coord) in coords.iter().cycle().take(coords.len() * 4).cloned().enumerate() {
        let target = target.clone();
        tasks.spawn(async move {
            let value = bytes(format!("round {round} writer {writer}"));
            (cas(&coord, &target, expected, value.clone()).await, value)
        });
    }
    let outcomes = within("a race", tasks.join_all()).await;
    let mut winners = Vec::new();
    for (outcome, value) in outcomes {
        match outcome {
            Outcome::Done(revision) => winners.push((revision, value)),
            Outcome::Conflict { current } => assert!(current.is_some(), "someone has won"),
            other @ (Outcome::Unavailable(_) | Outcome::Unknown | Outcome::Refused) => {
                panic!("{other:?}")
            }
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    let winner = winners.remove(0);
    let entry = get(&coords[0], target).await.expect("someone has won");
    assert_eq!((entry.revision, entry.value), winner);
    winner
}

async fn one_of_many_creators_wins(coords: &[Coord]) {
    for round in 0..8 {
        race(coords, &key(&format!("members.m{round}")), Expected::Absent, round).await;
    }
}

async fn one_of_many_writers_wins_every_round(coords: &[Coord]) {
    let lease = key("controller");
    let mut last = put(&coords[0], &lease, "start").await;
    for round in 0..15 {
        let (revision, _) = race(coords, &lease, Expected::At(last), round).await;
        assert!(revision > last);
        last = revision;
    }
}

async fn no_count_of_many_counters_is_lost(coords: &[Coord]) {
    const EACH: usize = 8;
    let ids = key("ids");
    put(&coords[0], &ids, "0").await;
    let mut tasks = tokio::task::JoinSet::new();
    for (counter, coord) in coords.iter().cycle().take(6).cloned().enumerate() {
        tasks.spawn(async move {
            let mut counted = 0;
            while counted < EACH {
                let entry = get(&coord, &key("ids")).await.expect("it is there");
                let text = String::from_utf8_lossy(&entry.value).into_owned();
                let count: usize = text.split(' ').next().unwrap().parse().unwrap();
                // Who wrote it and which of its own writes: nobody else writes the same.
                let value = bytes(format!("{} {counter} {counted}", count + 1));
                let expected = Expected::At(entry.revision);
                if matches!(cas(&coord, &key("ids"), expected, value).await, Outcome::Done(_)) {
                    counted += 1;
                }
            }
        });
    }
    within("counting", tasks.join_all()).await;
    let entry = get(&coords[0], &ids).await.expect("it is there");
    let text = String::from_utf8_lossy(&entry.value).into_owned();
    assert_eq!(text.split(' ').next(), Some((6 * EACH).to_string().as_str()));
}

async fn revisions_grow(coords: &[Coord]) {
    let mut last = Revision(0);
    for round in 0..10 {
        let target = key(if round % 2 == 0 { "a" } else { "b" });
        let revision = put(&coords[round % 3], &target, format!("{round}")).await;
        assert!(revision > last, "{revision:?} after {last:?}");
        last = revision;
    }
}

async fn a_deleted_key_is_gone_and_can_be_made_again(coords: &[Coord]) {
    let member = key("members.fe-1");
    let first = put(&coords[0], &member, "one").await;
    let gone = done(coords[1].delete(&member, first).await);
    assert!(gone > first);
    assert_eq!(get(&coords[2], &member).await, None);
    let stale = cas(&coords[0], &member, Expected::At(first), bytes("late")).await;
    assert_eq!(stale, Outcome::Conflict { current: None });
    let second = done(cas(&coords[2], &member, Expected::Absent, bytes("two")).await);
    assert!(second > gone);
    let again = cas(&coords[1], &member, Expected::Absent, bytes("three")).await;
    assert!(matches!(again, Outcome::Conflict { current: Some(_) }), "{again:?}");
}

async fn a_deletion_of_another_revision_is_refused(coords: &[Coord]) {
    let range = key("ranges.192.0.2.1");
    let none = coords[0].delete(&range, Revision(1)).await;
    assert_eq!(none, Outcome::Conflict { current: None });
    let first = put(&coords[0], &range, "one").await;
    let second = done(cas(&coords[0], &range, Expected::At(first), bytes("two")).await);
    let refused = coords[1].delete(&range, first).await;
    let current = Some(Entry { key: range.clone(), revision: second, value: bytes("two") });
    assert_eq!(refused, Outcome::Conflict { current });
    let gone = done(coords[1].delete(&range, second).await);
    // Neither the value's revision nor the deletion's own deletes a second time.
    for revision in [second, gone] {
        let again = coords[0].delete(&range, revision).await;
        assert_eq!(again, Outcome::Conflict { current: None });
    }
}

async fn a_value_at_the_bound_is_kept_and_one_past_it_refused(coords: &[Coord]) {
    let settings = key("settings.cluster");
    let largest = Bytes::from(vec![7; VALUE_MAX]);
    let revision = done(cas(&coords[0], &settings, Expected::Absent, largest.clone()).await);
    assert_eq!(get(&coords[1], &settings).await.expect("it is there").value, largest);
    let larger = Bytes::from(vec![7; VALUE_MAX + 1]);
    let refused = cas(&coords[0], &settings, Expected::At(revision), larger).await;
    assert_eq!(refused, Outcome::Refused);
    let empty = cas(&coords[0], &settings, Expected::At(revision), Bytes::new()).await;
    let empty = done(empty);
    let entry = get(&coords[2], &settings).await.expect("an empty value is a value");
    assert_eq!((entry.value.len(), entry.revision), (0, empty));
}

async fn a_listing_is_what_is_there(coords: &[Coord]) {
    assert_eq!(coords[0].list(&Prefix::all()).await.expect("an answer"), Vec::new());
    for name in ["b", "a", "c"] {
        put(&coords[0], &key(&format!("members.{name}")), name).await;
    }
    put(&coords[0], &key("view"), "v").await;
    let old = put(&coords[1], &key("members.d"), "d").await;
    done(coords[1].delete(&key("members.d"), old).await);
    let members = coords[2].list(&Prefix::parse("members.").unwrap()).await.expect("an answer");
    let names: Vec<_> = members.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(names, ["members.a", "members.b", "members.c"]);
    assert_eq!(coords[2].list(&Prefix::all()).await.expect("an answer").len(), 4);
}

async fn a_watch_of_nothing_is_complete_at_once(coords: &[Coord]) {
    let mut watch = coords[0].watch(&Prefix::all());
    assert_eq!(next(&mut watch).await, WatchEvent::Complete);
    put(&coords[1], &key("view"), "v").await;
    assert!(matches!(next(&mut watch).await, WatchEvent::Changed(_)));
}

async fn a_watch_tells_what_is_there_and_then_that_it_is_complete(coords: &[Coord]) {
    for number in 0..20 {
        put(&coords[number % 3], &key(&format!("members.m{number}")), format!("{number}")).await;
    }
    let mut watch = coords[0].watch(&Prefix::all());
    let mut last = Revision(0);
    for _ in 0..20 {
        let event = next(&mut watch).await;
        let WatchEvent::Changed(entry) = event else { panic!("{event:?}") };
        assert!(entry.revision > last);
        last = entry.revision;
    }
    assert_eq!(next(&mut watch).await, WatchEvent::Complete);
}

/// Reads `watch` until the model of it holds `count` keys that all end with the value `end`.
async fn follow_to(watch: &mut Watch, count: usize, end: &str) {
    let mut model: BTreeMap<Key, Bytes> = BTreeMap::new();
    let mut last = Revision(0);
    let mut grows = |revision| {
        assert!(revision > last, "{revision:?} after {last:?}");
        last = revision;
    };
    while model.len() < count || model.values().any(|value| *value != end) {
        match next(watch).await {
            WatchEvent::Changed(entry) => {
                grows(entry.revision);
                model.insert(entry.key, entry.value);
            }
            WatchEvent::Gone { key, revision } => {
                grows(revision);
                assert!(model.remove(&key).is_some(), "{key} was never told");
            }
            WatchEvent::Complete => {}
            WatchEvent::Restarted => panic!("nothing restarted"),
        }
    }
}

async fn a_watch_tells_every_last_value_in_order(coords: &[Coord]) {
    let mut early = coords[0].watch(&Prefix::all());
    let mut tasks = tokio::task::JoinSet::new();
    for (writer, coord) in coords.iter().cloned().enumerate() {
        tasks.spawn(async move {
            for value in ["one", "two", "end"] {
                for number in 0..6 {
                    put(&coord, &key(&format!("w{writer}.k{number}")), value).await;
                }
            }
        });
    }
    // One that begins in the midst of the writes sees as much as one that was there before.
    assert!(matches!(next(&mut early).await, WatchEvent::Changed(_) | WatchEvent::Complete));
    let mut late = coords[1].watch(&Prefix::all());
    within("the writes", tasks.join_all()).await;
    follow_to(&mut late, 18, "end").await;
    let mut latest = coords[2].watch(&Prefix::all());
    follow_to(&mut latest, 18, "end").await;
    // The first event is gone, so its key may be known by a later one only.
    let mut seen = BTreeMap::new();
    while seen.len() < 18 {
        if let WatchEvent::Changed(entry) = next(&mut early).await
            && entry.value == "end"
        {
            seen.insert(entry.key, entry.revision);
        }
    }
}

async fn a_watch_tells_of_deletion_and_rebirth(coords: &[Coord]) {
    let member = key("members.be-1");
    let before = put(&coords[0], &key("members.gone"), "x").await;
    done(coords[0].delete(&key("members.gone"), before).await);
    let first = put(&coords[0], &member, "one").await;
    let mut watch = coords[1].watch(&Prefix::all());
    let expected = Entry { key: member.clone(), revision: first, value: bytes("one") };
    assert_eq!(next(&mut watch).await, WatchEvent::Changed(expected));
    assert_eq!(next(&mut watch).await, WatchEvent::Complete);
    let gone = done(coords[0].delete(&member, first).await);
    assert_eq!(next(&mut watch).await, WatchEvent::Gone { key: member.clone(), revision: gone });
    let second = put(&coords[2], &member, "two").await;
    let expected = Entry { key: member, revision: second, value: bytes("two") };
    assert_eq!(next(&mut watch).await, WatchEvent::Changed(expected));
}

async fn a_prefix_shows_its_own_keys_only(coords: &[Coord]) {
    let mut watch = coords[0].watch(&Prefix::parse("members.").unwrap());
    assert_eq!(next(&mut watch).await, WatchEvent::Complete);
    for name in ["membersx.a", "members", "xmembers.a", "settings.members.a", "members.a.b"] {
        put(&coords[1], &key(name), name).await;
    }
    let event = next(&mut watch).await;
    assert!(
        matches!(&event, WatchEvent::Changed(entry) if entry.key.as_str() == "members.a.b"),
        "{event:?}"
    );
}

async fn a_cancelled_write_is_whole_or_not_at_all(coords: &[Coord]) {
    let target = key("view");
    let mut old = put(&coords[0], &target, "old").await;
    for round in 0_u32..20 {
        let value = Bytes::from(vec![u8::try_from(round).unwrap(); 1000]);
        let write = coords[0].cas(&target, Expected::At(old), value.clone());
        // The future is dropped after a time that grows from nothing to more than a write takes.
        let _ = tokio::time::timeout(Duration::from_micros(u64::from(round) * 60), write).await;
        let next = bytes(format!("old {round}"));
        let mut outcome = cas(&coords[0], &target, Expected::At(old), next.clone()).await;
        if let Outcome::Conflict { current } = outcome {
            let current = current.expect("nobody deletes");
            assert_eq!(current.value, value);
            outcome = cas(&coords[0], &target, Expected::At(current.revision), next).await;
        }
        old = done(outcome);
    }
}

async fn a_dropped_watch_disturbs_no_other(coords: &[Coord]) {
    let mut kept = coords[0].watch(&Prefix::all());
    for round in 0..5 {
        drop(coords[0].watch(&Prefix::all()));
        let mut begun = coords[0].watch(&Prefix::all());
        next(&mut begun).await;
        drop(begun);
        put(&coords[1], &key("ids"), format!("{round}")).await;
    }
    loop {
        if let WatchEvent::Changed(entry) = next(&mut kept).await
            && entry.value == "4"
        {
            break;
        }
    }
}

async fn a_watch_with_a_slow_reader_ends_with_the_truth(coords: &[Coord]) {
    const WRITES: usize = 400;
    let mut watch = coords[0].watch(&Prefix::all());
    assert_eq!(next(&mut watch).await, WatchEvent::Complete);
    // More than the watch holds, and nobody reads.
    let target = key("controller");
    let mut last = Expected::Absent;
    for round in 0..WRITES {
        last = Expected::At(done(cas(&coords[1], &target, last, bytes(round.to_string())).await));
    }
    let end = put(&coords[1], &key("end"), "end").await;
    let mut seen = None;
    loop {
        let event = next(&mut watch).await;
        let WatchEvent::Changed(entry) = event else { panic!("{event:?}") };
        if entry.revision == end {
            break;
        }
        seen = Some(entry.value);
    }
    assert_eq!(seen, Some(bytes((WRITES - 1).to_string())));
}

async fn a_settled_write_tells_done_or_conflict(coords: &[Coord]) {
    let target = key("controller");
    let first = done(coords[0].cas_settled(&target, Expected::Absent, bytes("a")).await);
    let late = coords[1].cas_settled(&target, Expected::Absent, bytes("b")).await;
    let current = Some(Entry { key: target, revision: first, value: bytes("a") });
    assert_eq!(late, Outcome::Conflict { current });
}
