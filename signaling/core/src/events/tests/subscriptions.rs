//! SUBSCRIBE and NOTIFY (RFC 6665).

use std::time::Duration;

use super::harness::{ALICE, Bench, PIDF, all, header, pidf};
use crate::events::{Answered, Asker, Config, Limits, Package, Waiting, Watch};
use crate::wire::HeaderName;

/// RFC 6665 4.2.1.2: the state is told at once, and the subscription lasts as the answer says.
#[test]
fn a_subscription_is_granted_and_told_the_state_at_once() {
    let mut bench = Bench::new(all());
    let ok = bench.subscribe("presence", "Expires: 600\r\n");
    assert_eq!((ok.status, header(&ok, HeaderName::Expires)), (200, Some("600")));
    let notify = bench.notify();
    assert_eq!(notify.event, "presence");
    assert_eq!(notify.state, "active;expires=600");
    assert_eq!(&*notify.target, format!("sip:alice@{ALICE}"));
    assert_eq!(notify.content_type, "application/pidf+xml");
    assert!(notify.body.contains("<basic>closed</basic>"), "{}", notify.body);
    let tag = ok.tag.unwrap();
    assert_eq!(&*notify.addresses[0], format!("<sip:bob@example.test>;tag={tag}"));
    assert_eq!(&*notify.addresses[1], "<sip:alice@example.test>;tag=f-alice");
    assert_eq!(bench.events.count(Package::Presence), 1);
    bench.silent();
}

/// RFC 6665 4.1.2.1 and 4.4.3: `Expires: 0` fetches the state, and leaves nothing behind.
#[test]
fn a_fetch_is_told_the_state_once() {
    let mut bench = Bench::new(all());
    assert_eq!(bench.subscribe("presence", "Expires: 0\r\n").status, 200);
    let notify = bench.notify();
    assert_eq!(notify.state, "terminated;reason=timeout");
    bench.events.assert_clean();
}

/// RFC 6665 4.1.2.3.
#[test]
fn whoever_unsubscribes_is_told_for_the_last_time() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence;id=7", "");
    let first = bench.notify();
    assert_eq!(first.event, "presence;id=7");
    assert_eq!(bench.again(&first, "Event: presence;id=7\r\nExpires: 0\r\n").status, 200);
    let last = bench.notify();
    assert_eq!(last.state, "terminated;reason=timeout");
    assert_eq!((first.cseq, last.cseq), (1, 2));
    bench.events.assert_clean();
    assert_eq!(bench.again(&first, "Event: presence;id=7\r\n").status, 481);
}

/// RFC 6665 4.2.2: so does one whose time is over.
#[test]
fn a_subscription_that_is_not_refreshed_ends() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "Expires: 60\r\n");
    bench.notify();
    bench.secs(59);
    bench.silent();
    bench.secs(2);
    assert_eq!(bench.notify().state, "terminated;reason=timeout");
    bench.events.assert_clean();
}

/// RFC 6665 4.2.1.1, RFC 3261 12.2.2: a refresh prolongs, and names a new remote target.
#[test]
fn a_refresh_prolongs_and_moves_the_subscriber() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "Expires: 60\r\n");
    let first = bench.notify();
    bench.secs(50);
    assert_eq!(bench.again(&first, "Event: presence\r\nExpires: 60\r\n").status, 200);
    let second = bench.notify();
    assert_eq!(second.state, "active;expires=60");
    assert_eq!(&*second.target, format!("sip:alice@{ALICE};moved"));
    bench.secs(50);
    bench.silent();
    assert_eq!(bench.events.count(Package::Presence), 1);
}

/// RFC 3261 12.2.2, RFC 6665 4.5.2.
#[test]
fn what_does_not_fit_a_subscription_changes_nothing() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "");
    let notify = bench.notify();
    let within = |tag: &str| {
        format!(
            "To: <sip:bob@example.test>;tag={tag}\r\nCall-ID: {}\r\nEvent: presence\r\n\
             Contact: <sip:alice@{ALICE}>\r\n",
            notify.call_id
        )
    };
    let tag = notify.addresses[0].rsplit('=').next().unwrap().to_owned();
    for wrong in ["x", "00000000000000000", &format!("{tag}0"), &tag[..20]] {
        let ask = bench.ask(Asker::User("alice"), "SUBSCRIBE", "bob", &within(wrong), "");
        assert_eq!(ask.status, 481, "{wrong}");
    }
    // The tag of From is another's.
    let ask = bench.ask(Asker::User("carol"), "SUBSCRIBE", "bob", &within(&tag), "");
    assert_eq!(ask.status, 481);
    assert_eq!(bench.again(&notify, "Event: dialog\r\n").status, 481);
    assert_eq!(bench.again(&notify, "Event: presence;id=1\r\n").status, 481);
    bench.silent();
    assert_eq!(bench.again(&notify, "Event: presence\r\n").status, 200);
}

/// RFC 3261 12.2.2.
#[test]
fn a_refresh_that_is_older_than_the_last_is_refused() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "");
    let first = bench.notify();
    assert_eq!(bench.again(&first, "Event: presence\r\n").status, 200);
    bench.notify();
    bench.rewind();
    assert_eq!(bench.again(&first, "Event: presence\r\n").status, 500);
}

/// RFC 6665 4.2.1.1: 489 says what there is, 423 for how long.
#[test]
fn what_cannot_be_granted_is_refused_with_what_can() {
    let mut bench = Bench::new(Config { packages: vec![Package::Presence], ..all() });
    for event in ["conference", "presence.winfo", "Presence", "dialog"] {
        let bad = bench.subscribe(event, "");
        assert_eq!((bad.status, header(&bad, HeaderName::AllowEvents)), (489, Some("presence")));
    }
    let brief = bench.subscribe("presence", "Expires: 59\r\n");
    assert_eq!((brief.status, header(&brief, HeaderName::MinExpires)), (423, Some("60")));
    let long = bench.subscribe("presence", "Expires: 4000000000\r\n");
    assert_eq!((long.status, header(&long, HeaderName::Expires)), (200, Some("7200")));
    let other = bench.subscribe("presence", "Accept: text/plain\r\n");
    assert_eq!(other.status, 406);
    assert_eq!(header(&other, HeaderName::Accept), Some("application/pidf+xml"));
    assert_eq!(bench.subscribe("presence", "Accept: text/*, */*\r\n").status, 200);
    let required = bench.subscribe("presence", "Require: eventlist, magic\r\n");
    assert_eq!(header(&required, HeaderName::Unsupported), Some("magic"));
    assert_eq!(required.status, 420);
    let two = bench.subscribe("presence", "Contact: <sip:other@x>\r\n");
    assert_eq!(two.status, 400);
    let lines = format!("Event: presence\r\nContact: <sip:alice@{ALICE}>\r\n");
    let nobody = bench.ask(Asker::User("alice"), "SUBSCRIBE", "nobody", &lines, "");
    assert_eq!(nobody.status, 404);
    assert_eq!(bench.events.count(Package::Presence), 2);
}

/// RFC 3856 6.10: one notification each 5 s, with the state as it is then; the last one wins.
#[test]
fn changes_in_quick_succession_are_told_as_one() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "");
    bench.notify();
    bench.secs(10);
    bench.publish("presence", PIDF, &pidf("open"));
    assert!(bench.notify().body.contains("open"));
    for basic in ["one", "two", "three"] {
        bench.publish("presence", PIDF, &pidf(basic));
        bench.silent();
        bench.secs(1);
    }
    bench.secs(1);
    bench.silent();
    bench.secs(1);
    let notify = bench.notify();
    assert!(notify.body.contains("three"), "{}", notify.body);
    bench.secs(60);
    bench.silent();
}

/// RFC 6446 5.1.
#[test]
fn a_subscriber_may_ask_for_longer_pauses() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence;min-interval=29.5", "");
    bench.notify();
    bench.publish("presence", PIDF, &pidf("open"));
    bench.secs(29);
    bench.silent();
    bench.secs(1);
    bench.notify();
}

/// RFC 6665 4.2.2: nothing overtakes a notification that has no answer.
#[test]
fn one_notification_at_a_time_is_under_way() {
    let mut bench = Bench::new(all());
    bench.subscribe("dialog", "");
    let first = bench.notified().unwrap();
    bench.secs(20);
    bench.again(&first, "Event: dialog\r\n");
    bench.silent();
    bench.answer(&first, Answered::Status(200, None));
    let second = bench.notify();
    assert_eq!(second.cseq, 2);
    assert!(first.body.contains("version=\"0\"") && second.body.contains("version=\"1\""));
}

#[test]
fn what_has_not_changed_is_not_told_again() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "");
    bench.notify();
    bench.secs(10);
    bench.publish("presence", PIDF, &pidf("open"));
    bench.notify();
    bench.secs(10);
    // The same from another device, under another id.
    bench.publish("presence", PIDF, &pidf("open"));
    assert!(bench.notify().body.contains("t.2"));
    bench.secs(10);
    bench.events.registration_changed(bench.now, &bench.registrar, "bob");
    bench.silent();
}

/// RFC 6665 4.2.2.
#[test]
fn a_subscriber_who_is_gone_is_forgotten() {
    for answer in [Answered::Status(481, Some(5)), Answered::Status(408, None), Answered::Silence] {
        let mut bench = Bench::new(all());
        bench.subscribe("presence", "");
        let notify = bench.notified().unwrap();
        bench.answer(&notify, answer);
        bench.events.assert_clean();
    }
}

#[test]
fn a_subscriber_who_cannot_take_a_notification_now_gets_it_later() {
    for answer in [Answered::Status(503, Some(7)), Answered::NotSent] {
        let mut bench = Bench::new(all());
        bench.subscribe("presence", "");
        let notify = bench.notified().unwrap();
        bench.answer(&notify, answer);
        bench.secs(4);
        bench.silent();
        bench.secs(3);
        assert_eq!(bench.notify().cseq, 2, "{answer:?}");
    }
    // Without a time it is over with this notification, not with the subscription.
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "");
    let notify = bench.notified().unwrap();
    bench.answer(&notify, Answered::Status(500, None));
    assert_eq!(bench.events.count(Package::Presence), 1);
}

/// RFC 3680 6: a registration is the user's own affair. Whatever else is shown to its domain.
#[test]
fn who_may_watch_whom_is_decided_by_the_settings() {
    let contact = format!("Contact: <sip:x@{ALICE}>\r\n");
    let watch = |rule, asker, event: &str, more: &str| {
        let mut bench = Bench::new(Config { watch: rule, ..all() });
        let lines = format!("Event: {event}\r\n{contact}{more}");
        bench.ask(asker, "SUBSCRIBE", "bob", &lines, "").status
    };
    let (alice, bob) = (Asker::User("alice"), Asker::User("bob"));
    let other = "X-Other-Domain: 1\r\n";
    for (rule, asker, event, more, status) in [
        (Watch::Domain, alice, "presence", "", 200),
        (Watch::Domain, alice, "presence", other, 403),
        (Watch::Domain, bob, "presence", other, 200),
        (Watch::Users, alice, "dialog", other, 200),
        (Watch::Own, alice, "presence", "", 403),
        (Watch::Own, bob, "message-summary", "", 200),
        (Watch::Users, alice, "reg", "", 403),
        (Watch::Users, bob, "reg", "", 200),
        (Watch::Own, Asker::Trusted, "reg", "", 200),
        (Watch::Users, Asker::Nobody, "presence", "", 403),
    ] {
        assert_eq!(watch(rule, asker, event, more), status, "{rule:?} {asker:?} {event} {more}");
    }
}

#[test]
fn the_bounds_of_subscriptions_are_kept() {
    let limits = Limits { subscriptions: 3, subscriptions_per_user: 2, ..Limits::default() };
    let mut bench = Bench::new(Config { limits, ..all() });
    for status in [200, 200, 503] {
        let outcome = bench.subscribe("presence", "");
        assert_eq!(outcome.status, status);
        assert_eq!(header(&outcome, HeaderName::RetryAfter).is_some(), status == 503);
    }
    assert_eq!(bench.subscribe("dialog", "").status, 200);
    let full = bench.subscribe("dialog", "");
    assert_eq!((full.status, full.reason), (503, "Too Many Subscriptions"));
    let limits = Limits { subscriptions_per_watcher: 1, ..Limits::default() };
    let mut bench = Bench::new(Config { limits, ..all() });
    assert_eq!(bench.subscribe("presence", "").status, 200);
    let full = bench.subscribe("dialog", "");
    assert_eq!((full.status, full.reason), (503, "Too Many Subscriptions Of One User"));
    let notify = bench.notify();
    bench.again(&notify, "Event: presence\r\nExpires: 0\r\n");
    bench.notify();
    assert_eq!(bench.subscribe("dialog", "").status, 200);
    let long = format!("Record-Route: <sip:{}>\r\n", "r".repeat(5000));
    let mut bench = Bench::new(all());
    assert_eq!(bench.subscribe("presence", &long).status, 400);
    bench.events.assert_clean();
}

/// RFC 3261 12.1.1: the route set is the Record-Routes in their order.
#[test]
fn notifications_take_the_route_that_the_subscription_came() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "Record-Route: <sip:a;lr>, <sip:b;lr>\r\n");
    assert_eq!(&*bench.notify().routes, "<sip:a;lr>, <sip:b;lr>");
}

/// RFC 3842: the node's own word, until somebody publishes.
#[test]
fn waiting_messages_are_told_by_the_node_or_by_who_publishes() {
    let mut bench = Bench::new(all());
    bench.subscribe("message-summary", "");
    assert_eq!(bench.notify().body, "Messages-Waiting: no\r\n");
    bench.secs(1);
    let waiting = Some(Waiting { new: 3, ..Waiting::default() });
    bench.events.set_waiting(bench.now, &bench.registrar, "bob", waiting);
    assert!(bench.notify().body.contains("Voice-Message: 3/0"));
    bench.secs(1);
    let kind = "Content-Type: application/simple-message-summary\r\n";
    bench.publish("message-summary", kind, "Messages-Waiting: yes\r\n");
    assert_eq!(bench.notify().body, "Messages-Waiting: yes\r\n");
    bench.secs(1);
    bench.events.set_waiting(bench.now, &bench.registrar, "bob", None);
    bench.silent();
}

/// RFC 6665 4.1.3: who is told so goes elsewhere at once.
#[test]
fn subscribers_are_told_that_the_node_stops() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "");
    bench.notify();
    bench.events.stop(bench.now, &bench.registrar);
    assert_eq!(bench.notify().state, "terminated;reason=deactivated");
    bench.events.assert_clean();
}

/// A subscriber that never answers keeps one place for as long as its transaction lasts, not more.
#[test]
fn an_end_waits_for_the_answer_to_what_was_told_before() {
    let mut bench = Bench::new(all());
    bench.subscribe("presence", "Expires: 60\r\n");
    let first = bench.notified().unwrap();
    bench.pass(Duration::from_secs(61));
    bench.silent();
    bench.answer(&first, Answered::Status(200, None));
    assert_eq!(bench.notify().state, "terminated;reason=timeout");
    bench.events.assert_clean();
}
