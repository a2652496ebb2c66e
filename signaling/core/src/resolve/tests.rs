//! Look-ups against zones that are written down here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::transport::Transport::{Tcp, Tls, Udp};

const V4: &str = "192.0.2.1";
const V6: &str = "2001:db8::1";

fn offered(transports: &[Transport], families: &[&str]) -> Arc<Offered> {
    let mut offered = Offered::default();
    for transport in transports {
        for family in families {
            offered.add(*transport, family.parse().unwrap());
        }
    }
    Arc::new(offered)
}

fn query(host: &str) -> Query {
    Query {
        host: host.into(),
        port: None,
        transport: None,
        secure: false,
        offered: offered(&[Udp, Tcp, Tls], &[V4, V6]),
    }
}

#[derive(Default)]
struct Zone(HashMap<Question, Reply>);

impl Zone {
    fn naptr(mut self, name: &str, records: &[(u16, u16, &str, &str)]) -> Zone {
        let record = |(order, preference, service, to): &(u16, u16, &str, &str)| Naptr {
            order: *order,
            preference: *preference,
            flags: "s".into(),
            service: (*service).into(),
            replacement: (*to).into(),
        };
        let reply = Reply::Naptr(records.iter().map(record).collect());
        self.0.insert(Question::Naptr(name.into()), reply);
        self
    }

    fn srv(mut self, name: &str, records: &[(u16, u16, u16, &str)]) -> Zone {
        let record = |(priority, weight, port, target): &(u16, u16, u16, &str)| Srv {
            priority: *priority,
            weight: *weight,
            port: *port,
            target: (*target).into(),
        };
        let reply = Reply::Srv(records.iter().map(record).collect());
        self.0.insert(Question::Srv(name.into()), reply);
        self
    }

    fn host(mut self, name: &str, addresses: &[&str]) -> Zone {
        for v4 in [true, false] {
            let addresses = addresses.iter().map(|a| a.parse::<IpAddr>().unwrap());
            let own: Vec<_> = addresses.filter(|a| a.is_ipv4() == v4).collect();
            if !own.is_empty() {
                let question = Question::Addresses { name: name.into(), v4 };
                self.0.insert(question, Reply::Addresses(own));
            }
        }
        self
    }

    fn fails(mut self, question: Question) -> Zone {
        self.0.insert(question, Reply::Failed);
        self
    }

    /// What was asked, and the outcome.
    fn run(&self, query: Query, seed: u64) -> (Vec<Question>, Result<Vec<Hop>, ResolveError>) {
        let mut lookup = Lookup::new(query, seed);
        let mut asked = Vec::new();
        loop {
            let questions = lookup.questions();
            if questions.is_empty() {
                return (asked, lookup.outcome());
            }
            for question in questions {
                let reply = self.0.get(&question).cloned().unwrap_or(Reply::Nothing);
                asked.push(question.clone());
                lookup.handle(question, reply);
            }
            assert!(asked.len() < 100, "it ends");
        }
    }

    fn hops(&self, query: Query) -> Vec<String> {
        let hops = self.run(query, 1).1.unwrap();
        hops.iter().map(|hop| format!("{} {}", hop.transport, hop.address)).collect()
    }
}

/// RFC 3263 4.1: the domain says which transports it prefers; what is not spoken here is left out.
#[test]
fn naptr_decides_the_transport_in_the_domains_order() {
    let zone = Zone::default()
        .naptr(
            "a.test",
            &[
                (20, 1, "SIP+D2U", "u.a.test"),
                (10, 9, "SIP+D2T", "t.a.test"),
                (10, 1, "SIP+D2S", "s.a.test"),
            ],
        )
        .srv("u.a.test", &[(0, 0, 5070, "h.a.test")])
        .srv("t.a.test", &[(0, 0, 5080, "h.a.test")])
        .host("h.a.test", &["192.0.2.7"]);
    assert_eq!(zone.hops(query("a.test")), ["TCP 192.0.2.7:5080", "UDP 192.0.2.7:5070"]);
    let udp = Query { offered: offered(&[Udp], &[V4]), ..query("a.test") };
    assert_eq!(zone.hops(udp), ["UDP 192.0.2.7:5070"]);
}

/// RFC 3263 4.1: without NAPTR, SRV for what is spoken; without SRV, the name itself over UDP.
#[test]
fn without_naptr_there_is_srv_and_without_srv_the_address() {
    let zone = Zone::default()
        .srv("_sip._tcp.a.test", &[(0, 0, 5061, "h.a.test")])
        .host("h.a.test", &["192.0.2.7"])
        .host("b.test", &["192.0.2.8", "2001:db8::8"]);
    assert_eq!(zone.hops(query("a.test")), ["TCP 192.0.2.7:5061"]);
    assert_eq!(zone.hops(query("b.test")), ["UDP [2001:db8::8]:5060", "UDP 192.0.2.8:5060"]);
}

/// RFC 3263 4.1, 4.2: a port leaves out SRV, a transport leaves out NAPTR.
#[test]
fn what_the_uri_says_is_not_asked() {
    let zone = Zone::default()
        .srv("_sip._tcp.a.test", &[(0, 0, 5080, "h.a.test")])
        .host("a.test", &["192.0.2.1"])
        .host("h.a.test", &["192.0.2.7"]);
    let with_port = Query { port: Some(5070), ..query("a.test") };
    assert_eq!(zone.hops(with_port.clone()), ["UDP 192.0.2.1:5070"]);
    assert!(zone.run(with_port, 1).0.iter().all(|q| matches!(q, Question::Addresses { .. })));
    let tcp = Query { transport: Some(Tcp), ..query("a.test") };
    assert_eq!(zone.hops(tcp.clone()), ["TCP 192.0.2.7:5080"]);
    assert!(!zone.run(tcp, 1).0.iter().any(|q| matches!(q, Question::Naptr(_))));
    let tls = Query { transport: Some(Tls), ..query("a.test") };
    assert_eq!(zone.hops(tls), ["TLS 192.0.2.1:5061"]);
}

/// RFC 3261 26.2.2, RFC 3263 4.1: `sips` never goes without TLS, and the certificate is for the name
/// of the URI (RFC 5922 7.1).
#[test]
fn sips_goes_over_tls_alone() {
    let sips = Query { secure: true, ..query("a.test") };
    let zone = Zone::default()
        .naptr("a.test", &[(1, 1, "SIP+D2U", "u.a.test"), (2, 1, "SIPS+D2T", "s.a.test")])
        .srv("s.a.test", &[(0, 0, 5061, "h.other.test")])
        .srv("u.a.test", &[(0, 0, 5060, "h.other.test")])
        .host("h.other.test", &["192.0.2.7"]);
    let hops = zone.run(sips.clone(), 1).1.unwrap();
    assert_eq!((hops.len(), hops[0].transport), (1, Tls));
    assert_eq!(hops[0].server_name.as_deref(), Some("a.test"));
    let plain = Query { offered: offered(&[Udp, Tcp], &[V4]), ..sips.clone() };
    assert_eq!(zone.run(plain, 1).1, Err(ResolveError::NotReachable));
    let udp = Query { transport: Some(Udp), ..sips };
    assert_eq!(zone.run(udp, 1).1, Err(ResolveError::NotReachable));
}

/// RFC 2782: by priority, and by weight among equals, as the seed has it.
#[test]
fn servers_are_ordered_by_priority_and_drawn_by_weight() {
    let zone = Zone::default()
        .srv("_sip._udp.a.test", &[(9, 0, 1, "c.test"), (1, 90, 1, "a.test"), (1, 10, 1, "b.test")])
        .host("a.test", &["192.0.2.1"])
        .host("b.test", &["192.0.2.2"])
        .host("c.test", &["192.0.2.3"]);
    let mut first = HashMap::new();
    for seed in 0..1000 {
        let hops = zone.run(Query { transport: Some(Udp), ..query("a.test") }, seed).1.unwrap();
        assert_eq!(hops[2].address.ip().to_string(), "192.0.2.3");
        *first.entry(hops[0].address.ip().to_string()).or_insert(0) += 1;
    }
    assert!((850..950).contains(&first["192.0.2.1"]), "{first:?}");
}

/// RFC 2782: a target of "." says that there is no such service; the name itself is not tried.
#[test]
fn a_service_that_is_expressly_absent_is_not_looked_for() {
    let zone = Zone::default().srv("_sip._udp.a.test", &[(0, 0, 0, "")]).host("a.test", &[V4]);
    let udp = Query { transport: Some(Udp), ..query("a.test") };
    assert_eq!(zone.run(udp, 1).1, Err(ResolveError::NotFound));
}

/// RFC 7984: only families that a listener has, for the transport in question.
#[test]
fn addresses_of_a_family_that_is_not_served_are_left_out() {
    let zone = Zone::default().host("a.test", &[V4, V6]);
    let v4 = Query { offered: offered(&[Udp], &[V4]), ..query("a.test") };
    assert_eq!(zone.hops(v4), ["UDP 192.0.2.1:5060"]);
    let zone = Zone::default().host("a.test", &[V6]);
    let mut mixed = Offered::default();
    mixed.add(Udp, V4.parse().unwrap());
    mixed.add(Tcp, V6.parse().unwrap());
    let mixed = Query { offered: Arc::new(mixed), ..query("a.test") };
    assert_eq!(zone.run(mixed, 1).1, Err(ResolveError::NotReachable));
}

/// A name may mean anything: not this node by its wildcard, not a group, not port 0.
#[test]
fn addresses_that_are_no_servers_are_left_out() {
    let zone = Zone::default().host("a.test", &["0.0.0.0", "239.1.1.1", "::", "ff02::1"]);
    assert_eq!(zone.run(query("a.test"), 1).1, Err(ResolveError::NotReachable));
    let zone =
        Zone::default().srv("_sip._udp.b.test", &[(0, 0, 0, "b.test")]).host("b.test", &[V4]);
    assert_eq!(zone.run(query("b.test"), 1).1, Err(ResolveError::NotReachable));
}

#[test]
fn a_name_that_does_not_exist_differs_from_one_that_nobody_answers_for() {
    assert_eq!(Zone::default().run(query("a.test"), 1).1, Err(ResolveError::NotFound));
    let question = Question::Addresses { name: "a.test".into(), v4: true };
    let zone = Zone::default().fails(question);
    assert_eq!(zone.run(query("a.test"), 1).1, Err(ResolveError::NoAnswer));
    let zone = Zone::default().fails(Question::Naptr("a.test".into())).host("a.test", &[V4]);
    assert_eq!(zone.hops(query("a.test")), ["UDP 192.0.2.1:5060"], "what is there is used");
}

/// A huge answer costs no more than [`HOPS_MAX`] servers.
#[test]
fn a_huge_answer_is_cut() {
    let names: Vec<String> = (0..200).map(|n| format!("h{n}.test")).collect();
    let records: Vec<_> = names.iter().map(|name| (0, 1, 5060, name.as_str())).collect();
    let mut zone = Zone::default().srv("_sip._udp.a.test", &records);
    for name in &names {
        zone = zone.host(name, &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    }
    let (asked, hops) = zone.run(query("a.test"), 1);
    assert!(hops.unwrap().len() <= HOPS_MAX);
    assert!(asked.len() <= 4 + 2 * HOPS_MAX, "{}", asked.len());
}

/// RFC 3263 4.3, RFC 3261 20.33.
#[test]
#[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
fn a_server_that_failed_rests_until_its_time_is_over_or_it_answers() {
    let start = Instant::now();
    let address = "192.0.2.1:5060".parse().unwrap();
    let hop = Hop { address, transport: Udp, server_name: None };
    let mut resting = Resting::default();
    assert_eq!(resting.standing(start, &hop), Standing::Good);
    let rest = Duration::from_secs(30);
    resting.note(start, &hop, rest, false);
    assert_eq!(resting.standing(start, &hop), Standing::Doubtful);
    assert_eq!(resting.standing(start + rest, &hop), Standing::Good);
    resting.note(start, &hop, rest, true);
    assert_eq!(resting.standing(start, &hop), Standing::Closed(rest));
    resting.forgive(&hop);
    assert_eq!(resting.standing(start, &hop), Standing::Good);
}

/// At the bound a further server is not remembered, unless a rest is over.
#[test]
#[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
fn the_memory_of_servers_at_rest_is_bounded() {
    let start = Instant::now();
    let hop = |port| Hop {
        address: SocketAddr::new(V4.parse().unwrap(), port),
        transport: Udp,
        server_name: None,
    };
    let mut resting = Resting::default();
    let rest = Duration::from_secs(30);
    for port in 1..=5000 {
        resting.note(start, &hop(port), rest, false);
    }
    assert_eq!(resting.standing(start, &hop(4096)), Standing::Doubtful);
    assert_eq!(resting.standing(start, &hop(4097)), Standing::Good);
    resting.note(start + rest, &hop(5000), rest, false);
    assert_eq!(resting.standing(start + rest, &hop(5000)), Standing::Doubtful);
}
