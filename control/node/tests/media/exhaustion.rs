//! A range of media ports that is used up (S60, S66).

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::ng::Controller;
use crate::node::{Node, PATIENCE};
use crate::packet::{port, socket};
use crate::phone::{Call, Phone, sdp};

/// How often what nothing announces is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

fn audio(media: &UdpSocket) -> String {
    sdp(&format!("m=audio {} RTP/AVP 0\r\n", port(media)))
}

/// S60, S66: with two calls the eight ports are gone. The third gets 503, and one line says which
/// range, how many ports are used and resting, which call has held one longest, and what to do.
#[test]
fn a_call_without_a_free_port_gets_503_and_a_line_that_says_why_and_what_to_do() {
    let node = Node::start("ports = \"20000-20007\"\nrest_s = 3600");
    let (alice, bob) = (Phone::new(&node, "alice"), Phone::new(&node, "bob"));
    let media = socket();
    let (first, exchange) = Call::new(&alice, &bob, &audio(&media), &audio(&media));
    let (second, _) = Call::new(&alice, &bob, &audio(&media), &audio(&media));
    let refused = alice.invite("bob", &audio(&media));
    let answer = alice.refusal();
    assert_eq!((answer.status(), answer.reason()), (503, "No Media Port Available"));
    let line = node.wait_logged("no free media port");
    let ip = node.sip.ip();
    for part in [
        "WARN".to_owned(),
        format!("the relay refused the media of call {refused}"),
        format!("no free media port in 20000-20007 on {ip}: 8 used, 0 resting"),
        format!("oldest in use by call {} for ", first.id),
        "widen media.ports".to_owned(),
    ] {
        assert!(line.contains(&part), "no {part:?} in {line:?}");
    }

    // A call that ends makes room: nothing but resting ports is left, so their rest ends early.
    let ended = first.hang_up();
    node.media_of(&ended);
    for door in [exchange.offered.door(0), exchange.answered.door(0)] {
        await_unbound(door);
    }
    let (third, _) = Call::new(&alice, &bob, &audio(&media), &audio(&media));
    let cut = node.wait_logged("media ports run short");
    assert!(cut.contains("rests (media.rest_s) ended early"), "{cut}");
    for call in [second, third] {
        call.hang_up();
    }
}

/// Waits until nobody has the port.
fn await_unbound(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while UdpSocket::bind(address).is_err() {
        assert!(Instant::now() < deadline, "{address} is still bound");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// However many calls are refused in the same second, they are one line.
#[test]
fn a_lack_of_ports_that_lasts_does_not_flood_the_log() {
    let node = Node::start("ports = \"20000-20007\"\nrest_s = 3600");
    let (alice, bob) = (Phone::new(&node, "alice"), Phone::new(&node, "bob"));
    let media = socket();
    let calls = [(); 2].map(|()| Call::new(&alice, &bob, &audio(&media), &audio(&media)).0);
    let start = Instant::now();
    let refused: Vec<String> = (0..20)
        .map(|_| {
            let call_id = alice.invite("bob", &audio(&media));
            assert_eq!(alice.refusal().status(), 503);
            call_id
        })
        .collect();
    for call_id in &refused {
        node.media_of(call_id);
    }
    let seconds = start.elapsed().as_secs() as usize + 1;
    let lines = node.logged("no free media port");
    assert!((1..=seconds).contains(&lines), "{lines} lines in {seconds} s");
    for call in calls {
        call.hang_up();
    }
}

/// The same over ng: the controller's error names the figures, and `statistics` counts rests that
/// ended early.
#[test]
fn a_controller_is_told_the_figures_and_how_many_rests_ended_early() {
    let node = Node::start("ports = \"20000-20007\"\nrest_s = 3600");
    let mut controller = Controller::new(&node);
    let sdp = sdp("m=audio 4000 RTP/AVP 0\r\n");
    let mut ask = |command: &str, call: &str| controller.ask(command, call, &sdp);
    for call in ["one", "two"] {
        assert!(ask("offer", call).contains("6:result2:ok"), "{call}");
    }
    let refused = ask("offer", "three");
    let figures = "no free media port in 20000-20007";
    assert!(refused.contains("6:result5:error") && refused.contains(figures), "{refused}");
    assert!(refused.contains("8 used, 0 resting, oldest in use by call one for "), "{refused}");
    assert!(node.wait_logged(figures).contains("ng command from"));

    ask("delete", "one");
    let deadline = Instant::now() + PATIENCE;
    // The ports are given back once their sockets are closed.
    while !ask("offer", "three").contains("6:result2:ok") {
        assert!(Instant::now() < deadline, "no port is given back");
        std::thread::sleep(LOOK_AGAIN);
    }
    // Two pairs, counted when the ports are looked at next.
    while !ask("statistics", "").contains("8:restscuti2e") {
        assert!(Instant::now() < deadline, "{}", ask("statistics", ""));
        std::thread::sleep(LOOK_AGAIN);
    }
}
