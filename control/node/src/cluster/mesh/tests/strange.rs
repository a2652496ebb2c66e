//! Who is not a member stays outside, and what makes no sense harms nobody else.

use control_core::cluster::Versions;
use control_core::mesh::{Goodbye, Leave, Reply, RequestId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::strangers::PENDING_EACH_MAX;
use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// What a member hears that says this of itself, after the other's introduction.
async fn answer(keys: &Keys, address: SocketAddr, hello: Hello) -> Option<Frame> {
    let mut by_hand = ByHand::greet(keys, address, hello).await;
    match by_hand.hear().await {
        Some(Frame::Hello(_)) => by_hand.hear().await,
        other => other,
    }
}

fn refused(why: Leave) -> Option<Frame> {
    Some(Frame::Goodbye(Goodbye { why }))
}

fn failed(one: &mut Running, count: u64) {
    one.wait("count of what failed", |one| {
        (one.handle().figures().handshakes_failed >= count).then_some(())
    });
    assert!(one.handle().figures().peers.is_empty());
}

#[test]
fn a_key_of_another_authority_opens_nothing() {
    let (cluster, other) = (Cluster::new(1), Cluster::new(1));
    let mut one = cluster.start(1);
    let mut keys = other.keys("n2");
    runtime().block_on(async {
        assert!(
            ByHand::connect(&keys, one.mesh.address).await.is_err(),
            "the server is not believed"
        );
        // Believing it, but not believed.
        keys.ca = cluster.authority.certificate().clone();
        let mut by_hand = ByHand::connect(&keys, one.mesh.address).await.unwrap();
        let hello = Hello::new(cluster.id, member("n2", 2, 1), Load::default());
        let _ = say(&mut by_hand.stream, &Frame::Hello(Box::new(hello))).await;
        assert_eq!(by_hand.hear().await, None);
    });
    failed(&mut one, 2);
}

#[test]
fn two_meshes_with_different_authorities_do_not_connect() {
    let (mut one, mut two) = (Cluster::new(1).start(1), Cluster::new(1).start(2));
    one.know(&[&two]);
    two.know(&[&one]);
    for mesh in [&mut one, &mut two] {
        mesh.wait("failures", |mesh| {
            (mesh.handle().figures().handshakes_failed >= 4).then_some(())
        });
        assert!(mesh.control.is_empty(), "{:?}", mesh.control);
    }
}

#[test]
fn a_good_key_is_good_for_its_own_name_cluster_and_number_only() {
    let cluster = Cluster::new(1);
    let mut one = cluster.start(1);
    let address = one.mesh.address;
    let hello = |member| Hello::new(cluster.id, member, Load::default());
    let elsewhere = Hello::new(ClusterId([7; 16]), member("n2", 2, 1), Load::default());
    let keys = cluster.keys("n2");
    runtime().block_on(async {
        for (keys, hello) in [
            (&keys, hello(member("n3", 3, 1))),
            (&keys, elsewhere),
            (&keys, hello(member("n2", 1, 1))),
            (&cluster.keys("n1"), hello(member("n1", 2, 1))),
        ] {
            assert_eq!(answer(keys, address, hello).await, refused(Leave::Refused));
        }
    });
    failed(&mut one, 4);
}

/// Also where the member whose number it is happens to be away, and where it came before the list did.
#[test]
fn a_number_that_the_list_gives_to_another_is_nobodys_who_says_so() {
    let cluster = Cluster::new(1);
    let mut one = cluster.start(1);
    let address = one.mesh.address;
    let hello = |member| Hello::new(cluster.id, member, Load::default());
    let runtime = runtime();
    let mut early = runtime.block_on(ByHand::enter(&cluster, 9, address));
    one.await_up(9);
    one.handle().set_numbers(
        [(2, "n2"), (3, "n3"), (9, "n8")].map(|(n, of)| (id(n), name(of))).into_iter(),
    );
    runtime.block_on(async {
        assert_eq!(early.hear().await, None, "it has come by the number of another");
        for member in [member("n2", 3, 1), member("n2", 7, 1)] {
            let said = answer(&cluster.keys("n2"), address, hello(member)).await;
            assert_eq!(said, refused(Leave::Refused));
        }
        let said = answer(&cluster.keys("n2"), address, hello(member("n2", 2, 1))).await;
        assert!(matches!(said, Some(Frame::Welcome(_))), "{said:?}");
        // Who is not on the list yet is about to be.
        let said = answer(&cluster.keys("n4"), address, hello(member("n4", 4, 1))).await;
        assert!(matches!(said, Some(Frame::Welcome(_))), "{said:?}");
    });
}

/// The address book may be wrong, or somebody's who has a key of another member's.
#[test]
fn whoever_is_dialled_has_to_be_who_was_meant() {
    let cluster = Cluster::new(1);
    let (one, two) = (cluster.start(1), cluster.start(2));
    one.handle().set_peers(&[(name("n3"), two.mesh.address)]);
    let mut one = one;
    one.wait("failure", |one| (one.handle().figures().handshakes_failed >= 2).then_some(()));
    assert!(one.control.is_empty(), "{:?}", one.control);
}

#[test]
fn versions_that_have_nothing_in_common_part_with_a_word() {
    let cluster = Cluster::new(1);
    let mut one = cluster.start(1);
    let mut hello = Hello::new(cluster.id, member("n2", 2, 1), Load::default());
    hello.versions = Versions { oldest: 40, newest: 41 };
    runtime().block_on(async {
        let answer = answer(&cluster.keys("n2"), one.mesh.address, hello.clone()).await;
        assert_eq!(answer, refused(Leave::Versions));
        // A newer one that still speaks this one's is welcome.
        hello.versions.oldest = 1;
        let answer = super::strange::answer(&cluster.keys("n2"), one.mesh.address, hello).await;
        assert!(
            matches!(answer, Some(Frame::Welcome(welcome)) if welcome.version == 1),
            "{answer:?}"
        );
    });
    one.await_up(2);
}

#[test]
fn frames_of_a_newer_member_are_passed_over_and_counted() {
    let cluster = Cluster::new(1);
    let mut one = cluster.start(1);
    let runtime = runtime();
    let mut newer = runtime.block_on(ByHand::enter(&cluster, 9, one.mesh.address));
    runtime.block_on(async {
        // Length, kind, length of the head, head, payload.
        let unknown = [0, 0, 0, 8, 222, 0, 2, 1, 2, 3, 4, 5];
        newer.stream.write_all(&unknown).await.unwrap();
        newer.say(&event("understood")).await;
    });
    assert_eq!(one.await_event(9), "understood");
    assert_eq!(one.peer(9).unknown, 1);
}

#[test]
fn a_member_that_makes_no_sense_is_dropped_and_harms_nobody() {
    let cluster = Cluster::new(1);
    let (mut one, mut two) = (cluster.start(1), cluster.start(2));
    one.know(&[&two]);
    one.await_up(2);
    two.await_up(1);
    let runtime = runtime();
    for (count, bytes) in [
        &[0xff; 8][..],
        &[0, 0, 0, 0],
        &[0, 0, 0, 3, 16, 0, 0],
        &[0, 0, 0, 4, 3, 0, 9, 0],
        &[0, 0, 0, 4, 2, 0, 1, 1],
    ]
    .into_iter()
    .enumerate()
    {
        let before = event("said before it");
        runtime.block_on(async {
            let mut broken = ByHand::enter(&cluster, 9, one.mesh.address).await;
            broken.say(&before).await;
            broken.stream.write_all(bytes).await.unwrap();
            broken.stream.flush().await.unwrap();
            assert_eq!(broken.hear().await, refused(Leave::Broken), "{bytes:?}");
            assert_eq!(broken.hear().await, None);
        });
        assert_eq!(one.await_event(9), "said before it");
        let total = one.handle().figures().malformed;
        assert_eq!(total, count as u64 + 1, "{bytes:?}");
    }
    one.handle().send(id(2), &event("undisturbed")).unwrap();
    assert_eq!(two.await_event(1), "undisturbed");
    assert_eq!(one.peer(2).connections, 1);
}

#[test]
fn a_member_that_says_to_be_somebody_else_later_is_dropped() {
    let cluster = Cluster::new(1);
    let one = cluster.start(1);
    runtime().block_on(async {
        let mut changing = ByHand::enter(&cluster, 9, one.mesh.address).await;
        let hello = Hello::new(cluster.id, member("n9", 8, 1), Load::default());
        changing.say(&Frame::Hello(Box::new(hello))).await;
        assert_eq!(changing.hear().await, refused(Leave::Broken));
    });
}

#[test]
fn an_answer_that_nobody_asked_for_is_dropped() {
    let cluster = Cluster::new(1);
    let mut one = cluster.start(1);
    let runtime = runtime();
    let mut eager = runtime.block_on(ByHand::enter(&cluster, 9, one.mesh.address));
    runtime.block_on(async {
        let body = Body(Bytes::from_static(b"42"));
        eager.say(&Frame::Reply(Reply { id: RequestId(7), is_answered: true, body })).await;
        eager.say(&event("after it")).await;
    });
    assert_eq!(one.await_event(9), "after it");
}

#[test]
fn strangers_that_say_nothing_are_few_and_do_not_stay() {
    let cluster = Cluster::new(1);
    let (mut one, two) = (cluster.start(1), cluster.start(2));
    runtime().block_on(async {
        let mut mute = Vec::new();
        for _ in 0..PENDING_EACH_MAX {
            mute.push(TcpStream::connect(one.mesh.address).await.unwrap());
        }
        let mut one_more = TcpStream::connect(one.mesh.address).await.unwrap();
        let closed = tokio::time::timeout(PATIENCE, one_more.read(&mut [0; 8])).await.unwrap();
        assert!(matches!(closed, Ok(0) | Err(_)), "it is closed at once");
        assert!(one.handle().figures().turned_away >= 1);
        let closed = tokio::time::timeout(PATIENCE, mute[0].read(&mut [0; 8])).await.unwrap();
        assert!(matches!(closed, Ok(0) | Err(_)), "it has had its time");
    });
    two.know(&[&one]);
    one.await_up(2);
}

#[test]
fn what_is_no_tls_is_refused() {
    let mut one = Cluster::new(1).start(1);
    runtime().block_on(async {
        let mut stream = TcpStream::connect(one.mesh.address).await.unwrap();
        stream.write_all(b"OPTIONS sip:a SIP/2.0\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(end.is_err() || answer.len() < 20, "an alert at most: {answer:?}");
    });
    failed(&mut one, 1);
}

/// Each connection of a member that breaks at once costs a handshake.
#[test]
fn a_connection_that_breaks_again_and_again_is_opened_more_and_more_seldom() {
    let cluster = Cluster::new(1);
    let mut one = cluster.start(1);
    let runtime = runtime();
    let listener = runtime.block_on(tokio::net::TcpListener::bind(loopback())).unwrap();
    one.handle().set_peers(&[(name("n9"), listener.local_addr().unwrap())]);
    let tls = Tls::new(&cluster.keys("n9")).unwrap();
    let mut times = Vec::new();
    runtime.block_on(async {
        while times.len() < 5 {
            let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap();
            times.push(Instant::now());
            let mut stream = tls.acceptor.accept(accepted.unwrap().0).await.unwrap();
            let hello = Hello::new(cluster.id, member("n9", 9, 1), Load::default());
            say(&mut stream, &Frame::Hello(Box::new(hello))).await.unwrap();
            let mut buffer = BytesMut::new();
            while !matches!(next(&mut stream, &mut buffer).await.unwrap(), Frame::Welcome(_)) {}
        }
    });
    one.await_up(9);
    // 50, 100, 200 and 400 ms, a quarter more or less.
    let took = times[4] - times[0];
    assert!(took > Duration::from_millis(500), "{took:?}");
}
