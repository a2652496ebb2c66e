//! Offer/answer of one session.

use std::net::IpAddr;

use relay_core::api::{
    Command, Learning, Leg, LocalPorts, SessionId, SessionSpec, StreamSpec, Traffic,
};

use super::{MediaSession, OfferAnswerError, OfferId, Ports, Unreachable};
use crate::call::Family;
use crate::sdp::Sdp;

const LOCAL: &str = "192.0.2.1";

fn session() -> MediaSession {
    let local: IpAddr = LOCAL.parse().unwrap();
    MediaSession::new(SessionId(1), [local; 2], [local; 2])
}

fn sdp(ip: &str, media: &[&str]) -> String {
    let family = if ip.contains(':') { "IP6" } else { "IP4" };
    let mut text = format!("v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\n");
    for line in media {
        text += &format!("m={line}\r\n");
    }
    text
}

fn strict(_: IpAddr) -> Learning {
    Learning::Signalled
}

fn offer(session: &mut MediaSession, leg: Leg, ip: &str, media: &[&str]) -> OfferId {
    let text = sdp(ip, media);
    session.offer(leg, &Sdp::parse(text.as_bytes()).unwrap(), &strict).unwrap()
}

fn answer(session: &mut MediaSession, leg: Leg, to: OfferId, ip: &str, media: &[&str]) {
    let text = sdp(ip, media);
    session.answer(leg, to, &Sdp::parse(text.as_bytes()).unwrap(), &strict).unwrap();
}

fn ports(spec: &SessionSpec) -> Ports {
    let port = |i: usize, leg: u16| LocalPorts {
        rtp: (spec.local[0], 30_000 + 10 * i as u16 + 4 * leg).into(),
        rtcp: (spec.local[0], 30_001 + 10 * i as u16 + 4 * leg).into(),
    };
    let stream =
        |(i, s): (usize, &relay_core::api::StreamSpec)| s.open.then(|| [port(i, 0), port(i, 1)]);
    spec.streams.iter().enumerate().map(stream).collect()
}

/// What the relay is asked for; `None` if nothing.
fn asked(session: &mut MediaSession, token: u64) -> Option<SessionSpec> {
    match session.command(token)? {
        Command::Apply { spec, .. } => Some(spec),
        Command::Close { .. } | Command::Report { .. } => None,
    }
}

/// The state that the relay is brought to.
fn carried_out(session: &mut MediaSession, token: u64) -> SessionSpec {
    let spec = asked(session, token).expect("the relay is asked");
    session.applied(token, ports(&spec));
    spec
}

fn remote(spec: &SessionSpec, stream: usize, leg: Leg) -> Option<String> {
    spec.streams[stream].legs[leg.index()].remote.map(|r| r.rtp.to_string())
}

/// A session on which audio was agreed.
fn agreed() -> (MediaSession, OfferId) {
    let mut session = session();
    let first = offer(&mut session, Leg::Caller, "198.51.100.1", &["audio 4000 RTP/AVP 0"]);
    carried_out(&mut session, 1);
    answer(&mut session, Leg::Callee, first, "198.51.100.2", &["audio 6000 RTP/AVP 0"]);
    session.establish();
    carried_out(&mut session, 2);
    (session, first)
}

/// RFC 3264 8: what a refused offer added was never part of the session, so the next offer may do
/// without; the relay, which cannot remove a stream, keeps it closed.
#[test]
fn an_offer_after_one_that_was_refused_needs_no_stream_that_only_that_one_had() {
    let (mut session, _) = agreed();
    let both = ["audio 4000 RTP/AVP 0", "video 4002 RTP/AVP 96"];
    let video = offer(&mut session, Leg::Caller, "198.51.100.1", &both);
    assert!(carried_out(&mut session, 3).streams[1].open);
    session.refuse(video);
    assert!(!carried_out(&mut session, 4).streams[1].open);
    let hold = offer(&mut session, Leg::Caller, "198.51.100.1", &["audio 4000 RTP/AVP 0"]);
    answer(&mut session, Leg::Callee, hold, "198.51.100.2", &["audio 6000 RTP/AVP 0"]);
    assert_eq!(asked(&mut session, 5), None, "all is as it was");
}

/// RFC 3261 14.1: two offers cross. The one that is answered counts, the other leaves no trace.
#[test]
fn an_offer_that_crosses_another_does_not_take_its_answer() {
    let (mut session, _) = agreed();
    let one = offer(&mut session, Leg::Caller, "198.51.100.11", &["audio 4000 RTP/AVP 0"]);
    let two = offer(&mut session, Leg::Callee, "198.51.100.22", &["audio 6000 RTP/AVP 0"]);
    answer(&mut session, Leg::Callee, one, "198.51.100.2", &["audio 6000 RTP/AVP 0"]);
    session.refuse(two);
    let spec = carried_out(&mut session, 3);
    assert_eq!(remote(&spec, 0, Leg::Caller).unwrap(), "198.51.100.11:4000");
    assert_eq!(remote(&spec, 0, Leg::Callee).unwrap(), "198.51.100.2:6000");
}

/// RFC 6337 3.1.1: a 2xx that is retransmitted after a later exchange brings nobody back.
#[test]
fn an_answer_that_comes_after_a_later_exchange_changes_nothing() {
    let (mut session, first) = agreed();
    let moved = offer(&mut session, Leg::Callee, "198.51.100.22", &["audio 6666 RTP/AVP 0"]);
    answer(&mut session, Leg::Caller, moved, "198.51.100.1", &["audio 4000 RTP/AVP 0"]);
    let spec = carried_out(&mut session, 3);
    assert_eq!(remote(&spec, 0, Leg::Callee).unwrap(), "198.51.100.22:6666");
    answer(&mut session, Leg::Callee, first, "198.51.100.2", &["audio 6000 RTP/AVP 0"]);
    assert_eq!(asked(&mut session, 4), None);
}

/// A later answer to the same offer counts: another fork's 183, then the 2xx.
#[test]
fn the_last_of_several_answers_to_one_offer_counts() {
    let (mut session, first) = agreed();
    answer(&mut session, Leg::Callee, first, "198.51.100.3", &["audio 6003 RTP/AVP 0"]);
    let spec = carried_out(&mut session, 3);
    assert_eq!(remote(&spec, 0, Leg::Callee).unwrap(), "198.51.100.3:6003");
}

/// The relay carries commands out in order, and each on its own.
#[test]
fn a_refused_command_does_not_take_back_one_that_was_carried_out() {
    let mut session = session();
    let first = offer(&mut session, Leg::Caller, "198.51.100.1", &["audio 4000 RTP/AVP 0"]);
    let offered = asked(&mut session, 1).unwrap();
    answer(&mut session, Leg::Callee, first, "198.51.100.2", &["audio 6000 RTP/AVP 0"]);
    asked(&mut session, 2).unwrap();
    session.applied(1, ports(&offered));
    session.refused(2);
    assert!(session.exists_at_relay());
    assert!(!session.is_up_to_date());
    assert!(asked(&mut session, 3).is_some(), "what was refused is still wanted");
}

#[test]
fn a_session_whose_only_command_was_refused_does_not_exist() {
    let mut session = session();
    offer(&mut session, Leg::Caller, "198.51.100.1", &["audio 4000 RTP/AVP 0"]);
    asked(&mut session, 1).unwrap();
    assert!(session.is_awaited());
    session.refused(1);
    assert!(!session.exists_at_relay() && !session.is_awaited());
}

/// A phone that answers 183 and lets it ring sends nothing: that is no idle call.
#[test]
fn nobody_is_expected_to_send_before_the_call_is_answered() {
    let mut session = session();
    let first = offer(&mut session, Leg::Caller, "198.51.100.1", &["audio 4000 RTP/AVP 0"]);
    answer(&mut session, Leg::Callee, first, "198.51.100.2", &["audio 6000 RTP/AVP 0"]);
    let ringing = carried_out(&mut session, 1);
    assert!(ringing.streams[0].legs.iter().all(|leg| !leg.sends && leg.remote.is_some()));
    session.establish();
    let answered = carried_out(&mut session, 2);
    assert!(answered.streams[0].legs.iter().all(|leg| leg.sends));
}

/// The relay does not translate between address families within a leg.
#[test]
fn an_offer_of_an_address_that_cannot_be_sent_to_is_an_error() {
    for (ip, error) in [
        ("2001:db8::1", OfferAnswerError::OtherFamily(Family::V6)),
        ("239.1.2.3", OfferAnswerError::Group),
        ("ff02::1", OfferAnswerError::Group),
        ("255.255.255.255", OfferAnswerError::Group),
    ] {
        let text = sdp(ip, &["audio 4000 RTP/AVP 0"]);
        let offered = session().offer(Leg::Caller, &Sdp::parse(text.as_bytes()).unwrap(), &strict);
        assert_eq!(offered, Err(error), "{ip}");
    }
    // A stream that is refused or not relayed may name what it likes.
    let closed = sdp("2001:db8::1", &["audio 0 RTP/AVP 0", "message 2855 TCP/MSRP *"]);
    let closed = Sdp::parse(closed.as_bytes()).unwrap();
    session().offer(Leg::Caller, &closed, &strict).unwrap();
}

/// RFC 3264 6: a stream whose peer cannot be sent to is closed to both sides; the other stream goes on.
#[test]
fn an_answer_that_names_an_unreachable_address_closes_that_stream_alone() {
    let mut session = session();
    let both = ["audio 4000 RTP/AVP 0", "video 4002 RTP/AVP 96"];
    let first = offer(&mut session, Leg::Caller, "198.51.100.1", &both);
    carried_out(&mut session, 1);
    let text = sdp("198.51.100.2", &["audio 6000 RTP/AVP 0", "video 6002 RTP/AVP 96"])
        + "c=IN IP6 2001:db8::2\r\n";
    let answer = Sdp::parse(text.as_bytes()).unwrap();
    let closed = session.answer(Leg::Callee, first, &answer, &strict).unwrap();
    assert_eq!(closed, Some(Unreachable::OtherFamily(Family::V6)));
    let spec = carried_out(&mut session, 2);
    assert_eq!(remote(&spec, 0, Leg::Callee).unwrap(), "198.51.100.2:6000");
    assert_eq!([spec.streams[0].open, spec.streams[1].open], [true, false]);
    let told = String::from_utf8(session.rewrite_for(Leg::Caller, &answer)).unwrap();
    assert!(told.contains("m=audio 30000 ") && told.contains("m=video 0 "), "{told}");
}

/// RFC 3261 13.3.1.4: a 2xx with an offer is retransmitted until the ACK comes.
#[test]
fn the_same_offer_of_the_same_transaction_is_one_offer() {
    let mut session = session();
    let text = sdp("198.51.100.2", &["audio 6000 RTP/AVP 0"]);
    let late = Sdp::parse(text.as_bytes()).unwrap();
    let first = session.offer(Leg::Callee, &late, &strict).unwrap();
    carried_out(&mut session, 1);
    answer(&mut session, Leg::Caller, first, "198.51.100.1", &["audio 4000 RTP/AVP 0"]);
    carried_out(&mut session, 2);
    assert_eq!(session.offer_again(Some(first), Leg::Callee, &late, &strict).unwrap(), first);
    assert_eq!(asked(&mut session, 3), None);
    let reinvite = session.offer(Leg::Callee, &late, &strict).unwrap();
    assert_ne!(reinvite, first);
}

/// RFC 3264 6: what the relay has no port for is offered closed, never with the sender's own address.
#[test]
fn a_stream_without_a_port_goes_on_closed() {
    let (mut session, _) = agreed();
    let text = sdp("198.51.100.2", &["audio 6000 RTP/AVP 0", "video 6002 RTP/AVP 96"]);
    let wider = Sdp::parse(text.as_bytes()).unwrap();
    session.offer(Leg::Callee, &wider, &strict).unwrap();
    asked(&mut session, 3).expect("the relay is asked for ports");
    session.refused(3);
    let shown = String::from_utf8(session.rewrite_for(Leg::Caller, &wider)).unwrap();
    assert!(shown.contains("m=audio 30000 ") && shown.contains("m=video 0 "), "{shown}");
    assert!(!shown.contains("198.51.100.2"), "{shown}");
}

/// RFC 6337 3.1.1: a 2xx with an offer that is retransmitted after the parties have gone on does not
/// take the place of the offer that is open now.
#[test]
fn an_offer_that_comes_again_after_a_later_one_changes_nothing() {
    let (mut session, _) = agreed();
    let text = sdp("198.51.100.1", &["audio 4000 RTP/AVP 0"]);
    let copy = Sdp::parse(text.as_bytes()).unwrap();
    let late = session.offer(Leg::Caller, &copy, &strict).unwrap();
    answer(&mut session, Leg::Callee, late, "198.51.100.2", &["audio 6000 RTP/AVP 0"]);
    let moved = offer(&mut session, Leg::Caller, "198.51.100.1", &["audio 4444 RTP/AVP 0"]);
    assert_eq!(session.offer_again(Some(late), Leg::Caller, &copy, &strict).unwrap(), late);
    answer(&mut session, Leg::Callee, moved, "198.51.100.2", &["audio 6000 RTP/AVP 0"]);
    let spec = carried_out(&mut session, 3);
    assert_eq!(remote(&spec, 0, Leg::Caller).unwrap(), "198.51.100.1:4444");
}

/// RFC 4594 4.1, 4.3: what the m= line says decides how the packets are marked.
#[test]
fn each_kind_of_media_is_marked_as_what_it_is() {
    let mut session = session();
    let media = [
        "audio 4000 RTP/AVP 0",
        "video 4002 RTP/AVP 96",
        "image 4004 udptl t38",
        "text 4006 RTP/AVP 98",
        "application 4008 UDP/BFCP *",
    ];
    let offer = offer(&mut session, Leg::Caller, "198.51.100.10", &media);
    answer(&mut session, Leg::Callee, offer, "198.51.100.20", &media);
    let traffic: Vec<Traffic> = session.wanted().streams.iter().map(|s| s.traffic).collect();
    use Traffic::{Audio, Other, Video};
    assert_eq!(traffic, [Audio, Video, Audio, Audio, Other]);
}

/// RFC 3389, RFC 3551 6: comfort noise has a static type, which senders do not always list.
#[test]
fn comfort_noise_may_be_sent_in_audio_whether_or_not_it_is_listed() {
    let mut session = session();
    let media = ["audio 4000 RTP/AVP 0", "video 4002 RTP/AVP 96"];
    let offer = offer(&mut session, Leg::Caller, "198.51.100.10", &media);
    answer(&mut session, Leg::Callee, offer, "198.51.100.20", &media);
    let may = |stream: &StreamSpec| stream.legs.each_ref().map(|l| l.payload_types.contains(13));
    let streams = session.wanted().streams;
    assert_eq!([may(&streams[0]), may(&streams[1])], [[true; 2], [false; 2]]);
}
