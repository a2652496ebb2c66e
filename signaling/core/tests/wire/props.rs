//! Properties over arbitrary and over mutated input.

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use signaling_core::wire::{
    AuthValue, Frame, HeaderName, Limits, MediaType, Message, StreamFramer, Uri, stamp_source,
    stamped_message,
};

use crate::{INVITE, invite};

/// All vectors of RFC 4475 and our own INVITE.
fn seeds() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/rfc4475");
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut seeds: Vec<_> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert_eq!(seeds.len(), 50);
    seeds.push(INVITE.as_bytes().to_vec());
    seeds
}

/// A seed with some bytes replaced, inserted or removed; the bytes are often those that mean something.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        Just(b'\r'),
        Just(b'\n'),
        Just(b' '),
        Just(b','),
        Just(b';'),
        Just(b'"'),
        Just(b'<'),
        Just(b'>'),
        Just(b':'),
        Just(b'\\'),
        Just(b'='),
        Just(b'@'),
        Just(b'['),
        Just(b']'),
        Just(b'%'),
        any::<u8>(),
    ];
    let change = (any::<prop::sample::Index>(), byte, 0..3u8);
    (prop::sample::select(seeds()), prop::collection::vec(change, 0..8)).prop_map(
        |(mut raw, changes)| {
            for (at, byte, kind) in changes {
                let at = at.index(raw.len());
                match kind {
                    0 => raw[at] = byte,
                    1 => raw.insert(at, byte),
                    _ if raw.len() > 1 => drop(raw.remove(at)),
                    _ => {}
                }
            }
            raw
        },
    )
}

/// Asks for everything that can be asked for.
fn read_all(m: &Message) {
    let via = m.top_via();
    let _ = (
        via.transport(),
        via.host(),
        via.reply_host(),
        via.reply_port(),
        via.received(),
        via.ttl(),
    );
    let _ = m.vias().flatten().map(|via| via.params().iter().count()).sum::<usize>();
    for addr in [m.from(), m.to()] {
        let _ =
            (addr.display_text(), addr.uri().map(|u| u.address_of_record()), addr.q_thousandths());
        let _ = (addr.tag(), addr.instance(), addr.expires(), addr.reg_id());
    }
    for contact in m.contacts().flatten().filter_map(|contact| contact.addr()) {
        let _ = contact.uri().map(|uri| uri.equivalent(&uri));
    }
    for header in m.headers() {
        let _ = (header.unfolded(), header.raw_name, m.values(header.name).count());
    }
    for name in [HeaderName::Authorization, HeaderName::WwwAuthenticate] {
        let _ = m.auth(name).flatten().map(|auth| auth.params().count()).sum::<usize>();
    }
    let _ = (
        m.content_type().and_then(MediaType::parse),
        m.routes().count(),
        m.expires(),
        m.uri().is_some(),
    );
}

/// Header lines that an edit has not been asked to touch.
fn untouched(m: &Message) -> Vec<(String, Vec<u8>)> {
    let touched = [
        HeaderName::Via,
        HeaderName::MaxForwards,
        HeaderName::ContentLength,
        HeaderName::ContentType,
    ];
    m.headers()
        .filter(|h| h.name.known().is_none_or(|name| !touched.contains(&name)))
        .map(|h| (h.raw_name.to_owned(), h.value.to_vec()))
        .collect()
}

/// Feeds `stream` in pieces of the given sizes and notes what comes out.
fn cut(stream: &[u8], sizes: &[usize]) -> Vec<Result<Option<Frame>, String>> {
    let limits = Limits { head_bytes_max: 1500, body_bytes_max: 200 };
    let mut framer = StreamFramer::new(limits);
    let mut seen = Vec::new();
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = later;
        framer.push(piece);
        loop {
            match framer.next() {
                Ok(Some(frame)) => seen.push(Ok(Some(frame))),
                Ok(None) => break,
                Err(error) => {
                    seen.push(Err(error.0.reason()));
                    return seen;
                }
            }
        }
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(raw in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(message) = Message::parse_datagram(Bytes::from(raw.clone())) {
            read_all(&message);
        }
        let _ = AuthValue::parse(&raw).map(|auth| auth.params().count());
        let _ = MediaType::parse(&raw);
        let text = String::from_utf8_lossy(&raw);
        let _ = Uri::parse(&text).map(|uri| uri.address_of_record());
    }

    #[test]
    fn a_mutated_message_parses_and_reads_or_is_refused_in_order(raw in mutated()) {
        let source = "192.0.2.9:5090".parse().unwrap();
        match Message::parse_datagram(Bytes::from(raw)) {
            Ok(message) => {
                read_all(&message);
                let stamped = stamp_source(&message, source).map(|edit| edit.finish_message().unwrap());
                let all = |message: Message| -> Vec<_> {
                    message.headers().map(|header| header.unfolded().into_owned()).collect()
                };
                prop_assert_eq!(stamped_message(&message, source).map(all), stamped.clone().map(all));
                let top = stamped.as_ref().unwrap_or(&message).top_via();
                prop_assert!(top.received() == Some(source.ip()) || top.host().is_ip(source.ip()));
            }
            Err(refusal) => {
                if let Some(answer) = refusal.answer() {
                    let bytes = answer.write("t", source);
                    let head_end = b"\r\n\r\n";
                    prop_assert!(bytes.starts_with(b"SIP/2.0 ") && bytes.ends_with(head_end));
                    let ends = bytes.windows(4).filter(|window| window == head_end).count();
                    prop_assert_eq!(ends, 1, "nothing after the head");
                }
            }
        }
    }

    #[test]
    fn an_edit_keeps_what_it_was_not_asked_to_touch(raw in mutated(), body in prop::collection::vec(any::<u8>(), 0..80)) {
        let Ok(message) = Message::parse_datagram(Bytes::from(raw)) else { return Ok(()) };
        let before = untouched(&message);
        let done = message
            .edit()
            .push_front(HeaderName::Via, "SIP/2.0/UDP me;branch=z9hG4bKnew")
            .set(HeaderName::MaxForwards, "5")
            .set_body(Some("application/x"), body.clone())
            .finish_message()
            .unwrap();
        prop_assert_eq!(untouched(&done), before.clone());
        prop_assert_eq!(done.body(), &body[..]);
        prop_assert_eq!(done.top_via().branch(), Some("z9hG4bKnew"));
        let back = done.edit().remove_top(HeaderName::Via).finish_message().unwrap();
        prop_assert_eq!(back.top_via().as_bytes(), message.top_via().as_bytes());
        prop_assert_eq!(untouched(&back), before);
    }

    #[test]
    fn an_edit_without_operations_changes_nothing_but_a_missing_length(raw in mutated()) {
        let Ok(message) = Message::parse_datagram(Bytes::from(raw)) else { return Ok(()) };
        let copy = message.edit().finish();
        if message.content_length().is_some() {
            prop_assert_eq!(&copy, message.raw());
        } else {
            prop_assert_eq!(copy.len(), message.raw().len() + format!("Content-Length: {}\r\n", message.body().len()).len());
        }
    }

    #[test]
    fn how_a_stream_was_cut_makes_no_difference(
        messages in prop::collection::vec(mutated(), 1..4),
        joints in prop::collection::vec(prop::sample::select(vec!["", "\r\n", "\r\n\r\n", "\r\n\r\n\r\n", "\r"]), 4),
        sizes in prop::collection::vec(1..60usize, 1..6),
    ) {
        let mut stream = Vec::new();
        for (message, joint) in messages.iter().zip(joints) {
            stream.extend_from_slice(joint.as_bytes());
            stream.extend_from_slice(message);
        }
        let whole = cut(&stream, &[stream.len()]);
        prop_assert_eq!(cut(&stream, &[1]), whole.clone());
        prop_assert_eq!(cut(&stream, &sizes), whole);
    }

    #[test]
    fn replacing_any_value_of_a_list_replaces_that_one_alone(nth in 0..6usize) {
        let m = invite();
        let done = m.edit().replace_value(HeaderName::Supported, nth, "new").finish_message().unwrap();
        let mut expected: Vec<_> = m.values(HeaderName::Supported).map(<[u8]>::to_vec).collect();
        if let Some(slot) = expected.get_mut(nth) {
            *slot = b"new".to_vec();
        }
        let after: Vec<_> = done.values(HeaderName::Supported).map(<[u8]>::to_vec).collect();
        prop_assert_eq!(after, expected);
    }
}
