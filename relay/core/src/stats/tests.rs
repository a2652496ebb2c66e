use std::time::Duration;

use super::*;
use crate::testing::start_of_time;

const PTIME: Duration = Duration::from_millis(20);

fn peer() -> SocketAddr {
    "192.0.2.1:4000".parse().unwrap()
}

fn header(payload_type: u8, sequence: u16, timestamp: u32) -> RtpHeader {
    RtpHeader { payload_type, sequence, timestamp, ssrc: 1 }
}

impl DirectionStats {
    fn receive(&mut self, now: Instant, header: RtpHeader, bytes: usize) {
        self.heard(now, header);
        self.relayed(PacketKind::Rtp, bytes, peer());
    }
}

/// Packets with these sequence numbers, 20 ms of G.711 each, on time.
fn after(numbers: impl IntoIterator<Item = u16>) -> DirectionReport {
    let mut stats = DirectionStats::default();
    let mut now = start_of_time();
    for number in numbers {
        stats.receive(now, header(0, number, u32::from(number) * 160), 172);
        now += PTIME;
    }
    stats.report()
}

/// RFC 3550 A.3.
#[test]
fn loss_is_what_is_missing_from_the_sequence() {
    let report = after([10, 11, 14, 15]);
    assert_eq!((report.packets, report.bytes, report.lost), (4, 4 * 172, 2));
}

/// RFC 3550 A.1.
#[test]
fn the_sequence_goes_on_across_the_16_bit_wrap() {
    assert_eq!(after([65_533, 65_534, 0, 1]).lost, 1);
    let all = (0..140_000_u32).map(|n| n as u16);
    assert_eq!(after(all).lost, 0);
}

#[test]
fn a_late_packet_is_reordered_and_not_lost() {
    let report = after([10, 12, 11, 13]);
    assert_eq!((report.lost, report.reordered, report.duplicates), (0, 1, 0));
}

#[test]
fn a_packet_from_before_the_first_one_is_not_negative_loss() {
    let report = after([10, 9, 12]);
    assert_eq!((report.lost, report.reordered), (1, 1));
    assert_eq!(after([0, 65_535, 1]).lost, 0);
}

/// RFC 3550 A.3 lets duplicates hide loss; here they do not.
#[test]
fn duplicates_are_counted_and_do_not_hide_loss() {
    let report = after([10, 10, 10, 12]);
    assert_eq!((report.lost, report.duplicates, report.reordered), (1, 2, 0));
}

/// RFC 3550 A.1: two packets in sequence after a jump are a restarted sender.
#[test]
fn a_restarted_sender_does_not_count_as_loss() {
    assert_eq!(after([10, 12, 30_000, 30_001, 30_003]).lost, 2);
    assert_eq!(after([10, 30_000, 11, 12]).lost, 0);
}

#[test]
fn sources_are_followed_apart_and_a_replaced_one_keeps_its_loss() {
    let mut stats = DirectionStats::default();
    let now = start_of_time();
    for ssrc in 0..10 {
        for sequence in [100, 102] {
            let header = RtpHeader { payload_type: 0, sequence, timestamp: 0, ssrc };
            stats.receive(now, header, 172);
        }
    }
    assert_eq!(stats.report().lost, 10);
    let mut stats = DirectionStats::default();
    for sequence in 0..50 {
        for ssrc in [1, 2] {
            let header = RtpHeader { payload_type: 0, sequence, timestamp: 0, ssrc };
            stats.receive(now, header, 172);
        }
    }
    assert_eq!(stats.report().lost, 0);
}

/// RFC 3550 A.8.
#[test]
fn jitter_is_zero_for_packets_on_time_and_settles_at_the_deviation() {
    assert_eq!(after(0..500).jitter, 0);
    let mut stats = DirectionStats::default();
    let start = start_of_time();
    for n in 0..2000_u16 {
        // Every second packet is 5 ms late: each differs from the last by 40 units of 125 us.
        let late = Duration::from_millis(if n % 2 == 0 { 0 } else { 5 });
        let now = start + PTIME * u32::from(n) + late;
        stats.receive(now, header(8, n, u32::from(n) * 160), 172);
    }
    assert!(stats.report().jitter.abs_diff(40) <= 1, "{}", stats.report().jitter);
}

/// A dynamic payload type: 5 ms are 240 units at 48 kHz, 450 at 90 kHz.
#[test]
fn the_clock_rate_of_a_dynamic_type_is_taken_from_its_timestamps() {
    for (ticks, expected) in [(960, 240), (1800, 450), (160, 40)] {
        let mut stats = DirectionStats::default();
        let start = start_of_time();
        for n in 0..2000_u16 {
            let late = Duration::from_millis(if n % 2 == 0 { 0 } else { 5 });
            let now = start + PTIME * u32::from(n) + late;
            stats.receive(now, header(111, n, u32::from(n) * ticks), 100);
        }
        assert!(stats.report().jitter.abs_diff(expected) <= 2, "{}", stats.report().jitter);
    }
}

#[test]
fn jitter_of_a_dynamic_type_is_zero_until_its_rate_is_known() {
    let mut stats = DirectionStats::default();
    let start = start_of_time();
    for n in 0..90_u16 {
        stats.receive(start + PTIME * u32::from(n), header(96, n, u32::from(n) * 7), 100);
    }
    assert_eq!(stats.report().jitter, 0);
}

#[test]
fn a_stream_that_was_closed_and_opened_again_adds_up() {
    let (one, two) = (after([1, 3]), after([1, 2, 2]));
    let sum = add(one, two);
    assert_eq!((sum.packets, sum.lost, sum.duplicates, sum.source), (5, 1, 1, Some(peer())));
    assert_eq!(add(one, DirectionReport::default()).source, Some(peer()));
}
