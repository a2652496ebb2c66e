//! Calls between two baresip phones through the node: what each hears is what the other plays.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use crate::baresip::{BARESIP, Baresip, MEDIA_FIRST, MEDIA_LAST};
use crate::capture::{self, Capture, Stream};
use crate::harness::{
    CALLEE, CALLEE_HUNG_UP, CALLER, CALLER_HUNG_UP, Direction, Lab, Meter, NODE, Settings,
    Transport, User, v6, wait_for,
};
use crate::tone::Recording;

/// The caller's tone.
const LOW: u32 = 440;
/// The callee's tone.
const HIGH: u32 = 1000;
/// A second of recorded audio: 8,000 samples of 16 bits.
const SECOND_BYTES: u64 = 16_000;
/// A second of audio: a packet every 20 ms.
const SECOND_PACKETS: usize = 50;
/// How long a phone may take to hear a second of audio.
const HEARD: Duration = Duration::from_secs(15);
/// How long a hold is watched for audio that should not be there: 25 packets' time.
const WATCHED: Duration = Duration::from_millis(500);
/// Far above what a phone on this host shows (under 2 ms), far below a jitter buffer's 100 ms: a
/// node that holds packets back shows, a machine that is busy with other tests does not.
const JITTER_MS_MAX: f64 = 20.0;

pub(crate) struct Call {
    lab: Lab,
}

impl Call {
    fn new(needed: &[&str]) -> Call {
        Call::with(&Settings::with_users(&["alice", "bob"]), needed)
    }

    /// As [`Call::new`], of a node with these settings.
    pub(crate) fn with(settings: &Settings, needed: &[&str]) -> Call {
        Call { lab: Lab::start(settings, needed) }
    }

    /// A whole call between phones with these addresses and transports.
    pub(crate) fn hang_up(self, phones: [(impl Into<IpAddr>, Transport); 2], by_caller: bool) {
        let (caller, callee) = self.connect_over(phones.map(|(ip, by)| (ip.into(), by)));
        let (ends, hears) = if by_caller { (&caller, &callee) } else { (&callee, &caller) };
        ends.hang_up();
        hears.wait_call_end();
        let end = if by_caller { CALLER_HUNG_UP } else { CALLEE_HUNG_UP };
        self.end(caller, callee, end);
    }

    /// Both phones, registered, with a call from the first to the second that both hear for a
    /// second.
    fn connect(&self, transport: Transport) -> (Baresip, Baresip) {
        self.connect_over([(CALLER.into(), transport), (CALLEE.into(), transport)])
    }

    fn connect_over(
        &self,
        [(from, by), (to, callee_by)]: [(IpAddr, Transport); 2],
    ) -> (Baresip, Baresip) {
        let (alice, bob) = (User::new("alice"), User::new("bob"));
        let caller = Baresip::start(&self.lab, &alice, from, by, LOW);
        let callee = Baresip::start(&self.lab, &bob, to, callee_by, HIGH);
        caller.call(&bob);
        hear_a_second(&[&caller, &callee]);
        (caller, callee)
    }

    fn end(self, caller: Baresip, callee: Baresip, end: &str) {
        assert_tone(&caller.quit(), HIGH, LOW);
        assert_tone(&callee.quit(), LOW, HIGH);
        self.lab.finish(&[end]);
    }
}

/// Each phone hears the other's tone, and the caller hangs up, over UDP.
#[test]
fn each_phone_hears_the_other_and_the_caller_hangs_up_over_udp() {
    hang_up(Transport::Udp, true);
}

/// As over UDP.
#[test]
fn each_phone_hears_the_other_and_the_caller_hangs_up_over_tcp() {
    hang_up(Transport::Tcp, true);
}

/// Each phone hears the other's tone, and the callee hangs up, over UDP.
#[test]
fn each_phone_hears_the_other_and_the_callee_hangs_up_over_udp() {
    hang_up(Transport::Udp, false);
}

/// As over UDP.
#[test]
fn each_phone_hears_the_other_and_the_callee_hangs_up_over_tcp() {
    hang_up(Transport::Tcp, false);
}

/// As over IPv4, with SIP and media over IPv6.
#[test]
fn each_phone_hears_the_other_over_ipv6_and_udp() {
    hang_up_between([v6(CALLER), v6(CALLEE)], Transport::Udp, true);
}

/// As over UDP.
#[test]
fn each_phone_hears_the_other_over_ipv6_and_tcp() {
    hang_up_between([v6(CALLER), v6(CALLEE)], Transport::Tcp, false);
}

/// RFC 6157: two phones that share no address family hear each other.
#[test]
fn a_phone_with_ipv6_and_one_with_ipv4_hear_each_other() {
    hang_up_between([v6(CALLER), CALLEE.into()], Transport::Udp, true);
}

/// The other way round; the callee's BYE finds back to IPv4 (RFC 5658).
#[test]
fn a_phone_with_ipv4_and_one_with_ipv6_hear_each_other() {
    hang_up_between([CALLER.into(), v6(CALLEE)], Transport::Udp, false);
}

fn hang_up(transport: Transport, by_caller: bool) {
    hang_up_between([CALLER.into(), CALLEE.into()], transport, by_caller);
}

fn hang_up_between(phones: [IpAddr; 2], transport: Transport, by_caller: bool) {
    Call::new(&[BARESIP]).hang_up(phones.map(|ip| (ip, transport)), by_caller);
}

/// Hold by re-INVITE (RFC 3264 8.4): the tone stops, and is back after the call is resumed. UDP.
#[test]
fn hold_stops_the_tone_and_resume_brings_it_back_over_udp() {
    hold(Transport::Udp);
}

/// As over UDP.
#[test]
fn hold_stops_the_tone_and_resume_brings_it_back_over_tcp() {
    hold(Transport::Tcp);
}

fn hold(transport: Transport) {
    let call = Call::new(&[BARESIP, capture::TOOLS[0], capture::TOOLS[1]]);
    let meter = Meter::start(&call.lab, &to_phones());
    let capture = Capture::start(&call.lab);
    let (caller, callee) = call.connect(transport);

    caller.hold();
    wait_for("the callee's tone to stop", HEARD, || {
        let before = meter.packets("to_caller");
        thread::sleep(WATCHED);
        meter.packets("to_caller") == before
    });
    let before = ["to_caller", "to_callee"].map(|name| (name, meter.packets(name)));

    caller.resume();
    for (name, before) in before {
        wait_for("the tone to come back", HEARD, || {
            meter.packets(name) >= before + 2 * SECOND_PACKETS as u64
        });
    }
    caller.hang_up();
    callee.wait_call_end();
    // This baresip stops to record once it was on hold, so what it got then is read off the wire.
    let evidence = capture.stop();
    for (name, to, wanted, own) in [("caller", CALLER, HIGH, LOW), ("callee", CALLEE, LOW, HIGH)] {
        let heard = evidence.last_audio(NODE, to, SECOND_PACKETS);
        let (tone, echo) = (heard.purity(f64::from(wanted)), heard.purity(f64::from(own)));
        assert!(
            tone > 0.8,
            "after the hold {tone:.3} of what the {name} gets is {wanted} Hz, {echo:.3} is {own} Hz"
        );
    }
    drop(evidence);
    call.end(caller, callee, CALLER_HUNG_UP);
}

/// tshark, which knows nothing of the node, finds no loss and no jitter to speak of in any of the
/// call's four streams, and as many packets behind the node as before it.
#[test]
fn tshark_finds_nothing_lost_in_any_stream_of_a_call() {
    let call = Call::new(&[BARESIP, capture::TOOLS[0], capture::TOOLS[1]]);
    let capture = Capture::start(&call.lab);
    let (caller, callee) = call.connect(Transport::Udp);
    hear_a_second(&[&caller, &callee]);
    hear_a_second(&[&caller, &callee]);
    caller.hang_up();
    callee.wait_call_end();
    let evidence = capture.stop();
    let streams = evidence.streams();

    assert_eq!(streams.len(), 4, "tshark found other streams than the call's: {streams:#?}");
    for stream in &streams {
        assert_eq!(stream.lost, 0, "{stream:?}");
        assert!(stream.jitter_ms_max < JITTER_MS_MAX, "{stream:?}");
        // Two seconds and more of one packet every 20 ms.
        assert!(stream.packets > 100, "{stream:?}");
    }
    for (from, to) in [(CALLER, CALLEE), (CALLEE, CALLER)] {
        let into = find(&streams, from.into(), NODE.into());
        let out = find(&streams, NODE.into(), to.into());
        assert_eq!(into.ssrc, out.ssrc, "the node relays the packets as they are");
        // A phone that has just ended the call may still have sent one or two after the node had
        // heard the BYE.
        let missing = into.packets.checked_sub(out.packets);
        assert!(missing.is_some_and(|missing| missing <= 3), "{into:?} became {out:?}");
    }
    drop(evidence);
    call.end(caller, callee, CALLER_HUNG_UP);
}

fn find(streams: &[Stream], from: IpAddr, to: IpAddr) -> &Stream {
    let found = streams.iter().find(|stream| stream.is_from(from) && stream.is_to(to));
    found.unwrap_or_else(|| panic!("no stream from {from} to {to}: {streams:#?}"))
}

fn hear_a_second(phones: &[&Baresip]) {
    for phone in phones {
        let before = phone.recorded_bytes();
        wait_for("a second of audio", HEARD, || phone.recorded_bytes() >= before + SECOND_BYTES);
    }
}

fn to_phones() -> [Direction; 2] {
    [("to_caller", CALLER), ("to_callee", CALLEE)].map(|(name, to)| Direction {
        name,
        from: NODE.into(),
        to: to.into(),
        ports: MEDIA_FIRST..=MEDIA_LAST,
        swallow: false,
    })
}

/// Panics unless `heard` is one tone, and not the phone's own, from the beginning to the end.
fn assert_tone(heard: &Recording, wanted: u32, own: u32) {
    assert!(heard.seconds() >= 0.9, "only {:.2} s were heard", heard.seconds());
    // The very first and last packets fade in and out.
    for (part, name) in [(heard.part(0.1, 0.4), "beginning"), (heard.part(0.6, 0.9), "end")] {
        let (tone, echo) = (part.purity(f64::from(wanted)), part.purity(f64::from(own)));
        assert!(tone > 0.8, "{tone:.3} of the {name} is {wanted} Hz, {echo:.3} is {own} Hz");
    }
}
