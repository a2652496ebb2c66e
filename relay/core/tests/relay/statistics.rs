//! What a session reports of its streams.

use std::time::Duration;

use relay_core::api::*;

use crate::support::*;

const MS: Duration = Duration::from_millis(1);

fn report(rig: &mut Rig) -> SessionReport {
    rig.command(Command::Report { session: SessionId(1), token: 1 });
    match rig.relay.poll_event() {
        Some(Event::Report { report: Some(report), .. }) => report,
        other => panic!("unexpected {other:?}"),
    }
}

/// Speech from one peer, a packet every 20 ms; every tenth is lost if it is a bad line.
fn talk(rig: &mut Rig, from: &str, to: LocalPorts, bad: bool) {
    for n in (0..200_u16).filter(|n| !bad || n % 10 != 5) {
        assert!(rig.packet(at(from), to.rtp, &rtp(0, 1, n)).is_sent());
        rig.wait(20 * MS);
    }
}

/// RFC 3550 6.4.1, measured from the relay: the caller's report reaches the callee 40 ms after it
/// passed, is kept for 500 ms, and the answer needs another 40 ms.
#[test]
fn the_round_trip_to_each_peer_is_taken_from_the_rtcp_that_passes() {
    for mode in [RtcpMode::Separate, RtcpMode::Mux] {
        let mut rig = Rig::new();
        let mut spec = call();
        spec.streams[0].legs.iter_mut().for_each(|leg| leg.rtcp = mode);
        let ports = rig.apply(1, &spec)[0].unwrap();
        let sources = match mode {
            RtcpMode::Separate => ["10.0.0.7:4001", "198.51.100.7:5001"],
            RtcpMode::Mux => [CALLER, CALLEE],
        };
        let sent = sender_report(7);
        assert!(rig.packet(at(sources[0]), ports[0].rtcp, &sent).is_sent());
        rig.wait(580 * MS);
        let answer = receiver_report(7, 500 * MS);
        assert!(rig.packet(at(sources[1]), ports[1].rtcp, &answer).is_sent());
        let [caller, callee] = report(&mut rig).streams[0];
        assert_eq!(caller.round_trip, None);
        // RTCP counts in 1/65,536 s.
        assert!(callee.round_trip.unwrap().abs_diff(80 * MS) < MS, "{callee:?}");
    }
}

#[test]
fn the_score_of_a_bad_line_is_worse_and_that_of_silence_is_not_given() {
    let mut rig = Rig::new();
    let ports = rig.apply(1, &call())[0].unwrap();
    talk(&mut rig, CALLER, ports[0], false);
    assert_eq!(report(&mut rig).streams[0][1].mos, None);
    talk(&mut rig, CALLEE, ports[1], true);
    let [good, bad] = report(&mut rig).streams[0].map(|direction| direction.mos.unwrap());
    assert_eq!(good.to_string(), "4.40");
    // 10 %: Ie,eff = 27.1, R = 65.7.
    assert!((335..345).contains(&bad.hundredths()), "{bad}");
}

/// Which side is not heard, since when, and whether it ever was.
#[test]
fn one_way_media_is_told_from_media_that_never_started_and_media_that_stopped() {
    let mut rig = Rig::new();
    let ports = rig.apply(1, &call())[0].unwrap();
    let flows = |rig: &mut Rig| report(rig).streams[0].map(|direction| direction.flow);
    assert_eq!(flows(&mut rig), [Flow::NeverStarted; 2]);
    assert!(!report(&mut rig).is_one_way(0));
    talk(&mut rig, CALLER, ports[0], false);
    assert_eq!(flows(&mut rig), [Flow::Flowing, Flow::NeverStarted]);
    assert!(report(&mut rig).is_one_way(0));
    talk(&mut rig, CALLEE, ports[1], false);
    assert_eq!(flows(&mut rig), [Flow::Flowing; 2]);
    talk(&mut rig, CALLEE, ports[1], false);
    assert_eq!(flows(&mut rig), [Flow::Stopped, Flow::Flowing]);
    let now = report(&mut rig);
    assert!(now.is_one_way(0) && !now.is_one_way(1));
    let age = now.lifetime - now.streams[0][0].last_packet.unwrap();
    assert_eq!(age, 8 * Duration::from_secs(1) + 20 * MS);
    // On hold nobody has to send.
    let mut held = call();
    held.streams[0].legs[0].sends = false;
    rig.apply(1, &held);
    assert_eq!(flows(&mut rig), [Flow::NotExpected, Flow::Flowing]);
    assert!(!report(&mut rig).is_one_way(0));
}

/// RFC 3389 4: a pause in speech begins with a packet of comfort noise, after which none has to come
/// for as long as the noise stays the same. That is neither one-way media nor loss.
#[test]
fn a_pause_that_comfort_noise_has_announced_is_no_stop_and_no_loss() {
    let mut rig = Rig::new();
    let mut spec = call();
    for leg in &mut spec.streams[0].legs {
        leg.payload_types = PayloadTypes::NONE.with(0).with(13);
    }
    let ports = rig.apply(1, &spec)[0].unwrap();
    let flows = |rig: &mut Rig| report(rig).streams[0].map(|direction| direction.flow);
    talk(&mut rig, CALLER, ports[0], false);
    assert!(rig.packet(at(CALLER), ports[0].rtp, &rtp(13, 1, 200)).is_sent());
    talk(&mut rig, CALLEE, ports[1], false);
    talk(&mut rig, CALLEE, ports[1], false);
    assert_eq!(flows(&mut rig), [Flow::Flowing; 2]);
    assert!(!report(&mut rig).is_one_way(0));
    // Speech goes on, and stops without a word.
    assert!(rig.packet(at(CALLER), ports[0].rtp, &rtp(0, 1, 201)).is_sent());
    talk(&mut rig, CALLEE, ports[1], false);
    talk(&mut rig, CALLEE, ports[1], false);
    assert_eq!(flows(&mut rig), [Flow::Stopped, Flow::Flowing]);
    assert_eq!(report(&mut rig).streams[0][0].lost, 0);
}

/// A stream that is closed keeps what was known of it.
#[test]
fn the_report_of_a_closed_stream_is_kept() {
    let mut rig = Rig::new();
    let ports = rig.apply(1, &call())[0].unwrap();
    talk(&mut rig, CALLER, ports[0], false);
    let before = report(&mut rig).streams;
    let mut spec = call();
    spec.streams[0].open = false;
    rig.apply(1, &spec);
    rig.wait(60 * MS);
    assert_eq!(report(&mut rig).streams, before);
    assert_eq!(rig.close(1).streams, before);
}
