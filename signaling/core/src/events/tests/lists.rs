//! Lists (RFC 4662).

use super::harness::{ALICE, Bench, PIDF, all, header, pidf};
use crate::events::{Asker, Config, LIST_MEMBERS_MAX, List, Outcome};
use crate::wire::HeaderName;

fn bench() -> Bench {
    let members = ["sip:bob@example.test", "sip:carol@example.test"].map(str::to_owned);
    let list = List::new("sip:team@example.test", &members).unwrap();
    Bench::new(Config { lists: vec![list], ..all() })
}

fn subscribe(bench: &mut Bench, event: &str, lines: &str) -> Outcome {
    let lines = format!("Event: {event}\r\nContact: <sip:alice@{ALICE}>\r\n{lines}");
    bench.ask(Asker::User("alice"), "SUBSCRIBE", "team", &lines, "")
}

/// RFC 4662 4.2 and 4.3: one subscription tells of all members, and again when one of them changes.
#[test]
fn a_list_is_told_with_all_its_members() {
    let mut bench = bench();
    let ok = subscribe(&mut bench, "presence", "Supported: eventlist\r\n");
    assert_eq!((ok.status, header(&ok, HeaderName::Require)), (200, Some("eventlist")));
    let notify = bench.notify();
    assert!(notify.is_list && notify.content_type.starts_with("multipart/related;"));
    for text in
        ["uri=\"sip:team@example.test\" version=\"0\"", "<resource uri=\"sip:bob@example.test\">"]
    {
        assert!(notify.body.contains(text), "{}", notify.body);
    }
    assert_eq!(notify.body.matches("<basic>closed</basic>").count(), 2);
    bench.secs(10);
    bench.publish("presence", PIDF, &pidf("open"));
    let notify = bench.notify();
    assert!(notify.body.contains("version=\"1\" fullState=\"true\""), "{}", notify.body);
    assert_eq!(notify.body.matches("<basic>open</basic>").count(), 1);
    bench.secs(10);
    // Nothing has changed, whatever the boundary is.
    bench.events.registration_changed(bench.now, &bench.registrar, "carol");
    bench.silent();
}

/// RFC 4662 4.1.
#[test]
fn who_does_not_know_lists_is_told_what_it_needs() {
    let mut bench = bench();
    let refused = subscribe(&mut bench, "presence", "");
    assert_eq!((refused.status, header(&refused, HeaderName::Require)), (421, Some("eventlist")));
    let lines = "Supported: eventlist\r\nAccept: application/pidf+xml\r\n";
    assert_eq!(subscribe(&mut bench, "presence", lines).status, 406);
    // There is no such user, and no list of this package.
    let lines = "Supported: eventlist\r\n";
    assert_eq!(subscribe(&mut bench, "message-summary", lines).status, 404);
}

#[test]
fn a_list_is_bounded() {
    let members: Vec<_> = (0..LIST_MEMBERS_MAX + 5).map(|n| format!("sip:u{n}@x")).collect();
    assert_eq!(List::new("sip:all@x", &members).unwrap().members.len(), LIST_MEMBERS_MAX);
    assert!(List::new("nonsense", &members).is_err());
}
