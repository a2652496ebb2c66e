//! What passes within a stream of a call, and how it passes.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::node::Node;
use crate::packet::{Media, hears_nothing, pass, receive, rtp, rtp_with};
use crate::phone::{Call, Exchange, Phone, sdp};

/// A node, and two phones with media.
struct World {
    node: Node,
    phones: [Phone; 2],
    media: [Media; 2],
}

impl World {
    fn new() -> World {
        World::with("")
    }

    /// With these `[media]` settings.
    fn with(settings: &str) -> World {
        let node = Node::start(settings);
        let phones = ["alice", "bob"].map(|name| Phone::new(&node, name));
        World { node, phones, media: [Media::new(), Media::new()] }
    }

    fn call(&self, descriptions: [&str; 2]) -> (Call<'_>, Exchange) {
        let [caller, callee] = &self.phones;
        Call::new(caller, callee, descriptions[0], descriptions[1])
    }

    fn audio_call(&self) -> (Call<'_>, Exchange) {
        let [caller, callee] = &self.media;
        self.call([&caller.audio(), &callee.audio()])
    }

    /// RTP from one phone to the other and an equal packet back.
    fn both_ways(&self, exchange: &Exchange, packet: &[u8]) {
        let doors = [exchange.answered.door(0), exchange.offered.door(0)];
        let [caller, callee] = &self.media;
        pass(&caller.rtp, doors[0], &callee.rtp, doors[1], packet);
        pass(&callee.rtp, doors[1], &caller.rtp, doors[0], packet);
    }
}

/// RFC 3550 11, RFC 3605: each phone has RTP and RTCP on ports of its own choice.
#[test]
fn rtp_and_rtcp_go_to_the_ports_that_each_phone_has_chosen() {
    let world = World::new();
    let (call, exchange) = world.audio_call();
    for n in 0..50 {
        world.both_ways(&exchange, &rtp(0, 1, n));
    }
    let doors = [exchange.answered.rtcp_door(0), exchange.offered.rtcp_door(0)];
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let [caller, callee] = &world.media;
    pass(&caller.rtcp, doors[0], &callee.rtcp, doors[1], &report);
    pass(&callee.rtcp, doors[1], &caller.rtcp, doors[0], &report);
    let media = world.node.media_of(&call.hang_up());
    assert_eq!(media, "caller 50p/0 lost, callee 50p/0 lost");
}

/// RFC 4961 asks for one port to send from and receive on, and not every gateway keeps to it: where
/// the settings allow for that, it is heard, and sent to where its description says.
#[test]
fn a_phone_that_sends_from_another_port_than_it_receives_on_is_heard_where_that_is_allowed() {
    for (settings, is_heard) in [("learning = \"asymmetric\"", true), ("", false)] {
        let world = World::with(settings);
        let (call, exchange) = world.audio_call();
        let doors = [exchange.answered.door(0), exchange.offered.door(0)];
        let [caller, callee] = &world.media;
        let mouth = Media::new();
        for n in 0..10 {
            mouth.rtp.send_to(&rtp(0, 1, n), doors[0]).expect("it is sent");
            if is_heard {
                assert_eq!(receive(&callee.rtp), (rtp(0, 1, n), doors[1]));
            }
            pass(&callee.rtp, doors[1], &caller.rtp, doors[0], &rtp(0, 2, n));
        }
        hears_nothing(&mouth.rtp);
        let media = world.node.media_of(&call.hang_up());
        let from_caller = if is_heard { "10p/0 lost" } else { "0p/0 lost (never started)" };
        assert_eq!(media, format!("caller {from_caller}, callee 10p/0 lost"));
    }
}

/// RFC 5761 5.1.1: muxed where both sides say so.
#[test]
fn rtcp_shares_the_rtp_port_where_both_phones_agree() {
    let world = World::new();
    let muxed = world.media.each_ref().map(|media| media.audio() + "a=rtcp-mux\r\n");
    let (_call, exchange) = world.call([&muxed[0], &muxed[1]]);
    assert!(exchange.offered.body().contains("a=rtcp-mux"));
    assert!(exchange.answered.body().contains("a=rtcp-mux"));
    world.both_ways(&exchange, &rtp(0, 1, 1));
    world.both_ways(&exchange, &[0x80, 201, 0, 1, 0, 0, 0, 1]);
}

/// RFC 5761 5.1.1: the offerer may mux before it knows that the other side does not; that side gets
/// its RTCP on a port of its own.
#[test]
fn rtcp_is_taken_apart_for_a_phone_that_does_not_mux() {
    let world = World::new();
    let [caller, callee] = &world.media;
    let (_call, exchange) = world.call([&(caller.audio() + "a=rtcp-mux\r\n"), &callee.audio()]);
    assert!(!exchange.answered.body().contains("a=rtcp-mux"));
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let (muxed, apart) = (exchange.answered.door(0), exchange.offered.rtcp_door(0));
    pass(&caller.rtp, muxed, &callee.rtcp, apart, &report);
    pass(&callee.rtcp, apart, &caller.rtcp, exchange.answered.rtcp_door(0), &report);
    world.both_ways(&exchange, &rtp(0, 1, 1));
}

/// RFC 4733: an event is several packets of one timestamp, the last of them three times.
#[test]
fn telephone_events_pass_in_both_directions() {
    let world = World::new();
    let (call, exchange) = world.audio_call();
    world.both_ways(&exchange, &rtp(0, 1, 0));
    for n in 1..=6_u16 {
        let (first, last) = (n == 1, n >= 4);
        let [high, low] = (160 * n.min(4)).to_be_bytes();
        let event = [5, if last { 0x8a } else { 0x0a }, high, low];
        let kind = if first { 0x80 | 101 } else { 101 };
        world.both_ways(&exchange, &rtp_with(kind, 1, n, 160, &event));
    }
    world.both_ways(&exchange, &rtp_with(0, 1, 7, 1120, &[0x55; 160]));
    let media = world.node.media_of(&call.hang_up());
    assert_eq!(media, "caller 8p/0 lost, callee 8p/0 lost");
}

/// RFC 3389, RFC 3551 4.1, 6: a pause is one packet of comfort noise, whose type is static, and then
/// none until speech goes on, with the next number and a later timestamp.
#[test]
fn comfort_noise_and_pauses_are_no_loss() {
    let world = World::new();
    let (call, exchange) = world.audio_call();
    let (mut number, mut time) = (0, 0);
    let mut next = |kind: u8, pause: u32, payload: &[u8]| {
        number += 1;
        time += 160 + pause;
        rtp_with(kind, 1, number, time, payload)
    };
    for _ in 0..3 {
        world.both_ways(&exchange, &next(0x80, 16_000, &[0x55; 160]));
        for _ in 0..4 {
            world.both_ways(&exchange, &next(0, 0, &[0x55; 160]));
        }
        world.both_ways(&exchange, &next(13, 0, &[60]));
    }
    let media = world.node.media_of(&call.hang_up());
    assert_eq!(media, "caller 18p/0 lost, callee 18p/0 lost");
}

/// A link of 1,500 bytes carries 1,472 of UDP payload over IPv4.
#[test]
fn packets_as_large_as_a_link_carries_pass_alone_and_in_a_burst() {
    let world = World::new();
    let (call, exchange) = world.audio_call();
    let packet = |n: u16| rtp_with(0, 1, n, 0, &vec![n as u8; 1472 - 12]);
    for n in 0..5 {
        world.both_ways(&exchange, &packet(n));
    }
    let [caller, callee] = &world.media;
    for n in 5..25 {
        caller.rtp.send_to(&packet(n), exchange.answered.door(0)).expect("it is sent");
    }
    for n in 5..25 {
        let (received, from) = receive(&callee.rtp);
        assert!(received == packet(n) && from == exchange.offered.door(0), "packet {n}");
    }
    let media = world.node.media_of(&call.hang_up());
    assert_eq!(media, "caller 25p/0 lost, callee 5p/0 lost");
}

/// RFC 3550 8, RFC 4588: each source of a stream (a retransmission or a mixer's stream beside the
/// first) has a numbering of its own.
#[test]
fn several_sources_in_one_stream_pass_and_are_no_loss() {
    let world = World::new();
    let (call, exchange) = world.audio_call();
    for n in 0..20_u16 {
        for (ssrc, start) in [(1, 0), (2, 30_000), (3, 65_530)] {
            world.both_ways(&exchange, &rtp(0, ssrc, n.wrapping_add(start)));
        }
    }
    let media = world.node.media_of(&call.hang_up());
    assert_eq!(media, "caller 60p/0 lost, callee 60p/0 lost");
}

/// Now in the middle 32 bits of an NTP timestamp (RFC 3550 4): units of 1/65,536 s.
fn short_ntp() -> u32 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    // The upper bits are cut off on purpose.
    ((unix.as_secs() << 16) as u32).wrapping_add(unix.subsec_nanos() / 15_259)
}

/// RFC 3550 6.4.1: RTCP is passed, not made anew, and sources keep their identifiers, so each phone's
/// reports speak of the stream that the other has sent, and the round trip that a phone works out
/// is the one between the phones.
#[test]
fn reports_fit_the_streams_and_give_the_round_trip_between_the_phones() {
    let world = World::new();
    let (_call, exchange) = world.audio_call();
    let (sender, reporter) = (0x77_u8, 0x99_u8);
    let [caller, callee] = &world.media;
    let doors = [exchange.answered.rtcp_door(0), exchange.offered.rtcp_door(0)];
    world.both_ways(&exchange, &rtp(0, sender, 1));

    let started = Instant::now();
    let sent = short_ntp();
    let mut report = vec![0x80, 200, 0, 6, 0, 0, 0, sender];
    report.extend((u64::from(sent) << 16).to_be_bytes());
    report.extend([0; 12]);
    pass(&caller.rtcp, doors[0], &callee.rtcp, doors[1], &report);

    // What the callee has read: the source is the one of the RTP, the time the one of the caller.
    let kept = 100_u32;
    let mut answer = vec![0x81, 201, 0, 7, 0, 0, 0, reporter, 0, 0, 0, report[7]];
    answer.extend([0; 12]);
    answer.extend(&report[10..14]);
    answer.extend(kept.to_be_bytes());
    callee.rtcp.send_to(&answer, doors[1]).expect("it is sent");
    let (read, _) = receive(&caller.rtcp);
    let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|n| read[at + n]));
    assert_eq!(word(8), u32::from(sender), "the block is about the caller's own source");
    let round_trip = short_ntp().wrapping_sub(word(24)).wrapping_sub(word(28));
    // Both ends of the time are rounded, and the two clocks are not one: some units, 1 ms.
    let most = (started.elapsed().as_secs_f64() * 65_536.0) as u32 + 66;
    assert!(round_trip.wrapping_add(kept) <= most, "{round_trip} of {most}");
}

/// One-way and never-started media, per direction, in the line that is logged for the call.
#[test]
fn a_direction_that_never_started_is_named_in_the_log() {
    let world = World::new();
    let (call, exchange) = world.audio_call();
    let [caller, callee] = &world.media;
    for n in 0..3 {
        let doors = [exchange.answered.door(0), exchange.offered.door(0)];
        pass(&caller.rtp, doors[0], &callee.rtp, doors[1], &rtp(0, 1, n));
    }
    hears_nothing(&caller.rtp);
    let media = world.node.media_of(&call.hang_up());
    assert_eq!(media, "caller 3p/0 lost, callee 0p/0 lost (never started)");

    let silent = "caller 0p/0 lost (never started), callee 0p/0 lost (never started)";
    let (call, _) = world.audio_call();
    assert_eq!(world.node.media_of(&call.hang_up()), silent);
    // A phone that only listens owes nothing.
    let listens = caller.audio() + "a=recvonly\r\n";
    let (call, _) = world.call([&listens, &(callee.audio() + "a=sendonly\r\n")]);
    let media = world.node.media_of(&call.hang_up());
    assert_eq!(media, "caller 0p/0 lost, callee 0p/0 lost (never started)");
}

/// RFC 8841, 8856 and whatever else runs over UDP: datagrams that nobody looks into.
#[test]
fn another_udp_stream_beside_audio_passes_as_it_is() {
    let world = World::new();
    let floor = [Media::new(), Media::new()];
    let described = [0, 1].map(|side: usize| {
        let audio = world.media[side].line("audio", "RTP/AVP 0");
        sdp(&format!(
            "{audio}m=application {} UDP/BFCP *\r\n",
            crate::packet::port(&floor[side].rtp)
        ))
    });
    let (call, exchange) = world.call([&described[0], &described[1]]);
    world.both_ways(&exchange, &rtp(0, 1, 1));
    let doors = [exchange.answered.door(1), exchange.offered.door(1)];
    for datagram in [&b"\x20\x0b\0\0"[..], b"", &[0xff; 1472]] {
        pass(&floor[0].rtp, doors[0], &floor[1].rtp, doors[1], datagram);
        pass(&floor[1].rtp, doors[1], &floor[0].rtp, doors[0], datagram);
    }
    let media = world.node.media_of(&call.hang_up());
    assert_eq!(media, "caller 1p/0 lost, callee 1p/0 lost; caller 3p/0 lost, callee 3p/0 lost");
}
