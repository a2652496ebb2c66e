//! Calls directly and through a little node of the tests' own: the generator as a SIP user agent.

use std::net::UdpSocket;
use std::ops::ControlFlow;

use load::Report;

use crate::args;
use crate::node::{Manners, Node};

fn run(words: &str) -> Report {
    load::run(&args(words), |_| ControlFlow::Continue(())).unwrap()
}

fn through(node: &Node, words: &str) -> Report {
    run(&format!("{} {words}", node.address))
}

fn only_failure(report: &Report) -> (&str, u64) {
    assert_eq!(report.failures.len(), 1, "{report}");
    let (reason, count) = report.failures.first_key_value().unwrap();
    (reason, *count)
}

#[test]
fn twenty_direct_calls_lose_nothing() {
    let report = run("--direct --sessions 20 --seconds 2");
    assert!(report.is_flawless(), "{report}");
    assert_eq!(report.sessions_answered, 20);
    assert_eq!(report.hangups_ok, 20);
    assert_eq!(report.rtp_packets_sent, report.rtp_packets_received);
    // 20 calls x 2 sides x (50 + 2 x 30) packets/s for 2 s and what it takes to set them up.
    assert!((8_700..14_000).contains(&report.rtp_packets_sent), "{report}");
    // At least an early report and one a second, for each of 80 streams.
    assert!(report.rtcp_packets_sent >= 160, "{report}");
    assert_eq!(report.latency_us.count, report.rtp_packets_received);
    assert!(report.latency_us.p50 > 0.0 && report.latency_us.p50 < 100_000.0, "{report}");
    assert_eq!(report.setup_us.count, 20);
    assert!(report.setup_us.p50 >= 20_000.0, "it rings for 20 ms: {report}");
    assert_eq!(report.sip_unexpected + report.sip_unreadable, 0, "{report}");
    assert!(report.generator_cpu_seconds > 0.0);
}

#[test]
fn calls_with_a_time_of_their_own_end_one_by_one() {
    let report = run("--direct --sessions 10 --rate 20 --seconds 1 --per-call-seconds");
    assert!(report.is_flawless(), "{report}");
    assert_eq!(report.hangups_ok, 10);
    // Each has its second, no more: 10 calls x 2 sides x 110 packets/s.
    assert!((2_000..2_600).contains(&report.rtp_packets_sent), "{report}");
}

#[test]
fn audio_alone_is_fifty_packets_a_second() {
    let report = run("--direct --sessions 4 --seconds 1 --no-video --rate 1000");
    assert!(report.is_flawless(), "{report}");
    assert_eq!(report.latency_us_video.count, 0);
    assert!((400..500).contains(&report.rtp_packets_sent), "{report}");
}

/// RFC 3261 10.2, 22 and 12.2: registration with MD5, loose routing by Record-Route both ways.
#[test]
fn calls_through_a_record_routing_proxy_with_md5_lose_nothing() {
    let node = Node::start(Manners { register_auth: vec!["MD5"], ..Manners::default() });
    let report = through(&node, "--sessions 10 --seconds 1");
    assert!(report.is_flawless(), "{report}");
    assert_eq!(report.registrations_ok, 20);
    assert_eq!(report.register_us.count, 20);
    assert_eq!(node.requests("REGISTER"), 80, "to come and to go, each challenged once");
    assert_eq!(node.requests("BYE"), 10, "all hang-ups go through the proxy");
    assert_eq!(report.sip_unexpected + report.sip_unreadable, 0, "{report}");
}

/// RFC 3261 10.2.2.
#[test]
fn a_registration_that_cannot_be_taken_back_is_a_flaw() {
    let node = Node::start(Manners { clings: true, ..Manners::default() });
    let report = through(&node, "--sessions 2 --seconds 0.2");
    assert_eq!((report.registrations_ok, report.unregistrations_failed), (4, 4), "{report}");
    assert_eq!(report.registration_failures["contact still listed after its removal"], 4);
    assert!(!report.is_flawless());
    let report = through(&node, "--sessions 2 --seconds 0.2 --keep-registrations");
    assert!(report.is_flawless(), "{report}");
}

/// RFC 8760 2.4 and RFC 3261 22.3.
#[test]
fn a_registrar_with_sha_256_and_a_proxy_that_challenges_are_satisfied() {
    let node = Node::start(Manners {
        register_auth: vec!["SHA-256", "MD5"],
        invite_auth: true,
        ..Manners::default()
    });
    let report = through(&node, "--sessions 5 --seconds 0.5");
    assert!(report.is_flawless(), "{report}");
    assert_eq!(node.requests("INVITE"), 10, "each is challenged once");
}

#[test]
fn a_wrong_password_fails_the_registration_and_the_calls() {
    let node = Node::start(Manners { register_auth: vec!["MD5"], ..Manners::default() });
    let report = through(&node, "--sessions 3 --password wrong");
    assert_eq!((report.registrations_ok, report.registrations_failed), (0, 6));
    let reason = report.registration_failures.first_key_value().unwrap().0;
    assert_eq!(reason, "REGISTER unauthenticated: 401 Unauthorized again");
    assert_eq!(only_failure(&report), ("the caller was not registered", 3));
    assert_eq!(node.requests("INVITE"), 0);
}

#[test]
fn a_wrong_password_fails_the_call_that_is_challenged() {
    let node = Node::start(Manners { invite_auth: true, ..Manners::default() });
    let report = through(&node, "--sessions 2 --password wrong");
    let (reason, count) = only_failure(&report);
    assert_eq!(count, 2);
    assert!(reason.starts_with("INVITE unauthenticated: 407"), "{reason}");
}

/// RFC 3261 11.2.
#[test]
fn users_answer_options() {
    let node = Node::start(Manners { ping: true, ..Manners::default() });
    let report = through(&node, "--sessions 2 --seconds 0.2");
    assert!(report.is_flawless(), "{report}");
    assert_eq!(node.pongs.load(std::sync::atomic::Ordering::Relaxed), 4);
}

/// RFC 3261 17.1: the losses are made up for by retransmission.
#[test]
fn lost_sip_messages_are_made_up_for() {
    let node = Node::start(Manners {
        register_auth: vec!["MD5"],
        sip_loss_every: Some(5),
        ..Manners::default()
    });
    let report = through(&node, "--sessions 20 --seconds 0.5 --t1-ms 50 --hangup-rate 50");
    assert_eq!(report.sessions_answered, 20, "{report}");
    assert_eq!((report.hangups_ok, report.rtp_packets_lost), (20, 0), "{report}");
    assert!(report.sip_retransmissions > 20, "{report}");
}

#[test]
fn a_callee_that_refuses_is_a_reason_of_its_own() {
    let node = Node::start(Manners::default());
    let report = through(&node, "--sessions 5 --callee busy");
    assert_eq!((report.sessions_answered, report.sessions_failed), (0, 5));
    assert_eq!(only_failure(&report), ("INVITE answered 486 BusyHere", 5));
    assert_eq!(node.requests("ACK"), 5, "RFC 3261 17.1.1.3: each failure is acknowledged");
    assert!(!report.deadline_reached);
}

/// RFC 3261 9.1: the call is cancelled, and ends with 487 for the callee.
#[test]
fn a_callee_that_only_rings_is_cancelled() {
    let node = Node::start(Manners::default());
    let report = through(&node, "--sessions 3 --callee ring --answer-seconds 0.3");
    assert_eq!(only_failure(&report), ("INVITE without final answer in time, last was 180", 3));
    assert_eq!(report.post_dial_us.count, 3, "it rang");
    assert_eq!(node.requests("CANCEL"), 3);
    assert_eq!(node.requests("ACK"), 3, "of the 487");
}

#[test]
fn a_callee_that_says_nothing_ends_in_a_bounded_time() {
    let report = run("--direct --sessions 3 --callee silent --t1-ms 10 --answer-seconds 60");
    assert_eq!(only_failure(&report), ("INVITE without final answer in 64*T1", 3));
    assert!(report.elapsed_seconds < 10.0, "{report}");
}

#[test]
fn a_node_that_is_not_there_ends_in_a_bounded_time() {
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
    let report = run(&format!("{} --sessions 3 --t1-ms 10", deaf.local_addr().unwrap()));
    assert_eq!(report.registrations_failed, 6);
    let reason = report.registration_failures.first_key_value().unwrap().0;
    assert_eq!(reason, "REGISTER without final answer in 64*T1");
    assert_eq!(report.sessions_failed, 3);
}

#[test]
fn a_user_that_the_node_does_not_know_is_404() {
    let node = Node::start(Manners::default());
    let report = through(&node, "--sessions 2 --no-register");
    assert_eq!(only_failure(&report), ("INVITE answered 404 Not Found", 2));
}

/// RFC 3261 13.3.1.4.
#[test]
fn an_ack_that_never_arrives_fails_the_call() {
    let node = Node::start(Manners { swallow: Some("ACK"), ..Manners::default() });
    let report = through(&node, "--sessions 2 --t1-ms 10");
    assert_eq!(only_failure(&report), ("ACK never reached the callee", 2));
    assert!(node.requests("ACK") > 2, "each repeated 2xx is acknowledged again");
    assert_eq!(report.rtp_packets_sent, 0, "no media before both sides are up");
}

#[test]
fn a_bye_that_never_arrives_is_a_failed_hang_up_of_an_answered_call() {
    let node = Node::start(Manners { swallow: Some("BYE"), ..Manners::default() });
    let report = through(&node, "--sessions 2 --seconds 0.2 --t1-ms 10");
    assert_eq!(report.sessions_answered, 2, "{report}");
    assert_eq!((report.hangups_ok, report.hangups_failed), (0, 2));
    assert_eq!(report.hangup_failures["BYE without final answer in 64*T1"], 2);
    assert!(!report.is_flawless());
}

#[test]
fn an_answer_that_refuses_video_fails_the_call() {
    let node = Node::start(Manners { refuse_video: true, ..Manners::default() });
    let report = through(&node, "--sessions 2 --seconds 0.2");
    assert_eq!(only_failure(&report), ("bad answer to the caller: video was refused", 2));
}

#[test]
fn media_is_never_sent_where_it_is_not_allowed() {
    let node = Node::start(Manners { media_address: Some("192.0.2.1"), ..Manners::default() });
    let report = through(&node, "--sessions 2 --seconds 0.2");
    assert_eq!(only_failure(&report), ("the peer named an address not allowed", 2));
    assert_eq!(report.rtp_packets_sent, 0);
}

#[test]
fn a_deadline_ends_everything() {
    let report = run("--direct --sessions 3 --seconds 600 --deadline-seconds 1");
    assert!(report.deadline_reached);
    assert_eq!(only_failure(&report), ("the run's deadline was reached", 3));
    assert!(report.elapsed_seconds < 5.0, "{report}");
}

#[test]
fn whoever_listens_can_break_off() {
    let mut up = 0;
    let report = load::run(&args("--direct --sessions 3 --seconds 600"), |progress| {
        up = up.max(progress.sessions_up);
        if up == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert!(report.cancelled && !report.deadline_reached, "{report}");
    assert_eq!(only_failure(&report), ("the run was cancelled", 3));
}

#[test]
fn progress_counts_up_to_what_the_report_says() {
    let mut seen = Vec::new();
    let report = load::run(&args("--direct --sessions 5 --seconds 1"), |progress| {
        seen.push(*progress);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!((4..40).contains(&seen.len()), "{}", seen.len());
    assert!(seen.is_sorted_by_key(|progress| progress.rtp_packets_received));
    let last = seen.last().unwrap();
    assert_eq!(last.sessions_up, 5);
    assert_eq!(last.rtp_packets_sent, report.rtp_packets_sent);
    assert_eq!(last.rtp_packets_missing, 0);
}
