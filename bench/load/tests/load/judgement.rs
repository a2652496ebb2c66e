//! A relay that misbehaves in a known way must show up in the report exactly.

use std::ops::ControlFlow;

use load::Report;

use crate::args;
use crate::node::relay::Fault;
use crate::node::{Manners, Node};

/// Four calls of a second through a relay with `fault`; returns how often it was committed.
fn suffer(fault: Fault) -> (Report, u64) {
    let node = Node::start(Manners { fault, ..Manners::default() });
    let args = args(&format!("{} --sessions 4 --seconds 1", node.address));
    let report = load::run(&args, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(report.sessions_answered, 4, "{report}");
    let faults = node.faults();
    let honest = fault == Fault::None;
    assert!(honest || faults > 0, "the relay did what it was asked to");
    assert_eq!(report.is_flawless(), honest || matches!(fault, Fault::Delay(_)), "{report}");
    (report, faults)
}

fn broken(report: &Report) -> [u64; 5] {
    [
        report.rtp_packets_lost,
        report.rtp_packets_duplicate,
        report.rtp_packets_reordered,
        report.rtp_packets_misdelivered,
        report.rtp_packets_corrupt,
    ]
}

#[test]
fn an_honest_relay_is_flawless() {
    let (report, _) = suffer(Fault::None);
    assert_eq!(broken(&report), [0; 5], "{report}");
    assert_eq!(report.rtp_packets_sent, report.rtp_packets_received);
}

#[test]
fn dropped_packets_are_lost() {
    let (report, faults) = suffer(Fault::Drop(100));
    assert_eq!(broken(&report), [faults, 0, 0, 0, 0], "{report}");
    assert_eq!(report.rtp_packets_received, report.rtp_packets_sent - faults);
    assert!(report.sessions_with_loss > 0);
}

#[test]
fn a_changed_byte_is_corruption() {
    let (report, faults) = suffer(Fault::Flip(50));
    assert_eq!(broken(&report), [faults, 0, 0, 0, faults], "{report}");
}

/// The last packet that is to be swapped may find no partner, and goes on late.
#[test]
fn swapped_payloads_are_misdelivered() {
    let (report, faults) = suffer(Fault::Swap(20));
    let [lost, duplicate, reordered, misdelivered, corrupt] = broken(&report);
    let swapped = 2 * faults;
    assert_eq!([lost, duplicate, misdelivered, corrupt], [swapped, 0, swapped, 0], "{report}");
    assert!(reordered <= 1, "{report}");
}

#[test]
fn packets_for_another_call_are_misdelivered_even_on_a_shared_socket() {
    let (report, faults) = suffer(Fault::Misroute(50));
    assert_eq!(broken(&report), [faults, 0, 0, faults, 0], "{report}");
}

/// RFC 4961: a relay sends from the port that it announced.
#[test]
fn packets_from_an_unannounced_port_are_misdelivered() {
    let (report, faults) = suffer(Fault::WrongPort(50));
    assert_eq!(broken(&report), [faults, 0, 0, faults, 0], "{report}");
}

#[test]
fn packets_that_come_twice_are_duplicates_and_not_lost() {
    let (report, faults) = suffer(Fault::Duplicate(50));
    assert_eq!(broken(&report), [0, faults, 0, 0, 0], "{report}");
    assert_eq!(report.rtp_packets_received, report.rtp_packets_sent);
}

#[test]
fn overtaken_packets_are_reordered_and_not_lost() {
    let (report, faults) = suffer(Fault::Delay(50));
    assert_eq!(report.rtp_packets_reordered, faults, "{report}");
    assert_eq!(report.rtp_packets_lost, 0, "{report}");
}

#[test]
fn dropped_reports_are_lost_rtcp() {
    let (report, faults) = suffer(Fault::DropRtcp(3));
    assert_eq!(report.rtcp_packets_lost, faults, "{report}");
    assert_eq!(broken(&report), [0; 5], "{report}");
}
