//! PUBLISH (RFC 3903).

use super::harness::{Bench, PIDF, all, header, pidf};
use crate::events::{Asker, Config, Limits};
use crate::wire::HeaderName;

#[track_caller]
fn etag(outcome: &crate::events::Outcome) -> String {
    assert_eq!(outcome.status, 200, "{outcome:?}");
    header(outcome, HeaderName::SipETag).unwrap().to_owned()
}

/// RFC 3903 4: published, refreshed, replaced and removed, each under a new entity-tag.
#[test]
fn a_document_is_published_refreshed_replaced_and_removed() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "Expires: 7200\r\n");
    bench.notify();
    bench.secs(10);
    let first = bench.publish("presence", &format!("{PIDF}Expires: 120\r\n"), &pidf("open"));
    assert_eq!(header(&first, HeaderName::Expires), Some("120"));
    assert!(bench.notify().body.contains("<basic>open</basic>"));
    bench.secs(100);
    let first = etag(&first);
    let refreshed =
        bench.publish("presence", &format!("SIP-If-Match: {first}\r\nExpires: 120\r\n"), "");
    let second = etag(&refreshed);
    assert_ne!(first, second);
    bench.secs(100);
    bench.silent();
    let lines = format!("{PIDF}SIP-If-Match: {second}\r\n");
    let third = etag(&bench.publish("presence", &lines, &pidf("away")));
    let body = bench.notify().body;
    assert!(body.contains("away") && !body.contains("open"), "{body}");
    bench.secs(10);
    let old = bench.publish("presence", &format!("SIP-If-Match: {second}\r\n"), "");
    assert_eq!(old.status, 412);
    let lines = format!("SIP-If-Match: {third}\r\nExpires: 0\r\n");
    assert_eq!(bench.publish("presence", &lines, "").status, 200);
    assert!(bench.notify().body.contains("closed"));
    assert_eq!(bench.events.publications(), 0);
}

/// RFC 3903 6: what is not refreshed is gone, and watchers hear of it.
#[test]
fn a_document_that_is_not_refreshed_is_forgotten() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "");
    bench.notify();
    bench.secs(10);
    bench.publish("presence", &format!("{PIDF}Expires: 60\r\n"), &pidf("open"));
    bench.notify();
    bench.secs(61);
    assert!(bench.notify().body.contains("closed"));
    assert_eq!(bench.events.publications(), 0);
}

/// RFC 3856 7.3: watchers see what all devices say.
#[test]
fn documents_of_several_devices_are_told_together() {
    let mut bench = Bench::new(all());
    bench.publish("presence", PIDF, &pidf("open"));
    bench.publish("presence", PIDF, &pidf("closed"));
    bench.subscribe("presence", "");
    let body = bench.notify().body;
    let (newest, oldest) = (body.find(">closed<").unwrap(), body.find(">open<").unwrap());
    assert!(newest < oldest, "{body}");
}

#[test]
fn only_the_user_itself_and_trusted_peers_publish() {
    let mut bench = Bench::new(all());
    let lines = format!("Event: presence\r\n{PIDF}");
    for (asker, status) in [
        (Asker::User("alice"), 403),
        (Asker::Nobody, 403),
        (Asker::User("bob"), 200),
        (Asker::Trusted, 200),
    ] {
        let outcome = bench.ask(asker, "PUBLISH", "bob", &lines, &pidf("open"));
        assert_eq!(outcome.status, status, "{asker:?}");
    }
    let nobody = bench.ask(Asker::Trusted, "PUBLISH", "nobody", &lines, &pidf("open"));
    assert_eq!(nobody.status, 404);
}

#[test]
fn what_cannot_be_published_is_refused() {
    let mut bench = Bench::new(all());
    let xml = "Content-Type: text/xml\r\n";
    for (event, lines, body, status) in [
        ("reg", PIDF, pidf("open"), 489),
        ("conference", PIDF, pidf("open"), 489),
        ("presence", xml, pidf("open"), 415),
        ("presence", "", pidf("open"), 415),
        ("presence", PIDF, String::new(), 400),
        ("presence", PIDF, "<presence/>".to_owned(), 400),
        ("presence", "SIP-If-Match: nonsense\r\n", String::new(), 412),
        ("presence", "SIP-If-Match: 0000000000000000x\r\n", String::new(), 412),
        (
            "message-summary",
            "Content-Type: application/simple-message-summary\r\n",
            "x".to_owned(),
            400,
        ),
    ] {
        let outcome = bench.publish(event, lines, &body);
        assert_eq!(outcome.status, status, "{event} {lines} {body}");
    }
    let encoded = format!("{PIDF}Content-Encoding: gzip\r\n");
    assert_eq!(bench.publish("presence", &encoded, &pidf("open")).status, 415);
    let brief = format!("{PIDF}Expires: 5\r\n");
    assert_eq!(bench.publish("presence", &brief, &pidf("open")).status, 423);
    bench.events.assert_clean();
}

/// Another user's entity-tag, or another package's, names nothing.
#[test]
fn an_entity_tag_is_of_one_user_and_package() {
    let mut bench = Bench::new(all());
    let tag = etag(&bench.publish("presence", PIDF, &pidf("open")));
    let lines = format!("SIP-If-Match: {tag}\r\n");
    assert_eq!(bench.publish("dialog", &lines, "").status, 412);
    let lines = format!("Event: presence\r\n{lines}");
    let outcome = bench.ask(Asker::User("alice"), "PUBLISH", "alice", &lines, "");
    assert_eq!(outcome.status, 412);
}

#[test]
fn the_bounds_of_publications_are_kept() {
    let limits = Limits {
        publications: 3,
        publications_per_user: 2,
        document_bytes: 400,
        ..Limits::default()
    };
    let mut bench = Bench::new(Config { limits, ..all() });
    assert_eq!(bench.publish("presence", PIDF, &pidf(&"x".repeat(400))).status, 413);
    for status in [200, 200, 503] {
        assert_eq!(bench.publish("presence", PIDF, &pidf("open")).status, status);
    }
    let lines = format!("Event: presence\r\n{PIDF}");
    for status in [200, 503] {
        let outcome = bench.ask(Asker::User("alice"), "PUBLISH", "alice", &lines, &pidf("open"));
        assert_eq!(outcome.status, status);
    }
}

/// A datagram holds 65,507 bytes: of documents that would not fit the newest are told.
#[test]
fn what_does_not_fit_a_notification_is_left_out() {
    let limits = Limits { document_bytes: 30_000, ..Limits::default() };
    let mut bench = Bench::new(Config { limits, ..all() });
    for mark in ["oldest", "newest"] {
        let outcome =
            bench.publish("presence", PIDF, &pidf(&(mark.to_owned() + &"x".repeat(29_000))));
        assert_eq!(outcome.status, 200);
    }
    bench.subscribe("presence", "");
    let body = bench.notify().body;
    assert!(body.contains("newest") && !body.contains("oldest"));
}
