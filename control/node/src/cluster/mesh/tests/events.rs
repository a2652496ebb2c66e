//! What is sent arrives in its order, is bounded where it does not, and is answered in time.

use tokio::io::AsyncWriteExt as _;

use super::super::outgoing::{BYTES_MAX, SIP_BYTES_MAX};
use super::super::requests::RequestError;
use super::*;

fn pair() -> (Running, Running) {
    let cluster = Cluster::new(1);
    let (mut one, mut two) = (cluster.start(1), cluster.start(2));
    one.know(&[&two]);
    one.await_up(2);
    two.await_up(1);
    (one, two)
}

#[test]
fn events_of_one_member_arrive_in_their_order() {
    let (one, mut two) = pair();
    for number in 0..2_000_u32 {
        one.handle().send(id(2), &event(number.to_be_bytes().to_vec())).unwrap();
    }
    for number in 0..2_000_u32 {
        assert_eq!(two.await_event(1), number.to_be_bytes().to_vec());
    }
    let figures = one.peer(2);
    assert!(figures.writes < figures.frames_out, "many frames are written together: {figures:?}");
}

#[test]
fn messages_of_sip_and_events_reach_whom_they_are_for() {
    let (one, mut two) = pair();
    one.handle().send(id(2), &sip("OPTIONS sip:a SIP/2.0\r\n\r\n")).unwrap();
    one.handle().send(id(2), &event("for the membership")).unwrap();
    let relayed = two.await_signaling("message", |event| match event {
        MeshEvent::Frame(from, frame @ Frame::SipRelay(..)) if *from == id(1) => {
            Some(frame.clone())
        }
        _ => None,
    });
    assert_eq!(relayed, sip("OPTIONS sip:a SIP/2.0\r\n\r\n"));
    assert_eq!(two.await_event(1), "for the membership");
    assert!(
        !two.control.iter().any(|event| matches!(event, MeshEvent::Frame(_, Frame::SipRelay(..))))
    );
}

#[test]
fn a_request_is_answered_refused_or_ends_at_its_deadline() {
    let (one, mut two) = pair();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let second = Duration::from_secs(1);
    let ask = |text: &'static str, deadline| one.handle().request(id(2), text.into(), deadline);
    let (yes, no) = (ask("yes?", 30 * second), ask("no?", 30 * second));
    let never = ask("never", second / 10);
    for _ in 0..3 {
        let request = two.await_control("request", |event| match event {
            MeshEvent::Frame(_, Frame::Request(request)) => Some(request.clone()),
            _ => None,
        });
        let answer = match &request.body.0[..] {
            b"yes?" => Ok(Bytes::from_static(b"yes")),
            b"no?" => Err("not here".to_owned()),
            _ => {
                assert_eq!(request.deadline_ms, 100);
                continue;
            }
        };
        two.handle().reply(id(1), request.id, answer).unwrap();
    }
    runtime.block_on(async {
        assert_eq!(yes.await, Ok(Bytes::from_static(b"yes")));
        assert_eq!(no.await, Err(RequestError::Refused("not here".to_owned())));
        assert_eq!(never.await, Err(RequestError::Deadline));
        let nobody = one.handle().request(id(9), Bytes::new(), second).await;
        assert_eq!(nobody, Err(RequestError::NotSent(SendError::NotConnected)));
    });
    assert_eq!(one.peer(2).requests, 0);
}

#[test]
fn a_request_to_a_member_that_ends_fails_then() {
    let (one, mut two) = pair();
    let pending = one.handle().request(id(2), Bytes::new(), PATIENCE);
    two.await_control("request", |event| match event {
        MeshEvent::Frame(_, Frame::Request(_)) => Some(()),
        _ => None,
    });
    two.mesh.stop();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(runtime.block_on(pending), Err(RequestError::Lost));
}

/// A process that stands still: its connection stays, and nobody reads from it.
#[test]
fn a_member_that_stands_still_costs_its_bound_and_nobody_else_anything() {
    let cluster = Cluster::new(1);
    let (mut one, mut two) = (cluster.start(1), cluster.start(2));
    one.know(&[&two]);
    one.await_up(2);
    two.await_up(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let frozen = runtime.block_on(ByHand::enter(&cluster, 9, one.mesh.address));
    one.await_up(9);
    let message = Bytes::from(vec![b'x'; 60_000]);
    let (mut taken, mut most) = (0_u32, 0);
    while one.handle().send(id(9), &sip(message.clone())).is_ok() {
        taken += 1;
        most = most.max(one.peer(9).queued.1);
        assert!(taken < 10_000, "its queue has no bound");
    }
    assert!(most < SIP_BYTES_MAX + 61_000 && one.peer(9).queued.1 < BYTES_MAX, "{most}");
    // The other goes on meanwhile.
    one.handle().send(id(2), &event("still here")).unwrap();
    assert_eq!(two.await_event(1), "still here");
    assert_eq!(one.await_down(9), (Incarnation(1), false));
    assert_eq!(one.handle().send(id(9), &sip("x")), Err(SendError::NotConnected));
    assert_eq!(one.peer(2).connections, 1);
    drop(frozen);
}

/// It shows signs of life, so that silence does not end it, and what is sent to it goes nowhere.
#[test]
fn a_member_that_reads_nothing_does_not_stay() {
    let cluster = Cluster::new(1);
    let mut one = cluster.start(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut deaf = runtime.block_on(ByHand::enter(&cluster, 9, one.mesh.address));
    one.await_up(9);
    let beating = runtime.spawn(async move {
        let mut beat = Vec::new();
        control_core::mesh::encode(&Frame::Heartbeat(Default::default()), &mut beat).unwrap();
        while deaf.stream.write_all(&beat).await.is_ok() && deaf.stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let message = Bytes::from(vec![b'x'; 60_000]);
    while one.handle().send(id(9), &sip(message.clone())).is_ok() {}
    one.wait("end of the connection", |one| (!one.peer(9).is_connected).then_some(()));
    assert_eq!(one.handle().send(id(9), &sip("x")), Err(SendError::NotConnected));
    runtime.block_on(beating).unwrap();
}

#[test]
fn a_member_that_is_silent_is_suspected_before_it_is_down() {
    let cluster = Cluster::new(1);
    let mut one = cluster.start(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut silent = runtime.block_on(ByHand::enter(&cluster, 9, one.mesh.address));
    one.await_up(9);
    let is = |wanted: fn(&MeshEvent) -> bool| move |event: &MeshEvent| wanted(event).then_some(());
    one.await_signaling("suspicion", is(|event| matches!(event, MeshEvent::PeerSuspect(_))));
    runtime.block_on(async {
        silent.say(&Frame::Heartbeat(Default::default())).await;
        silent.stream.flush().await.unwrap();
    });
    one.await_signaling("recovery", is(|event| matches!(event, MeshEvent::PeerRecovered(_))));
    let before = Instant::now();
    assert_eq!(one.await_down(9), (Incarnation(1), false));
    assert!(before.elapsed() > Duration::from_millis(500), "{:?}", before.elapsed());
}
