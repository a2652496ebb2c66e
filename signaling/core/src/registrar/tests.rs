mod extensions;

use std::net::SocketAddr;

use bytes::Bytes;

use super::*;
use crate::transport::{Arrival, ListenerId, Transport};
use crate::wire::Message;

const ALICE: &str = "alice";

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn arrival(remote: &str) -> Arrival {
    Arrival {
        transport: Transport::Udp,
        listener: ListenerId(0),
        local: addr("192.0.2.100:5060"),
        remote: addr(remote),
        connection: None,
    }
}

/// A registrar, a clock, and the order of one phone's requests.
struct Bench {
    registrar: Registrar,
    now: Instant,
    cseq: u32,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn with(config: Config) -> Self {
        let now = Instant::now();
        let users = ["alice", "bob"]
            .map(|name| (name.to_owned(), Secret::Plain("secret".to_owned())))
            .into_iter()
            .collect::<UserTable>();
        Bench { registrar: Registrar::new(now, config, Box::new(users), [9; 32]), now, cseq: 0 }
    }

    fn new() -> Self {
        Bench::with(Config::default())
    }

    /// A REGISTER of the first phone, with the next CSeq.
    fn register(&mut self, headers: &str) -> Outcome {
        self.cseq += 1;
        self.register_as("phone1", self.cseq, headers)
    }

    fn register_as(&mut self, call_id: &str, cseq: u32, headers: &str) -> Outcome {
        let request = register(call_id, cseq, headers);
        self.registrar.process(self.now, ALICE, arrival("198.51.100.7:40000"), &request)
    }

    fn bindings(&self) -> Vec<&Binding> {
        match self.registrar.lookup(self.now, ALICE) {
            Lookup::Bindings(bindings) => bindings.to_vec(),
            Lookup::NotRegistered => Vec::new(),
            Lookup::UnknownUser => panic!("unknown user"),
        }
    }

    fn uris(&self) -> Vec<&str> {
        self.bindings().into_iter().map(|binding| &*binding.uri).collect()
    }
}

fn register(call_id: &str, cseq: u32, headers: &str) -> Message {
    let text = format!(
        "REGISTER sip:example.org SIP/2.0\n\
         Via: SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bK{call_id}{cseq}\n\
         From: <sip:alice@example.org>;tag=1\n\
         To: <sip:alice@example.org>\n\
         Call-ID: {call_id}\n\
         CSeq: {cseq} REGISTER\n\
         {headers}\
         Content-Length: 0\n\n"
    );
    Message::parse_datagram(Bytes::from(text.replace('\n', "\r\n"))).unwrap()
}

fn contacts(outcome: &Outcome) -> Vec<&str> {
    assert_eq!((outcome.status, outcome.reason), (200, "OK"));
    assert!(outcome.headers.iter().all(|(name, _)| *name == HeaderName::Contact));
    outcome.headers.iter().map(|(_, value)| value.as_str()).collect()
}

#[test]
fn a_contact_is_bound_with_its_time_and_the_way_it_came() {
    let mut bench = Bench::new();
    let outcome = bench.register("Contact: <sip:alice@10.0.0.5:5060>;expires=300\n");
    assert_eq!(contacts(&outcome), ["<sip:alice@10.0.0.5:5060>;expires=300"]);
    let binding = bench.bindings()[0];
    assert_eq!(&*binding.uri, "sip:alice@10.0.0.5:5060");
    assert_eq!(binding.arrival, arrival("198.51.100.7:40000"));
    assert_eq!(binding.expires, bench.now + secs(300));
}

#[test]
fn a_lookup_tells_an_unknown_user_from_one_that_is_not_registered() {
    let bench = Bench::new();
    let lookup = |aor| bench.registrar.lookup(bench.now, aor);
    assert!(matches!(lookup("carol"), Lookup::UnknownUser));
    assert!(matches!(lookup(ALICE), Lookup::NotRegistered));
}

#[test]
fn in_an_open_domain_every_user_exists() {
    let mut bench = Bench::new();
    assert!(!bench.registrar.is_open());
    bench.registrar.set_users(Box::new(AnyUser));
    assert!(bench.registrar.is_open());
    assert_eq!(bench.registrar.secret(ALICE), None);
    assert!(matches!(bench.registrar.lookup(bench.now, "carol"), Lookup::NotRegistered));
    bench.register("Contact: <sip:alice@10.0.0.5>\n");
    assert_eq!(bench.uris(), ["sip:alice@10.0.0.5"]);
}

#[test]
fn users_have_the_secrets_they_were_given() {
    let bench = Bench::new();
    assert_eq!(bench.registrar.secret("bob"), Some(&Secret::Plain("secret".to_owned())));
    assert_eq!(bench.registrar.secret("carol"), None);
    assert!(bench.registrar.exists("bob") && !bench.registrar.exists("carol"));
}

/// RFC 3261 10.2.3.
#[test]
fn without_a_contact_the_bindings_are_listed_with_the_time_that_is_left() {
    let mut bench = Bench::new();
    assert_eq!(contacts(&bench.register("")), [""; 0]);
    bench.register("Contact: <sip:alice@10.0.0.5>;expires=300;q=0.5\n");
    bench.now += Duration::from_millis(100_500);
    assert_eq!(contacts(&bench.register("")), ["<sip:alice@10.0.0.5>;expires=200;q=0.500"]);
}

/// RFC 3261 10.2.1.1: parameter, then header field, then our own default; cut to the longest.
#[test]
fn the_time_comes_from_the_contact_then_from_expires_then_from_the_settings() {
    for (headers, lasts) in [
        ("Contact: <sip:a@10.0.0.5>;expires=120\nExpires: 600\n", 120),
        ("Contact: <sip:a@10.0.0.5>\nExpires: 600\n", 600),
        ("Contact: <sip:a@10.0.0.5>\n", 3600),
        ("Contact: <sip:a@10.0.0.5>;expires=soon\n", 3600),
        ("Contact: <sip:a@10.0.0.5>\nExpires: 86400\n", 7200),
        ("Contact: <sip:a@10.0.0.5>\nExpires: 99999999999\n", 7200),
    ] {
        let mut bench = Bench::new();
        let outcome = bench.register(headers);
        assert_eq!(contacts(&outcome), [format!("<sip:a@10.0.0.5>;expires={lasts}")]);
    }
}

/// RFC 3261 10.3 step 7.
#[test]
fn too_brief_a_time_is_refused_with_the_shortest_that_is_allowed() {
    let mut bench = Bench::new();
    let outcome = bench.register("Contact: <sip:a@10.0.0.5>\nExpires: 59\n");
    assert_eq!((outcome.status, outcome.reason), (423, "Interval Too Brief"));
    assert_eq!(outcome.headers, [(HeaderName::MinExpires, "60".to_owned())]);
    assert!(bench.registrar.is_empty());
    assert_eq!(bench.register("Contact: <sip:a@10.0.0.5>\nExpires: 60\n").status, 200);
}

/// RFC 3261 10.3 step 7: "AND smaller than one hour".
#[test]
fn an_hour_is_never_too_brief() {
    let config = Config { expires_min: secs(7000), expires_max: secs(9000), ..Config::default() };
    let mut bench = Bench::with(config);
    assert_eq!(bench.register("Contact: <sip:a@10.0.0.5>;expires=3599\n").status, 423);
    assert_eq!(bench.register("Contact: <sip:a@10.0.0.5>;expires=3600\n").status, 200);
}

#[test]
fn a_binding_is_gone_when_its_time_is_up() {
    let mut bench = Bench::new();
    bench.register("Contact: <sip:alice@10.0.0.5>;expires=60\n");
    bench.register("Contact: <sip:alice@10.0.0.6>;expires=90\n");
    assert!(bench.registrar.next_expiry().unwrap() <= bench.now + secs(60));
    bench.now += secs(60);
    assert_eq!(bench.uris(), ["sip:alice@10.0.0.6"]);
    bench.registrar.purge(bench.now);
    assert_eq!(bench.registrar.len(), 1);
    bench.now += secs(30);
    assert!(matches!(bench.registrar.lookup(bench.now, ALICE), Lookup::NotRegistered));
    bench.registrar.purge(bench.now);
    assert!(bench.registrar.is_empty());
    assert_eq!(bench.registrar.next_expiry(), None);
    assert!(bench.registrar.records.is_empty());
}

#[test]
fn a_refresh_replaces_time_flow_and_preference() {
    let mut bench = Bench::new();
    bench.register("Contact: <sip:alice@10.0.0.5>;expires=60\n");
    bench.now += secs(50);
    let refresh = register("phone1", 9, "Contact: <sip:alice@10.0.0.5>;expires=60;q=0.3\n");
    bench.registrar.process(bench.now, ALICE, arrival("198.51.100.8:41000"), &refresh);
    bench.now += secs(50);
    bench.registrar.purge(bench.now);
    let bindings = bench.bindings();
    assert_eq!(bindings.len(), 1);
    assert_eq!(bindings[0].arrival.remote, addr("198.51.100.8:41000"));
    assert_eq!(bindings[0].q_thousandths, 300);
    assert_eq!(bench.registrar.len(), 1);
}

/// RFC 3261 19.1.4 decides what is the same Contact.
/// A phone that repeats a parameter in its Contact writes one device all the same.
#[test]
fn a_contact_that_is_written_alike_is_the_same_device() {
    let mut bench = Bench::new();
    bench.register("Contact: <sip:alice@10.0.0.5;x=1;x=2>\n");
    bench.register("Contact: <sip:alice@10.0.0.5;x=1;x=2>\n");
    assert_eq!(bench.uris(), ["sip:alice@10.0.0.5;x=1;x=2"]);
}

/// The old time means nothing any more: nothing is due then, and watchers are told of the refresh alone.
#[test]
fn a_refresh_leaves_one_timer_and_is_told_once() {
    let mut bench = Bench::new();
    bench.registrar.tell_changes(true);
    bench.register("Contact: <sip:alice@10.0.0.5>;expires=300\n");
    bench.now += secs(200);
    bench.register("Contact: <sip:alice@10.0.0.5>;expires=300\n");
    assert_eq!(bench.registrar.expiries.len(), 1);
    let told = |registrar: &mut Registrar| std::iter::from_fn(|| registrar.poll_change()).count();
    assert_eq!(told(&mut bench.registrar), 2);
    bench.registrar.purge(bench.now + secs(299));
    assert_eq!((bench.uris().len(), told(&mut bench.registrar)), (1, 0));
    bench.registrar.purge(bench.now + secs(300));
    assert_eq!((bench.registrar.len(), told(&mut bench.registrar)), (0, 1));
}

#[test]
fn contacts_are_compared_as_uris() {
    let mut bench = Bench::new();
    bench.register("Contact: <sip:alice@EXAMPLE.net;transport=udp>\n");
    bench.register("Contact: <sip:%61lice@example.NET;transport=UDP>\n");
    assert_eq!(bench.registrar.len(), 1);
    bench.register("Contact: <sip:alice@example.net:5060;transport=udp>\n");
    bench.register("Contact: <sip:Alice@example.net;transport=udp>\n");
    assert_eq!(bench.registrar.len(), 3);
}

#[test]
fn devices_are_looked_up_by_preference_and_then_by_freshness() {
    let mut bench = Bench::new();
    bench.register("Contact: <sip:a@10.0.0.1>;q=0.2, <sip:a@10.0.0.2>;q=0.8\n");
    bench.register("Contact: <sip:a@10.0.0.3>;q=0.8\nContact: <sip:a@10.0.0.4>\n");
    assert_eq!(
        bench.uris(),
        ["sip:a@10.0.0.4", "sip:a@10.0.0.3", "sip:a@10.0.0.2", "sip:a@10.0.0.1"]
    );
}

#[test]
fn a_contact_with_expires_0_is_removed_and_others_stay() {
    let mut bench = Bench::new();
    bench.register("Contact: <sip:a@10.0.0.1>, <sip:a@10.0.0.2>\n");
    let outcome =
        bench.register("Contact: <sip:a@10.0.0.1>;expires=0, <sip:a@10.0.0.9>;expires=0\n");
    assert_eq!(contacts(&outcome).len(), 1);
    assert_eq!(bench.uris(), ["sip:a@10.0.0.2"]);
    bench.register("Contact: <sip:a@10.0.0.2>\nExpires: 0\n");
    assert!(bench.registrar.is_empty());
    assert_eq!(bench.registrar.next_expiry(), None);
}

/// RFC 3261 10.2.2.
#[test]
fn a_star_with_expires_0_removes_everything() {
    let mut bench = Bench::new();
    bench.register("Contact: <sip:a@10.0.0.1>, <sip:a@10.0.0.2>\n");
    bench.register_as("phone2", 1, "Contact: <sip:a@10.0.0.3>\n");
    assert_eq!(contacts(&bench.register("Contact: *\nExpires: 0\n")), [""; 0]);
    assert!(bench.registrar.is_empty());
}

/// RFC 3261 10.3 step 6.
#[test]
fn a_star_stands_alone_and_with_expires_0() {
    let mut bench = Bench::new();
    bench.register("Contact: <sip:a@10.0.0.1>\n");
    for (headers, reason) in [
        ("Contact: *\n", "Contact * Without Expires 0"),
        ("Contact: *\nExpires: 60\n", "Contact * Without Expires 0"),
        ("Contact: *, <sip:a@10.0.0.2>\nExpires: 0\n", "Contact * Beside Others"),
    ] {
        let outcome = bench.register(headers);
        assert_eq!((outcome.status, outcome.reason), (400, reason));
    }
    assert_eq!(bench.uris(), ["sip:a@10.0.0.1"]);
}

/// RFC 3261 10.3 steps 6 and 7: a REGISTER that was overtaken changes nothing.
#[test]
fn of_one_call_id_only_a_higher_cseq_changes_a_binding() {
    let mut bench = Bench::new();
    bench.register_as("phone1", 5, "Contact: <sip:a@10.0.0.1>;q=0.5\n");
    for headers in [
        "Contact: <sip:a@10.0.0.1>;expires=0\n",
        "Contact: <sip:a@10.0.0.2>, <sip:a@10.0.0.1>\n",
        "Contact: *\nExpires: 0\n",
    ] {
        for cseq in [4, 5] {
            let outcome = bench.register_as("phone1", cseq, headers);
            assert_eq!((outcome.status, outcome.reason), (500, "Registration Out Of Order"));
            assert_eq!(bench.uris(), ["sip:a@10.0.0.1"]);
        }
    }
    assert_eq!(bench.register_as("phone1", 6, "Contact: <sip:a@10.0.0.1>\n").status, 200);
    assert_eq!(bench.register_as("rebooted", 1, "Contact: <sip:a@10.0.0.1>\n").status, 200);
}

#[test]
fn of_the_same_contact_twice_in_one_request_the_last_counts() {
    let mut bench = Bench::new();
    bench.register("Contact: <sip:a@10.0.0.1>;q=0.1, <sip:a@10.0.0.1>;q=0.9\n");
    assert_eq!(bench.bindings().len(), 1);
    assert_eq!(bench.bindings()[0].q_thousandths, 900);
}

/// RFC 5626 6: the same flow of a device that has moved.
#[test]
fn an_instance_with_reg_id_replaces_its_own_binding_at_another_address() {
    let mut bench = Bench::new();
    let device = ";+sip.instance=\"<urn:uuid:1>\";reg-id=1";
    bench.register(&format!("Supported: outbound\nContact: <sip:a@10.0.0.1>{device}\n"));
    let supported = "Supported: outbound\n";
    let mut outcome = bench.register(&format!("{supported}Contact: <sip:a@10.0.0.2>{device}\n"));
    assert_eq!(outcome.headers.pop().unwrap(), (HeaderName::Require, "outbound".to_owned()));
    assert_eq!(contacts(&outcome), [format!("<sip:a@10.0.0.2>;expires=3600{device}")]);
    let second = "Contact: <sip:a@10.0.0.3>;+sip.instance=\"<urn:uuid:1>\";reg-id=2\n";
    bench.register(&format!("{supported}{second}"));
    assert_eq!(bench.bindings().len(), 2);
    assert_eq!(bench.bindings()[0].instance.as_deref(), Some("urn:uuid:1"));
}

#[test]
fn contacts_that_cannot_be_used_are_refused_and_nothing_changes() {
    let mut bench = Bench::new();
    bench.register("Contact: <sip:a@10.0.0.1>\n");
    let long = format!("Contact: <sip:{}@10.0.0.2>\n", "a".repeat(1100));
    for (headers, reason) in [
        ("Contact: <sip:a@10.0.0.2>, <>\n", "Bad Contact Header"),
        ("Contact: <sip:a@b@c>\n", "Bad Contact URI"),
        (&long, "Contact Too Long"),
        ("Contact: <sip:a@10.0.0.2>;+sip.instance=\"<a\\\"b>\"\n", "Bad Contact Instance"),
    ] {
        let outcome = bench.register(headers);
        assert_eq!((outcome.status, outcome.reason), (400, reason), "{headers}");
    }
    assert_eq!(bench.uris(), ["sip:a@10.0.0.1"]);
}

#[test]
fn a_user_with_too_many_devices_is_told_when_the_first_expires() {
    let mut bench = Bench::with(Config { bindings_per_user_max: 2, ..Config::default() });
    bench.register("Contact: <sip:a@10.0.0.1>;expires=100, <sip:a@10.0.0.2>;expires=200\n");
    let outcome = bench.register("Contact: <sip:a@10.0.0.3>;expires=60\n");
    assert_eq!((outcome.status, outcome.reason), (503, "Too Many Contacts"));
    assert_eq!(outcome.headers, [(HeaderName::RetryAfter, "101".to_owned())]);
    assert_eq!(bench.registrar.len(), 2);
    // Those that are there can be refreshed, and replaced in one request.
    assert_eq!(bench.register("Contact: <sip:a@10.0.0.1>;expires=100\n").status, 200);
    let swap = "Contact: <sip:a@10.0.0.1>;expires=0, <sip:a@10.0.0.3>\n";
    assert_eq!(bench.register(swap).status, 200);
    bench.now += secs(200);
    assert_eq!(bench.register("Contact: <sip:a@10.0.0.4>\n").status, 200);
}

#[test]
fn at_the_bound_of_all_bindings_new_ones_are_refused_and_old_ones_refreshed() {
    let mut bench = Bench::with(Config { bindings_max: 2, ..Config::default() });
    bench.register("Contact: <sip:a@10.0.0.1>;expires=100, <sip:a@10.0.0.2>\n");
    let request = register("other", 1, "Contact: <sip:b@10.0.0.3>\n");
    let outcome = bench.registrar.process(bench.now, "bob", arrival("198.51.100.9:5060"), &request);
    assert_eq!((outcome.status, outcome.reason), (503, "Too Many Registrations"));
    assert_eq!(outcome.headers[0].0, HeaderName::RetryAfter);
    for _ in 0..5 {
        let refresh = "Contact: <sip:a@10.0.0.1>;expires=100, <sip:a@10.0.0.2>\n";
        assert_eq!(bench.register(refresh).status, 200);
    }
    bench.now += secs(100);
    let outcome = bench.registrar.process(bench.now, "bob", arrival("198.51.100.9:5060"), &request);
    assert_eq!(outcome.status, 200);
    assert_eq!(bench.registrar.len(), 2);
}

#[test]
fn bindings_of_a_user_that_is_gone_are_not_looked_up() {
    let mut bench = Bench::new();
    bench.register("Contact: <sip:a@10.0.0.1>\n");
    bench.registrar.set_users(Box::new(UserTable::default()));
    assert!(matches!(bench.registrar.lookup(bench.now, ALICE), Lookup::UnknownUser));
}

fn over(connection: u64, remote: &str) -> Arrival {
    let connection = Some(crate::transport::ConnectionId(connection));
    Arrival { transport: Transport::Tcp, connection, ..arrival(remote) }
}

impl Bench {
    fn register_over(&mut self, arrival: Arrival, call_id: &str, headers: &str) {
        self.cseq += 1;
        let request = register(call_id, self.cseq, headers);
        let outcome = self.registrar.process(self.now, ALICE, arrival, &request);
        assert_eq!(outcome.status, 200, "{outcome:?}");
    }

    fn close(&mut self, connection: u64) -> usize {
        self.registrar.remove_flow(crate::transport::ConnectionId(connection))
    }
}

/// RFC 5626 5.3: with its connection a flow is gone, and with it what nothing else leads to.
#[test]
fn a_closed_connection_takes_along_the_bindings_that_only_it_could_reach() {
    let mut bench = Bench::new();
    let remote = "198.51.100.7:40000";
    let outbound = "Supported: outbound\n\
                    Contact: <sip:alice@198.51.100.7:5060>;reg-id=1;+sip.instance=\"<urn:a>\"\n";
    bench.register_over(over(1, remote), "flow", outbound);
    bench.register_over(over(1, remote), "nat", "Contact: <sip:alice@10.0.0.5:5060>\n");
    bench.register_over(over(1, remote), "open", "Contact: <sip:desk@198.51.100.7:5070>\n");
    bench.register_over(over(2, remote), "other", "Contact: <sip:alice@10.0.0.6:5060>\n");
    assert_eq!(bench.close(1), 2);
    assert_eq!(bench.uris(), ["sip:alice@10.0.0.6:5060", "sip:desk@198.51.100.7:5070"]);
    assert_eq!((bench.registrar.len(), bench.close(1), bench.close(3)), (2, 0, 0));
}

/// A phone that has registered anew over another connection stays when the old one closes.
#[test]
fn a_binding_that_was_refreshed_over_another_connection_outlives_the_old_one() {
    let mut bench = Bench::new();
    let contact = "Contact: <sip:alice@10.0.0.5:5060>\n";
    bench.register_over(over(1, "198.51.100.7:40000"), "phone1", contact);
    bench.register_over(over(2, "198.51.100.7:40001"), "phone1", contact);
    assert_eq!(bench.close(1), 0);
    assert_eq!(bench.uris(), ["sip:alice@10.0.0.5:5060"]);
}

/// The index of connections holds nothing of bindings that are gone, however they went.
#[test]
fn no_connection_is_remembered_without_a_binding() {
    let mut bench = Bench::new();
    let contact = "Contact: <sip:alice@10.0.0.5:5060>;expires=60\n";
    bench.register_over(over(1, "198.51.100.7:40000"), "phone1", contact);
    bench.now += secs(61);
    bench.registrar.purge(bench.now);
    assert!(bench.registrar.flows.is_empty());
    bench.register_over(over(2, "198.51.100.7:40000"), "phone1", contact);
    bench.register_over(over(3, "198.51.100.7:40000"), "phone2", "Contact: *\nExpires: 0\n");
    assert!(bench.registrar.flows.is_empty() && bench.registrar.is_empty());
    bench.register_over(over(4, "198.51.100.7:40000"), "phone1", contact);
    assert_eq!(bench.close(4), 1);
    assert!(bench.registrar.flows.is_empty() && bench.registrar.next_expiry().is_none());
}
