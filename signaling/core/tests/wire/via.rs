//! Via values (RFC 3261 20.42, RFC 3581).

use signaling_core::wire::{Host, Rport, Via};

fn via(text: &str) -> Via<'_> {
    Via::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn a_via_is_taken_apart() {
    let v = via(
        "SIP/2.0/UDP 192.0.2.1:5062 ;branch=z9hG4bK77; ttl=16;maddr=224.2.0.1;received=192.0.2.9;rport=99;x",
    );
    assert_eq!(v.transport(), "UDP");
    assert_eq!(v.host(), Host::V4("192.0.2.1".parse().unwrap()));
    assert_eq!((v.port(), v.host_text()), (Some(5062), "192.0.2.1"));
    assert_eq!((v.branch(), v.unique_branch()), (Some("z9hG4bK77"), Some("77")));
    assert_eq!(v.ttl(), Some(16));
    assert_eq!(v.maddr(), Some(Host::V4("224.2.0.1".parse().unwrap())));
    assert_eq!(v.received(), Some("192.0.2.9".parse().unwrap()));
    assert_eq!(v.rport(), Rport::Port(99));
    assert!(v.params().has("x"));
}

#[test]
fn what_is_no_via_is_refused() {
    for text in [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/2.0 a",
        "SIP/2.0/UDPa",
        "/2.0/UDP a",
        "SIP/2.0/UDP a:",
        "SIP/2.0/UDP a:x",
        "SIP/2.0/UDP a:70000",
        "SIP/2.0/UDP [::1",
        "SIP/2.0/UDP 1.2.3",
        "SIP/2.0/UDP a b",
        "SIP/2.0/UDP a;",
        "SIP/2.0/UDP a;branch=",
        "SIP/2.0/UDP a;branch=1;branch=2",
        "SIP/2.0/UDP a;received=1.2.3.4;received=1.2.3.5",
        "SIP/2.0/UDP a;rport=x",
        "SIP/2.0/UDP a;rport=70000",
        "SIP/2.0/UDP a, SIP/2.0/UDP b",
    ] {
        assert!(Via::parse(text.as_bytes()).is_none(), "{text:?}");
    }
}

/// RFC 3261 8.1.1.7, 17.2.3.
#[test]
fn a_branch_is_unique_only_with_more_than_the_cookie() {
    assert_eq!(via("SIP/2.0/UDP a;branch=z9hG4bK").unique_branch(), None);
    assert_eq!(via("SIP/2.0/UDP a;branch=1").unique_branch(), None);
    assert_eq!(via("SIP/2.0/UDP a;branch=Z9HG4BKx").unique_branch(), Some("x"));
    assert_eq!(via("SIP/2.0/UDP a").branch(), None);
}

/// RFC 3261 18.2.2, RFC 3581 4.
#[test]
fn a_response_goes_to_maddr_else_received_and_rport_else_sent_by() {
    let to = |text: &str| {
        let v = via(text);
        format!("{}:{}", v.reply_host(), v.reply_port())
    };
    assert_eq!(to("SIP/2.0/UDP a.example.com"), "a.example.com:5060");
    assert_eq!(to("SIP/2.0/TLS a.example.com"), "a.example.com:5061");
    assert_eq!(to("SIP/2.0/UDP a:7;received=192.0.2.1"), "192.0.2.1:7");
    assert_eq!(to("SIP/2.0/UDP a:7;received=192.0.2.1;rport=9"), "192.0.2.1:9");
    assert_eq!(to("SIP/2.0/UDP a:7;rport=9"), "a:7");
    assert_eq!(to("SIP/2.0/UDP a:7;maddr=192.0.2.2;received=192.0.2.1;rport=9"), "192.0.2.2:7");
    assert_eq!(to("SIP/2.0/UDP [2001:db8::1];received=2001:db8::2;rport"), "[2001:db8::2]:5060");
}
