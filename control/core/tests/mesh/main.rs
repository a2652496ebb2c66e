//! Frames between members: what is written is read, and what is no frame is refused.

use bytes::{Bytes, BytesMut};
use control_core::cluster::{
    Capacity, Epoch, FarmSetting, Incarnation, Load, Member, MemberId, MemberName,
    PlacementSetting, Profile, Role, SipAddress, Versions,
};
use control_core::mesh::{
    Body, Closed, ClusterId, ClusterSecret, Cut, Echo, Errand, FRAME_BYTES_MAX, Frame, Goodbye,
    Grant, HEAD_BYTES_MAX, HELLO_BYTES_MAX, Heartbeat, Hello, Hop, JoinAsk, Leave, ListenerKind,
    Malformed, PREFIX_BYTES, Registrations, Reply, Request, RequestId, SIP_ADDRESSES_MAX, SendOut,
    Sip, SyncStep, TokenId, TokenSecret, TooLong, ViewFrame, Welcome, cut, encode,
};
use control_core::settings::{AddressPair, PortRange, Transport};

fn member() -> Member {
    let profile = Profile {
        role: Role::Frontend,
        farm: FarmSetting::Auto,
        call_legs: PlacementSetting::Auto,
        signals: PlacementSetting::Locally,
        draining: true,
        joining: false,
        continues: Vec::new(),
        capacity: Capacity::USUAL,
        media_ports: PortRange::new(20_000, 29_999).expect("a good value"),
        wan_ip: AddressPair { v4: Some([203, 0, 113, 5].into()), v6: None },
        own_wan_ip: AddressPair::default(),
        mesh: "10.0.0.7:7443".parse().expect("a good value"),
        sip: vec![SipAddress {
            transport: Transport::Udp,
            address: "10.0.0.7:5060".parse().expect("a good value"),
        }],
        protocol: Versions { oldest: 1, newest: 1 },
    };
    let id = MemberId::new(7).expect("a good value");
    Member {
        name: MemberName::new("fe-7").expect("a good value"),
        id,
        incarnation: Incarnation(3),
        profile,
    }
}

fn hello() -> Hello {
    Hello::new(ClusterId([0xab; 16]), member(), Load { calls: 12, cpu_permille: 345 })
}

const ERRAND: Errand = Errand { why: 3, asked: 2 };

fn hop(local: &str, remote: &str) -> Hop {
    let (local, remote) =
        (local.parse().expect("a good value"), remote.parse().expect("a good value"));
    Hop { transport: 4, listener: ListenerKind::Wildcard, local, remote, connection: u64::MAX }
}

fn sip(text: &'static str) -> Sip {
    Sip {
        hop: hop("192.0.2.1:5060", "198.51.100.9:50600"),
        bytes: Bytes::from_static(text.as_bytes()),
    }
}

fn body(text: &'static str) -> Body {
    Body(Bytes::from_static(text.as_bytes()))
}

/// One of each kind, at least.
fn frames() -> Vec<Frame> {
    let echo = Some(Echo { sent_us: u64::MAX, held_us: 7 });
    let heartbeat = Heartbeat { calls: 1, cpu_permille: 999, epoch: Epoch(5), sent_us: 6, echo };
    let name = MemberName::new("n2").expect("a good value");
    let (id, secret) = (TokenId([1; 8]), TokenSecret([2; 16]));
    let remote = "[2001:db8::9]:5061".parse().expect("a good value");
    vec![
        Frame::Hello(Box::new(hello())),
        Frame::Welcome(Welcome { version: 1 }),
        Frame::Heartbeat(heartbeat),
        Frame::Heartbeat(Heartbeat::default()),
        Frame::Goodbye(Goodbye { why: Leave::Stopping }),
        Frame::Goodbye(Goodbye { why: Leave::Other(99) }),
        Frame::SipRelay(ERRAND, sip("OPTIONS sip:a SIP/2.0\r\n\r\n")),
        Frame::Write(Sip {
            hop: hop("[2001:db8::1]:5060", "[2001:db8::2]:1"),
            bytes: Bytes::new(),
        }),
        Frame::Closed(Closed { connection: 1 << 48 | 3 }),
        Frame::SendOut(SendOut {
            transport: 2,
            remote,
            name: "sip.test".into(),
            bytes: sip("x").bytes,
        }),
        Frame::Undelivered(
            hop("192.0.2.1:5060", "198.51.100.9:50600"),
            Body(Bytes::from_static(b"x")),
        ),
        Frame::Registrations(Registrations(body("bindings"))),
        Frame::RegistrationSync(SyncStep { copy: 1, part: 2, step: SyncStep::LAST }, body("part")),
        Frame::Calls(body("calls")),
        Frame::View(ViewFrame { epoch: Epoch(u64::MAX), body: body("{}") }),
        Frame::Request(Request { id: RequestId(8), deadline_ms: 500, body: body("?") }),
        Frame::Reply(Reply { id: RequestId(8), is_answered: true, body: body("!") }),
        Frame::Event(body("event")),
        Frame::JoinAsk(JoinAsk { id, secret, name, request: vec![5; 400] }),
        Frame::Grant(Box::new(Grant {
            certificate: vec![6; 500],
            ca: vec![7; 4096],
            secret: ClusterSecret([8; 32]),
        })),
        Frame::JoinRefused("the token has expired".to_owned()),
    ]
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    encode(frame, &mut out).expect("a good value");
    out
}

/// A frame made by hand.
fn raw(kind: u8, head: &[u8], payload: &[u8]) -> BytesMut {
    let length = u32::try_from(3 + head.len() + payload.len()).expect("a good value");
    let mut out = BytesMut::new();
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[kind]);
    out.extend_from_slice(&u16::try_from(head.len()).expect("a good value").to_be_bytes());
    out.extend_from_slice(head);
    out.extend_from_slice(payload);
    out
}

fn content_error(mut bytes: BytesMut) -> String {
    match cut(&mut bytes) {
        Err(Malformed::Content { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_kind_of_frame_is_read_as_it_was_written() {
    for frame in frames() {
        let mut bytes = BytesMut::from(bytes_of(&frame).as_slice());
        assert_eq!(cut(&mut bytes), Ok(Some(Cut::Frame(frame))));
        assert!(bytes.is_empty());
    }
}

#[test]
fn frames_that_come_byte_by_byte_are_the_same() {
    let stream: Vec<u8> = frames().iter().flat_map(bytes_of).collect();
    let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
    for byte in stream {
        buffer.extend_from_slice(&[byte]);
        while let Some(one) = cut(&mut buffer).unwrap() {
            read.push(one);
        }
    }
    let written: Vec<Cut> = frames().into_iter().map(Cut::Frame).collect();
    assert_eq!(read, written);
}

/// What was written by one version is read by another: the bytes themselves are the agreement.
#[test]
fn the_bytes_of_a_relayed_message_are_as_agreed() {
    let bytes = bytes_of(&Frame::SipRelay(ERRAND, sip("SIP")));
    let wanted = [
        &[0, 0, 0, 35, 16, 0, 29][..],
        // Transport, listener; 192.0.2.1:5060, 198.51.100.9:50600, the connection; why, how many were asked.
        &[4, 1],
        &[0, 192, 0, 2, 1, 0xc4, 0x27],
        &[0, 198, 51, 100, 9, 0xa8, 0x8b, 0x03],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 3, 2],
        b"SIP",
    ];
    assert_eq!(bytes, wanted.concat());
}

/// The relay of a message costs its receiver no copy of it.
#[test]
fn the_payload_is_the_bytes_that_were_read() {
    let mut buffer = BytesMut::from(bytes_of(&Frame::SipRelay(ERRAND, sip("MESSAGE"))).as_slice());
    let at = buffer[buffer.len() - 7..].as_ptr();
    match cut(&mut buffer) {
        Ok(Some(Cut::Frame(Frame::SipRelay(_, sip)))) => assert_eq!(sip.bytes.as_ptr(), at),
        other => panic!("{other:?}"),
    }
}

/// A mixed-version cluster: what newer software adds is passed over.
#[test]
fn kinds_and_fields_of_newer_versions_are_passed_over() {
    let mut stream = raw(200, b"what is this", b"and this");
    stream.extend_from_slice(&raw(2, &[2, 77, 78], b"more"));
    assert_eq!(cut(&mut stream), Ok(Some(Cut::Unknown(200))));
    let welcome = Frame::Welcome(Welcome { version: 2 });
    assert_eq!(cut(&mut stream), Ok(Some(Cut::Frame(welcome))));
    assert!(stream.is_empty());
}

#[test]
fn a_newer_member_may_say_more_of_itself() {
    let frame = bytes_of(&Frame::Hello(Box::new(hello())));
    let head = usize::from(u16::from_be_bytes([frame[5], frame[6]]));
    let head = &frame[PREFIX_BYTES..PREFIX_BYTES + head];
    let mut told = serde_json::to_value(member()).unwrap();
    told["profile"]["colour"] = "blue".into();
    told["mood"] = 3.into();
    let mut bytes = raw(1, head, told.to_string().as_bytes());
    assert_eq!(cut(&mut bytes), Ok(Some(Cut::Frame(Frame::Hello(Box::new(hello()))))));
}

#[test]
fn a_frame_that_is_too_long_is_refused_by_its_length_alone() {
    let mut bytes = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
    assert_eq!(cut(&mut bytes), Err(Malformed::TooLong(0xffff_ffff)));
    let length = u32::try_from(FRAME_BYTES_MAX).unwrap();
    let mut bytes = BytesMut::from(&(length + 1).to_be_bytes()[..]);
    assert_eq!(cut(&mut bytes), Err(Malformed::TooLong(FRAME_BYTES_MAX + 1)));
    let mut bytes = BytesMut::from(&length.to_be_bytes()[..]);
    assert_eq!(cut(&mut bytes), Ok(None));
}

#[test]
fn a_frame_without_room_for_its_parts_is_refused() {
    let mut bytes = BytesMut::from(&[0, 0, 0, 2, 1, 0][..]);
    assert_eq!(cut(&mut bytes), Err(Malformed::TooShort(2)));
    let mut bytes = BytesMut::from(&[0, 0, 0, 4, 2, 0, 2, 1][..]);
    assert_eq!(cut(&mut bytes), Err(Malformed::Head { frame: 4, head: 2 }));
    let mut bytes = raw(2, &vec![1; HEAD_BYTES_MAX + 1], b"");
    let (frame, head) = (HEAD_BYTES_MAX + 4, HEAD_BYTES_MAX + 1);
    assert_eq!(cut(&mut bytes), Err(Malformed::Head { frame, head }));
}

#[test]
fn a_frame_is_refused_with_its_kind_and_the_reason() {
    for kind in [1, 2, 3, 4, 16, 17, 18, 19, 20, 33, 48, 49, 50, 64, 65, 66] {
        let mut bytes = raw(kind, b"", b"");
        let error = cut(&mut bytes).unwrap_err();
        assert!(matches!(error, Malformed::Content { kind: told, .. } if told == kind), "{error}");
        assert!(error.to_string().starts_with(&format!("a frame of kind {kind} that")), "{error}");
    }
}

#[test]
fn a_text_that_is_too_long_is_refused() {
    let long = |name: String| {
        let remote = "192.0.2.1:5060".parse().unwrap();
        bytes_of(&Frame::SendOut(SendOut { transport: 0, remote, name, bytes: Bytes::new() }))
    };
    assert!(cut(&mut BytesMut::from(long("x".repeat(253)).as_slice())).is_ok());
    content_error(BytesMut::from(long("x".repeat(254)).as_slice()));
    let (id, secret) = (TokenId([1; 8]), TokenSecret([2; 16]));
    let name = MemberName::new("n2").unwrap();
    let ask = Frame::JoinAsk(JoinAsk { id, secret, name, request: vec![0; 4097] });
    content_error(BytesMut::from(bytes_of(&ask).as_slice()));
}

#[test]
fn a_member_that_says_too_much_of_itself_is_refused() {
    let frame = bytes_of(&Frame::Hello(Box::new(hello())));
    let head = usize::from(u16::from_be_bytes([frame[5], frame[6]]));
    let head = &frame[PREFIX_BYTES..PREFIX_BYTES + head];
    let why = content_error(raw(1, head, &vec![b' '; HELLO_BYTES_MAX + 1]));
    assert_eq!(why, "16385 bytes where 16384 is the most");
    let mut many = hello();
    many.member.profile.sip = vec![many.member.profile.sip[0]; SIP_ADDRESSES_MAX + 1];
    let why = content_error(BytesMut::from(bytes_of(&Frame::Hello(Box::new(many))).as_slice()));
    assert_eq!(why, "65 SIP addresses where 64 is the most");
}

/// Whoever fills a buffer with frames keeps what it had.
#[test]
fn what_is_too_long_to_be_sent_leaves_nothing_behind() {
    let bytes = Bytes::from(vec![0; FRAME_BYTES_MAX]);
    let mut out = vec![1, 2, 3];
    assert_eq!(encode(&Frame::Event(Body(bytes)), &mut out), Err(TooLong(FRAME_BYTES_MAX + 3)));
    assert_eq!(out, [1, 2, 3]);
    let most = Bytes::from(vec![0; FRAME_BYTES_MAX - 3]);
    assert_eq!(encode(&Frame::Event(Body(most)), &mut out), Ok(()));
}

#[test]
fn a_long_refusal_is_cut_at_a_character() {
    let bytes = bytes_of(&Frame::JoinRefused("ä".repeat(300) + "x"));
    match cut(&mut BytesMut::from(bytes.as_slice())) {
        Ok(Some(Cut::Frame(Frame::JoinRefused(why)))) => assert_eq!(why, "ä".repeat(200)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_clusters_id_is_written_in_hexadecimal_digits() {
    let id = ClusterId([0x0f; 16]);
    assert_eq!(id.to_string().parse(), Ok(id));
    for wrong in ["", "0f", &"0".repeat(33), &"g".repeat(32), &format!("+{}", "0".repeat(31))] {
        assert!(wrong.parse::<ClusterId>().is_err(), "{wrong}");
    }
}
