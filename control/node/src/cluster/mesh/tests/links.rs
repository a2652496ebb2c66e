//! Connections come up, are one a pair, end, and come up again.

use control_core::cluster::Epoch;
use control_core::mesh::{Goodbye, Leave};

use super::*;

#[test]
fn two_members_that_know_each_other_connect_once_and_say_who_they_are() {
    let cluster = Cluster::new(1);
    let (mut one, mut two) = (cluster.start(1), cluster.start(2));
    // Both dial, at the same time.
    one.know(&[&two]);
    two.know(&[&one]);
    assert_eq!(one.await_up(2).member, member("n2", 2, 1));
    assert_eq!(two.await_up(1).member, member("n1", 1, 1));
    one.handle().send(id(2), &event("hello")).unwrap();
    assert_eq!(two.await_event(1), "hello");
    // A second connection, were it used, would have come up meanwhile.
    assert_eq!((one.peer(2).connections, two.peer(1).connections), (1, 1));
    assert_eq!(
        (one.peer(2).version, one.peer(2).health),
        (1, Some(control_core::mesh::Health::Up))
    );
}

#[test]
fn many_pairs_that_dial_at_the_same_time_all_settle_on_one_connection() {
    let cluster = Cluster::new(1);
    let mut all: Vec<Running> = (1..=5).map(|number| cluster.start(number)).collect();
    let everybody: Vec<_> = all.iter().map(Running::at).collect();
    all.iter().for_each(|one| one.handle().set_peers(&everybody));
    let others = |at: usize| (1..=5_u16).filter(move |other| usize::from(*other) != at + 1);
    for (at, one) in all.iter_mut().enumerate() {
        for other in others(at) {
            one.wait("connection", |one| one.peer(other).is_connected.then_some(()));
        }
    }
    for (at, one) in all.iter().enumerate() {
        assert_eq!(one.handle().send_all(&event(format!("from {}", at + 1))), 4);
    }
    for (at, one) in all.iter_mut().enumerate() {
        for other in others(at) {
            let from = event(format!("from {other}"));
            let is_it = |event: &MeshEvent| {
                matches!(event, MeshEvent::Frame(member, frame)
                    if *member == id(other) && *frame == from)
            };
            one.wait("event", |one| one.control.iter().any(is_it).then_some(()));
            assert_eq!(one.peer(other).connections, 1);
        }
    }
}

/// Who is dialled learns from the other's introduction where to dial it.
#[test]
fn a_member_that_nobody_named_is_taken_for_as_long_as_it_is_there() {
    let cluster = Cluster::new(1);
    let (mut one, mut two) = (cluster.start(1), cluster.start(2));
    two.know(&[&one]);
    one.await_up(2);
    // Before, it has no connection that it could say goodbye on.
    two.await_up(1);
    two.mesh.stop();
    assert_eq!(one.await_down(2), (Incarnation(1), false), "by its word");
    one.wait("end of it", |one| one.handle().figures().peers.is_empty().then_some(()));
}

#[test]
fn a_member_that_stops_is_down_at_once() {
    let cluster = Cluster::new(1);
    let (mut one, mut two) = (cluster.start(1), cluster.start(2));
    one.know(&[&two]);
    two.await_up(1);
    one.await_up(2);
    two.mesh.stop();
    assert_eq!(one.await_down(2), (Incarnation(1), false), "by its word");
    assert_eq!(one.handle().send(id(2), &event("x")), Err(SendError::NotConnected));
}

/// A process that is killed says nothing, but its host does.
#[test]
fn a_member_whose_host_refuses_is_down_at_once() {
    let cluster = Cluster::new(1);
    let mut one = cluster.start(1);
    let listener = std::net::TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut told = member("n2", 2, 1);
    told.profile.mesh = address;
    let hello = Hello::new(cluster.id, told, Load::default());
    let by_hand = runtime.block_on(async {
        let mut by_hand = ByHand::greet(&cluster.keys("n2"), one.mesh.address, hello).await;
        assert!(matches!(by_hand.hear().await, Some(Frame::Hello(_))));
        assert!(matches!(by_hand.hear().await, Some(Frame::Welcome(_))));
        by_hand
    });
    one.await_up(2);
    let before = Instant::now();
    drop((listener, by_hand));
    assert_eq!(one.await_down(2), (Incarnation(1), true));
    assert!(before.elapsed() < Duration::from_millis(900), "{:?}", before.elapsed());
}

#[test]
fn a_member_that_restarts_is_another_incarnation() {
    let cluster = Cluster::new(1);
    let (mut one, two) = (cluster.start(1), cluster.start(2));
    let address = two.mesh.address;
    one.know(&[&two]);
    one.await_up(2);
    two.mesh.stop();
    one.await_down(2);
    let mut two = Running::start(member("n2", 2, 2), cluster.keys("n2"), address);
    assert_eq!(one.await_up(2).member.incarnation, Incarnation(2));
    two.await_up(1);
    one.handle().send(id(2), &event("again")).unwrap();
    assert_eq!(two.await_event(1), "again");
}

/// A member that was taken for dead and comes back with another incarnation, without having been away.
#[test]
fn a_new_incarnation_ends_the_old_one() {
    let cluster = Cluster::new(1);
    let (mut one, mut two) = (cluster.start(1), cluster.start(2));
    one.know(&[&two]);
    two.know(&[&one]);
    one.await_up(2);
    two.await_up(1);
    two.handle().set_member(member("n2", 2, 7));
    assert_eq!(one.await_down(2).0, Incarnation(1));
    assert_eq!(one.await_up(2).member.incarnation, Incarnation(7));
    two.await_up(1);
}

/// The earlier self of a member that was started again elsewhere.
#[test]
fn an_older_incarnation_is_not_taken() {
    let cluster = Cluster::new(1);
    let mut one = cluster.start(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let hello = Hello::new(cluster.id, member("n2", 2, 5), Load::default());
        let keys = cluster.keys("n2");
        let mut newer = ByHand::greet(&keys, one.mesh.address, hello).await;
        assert!(matches!(newer.hear().await, Some(Frame::Hello(_))));
        assert!(matches!(newer.hear().await, Some(Frame::Welcome(_))));
        let hello = Hello::new(cluster.id, member("n2", 2, 4), Load::default());
        let mut older = ByHand::greet(&keys, one.mesh.address, hello).await;
        assert!(matches!(older.hear().await, Some(Frame::Hello(_))));
        let refused = Some(Frame::Goodbye(Goodbye { why: Leave::Refused }));
        assert_eq!(older.hear().await, refused);
    });
    assert_eq!(one.await_up(2).member.incarnation, Incarnation(5));
}

#[test]
fn what_a_member_says_of_itself_and_its_view_reach_the_others() {
    let cluster = Cluster::new(1);
    let (mut one, mut two) = (cluster.start(1), cluster.start(2));
    one.know(&[&two]);
    one.await_up(2);
    two.await_up(1);
    let mut draining = member("n2", 2, 1);
    draining.profile.draining = true;
    two.handle().set_member(draining.clone());
    let changed = one.await_signaling("change", |event| match event {
        MeshEvent::PeerChanged(hello) => Some(Arc::clone(hello)),
        _ => None,
    });
    assert_eq!(changed.member, draining);
    two.handle().set_load(Load { calls: 40, cpu_permille: 120 });
    two.handle().set_epoch(Epoch(9));
    one.await_control("epoch", |event| match event {
        MeshEvent::PeerEpoch(member, Epoch(9)) => (*member == id(2)).then_some(()),
        _ => None,
    });
    assert_eq!(one.peer(2).load, Load { calls: 40, cpu_permille: 120 });
    one.wait("round trip", |one| (!one.peer(2).rtt.is_zero()).then_some(()));
    assert!(one.peer(2).rtt < Duration::from_secs(1), "{:?}", one.peer(2).rtt);
}

#[test]
fn prometheus_is_told_how_each_member_does() {
    let cluster = Cluster::new(1);
    let (mut one, two) = (cluster.start(1), cluster.start(2));
    one.know(&[&two]);
    one.await_up(2);
    one.handle().send(id(2), &event("x")).unwrap();
    let told = |one: &Running| {
        let mut page = crate::node::metrics::Page::default();
        super::super::metrics::add(&mut page, &one.handle().figures());
        page.finish()
    };
    let page = told(&one);
    for line in [
        "ringfarm_mesh_member_up{member=\"n2\"} 1\n",
        "ringfarm_mesh_connections_total{member=\"n2\"} 1\n",
    ] {
        assert!(page.contains(line), "{page}");
    }
    two.mesh.stop();
    one.await_down(2);
    assert_eq!(one.handle().send(id(2), &event("x")), Err(SendError::NotConnected));
    let page = told(&one);
    assert!(page.contains("ringfarm_mesh_member_up{member=\"n2\"} 0\n"), "{page}");
    let dropped = "ringfarm_mesh_dropped_total{member=\"n2\",why=\"not_connected\"} 1\n";
    assert!(page.contains(dropped), "{page}");
}
