//! Look-ups through a name server that is scripted: [`Resolver`] against `dns::Server` on loopback.

mod dns;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dns::{Script, Server, a, aaaa, cname, naptr, srv};
use signaling_core::resolve::{Offered, Query, ResolveError};
use signaling_core::transport::Transport;
use signaling_net::{Resolver, ResolverConfig};
use tokio::time::timeout;

/// No look-up of these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

fn query(host: &str) -> Query {
    let mut offered = Offered::default();
    for ip in ["127.0.0.1", "::1"] {
        let ip: IpAddr = ip.parse().expect("an address");
        offered.add(Transport::Udp, ip);
        offered.add(Transport::Tcp, ip);
    }
    let host = host.into();
    Query { host, port: None, transport: None, secure: false, offered: Arc::new(offered) }
}

fn resolver(server: &Server) -> Resolver {
    let config = ResolverConfig {
        servers: vec![server.address],
        query_timeout: Duration::from_millis(300),
        lookup_timeout: Duration::from_secs(5),
        ..ResolverConfig::default()
    };
    Resolver::new(&config).expect("good settings")
}

async fn look_up(resolver: &mut Resolver, query: Query) -> Result<Vec<SocketAddr>, ResolveError> {
    resolver.ask(7, query, 1);
    let (tokens, outcome) = timeout(PATIENCE, resolver.next()).await.expect("it ends in time");
    assert_eq!(tokens, [7]);
    outcome.map(|hops| hops.into_iter().map(|hop| hop.address).collect())
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// RFC 3263 4.1, 4.2, end to end with a real name server's wire format.
#[tokio::test]
async fn naptr_srv_and_addresses_lead_to_the_server() {
    let server = Server::start(|script: &mut Script| {
        script.add(naptr("a.test", 1, "SIP+D2T", "_sip._tcp.a.test"));
        script.add(srv("_sip._tcp.a.test", 2, 5082, "two.a.test"));
        script.add(srv("_sip._tcp.a.test", 1, 5081, "one.a.test"));
        script.add(a("one.a.test", "192.0.2.1"));
        script.add(aaaa("one.a.test", "2001:db8::1"));
        script.add(a("two.a.test", "192.0.2.2"));
    })
    .await;
    let found = look_up(&mut resolver(&server), query("a.test")).await.unwrap();
    assert_eq!(found, [at("[2001:db8::1]:5081"), at("192.0.2.1:5081"), at("192.0.2.2:5082")]);
}

#[tokio::test]
async fn an_alias_leads_to_the_addresses_of_its_name() {
    let server = Server::start(|script| {
        script.add(cname("a.test", "b.test"));
        script.add(a("b.test", "192.0.2.1"));
    })
    .await;
    let found = look_up(&mut resolver(&server), query("a.test")).await;
    assert_eq!(found, Ok(vec![at("192.0.2.1:5060")]));
}

/// Aliases that lead to each other end as a name without an address, and soon.
#[tokio::test]
async fn aliases_in_a_circle_end() {
    let server = Server::start(|script| {
        script.add(cname("a.test", "b.test"));
        script.add(cname("b.test", "a.test"));
    })
    .await;
    assert!(look_up(&mut resolver(&server), query("a.test")).await.is_err());
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_not_found_and_remembered_as_such() {
    let server = Server::start(|_| {}).await;
    let mut resolver = resolver(&server);
    assert_eq!(look_up(&mut resolver, query("no.test")).await, Err(ResolveError::NotFound));
    let asked = server.asked();
    assert_eq!(look_up(&mut resolver, query("no.test")).await, Err(ResolveError::NotFound));
    assert_eq!(server.asked(), asked, "the negative answer is cached");
}

#[tokio::test]
async fn a_server_that_fails_is_no_answer() {
    let server = Server::start(|script| script.fail("a.test")).await;
    let found = look_up(&mut resolver(&server), query("a.test")).await;
    assert_eq!(found, Err(ResolveError::NoAnswer));
}

#[tokio::test]
async fn a_server_that_is_silent_is_no_answer_within_the_time_for_a_look_up() {
    let server = Server::start(|script| script.silence("a.test")).await;
    let found = look_up(&mut resolver(&server), query("a.test")).await;
    assert_eq!(found, Err(ResolveError::NoAnswer));
}

/// RFC 7766: what does not fit a datagram is asked for again over TCP.
#[tokio::test]
async fn a_truncated_answer_is_asked_for_over_tcp() {
    let server = Server::start(|script| {
        script.add(a("a.test", "192.0.2.1"));
        script.truncate("a.test");
    })
    .await;
    let found = look_up(&mut resolver(&server), query("a.test")).await;
    assert_eq!(found, Ok(vec![at("192.0.2.1:5060")]));
    assert!(server.asked_over_tcp() > 0);
}

#[tokio::test]
async fn a_huge_answer_gives_a_bounded_list() {
    let server = Server::start(|script| {
        for n in 0..200 {
            script.add(srv("_sip._udp.a.test", 1, 5060, &format!("h{n}.a.test")));
            script.add(a(&format!("h{n}.a.test"), &format!("192.0.2.{n}")));
        }
        script.truncate("_sip._udp.a.test");
    })
    .await;
    let found = look_up(&mut resolver(&server), query("a.test")).await.unwrap();
    assert!(!found.is_empty() && found.len() <= signaling_core::resolve::HOPS_MAX);
}

#[tokio::test]
async fn an_answer_is_kept_for_its_ttl_and_one_of_no_ttl_is_not_kept() {
    let server = Server::start(|script| {
        script.add(a("kept.test", "192.0.2.1"));
        let mut once = a("once.test", "192.0.2.2");
        once.ttl = 0;
        script.add(once);
    })
    .await;
    let mut resolver = resolver(&server);
    for (name, again) in [("kept.test", 0), ("once.test", 1)] {
        let query = Query { port: Some(5060), ..query(name) };
        look_up(&mut resolver, query.clone()).await.unwrap();
        let before = server.asked_for_a(name);
        look_up(&mut resolver, query).await.unwrap();
        assert_eq!(server.asked_for_a(name) - before, again, "{name}");
    }
}

/// Many calls to one domain at once are one look-up.
#[tokio::test]
async fn requests_for_a_name_that_is_being_looked_up_share_the_answer() {
    let server = Server::start(|script| script.add(a("a.test", "192.0.2.1"))).await;
    let mut resolver = resolver(&server);
    for token in 0..100 {
        resolver.ask(token, query("a.test"), token);
    }
    assert_eq!(resolver.lookups(), 1);
    let (tokens, outcome) = timeout(PATIENCE, resolver.next()).await.unwrap();
    assert_eq!((tokens.len(), outcome.unwrap().len()), (100, 1));
    assert_eq!(server.asked_for_a("a.test"), 1);
}

/// At the bound a further name is refused at once, and those before it are answered.
#[tokio::test]
async fn the_table_of_look_ups_is_bounded() {
    let server = Server::start(|script| script.add(a("a.test", "192.0.2.1"))).await;
    let mut resolver = resolver(&server);
    for n in 0..=1_024 {
        resolver.ask(n, query(&format!("h{n}.test")), n);
    }
    assert_eq!(resolver.lookups(), 1_024);
    let (tokens, outcome) = timeout(PATIENCE, resolver.next()).await.unwrap();
    assert_eq!((tokens, outcome), (vec![1_024], Err(ResolveError::Busy)));
}

/// A name server that takes its time delays nobody else.
#[tokio::test]
async fn a_slow_answer_does_not_delay_another_name() {
    let server = Server::start(|script| {
        script.silence("slow.test");
        script.add(a("fast.test", "192.0.2.1"));
    })
    .await;
    let mut resolver = resolver(&server);
    resolver.ask(1, query("slow.test"), 1);
    resolver.ask(2, query("fast.test"), 1);
    let (first, _) = timeout(PATIENCE, resolver.next()).await.unwrap();
    assert_eq!(first, [2]);
    let (second, outcome) = timeout(PATIENCE, resolver.next()).await.unwrap();
    assert_eq!((second, outcome), (vec![1], Err(ResolveError::NoAnswer)));
}

/// A host may be given other name servers while the node runs: they are asked from then on. What cannot be
/// read changes nothing.
#[tokio::test]
async fn changed_name_servers_of_the_system_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resolv.conf");
    let config = ResolverConfig { resolv_conf: file.clone(), ..ResolverConfig::default() };
    let mut resolver = Resolver::new(&config).unwrap();
    assert_eq!(resolver.reload(), Ok(false), "it is not there, as before");
    std::fs::write(&file, "nameserver 127.0.0.2\n").unwrap();
    assert_eq!(resolver.reload(), Ok(true));
    assert_eq!(resolver.reload(), Ok(false));
    std::fs::write(&file, "nameserver nonsense\n").unwrap();
    let error = resolver.reload().unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: ", file.display())), "{error}");
    std::fs::write(&file, "nameserver 127.0.0.2\n").unwrap();
    assert_eq!(resolver.reload(), Ok(false), "the old ones have stayed");
    let servers = vec![at("127.0.0.3:53")];
    let mut fixed = Resolver::new(&ResolverConfig { servers, ..config }).unwrap();
    std::fs::write(&file, "nameserver 127.0.0.4\n").unwrap();
    assert_eq!(fixed.reload(), Ok(false), "the settings list others");
}
