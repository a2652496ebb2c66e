//! The signaling thread reads and writes connections in its own turns.

use tokio::io::AsyncWriteExt as _;

use super::*;

/// A pump as a signaling thread has it.
struct Turns {
    runtime: tokio::runtime::Runtime,
    pump: Option<Pump>,
}

impl Turns {
    /// Takes over, and waits until each connection has been taken over.
    fn take_over(running: &Running, connections: usize) -> Turns {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pump = runtime.block_on(async { Pump::new(running.handle()) });
        let mut turns = Turns { runtime, pump: Some(pump) };
        let end = Instant::now() + PATIENCE;
        while turns.pump().lines() < connections {
            assert!(Instant::now() < end, "no connection is handed over");
            turns.turn();
        }
        turns
    }

    fn pump(&mut self) -> &mut Pump {
        self.pump.as_mut().expect("it is dropped at the end alone")
    }

    /// Waits a little for something to read, and reads it.
    fn turn(&mut self) {
        let pump = self.pump.as_mut().expect("as above");
        self.runtime.block_on(async {
            // Whether something has come or not: it is looked at.
            let _ = tokio::time::timeout(Duration::from_millis(10), pump.readable()).await;
            pump.read_ready();
        });
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.pump = None;
    }
}

fn pair() -> (Running, Running) {
    let cluster = Cluster::new(1);
    let (mut one, mut two) = (cluster.start(1), cluster.start(2));
    one.know(&[&two]);
    one.await_up(2);
    two.await_up(1);
    (one, two)
}

fn sip_of(event: &MeshEvent) -> Option<Bytes> {
    match event {
        MeshEvent::Frame(_, Frame::SipRelay(_, sip)) => Some(sip.bytes.clone()),
        _ => None,
    }
}

#[test]
fn what_one_turn_says_is_written_together_and_read_in_one_turn() {
    let (one, two) = pair();
    let (mut from, mut to) = (Turns::take_over(&one, 1), Turns::take_over(&two, 1));
    let before = one.peer(2).writes;
    for number in 0..100_u8 {
        from.pump().send(id(2), &sip(vec![number])).unwrap();
    }
    assert_eq!(from.pump().send(id(9), &sip("")), Err(SendError::NotConnected));
    from.pump().flush();
    // Nobody has been asked but the caller; a heartbeat may have gone out beside it.
    let writes = one.peer(2).writes - before;
    assert!((1..=3).contains(&writes), "{writes}");
    let (mut events, mut got) = (Vec::new(), Vec::new());
    let end = Instant::now() + PATIENCE;
    while got.len() < 100 && Instant::now() < end {
        to.turn();
        two.mesh.signaling.drain(&mut events);
        got.extend(events.drain(..).filter_map(|event| sip_of(&event)));
    }
    assert!(got.iter().map(|bytes| bytes[0]).eq(0..100), "{got:?}");
}

/// The signaling thread looks at them without asking its runtime while messages are let come together.
#[test]
fn what_has_come_is_read_without_asking_the_runtime() {
    let (one, two) = pair();
    let mut to = Turns::take_over(&two, 1);
    one.handle().send(id(2), &sip("x")).unwrap();
    let mut events = Vec::new();
    let end = Instant::now() + PATIENCE;
    while !events.iter().any(|event| sip_of(event).is_some()) {
        assert!(Instant::now() < end, "nothing comes");
        let pump = to.pump();
        assert!(pump.is_small());
        pump.read_now();
        two.mesh.signaling.drain(&mut events);
        std::thread::yield_now();
    }
}

/// Less than there was room for is all that there was, and is not asked for again; the end that has come with it
/// is noticed all the same.
#[test]
fn what_is_said_right_before_the_end_is_read_and_so_is_the_end() {
    let cluster = Cluster::new(1);
    let mut one = cluster.start(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut by_hand = runtime.block_on(ByHand::enter(&cluster, 2, one.mesh.address));
    one.await_up(2);
    let mut turns = Turns::take_over(&one, 1);
    runtime.block_on(async {
        by_hand.say(&sip(vec![b'x'; 10_000])).await;
        by_hand.say(&sip("the last")).await;
        by_hand.stream.shutdown().await.unwrap();
    });
    let (mut events, mut got) = (Vec::new(), Vec::new());
    let end = Instant::now() + PATIENCE;
    while turns.pump().lines() > 0 {
        assert!(Instant::now() < end, "its connection is kept");
        turns.turn();
        one.mesh.signaling.drain(&mut events);
        got.extend(events.drain(..).filter_map(|event| sip_of(&event)));
    }
    assert_eq!(got.iter().map(Bytes::len).collect::<Vec<_>>(), [10_000, 8]);
}

/// A signaling thread that stands still keeps no heartbeat from being read, and no request or event from
/// whom it is for.
#[test]
fn a_signaling_thread_that_stands_still_lets_members_go_on() {
    let (mut one, mut two) = pair();
    let _still = (Turns::take_over(&one, 1), Turns::take_over(&two, 1));
    let start = Instant::now();
    one.handle().send(id(2), &event("said meanwhile")).unwrap();
    assert_eq!(two.await_event(1), "said meanwhile");
    // Longer than the silence after which a member is down.
    while start.elapsed() < Duration::from_millis(1_500) {
        one.gather(Duration::from_millis(20));
        two.gather(Duration::from_millis(20));
    }
    for running in [&one, &two] {
        let told = running.signaling.iter().chain(&running.control);
        let lost = |event: &&MeshEvent| matches!(event, MeshEvent::PeerDown { .. });
        assert_eq!(told.filter(lost).count(), 0);
    }
    assert_eq!((one.peer(2).connections, two.peer(1).connections), (1, 1));
}

/// What a member does not take waits, is dropped beyond a bound, and keeps nobody.
#[test]
fn a_member_that_reads_nothing_costs_the_turn_of_the_signaling_thread_nothing() {
    let cluster = Cluster::new(1);
    let mut one = cluster.start(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let by_hand = runtime.block_on(ByHand::enter(&cluster, 2, one.mesh.address));
    one.await_up(2);
    let mut turns = Turns::take_over(&one, 1);
    let before = Instant::now();
    let mut is_full = false;
    for _ in 0..10_000 {
        is_full |= turns.pump().send(id(2), &sip(vec![b'x'; 4_000])) == Err(SendError::Full);
        turns.pump().flush();
        if is_full {
            break;
        }
    }
    assert!(is_full, "{:?}", one.peer(2));
    assert!(before.elapsed() < PATIENCE, "{:?}", before.elapsed());
    drop(by_hand);
    one.await_down(2);
}

#[test]
fn a_pump_that_is_dropped_leaves_its_connections_to_the_mesh() {
    let (one, mut two) = pair();
    drop(Turns::take_over(&two, 1));
    one.handle().send(id(2), &sip("afterwards")).unwrap();
    let came = two.await_signaling("message", sip_of);
    assert_eq!(came, "afterwards");
    assert_eq!(two.peer(1).connections, 1);
}

#[test]
fn a_member_that_leaves_is_let_go_of() {
    let (mut one, two) = pair();
    let mut turns = Turns::take_over(&one, 1);
    let _theirs = Turns::take_over(&two, 1);
    two.mesh.stop();
    let end = Instant::now() + PATIENCE;
    while turns.pump().lines() > 0 {
        assert!(Instant::now() < end, "its connection is kept");
        turns.turn();
    }
    assert_eq!(one.await_down(2), (Incarnation(1), false), "by its word");
    assert_eq!(turns.pump().send(id(2), &sip("x")), Err(SendError::NotConnected));
}
