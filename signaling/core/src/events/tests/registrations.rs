//! The reg package (RFC 3680), and presence of who publishes nothing.

use super::harness::{ALICE, Bench, all};
use crate::events::{Asker, Notify};

const ONE: &str = "198.51.100.20:5060";
const TWO: &str = "198.51.100.21:5060";

fn watch_own(bench: &mut Bench) -> Notify {
    let lines = format!("Event: reg\r\nContact: <sip:bob@{ALICE}>\r\n");
    let outcome = bench.ask(Asker::User("bob"), "SUBSCRIBE", "bob", &lines, "");
    assert_eq!(outcome.status, 200, "{outcome:?}");
    bench.notify()
}

/// RFC 3680 5: devices that come, go and expire, each as what it is.
#[test]
fn a_user_is_told_of_its_devices() {
    let mut bench = Bench::new(all());
    let body = watch_own(&mut bench).body;
    assert!(body.contains("version=\"0\" state=\"full\"") && body.contains("state=\"init\""));
    bench.secs(10);
    bench.register("bob", ONE, 3600);
    let body = bench.notify().body;
    assert!(body.contains("aor=\"sip:bob@example.test\" id=\"r\" state=\"active\""), "{body}");
    assert!(body.contains("state=\"active\" event=\"registered\" expires=\"3600\""), "{body}");
    assert!(body.contains(&format!("<uri>sip:bob@{ONE}</uri>")), "{body}");
    bench.secs(10);
    bench.register("bob", TWO, 60);
    assert_eq!(bench.notify().body.matches("event=\"registered\"").count(), 2);
    bench.secs(10);
    // A refresh changes nothing that needs telling.
    bench.register("bob", TWO, 60);
    bench.silent();
    bench.register("bob", ONE, 0);
    let body = bench.notify().body;
    assert!(body.contains("event=\"unregistered\" expires=\"0\""), "{body}");
    bench.secs(61);
    bench.registrar.purge(bench.now);
    bench.events.registration_changed(bench.now, &bench.registrar, "bob");
    let body = bench.notify().body;
    assert!(body.contains("event=\"expired\"") && body.contains("state=\"terminated\""), "{body}");
    assert!(!body.contains("unregistered"), "{body}");
}

/// RFC 3680 5.2: a second watcher sees what there is, under ids that do not change.
#[test]
fn contacts_keep_their_ids() {
    let mut bench = Bench::new(all());
    bench.register("bob", ONE, 3600);
    let id = |notify: Notify| notify.body.split("<contact id=\"").nth(1).unwrap()[..9].to_owned();
    let first = id(watch_own(&mut bench));
    bench.secs(10);
    bench.register("bob", TWO, 3600);
    bench.notify();
    bench.register("bob", TWO, 0);
    bench.secs(10);
    assert_eq!(id(bench.notify()), first);
}

/// RFC 3856 5.1: a registration is a sign of presence where there is no better one.
#[test]
fn presence_of_who_publishes_nothing_follows_the_registration() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "");
    assert!(bench.notify().body.contains("closed"));
    bench.secs(10);
    bench.register("bob", ONE, 3600);
    assert!(bench.notify().body.contains("open"));
    bench.secs(10);
    bench.register("bob", TWO, 3600);
    bench.silent();
}
