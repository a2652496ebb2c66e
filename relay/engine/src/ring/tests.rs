use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Instant;

use super::*;

const SIZES: RingSizes = RingSizes { submissions: 8, completions: 16, table: 2 };
const PATIENCE: Duration = Duration::from_secs(5);

fn ring() -> Ring {
    Ring::new(SIZES, 4, PoolSizes { single: 4, single_bytes: 256, merged: 2 }).unwrap()
}

/// Runs the test with a socket in the main ring's table, and with one in a further table.
fn in_each_table(test: fn(Ring, u32)) {
    test(ring(), 1);
    test(ring(), 3);
}

fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// The next completion.
fn next(ring: &mut Ring) -> Completion {
    let deadline = Instant::now() + PATIENCE;
    let mut batch = Vec::new();
    while batch.is_empty() {
        assert!(Instant::now() < deadline, "nothing completed");
        ring.submit_and_wait(Duration::from_millis(100), None).unwrap();
        ring.reap(&mut batch, 1);
    }
    batch.remove(0)
}

/// Installs a socket and forgets its descriptor. It is bound to its port by number, as media
/// sockets are: one that the system chose the port for loses it when its connection is dissolved.
fn install(ring: &mut Ring, index: u32) -> SocketAddr {
    let (_, address) = socket();
    let socket = UdpSocket::bind(address).unwrap();
    ring.install(index, socket.into()).unwrap();
    address
}

/// Teardown: cancel, last completion, out of the table; then the port is free.
#[test]
fn a_socket_lives_in_the_table_alone_and_is_closed_when_it_leaves_it() {
    in_each_table(|mut ring, place| {
        let address = install(&mut ring, place);
        ring.receive(place, Intake::Single, 77).unwrap();
        ring.submit().unwrap();
        assert!(UdpSocket::bind(address).is_err(), "the port is not held");
        ring.cancel_receive(77).unwrap();
        let last = next(&mut ring);
        assert_eq!((last.operation, last.subject, last.more), (Operation::Receive, 77, false));
        assert_eq!(last.result, Err(libc::ECANCELED));
        ring.close(place, 77).unwrap();
        let closed = next(&mut ring);
        assert_eq!(
            (closed.operation, closed.subject, closed.result),
            (Operation::Close, 77, Ok(0))
        );
        UdpSocket::bind(address).unwrap();
    });
}

/// The sockets of a session go into the tables together; neighbours may be in two of them.
#[test]
fn sockets_that_are_installed_together_each_have_their_own_place() {
    let mut ring = ring();
    let places = [3, 0, 2, 1];
    let addresses = places.map(|place| {
        let address = install(&mut ring, place);
        ring.receive(place, Intake::Single, place.into()).unwrap();
        (place, address)
    });
    ring.submit().unwrap();
    let (peer, peer_address) = socket();
    for (place, address) in addresses {
        peer.send_to(b"in", address).unwrap();
        let received = next(&mut ring);
        assert_eq!((received.operation, received.subject), (Operation::Receive, place.into()));
        // What goes out of the place comes from the same socket.
        let buffer = received.buffer.unwrap();
        ring.send(place, &buffer, 0..2, Some(peer_address), 0).unwrap();
        ring.release(buffer);
        ring.submit().unwrap();
        let mut bytes = [0; 8];
        assert_eq!(peer.recv_from(&mut bytes).unwrap(), (2, address));
    }
}

#[test]
fn a_datagram_comes_with_its_source_and_is_sent_on_from_its_buffer() {
    in_each_table(|mut ring, place| {
        let local = install(&mut ring, place);
        ring.receive(place, Intake::Single, 5).unwrap();
        ring.submit().unwrap();
        let (peer, peer_address) = socket();
        peer.send_to(b"hello", local).unwrap();
        let completion = next(&mut ring);
        assert_eq!(
            (completion.operation, completion.subject, completion.more),
            (Operation::Receive, 5, true)
        );
        let buffer = completion.buffer.unwrap();
        let datagram = ring.datagram(&buffer).unwrap();
        assert_eq!(
            (datagram.payload, datagram.source, datagram.truncated),
            (&b"hello"[..], peer_address, false)
        );
        ring.send(place, &buffer, 0..5, Some(peer_address), 5).unwrap();
        ring.release(buffer);
        ring.submit().unwrap();
        let mut bytes = [0; 16];
        assert_eq!(peer.recv_from(&mut bytes).unwrap(), (5, local));
        assert_eq!(&bytes[..5], b"hello");
    });
}

#[test]
fn a_datagram_that_does_not_fit_is_marked() {
    in_each_table(|mut ring, place| {
        let local = install(&mut ring, place);
        ring.receive(place, Intake::Single, 5).unwrap();
        ring.submit().unwrap();
        let (peer, _) = socket();
        for (length, truncated) in [(256 - 44, false), (256 - 43, true)] {
            peer.send_to(&vec![1; length], local).unwrap();
            let buffer = next(&mut ring).buffer.unwrap();
            let datagram = ring.datagram(&buffer).unwrap();
            assert_eq!((datagram.payload.len(), datagram.truncated), (256 - 44, truncated));
            ring.release(buffer);
        }
    });
}

/// connect(2): a connected UDP socket hears its peer alone; AF_UNSPEC dissolves that.
#[test]
fn a_connection_shuts_others_out_and_can_be_moved_and_dissolved() {
    in_each_table(|mut ring, place| {
        let local = install(&mut ring, place);
        ring.receive(place, Intake::Single, 5).unwrap();
        let ((one, one_address), (two, two_address)) = (socket(), socket());
        for (connected, heard) in [
            (Some(one_address), vec![one_address]),
            (Some(two_address), vec![two_address]),
            (None, vec![one_address, two_address]),
        ] {
            ring.connect(place, connected, 9).unwrap();
            let done = next(&mut ring);
            assert_eq!((done.operation, done.subject, done.result), (Operation::Connect, 9, Ok(0)));
            one.send_to(b"x", local).unwrap();
            two.send_to(b"x", local).unwrap();
            for expected in heard {
                let completion = next(&mut ring);
                let buffer = completion.buffer.unwrap();
                assert_eq!(ring.datagram(&buffer).unwrap().source, expected);
                ring.release(buffer);
            }
        }
    });
}

/// An explicit address wins over the connection: nothing goes to an old peer while it is moved.
#[test]
fn a_send_with_an_address_from_a_connected_socket_goes_to_the_address() {
    in_each_table(|mut ring, place| {
        let local = install(&mut ring, place);
        ring.receive(place, Intake::Single, 5).unwrap();
        let ((old, old_address), (new, new_address)) = (socket(), socket());
        ring.connect(place, Some(old_address), 9).unwrap();
        next(&mut ring);
        old.send_to(b"x", local).unwrap();
        let buffer = next(&mut ring).buffer.unwrap();
        ring.send(place, &buffer, 0..1, Some(new_address), 5).unwrap();
        ring.release(buffer);
        ring.submit().unwrap();
        assert_eq!(new.recv_from(&mut [0; 4]).unwrap(), (1, local));
    });
}

#[test]
fn a_send_that_fails_says_so_and_those_after_it_are_carried_out() {
    in_each_table(|mut ring, place| {
        let local = install(&mut ring, place);
        ring.receive(place, Intake::Single, 5).unwrap();
        ring.submit().unwrap();
        let (peer, peer_address) = socket();
        peer.send_to(b"x", local).unwrap();
        let buffer = next(&mut ring).buffer.unwrap();
        // No address and no connection; then a good one.
        ring.send(place, &buffer, 0..1, None, 6).unwrap();
        ring.send(place, &buffer, 0..1, Some(peer_address), 7).unwrap();
        ring.release(buffer);
        let failed = next(&mut ring);
        assert_eq!((failed.operation, failed.subject), (Operation::Send, 6));
        assert_eq!(failed.result, Err(libc::EDESTADDRREQ));
        assert_eq!(peer.recv_from(&mut [0; 4]).unwrap(), (1, local));
    });
}

/// More sends than the queue has places for: it is emptied in between.
#[test]
fn a_full_submission_queue_is_submitted() {
    in_each_table(|mut ring, place| {
        let local = install(&mut ring, place);
        ring.receive(place, Intake::Single, 5).unwrap();
        ring.submit().unwrap();
        let (peer, peer_address) = socket();
        peer.send_to(b"x", local).unwrap();
        let buffer = next(&mut ring).buffer.unwrap();
        for _ in 0..50 {
            ring.send(place, &buffer, 0..1, Some(peer_address), 5).unwrap();
        }
        ring.release(buffer);
        ring.submit().unwrap();
        for _ in 0..50 {
            assert_eq!(peer.recv(&mut [0; 4]).unwrap(), 1);
        }
    });
}

#[test]
fn the_wake_up_completes_once_and_resets_the_counter() {
    let mut ring = ring();
    let wake = nix::sys::eventfd::EventFd::new().unwrap();
    ring.await_wake(wake.as_fd()).unwrap();
    ring.submit().unwrap();
    wake.write(1).unwrap();
    wake.write(1).unwrap();
    let completion = next(&mut ring);
    assert_eq!((completion.operation, *ring.wake_count), (Operation::Wake, 2));
}

#[test]
fn addresses_of_both_families_are_read() {
    let v4 = [2, 0, 0x13, 0x88, 192, 0, 2, 1];
    assert_eq!(received::source(&v4), Some("192.0.2.1:5000".parse().unwrap()));
    let mut v6 = vec![10, 0, 0x13, 0x88, 9, 9, 9, 9];
    v6.extend(Ipv6Addr::LOCALHOST.octets());
    v6.extend([7, 0, 0, 0]);
    assert_eq!(received::source(&v6), Some("[::1]:5000".parse().unwrap()));
    assert_eq!(received::source(&v6[..20]), None);
    assert_eq!(received::source(&[1, 0]), None);
    assert_eq!(received::source(&[]), None);
}

/// A receive that ended in a further table is armed again, also when it is cancelled right away.
#[test]
fn a_receive_can_be_armed_again_and_cancelled_in_each_table() {
    in_each_table(|mut ring, place| {
        let local = install(&mut ring, place);
        let (peer, _) = socket();
        for round in 0..20 {
            ring.receive(place, Intake::Single, 5).unwrap();
            if round % 2 == 0 {
                peer.send_to(b"x", local).unwrap();
                let buffer = next(&mut ring).buffer.unwrap();
                assert_eq!(ring.datagram(&buffer).unwrap().payload, b"x");
                ring.release(buffer);
            }
            ring.cancel_receive(5).unwrap();
            let last = next(&mut ring);
            assert_eq!((last.subject, last.result), (5, Err(libc::ECANCELED)));
            assert!(!last.more);
        }
        assert_eq!((ring.fresh.len(), ring.fetching), (0, 0), "a descriptor is kept");
    });
}

/// A receive that cannot be armed has ended, to those who wait for it.
#[test]
fn a_receive_on_an_empty_place_of_a_further_table_ends_with_the_error() {
    let mut ring = ring();
    install(&mut ring, 2);
    ring.receive(3, Intake::Single, 5).unwrap();
    let last = next(&mut ring);
    assert_eq!((last.operation, last.subject, last.more), (Operation::Receive, 5, false));
    assert_eq!(last.result, Err(libc::EBADF));
}

fn gather(window: Duration) -> Option<Gather> {
    Some(Gather { completions: 2, window })
}

/// The second comes later than a wait for one would have taken.
#[test]
fn a_wait_for_several_lasts_until_they_are_there() {
    let mut ring = ring();
    let address = install(&mut ring, 1);
    ring.receive(1, Intake::Single, 77).unwrap();
    ring.submit().unwrap();
    let (sender, _) = socket();
    sender.send_to(b"one", address).unwrap();
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        sender.send_to(b"two", address).unwrap();
    });
    ring.submit_and_wait(PATIENCE, gather(PATIENCE)).unwrap();
    let mut batch = Vec::new();
    ring.reap(&mut batch, 4);
    assert_eq!(batch.len(), 2);
    later.join().unwrap();
}

#[test]
fn a_wait_for_several_ends_after_its_window_with_what_is_there() {
    const WINDOW: Duration = Duration::from_millis(50);
    let mut ring = ring();
    let address = install(&mut ring, 1);
    ring.receive(1, Intake::Single, 77).unwrap();
    ring.submit().unwrap();
    socket().0.send_to(b"one", address).unwrap();
    let start = Instant::now();
    ring.submit_and_wait(PATIENCE, gather(WINDOW)).unwrap();
    assert!((WINDOW..PATIENCE).contains(&start.elapsed()), "{:?}", start.elapsed());
    let mut batch = Vec::new();
    ring.reap(&mut batch, 4);
    assert_eq!(batch.len(), 1);
}

/// A receive that finds no buffer of its pool ends, says so, and loses nothing; the other pool does
/// not matter to it.
#[test]
fn each_pool_is_exhausted_for_itself_and_what_waited_comes_after_a_release() {
    const LARGE: u16 = 2;
    let sizes = PoolSizes { single: 8, single_bytes: 256, merged: LARGE };
    let mut ring = Ring::new(SIZES, 4, sizes).unwrap();
    let address = install(&mut ring, 1);
    ring.receive(1, Intake::Merged, 77).unwrap();
    let (sender, _) = socket();
    let mut held = Vec::new();
    for n in 0..LARGE {
        sender.send_to(&[n as u8; 1000], address).unwrap();
        held.push(next(&mut ring).buffer.unwrap());
    }
    sender.send_to(&[9; 1000], address).unwrap();
    let end = next(&mut ring);
    assert_eq!((end.result, end.more), (Err(libc::ENOBUFS), false));
    for (n, buffer) in held.iter().enumerate() {
        assert_eq!(ring.datagram(buffer).unwrap().payload, [n as u8; 1000]);
    }
    for buffer in held {
        ring.release(buffer);
    }
    ring.submit().unwrap();
    ring.receive(1, Intake::Merged, 77).unwrap();
    let last = next(&mut ring).buffer.unwrap();
    assert_eq!(ring.datagram(&last).unwrap().payload, [9; 1000]);
}
