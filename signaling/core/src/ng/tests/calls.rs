//! Calls from their first offer to their end.

use std::time::Duration;

use relay_core::api::{CloseCause, Event, Leg, Refusal, SessionReport};

use super::harness::{Bench, address, answer, command, config, list, offer, sdp, set_up};
use crate::call::Owner;
use crate::ng::calls::BRANCHES_MAX;
use crate::ng::{Config, Notice, REQUESTS_MAX};

/// A port is promised only once it receives.
#[test]
fn an_offer_and_its_answer_come_back_with_ports_once_the_relay_has_opened_them() {
    let mut bench = Bench::new(config());
    bench.relay_is_slow = true;
    let cookie = bench.send(&offer("c", "a", &sdp("198.51.100.10", 4000)));
    bench.expect_silence();
    bench.relay_answers();
    let offered = bench.reply_to(&cookie).text("sdp");
    assert!(offered.contains("o=- 1 1 IN IP4 192.0.2.1\r\n"), "{offered}");
    assert!(offered.contains("c=IN IP4 192.0.2.1\r\n"), "{offered}");
    assert!(offered.contains("m=audio 20102 RTP/AVP 8 0\r\n"), "{offered}");

    let cookie = bench.send(&answer("c", "a", "b", &sdp("198.51.100.20", 6000)));
    bench.expect_silence();
    bench.relay_answers();
    let answered = bench.reply_to(&cookie).text("sdp");
    assert!(answered.contains("m=audio 20100 RTP/AVP 8 0\r\n"), "{answered}");

    let (session, spec) = bench.last_spec();
    assert_eq!(Owner::of(session), Owner::Ng);
    let remote = |leg: Leg| spec.streams[0].legs[leg.index()].remote.unwrap().rtp;
    assert_eq!(remote(Leg::Caller), address("198.51.100.10:4000"));
    assert_eq!(remote(Leg::Callee), address("198.51.100.20:6000"));
}

/// RFC 3264 8: either side may offer again; the sender of `from-tag` is the one who offers.
#[test]
fn either_side_may_offer_again_and_keeps_the_ports() {
    let mut bench = Bench::new(config());
    set_up(&mut bench);
    let again = bench.describe(&offer("c", "b", &sdp("198.51.100.21", 7000)).with("to-tag", "a"));
    assert!(again.contains("m=audio 20100 "), "{again}");
    let agreed = bench.describe(&answer("c", "b", "a", &sdp("198.51.100.10", 4000)));
    assert!(agreed.contains("m=audio 20102 "), "{agreed}");
    let remote = bench.last_spec().1.streams[0].legs[1].remote.unwrap();
    assert_eq!(remote.rtp, address("198.51.100.21:7000"));

    bench.describe(&offer("c", "a", &sdp("198.51.100.10", 4400)).with("to-tag", "b"));
    bench.describe(&answer("c", "a", "b", &sdp("198.51.100.21", 7000)));
    let remote = bench.last_spec().1.streams[0].legs[0].remote.unwrap();
    assert_eq!(remote.rtp, address("198.51.100.10:4400"));
    assert_eq!((bench.ng.calls(), bench.ng.sessions()), (1, 1));
}

/// An INVITE that comes again with credentials has the same tags and another branch of its own.
#[test]
fn an_offer_that_was_not_answered_is_superseded_by_the_next_one() {
    let mut bench = Bench::new(config());
    let first = bench.describe(&offer("c", "a", &sdp("198.51.100.10", 4000)));
    let second = bench.describe(&offer("c", "a", &sdp("198.51.100.10", 4000)));
    assert_eq!(first, second);
    assert_eq!(bench.ng.sessions(), 1);
}

/// A proxy that asks for each branch of a fork gets a session for each.
#[test]
fn branches_that_are_told_apart_have_sessions_of_their_own() {
    let mut bench = Bench::new(config());
    let to = |branch: &str| offer("c", "a", &sdp("198.51.100.10", 4000)).with("via-branch", branch);
    let first = bench.describe(&to("x"));
    let second = bench.describe(&to("y"));
    assert_ne!(first, second);
    bench.describe(&answer("c", "a", "b2", &sdp("198.51.100.22", 6200)).with("via-branch", "y"));
    let (session, spec) = bench.last_spec();
    assert_eq!(spec.streams[0].legs[1].remote.unwrap().rtp, address("198.51.100.22:6200"));
    bench.describe(&answer("c", "a", "b1", &sdp("198.51.100.21", 6100)).with("via-branch", "x"));
    assert_ne!(bench.last_spec().0, session);
    assert_eq!((bench.ng.calls(), bench.ng.sessions()), (1, 2));

    bench.ask(&command("delete", "c").with("from-tag", "a").with("via-branch", "y"));
    assert_eq!(bench.closed_sessions(), [session]);
    assert_eq!((bench.ng.calls(), bench.ng.sessions()), (1, 1));
    bench.ask(&command("delete", "c").with("from-tag", "a"));
    assert_eq!((bench.ng.calls(), bench.ng.sessions()), (0, 0));
}

/// One offer that was forked: everybody was promised the same ports, so the last answer has them.
#[test]
fn several_answers_to_one_offer_share_its_session_and_the_last_one_counts() {
    let mut bench = Bench::new(config());
    bench.describe(&offer("c", "a", &sdp("198.51.100.10", 4000)));
    bench.describe(&answer("c", "a", "b1", &sdp("198.51.100.21", 6100)));
    bench.describe(&answer("c", "a", "b2", &sdp("198.51.100.22", 6200)));
    let remote = bench.last_spec().1.streams[0].legs[1].remote.unwrap();
    assert_eq!((remote.rtp, bench.ng.sessions()), (address("198.51.100.22:6200"), 1));

    // The one without the media hangs up.
    let reply = bench.ask(&command("delete", "c").with("from-tag", "b1"));
    assert_eq!((reply.text("result"), bench.ng.sessions()), ("ok".to_owned(), 1));
    bench.ask(&command("delete", "c").with("from-tag", "b2"));
    assert_eq!((bench.ng.calls(), bench.ng.sessions()), (0, 0));
}

/// A 200 that offers: `from-tag` is the callee's then, and the ACK answers.
#[test]
fn an_offer_of_the_called_side_starts_a_call() {
    let mut bench = Bench::new(config());
    let late = offer("c", "callee", &sdp("198.51.100.20", 6000)).with("to-tag", "caller");
    bench.describe(&late);
    bench.describe(&answer("c", "callee", "caller", &sdp("198.51.100.10", 4000)));
    assert_eq!(bench.ng.sessions(), 1);
    bench.ask(&command("delete", "c").with("from-tag", "caller").with("to-tag", "callee"));
    assert_eq!(bench.ng.sessions(), 0);
}

#[test]
fn a_delete_frees_the_session_and_tells_what_it_relayed() {
    let mut bench = Bench::new(config());
    set_up(&mut bench);
    bench.relay_is_slow = true;
    let cookie = bench.send(&command("delete", "c").with("from-tag", "b"));
    bench.expect_silence();
    assert_eq!(bench.ng.calls(), 0);
    bench.relay_answers();
    let reply = bench.reply_to(&cookie);
    assert_eq!(reply.number("totals/RTP/packets"), 900);
    assert_eq!(reply.number("totals/RTP/bytes"), 900 * 172);
    assert_eq!(reply.number("totals/RTCP/packets"), 4);
    assert_eq!(bench.ng.sessions(), 0);
    assert_eq!((bench.records.len(), &*bench.records[0].call_id), (1, "c"));
    // Its timer has gone with it, and the cache empties.
    bench.pass(Duration::from_secs(20));
    assert_eq!(bench.ng.poll_timeout(), None);
}

#[test]
fn what_is_not_there_is_deleted_with_a_warning_or_if_that_is_fatal_refused() {
    let mut bench = Bench::new(config());
    let delete = command("delete", "c").with("from-tag", "a");
    let reply = bench.ask(&delete);
    assert_eq!(reply.text("result"), "ok");
    assert!(reply.text("warning").contains("no call here"));
    assert!(bench.refused(&delete.with("flags", list(&["fatal"]))).contains("no call here"));
    set_up(&mut bench);
    bench.ask(&command("delete", "c").with("from-tag", "nobody"));
    assert_eq!(bench.ng.calls(), 1);
}

/// A call that is deleted while its ports are being opened leaves nothing behind.
#[test]
fn a_delete_overtakes_an_offer_that_waits() {
    let mut bench = Bench::new(config());
    bench.relay_is_slow = true;
    let offering = bench.send(&offer("c", "a", &sdp("198.51.100.10", 4000)));
    let deleting = bench.send(&command("delete", "c").with("from-tag", "a"));
    bench.relay_answers();
    assert_eq!(bench.reply_to(&offering).text("result"), "error");
    assert_eq!(bench.reply_to(&deleting).text("result"), "ok");
    assert_eq!((bench.ng.calls(), bench.ng.sessions()), (0, 0));
}

#[test]
fn a_query_tells_what_a_live_call_has_relayed_and_for_whom() {
    let mut bench = Bench::new(config());
    bench.pass(Duration::from_secs(5));
    let first = offer("c", "a", &sdp("198.51.100.10", 4000)).with("label", "left");
    bench.describe(&first);
    bench.describe(&answer("c", "a", "b", &sdp("198.51.100.20", 6000)));
    bench.pass(Duration::from_secs(7));
    let reply = bench.ask(&command("query", "c"));
    assert_eq!(reply.number("created"), 1_700_000_005);
    assert_eq!(reply.number("last signal"), 1_700_000_005);
    assert_eq!(reply.number("totals/RTP/packets"), 900);
    assert_eq!(reply.number("totals/RTP/errors"), 2);
    assert_eq!(reply.len("tags"), 2);
    assert_eq!(reply.text("tags/a/in dialogue with"), "b");
    assert_eq!(reply.text("tags/a/label"), "left");
    assert_eq!(reply.text("tags/b/medias/0/type"), "audio");
    let stream = |leaf: &str| format!("tags/b/medias/0/streams/0/{leaf}");
    assert_eq!(reply.number(&stream("local port")), 20102);
    assert_eq!(reply.text(&stream("endpoint/address")), "198.51.100.20");
    assert_eq!(reply.number(&stream("stats/packets")), 400);
    assert_eq!(bench.ng.sessions(), 1);
    assert!(bench.refused(&command("query", "nothing")).contains("no call here"));
}

#[test]
fn a_call_without_a_free_port_is_refused_and_leaves_nothing_behind() {
    let mut bench = Bench::new(config());
    bench.refusal = Some(Refusal::TableFull { what: "sockets", limit: 9 });
    let reply = bench.ask(&offer("c", "a", &sdp("198.51.100.10", 4000)));
    // Kamailio and OpenSIPS try another relay then.
    assert_eq!(reply.text("result"), "load limit");
    assert!(reply.text("message").contains("9 sockets"));
    let plain = offer("c", "a", &sdp("198.51.100.10", 4000)).with("supports", list(&[]));
    assert!(bench.refused(&plain).contains("9 sockets"));
    assert!(matches!(bench.notices[0], Notice::Refused { .. }));
    assert_eq!((bench.ng.calls(), bench.ng.sessions()), (0, 0));
}

/// The relay keeps the ports that it has promised; what the peer asked for is told to be impossible.
#[test]
fn a_refused_answer_leaves_the_call_as_it_was() {
    let mut bench = Bench::new(config());
    bench.describe(&offer("c", "a", &sdp("198.51.100.10", 4000)));
    bench.refusal = Some(Refusal::BadSpec("for the test"));
    assert!(
        bench.refused(&answer("c", "a", "b", &sdp("198.51.100.20", 6000))).contains("for the test")
    );
    assert_eq!((bench.ng.calls(), bench.ng.sessions()), (1, 1));
    bench.refusal = None;
    bench.describe(&answer("c", "a", "b", &sdp("198.51.100.20", 6000)));
}

#[test]
fn a_refused_offer_asks_for_nothing_any_more() {
    let mut bench = Bench::new(config());
    set_up(&mut bench);
    bench.refusal = Some(Refusal::BadSpec("for the test"));
    let two = sdp("198.51.100.10", 4000) + "m=video 4002 RTP/AVP 96\r\n";
    bench.refused(&offer("c", "a", &two).with("to-tag", "b"));
    bench.refusal = None;
    bench.describe(&offer("c", "b", &sdp("198.51.100.20", 6000)).with("to-tag", "a"));
    let (_, spec) = bench.last_spec();
    assert_eq!(spec.streams.iter().filter(|stream| stream.open).count(), 1);
}

#[test]
fn a_session_that_the_relay_has_closed_as_idle_takes_its_call_along() {
    let mut bench = Bench::new(config());
    set_up(&mut bench);
    let (session, _) = bench.last_spec();
    let cause = CloseCause::Idle(Duration::from_secs(60));
    bench.relay_event(Event::Closed { session, cause, report: SessionReport::default() });
    assert_eq!((bench.ng.calls(), bench.ng.sessions()), (0, 0));
    assert_eq!(bench.records[0].cause, cause);
    assert!(bench.closed_sessions().is_empty());
    let reply = bench.ask(&command("delete", "c").with("from-tag", "a"));
    assert!(reply.text("warning").contains("no call here"));
}

#[test]
fn a_call_for_which_no_command_comes_any_more_ends() {
    let mut bench = Bench::new(config());
    set_up(&mut bench);
    bench.pass(Duration::from_secs(3000));
    bench.describe(&offer("c", "a", &sdp("198.51.100.10", 4000)).with("to-tag", "b"));
    bench.pass(Duration::from_secs(3000));
    assert_eq!(bench.ng.calls(), 1);
    bench.pass(Duration::from_secs(601));
    assert_eq!((bench.ng.calls(), bench.ng.sessions()), (0, 0));
    assert!(matches!(&bench.notices[..], [Notice::LifetimeExceeded { .. }]), "{:?}", bench.notices);
}

/// Shorter than the five seconds after which the modules give up.
#[test]
fn a_relay_that_does_not_answer_is_not_waited_for() {
    let mut bench = Bench::new(config());
    set_up(&mut bench);
    bench.relay_is_slow = true;
    let offering = bench.send(&offer("d", "a", &sdp("198.51.100.10", 4000)));
    let asking = bench.send(&command("query", "c"));
    let deleting = bench.send(&command("delete", "c").with("from-tag", "a"));
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.reply_to(&offering).text("result"), "load limit");
    assert_eq!(bench.reply_to(&asking).number("totals/RTP/packets"), 0);
    assert_eq!(bench.reply_to(&deleting).text("result"), "ok");
    // Late answers find nobody.
    bench.relay_answers();
    bench.expect_silence();
    assert_eq!(bench.ng.sessions(), 1);
}

#[test]
fn calls_branches_and_waiting_commands_are_bounded() {
    let mut bench = Bench::new(Config { calls_max: 2, ..config() });
    for call in ["1", "2"] {
        bench.describe(&offer(call, "a", &sdp("198.51.100.10", 4000)));
    }
    let reply = bench.ask(&offer("3", "a", &sdp("198.51.100.10", 4000)));
    assert_eq!(reply.text("message"), "all 2 calls are in use");
    for branch in 1..BRANCHES_MAX {
        let via = branch.to_string();
        bench.describe(&offer("1", &via, &sdp("198.51.100.10", 4000)).with("via-branch", &*via));
    }
    let one_more = offer("1", "x", &sdp("198.51.100.10", 4000)).with("via-branch", "x");
    assert!(bench.refused(&one_more).contains("32 branches"));
    assert_eq!(bench.ng.sessions(), BRANCHES_MAX + 1);

    bench.relay_is_slow = true;
    for _ in 0..REQUESTS_MAX {
        bench.send(&command("query", "2"));
    }
    bench.expect_silence();
    let reply = bench.ask(&command("query", "2"));
    assert!(reply.text("error-reason").contains("wait for the relay"));
    let reply = bench.ask(&offer("2", "a", &sdp("198.51.100.10", 4000)));
    assert_eq!(reply.text("result"), "load limit");
}

#[test]
fn a_stopping_node_closes_every_session_and_takes_no_more() {
    let mut bench = Bench::new(config());
    set_up(&mut bench);
    bench.describe(&offer("d", "a", &sdp("198.51.100.10", 4000)));
    bench.stop();
    assert_eq!((bench.ng.calls(), bench.ng.sessions(), bench.closed_sessions().len()), (0, 0, 2));
    let late = bench.ask(&offer("e", "a", &sdp("198.51.100.10", 4000)));
    assert_eq!(late.text("message"), "this node is stopping");
}
