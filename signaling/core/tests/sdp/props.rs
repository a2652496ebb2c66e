//! Properties over arbitrary and over generated descriptions.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use signaling_core::sdp::{MediaTarget, Rewrite, Sdp, find_sdp};

use crate::OFFER;

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|n| IpAddr::from((n | 1 << 24).to_be_bytes())),
        any::<u128>().prop_map(|n| IpAddr::from((n | 1 << 120).to_be_bytes())),
    ]
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IP4" } else { "IP6" }
}

/// A section: port, own address, and lines of which some must go and others must stay.
fn section() -> impl Strategy<Value = (u16, Option<IpAddr>, Vec<&'static str>)> {
    let lines = prop::sample::select(vec![
        "a=rtpmap:0 PCMU/8000",
        "a=x-one: two ",
        "a=ice-ufrag:x",
        "a=candidate:1 1 UDP 1 10.0.0.1 9 typ host",
        "a=rtcp-mux",
        "b=AS:64",
        "a=sendonly",
    ]);
    let port = prop_oneof![Just(0), 1..60000u16];
    (port, prop::option::of(address()), prop::collection::vec(lines, 0..5))
}

fn write(
    session: Option<IpAddr>,
    sections: &[(u16, Option<IpAddr>, Vec<&str>)],
    ending: &str,
) -> String {
    let c = |ip: IpAddr| format!("c=IN {} {ip}", family(ip));
    let mut lines = vec!["v=0".to_owned(), "o=- 1 1 IN IP4 10.9.9.9".into(), "s=-".into()];
    lines.extend(session.map(c));
    lines.push("t=0 0".into());
    for (port, own, more) in sections {
        lines.push(format!("m=audio {port} RTP/AVP 0"));
        lines.extend(own.map(c));
        lines.extend(more.iter().map(|line| (*line).to_owned()));
    }
    lines.join(ending) + ending
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(
        raw in prop::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut mutated = OFFER.as_bytes().to_vec();
        *at.get_mut(&mut mutated) = byte;
        let target = MediaTarget { address: "203.0.113.1".parse().unwrap(), port: 4, rtcp_port: None, mux: None };
        let wanted = Rewrite { origin: Some(target.address), media: [Some(target); 2].into_iter().collect() };
        for text in [&raw, &mutated] {
            if let Ok(sdp) = Sdp::parse(text) {
                let done = sdp.rewrite(&wanted);
                prop_assert_eq!(Sdp::parse(&done).unwrap().media().len(), sdp.media().len());
            }
            let _ = find_sdp(b"multipart/mixed;boundary=a", text);
        }
    }

    #[test]
    fn a_rewritten_description_says_what_was_asked_for_and_keeps_the_rest(
        session in prop::option::of(address()),
        sections in prop::collection::vec(section(), 0..5),
        targets in prop::collection::vec(prop::option::of((address(), 1..60000u16, any::<bool>())), 5),
        lf in any::<bool>(),
    ) {
        let ending = if lf { "\n" } else { "\r\n" };
        let text = write(session, &sections, ending);
        let sdp = Sdp::parse(text.as_bytes()).unwrap();
        let targets: Vec<_> = targets
            .iter()
            .map(|target| target.map(|(address, port, separate)| MediaTarget {
                address,
                port,
                rtcp_port: Some(port + u16::from(separate)),
                mux: None,
            }))
            .collect();
        let done = sdp.rewrite(&Rewrite { origin: None, media: targets.iter().copied().collect() });
        let after = Sdp::parse(&done).unwrap();
        prop_assert_eq!(after.media().len(), sections.len());
        for ((before, after), target) in sdp.media().iter().zip(after.media()).zip(&targets) {
            match target {
                Some(target) if before.port != 0 => {
                    prop_assert_eq!(after.rtp_address(), Some(SocketAddr::new(target.address, target.port)));
                }
                Some(_) => prop_assert_eq!(after.port, 0),
                None => prop_assert_eq!(after.rtp_address(), before.rtp_address()),
            }
            prop_assert!(!after.ice);
            prop_assert_eq!((after.direction, after.rtcp_mux), (before.direction, before.rtcp_mux));
        }
        let kept = |text: &str| -> Vec<String> {
            let changed = ["m=", "c=", "a=ice", "a=cand"];
            text.split_inclusive('\n')
                .filter(|line| !changed.iter().any(|start| line.starts_with(start)))
                .map(str::to_owned)
                .collect()
        };
        prop_assert_eq!(kept(std::str::from_utf8(&done).unwrap()), kept(&text));
    }
}
