//! Path, flows, GRUUs and Contacts of other schemes.

use super::*;

/// RFC 5626 6: `reg-id` of a client that does not say that it supports flows is not looked at.
#[test]
fn a_reg_id_without_support_for_outbound_means_nothing() {
    let mut bench = Bench::new();
    for host in ["10.0.0.1", "10.0.0.2"] {
        let contact = format!("Contact: <sip:a@{host}>;+sip.instance=\"<urn:a>\";reg-id=1\n");
        assert_eq!(contacts(&bench.register(&contact)).len(), bench.bindings().len());
    }
    assert_eq!(bench.bindings().len(), 2);
}

/// RFC 5626 6.
#[test]
fn a_register_asks_for_one_flow_at_most() {
    let mut bench = Bench::new();
    let flow = |n: u8| format!("<sip:a@10.0.0.{n}>;+sip.instance=\"<urn:a>\";reg-id={n}");
    let both = format!("Supported: outbound\nContact: {}, {}\n", flow(1), flow(2));
    let outcome = bench.register(&both);
    assert_eq!((outcome.status, outcome.reason), (400, "More Than One Contact With reg-id"));
    // One that goes does not count.
    let swap = format!("Supported: outbound\nContact: {};expires=0, {}\n", flow(1), flow(2));
    assert_eq!(bench.register(&swap).status, 200);
}

/// RFC 5626 6: behind a proxy that keeps no flows there are none; the last Path value is its.
#[test]
fn a_flow_needs_a_first_hop_that_keeps_it() {
    let mut bench = Bench::new();
    let flow = "Supported: outbound, path\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKe\n\
                Contact: <sip:a@10.0.0.1>;+sip.instance=\"<urn:a>\";reg-id=1\n";
    for (path, status) in [
        ("", 439),
        ("Path: <sip:edge.test;lr>\n", 439),
        ("Path: <sip:inner.test;lr;ob>, <sip:edge.test;lr>\n", 439),
        ("Path: <sip:inner.test;lr>, <sip:token@edge.test;lr;ob>\n", 200),
    ] {
        assert_eq!(bench.register(&format!("{path}{flow}")).status, status, "{path}");
    }
    assert_eq!(bench.bindings()[0].reg_id, Some(1));
}

/// RFC 3327 5.3: kept with the binding, shown to whoever understands it, replaced with every refresh.
#[test]
fn a_path_is_kept_with_its_binding_until_the_next_register() {
    let mut bench = Bench::new();
    let paths = "Path: <sip:p2.test;lr>\nPath: \"Edge\" <sip:p1.test;lr>;x=y\n";
    let outcome = bench.register(&format!("{paths}Contact: <sip:a@10.0.0.1>\n"));
    assert_eq!(contacts(&outcome).len(), 1);
    let route = Some("<sip:p2.test;lr>, <sip:p1.test;lr>");
    assert_eq!(bench.bindings()[0].path.as_deref(), route);
    let outcome = bench.register(&format!("Supported: path\n{paths}Contact: <sip:a@10.0.0.1>\n"));
    let shown = outcome.headers.iter().find(|(name, _)| *name == HeaderName::Path);
    assert_eq!(shown.map(|(_, value)| value.as_str()), route);
    bench.register("Contact: <sip:a@10.0.0.1>\n");
    assert_eq!(bench.bindings()[0].path, None);
}

/// RFC 3327 5.3; the length is bounded because it is kept.
#[test]
fn a_path_that_cannot_be_used_is_refused() {
    let mut bench = Bench::new();
    let long = format!("<sip:{}@p.test;lr>", "p".repeat(1100));
    for (path, reason) in [
        ("<tel:+1>", "Bad Path Header"),
        ("nothing", "Bad Path Header"),
        ("<sip:p1.test;lr>, <sip:p2.test>", "Path Without lr"),
        (&long, "Path Too Long"),
    ] {
        let outcome = bench.register(&format!("Path: {path}\nContact: <sip:a@10.0.0.1>\n"));
        assert_eq!((outcome.status, outcome.reason), (400, reason), "{path}");
    }
    assert!(bench.registrar.is_empty());
}

/// A closed connection to an edge proxy does not cut off the clients behind it: it can be opened anew.
#[test]
fn a_binding_with_a_path_outlives_the_connection_that_it_came_over() {
    let mut bench = Bench::new();
    let contact = "Path: <sip:p.test;lr>\nContact: <sip:alice@10.0.0.5:5060>\n";
    bench.register_over(over(1, "198.51.100.7:40000"), "phone1", contact);
    assert_eq!(bench.close(1), 0);
}

/// RFC 3261 10.2.1: a Contact may be of any scheme; requests are sent to SIP URIs alone.
#[test]
fn a_contact_of_another_scheme_is_kept_and_told_but_is_no_target() {
    let mut bench = Bench::new();
    let both = "Contact: <tel:+49123>, <mailto:alice@example.org>\n";
    assert_eq!(contacts(&bench.register(both)).len(), 2);
    assert!(matches!(bench.registrar.lookup(bench.now, ALICE), Lookup::NotRegistered));
    assert_eq!(contacts(&bench.register("Contact: <sip:a@10.0.0.1>\n")).len(), 3);
    assert_eq!(bench.uris(), ["sip:a@10.0.0.1"]);
    assert_eq!(contacts(&bench.register("Contact: *\nExpires: 0\n")).len(), 0);
}

const PHONE: &str = "Supported: gruu\n\
                     Contact: <sip:a@10.0.0.1>;+sip.instance=\"<urn:uuid:f81d4fae>\"\n";

/// The user part of the temporary GRUU in the last 200.
fn temporary(outcome: &Outcome) -> String {
    let (_, contact) = &outcome.headers[0];
    let (_, from) = contact.split_once("temp-gruu=\"sip:").expect("a temporary GRUU");
    let (user, rest) = from.split_once('@').unwrap();
    assert_eq!(rest, "example.org;gr\"");
    user.to_owned()
}

/// RFC 5627 5.3.
#[test]
fn a_client_that_asks_for_gruus_gets_both_with_its_contact() {
    let mut bench = Bench::new();
    let outcome = bench.register(PHONE);
    let contact = &outcome.headers[0].1;
    assert!(
        contact.contains(";pub-gruu=\"sip:alice@example.org;gr=urn:uuid:f81d4fae\""),
        "{contact}"
    );
    assert!(!temporary(&outcome).contains("alice"));
    // Neither one that does not ask, nor a device without a name.
    assert!(!bench.register("").headers[0].1.contains("gruu="));
    bench.register("Contact: *\nExpires: 0\n");
    let plain = bench.register("Supported: gruu\nContact: <sip:a@10.0.0.2>\n");
    assert!(!plain.headers[0].1.contains("gruu="));
}

/// RFC 5627 5.1.
#[test]
fn a_public_gruu_leads_to_the_contacts_of_its_device_alone() {
    let mut bench = Bench::new();
    bench.register(PHONE);
    bench.register("Contact: <sip:a@10.0.0.2>;+sip.instance=\"<urn:uuid:other>\"\n");
    let lookup = |instance| bench.registrar.lookup_instance(bench.now, ALICE, instance);
    let Lookup::Bindings(found) = lookup("urn:uuid:F81D4FAE") else { panic!("no binding") };
    assert_eq!(found.iter().map(|b| &*b.uri).collect::<Vec<_>>(), ["sip:a@10.0.0.1"]);
    assert!(matches!(lookup("urn:uuid:none"), Lookup::NotRegistered));
}

/// RFC 5627 5.2, 5.4: every temporary GRUU since the device registered with its Call-ID is good, and none
/// after it has come back with another.
#[test]
fn a_temporary_gruu_is_good_until_its_device_registers_with_another_call_id() {
    let mut bench = Bench::new();
    let (one, two) = (temporary(&bench.register(PHONE)), temporary(&bench.register(PHONE)));
    assert_ne!(one, two);
    let is_found =
        |bench: &Bench, user: &str| match bench.registrar.lookup_temporary(bench.now, user) {
            Lookup::Bindings(found) => found.len() == 1,
            Lookup::NotRegistered => false,
            Lookup::UnknownUser => panic!("not a temporary GRUU"),
        };
    assert!(is_found(&bench, &one) && is_found(&bench, &two));
    bench.register_as("reboot", 1, PHONE);
    assert!(!is_found(&bench, &one) && !is_found(&bench, &two));
    for forged in ["", "alice", &one[1..], &one.to_lowercase()] {
        let found = bench.registrar.lookup_temporary(bench.now, forged);
        assert!(matches!(found, Lookup::UnknownUser), "{forged}");
    }
}

/// One device that keeps two flows with the same Contact URI.
fn flows(ids: impl IntoIterator<Item = u8>, more: &str) -> Vec<String> {
    let flow = |id| {
        format!(
            "Supported: outbound, gruu\n\
             Contact: <sip:a@10.0.0.1>;+sip.instance=\"<urn:uuid:1>\";reg-id={id}{more}\n"
        )
    };
    ids.into_iter().map(flow).collect()
}

fn flow_ids(bench: &Bench) -> Vec<Option<u32>> {
    bench.bindings().iter().map(|binding| binding.reg_id).collect()
}

/// RFC 5626 6: the flow that a removal names is the one that goes, though the other has the same URI;
/// and nothing is asked of the first hop for it.
#[test]
fn a_flow_is_removed_without_the_other() {
    let mut bench = Bench::new();
    for flow in flows([1, 2], "") {
        bench.register(&flow);
    }
    assert_eq!(flow_ids(&bench), [Some(2), Some(1)]);
    let behind = "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKe\n";
    let outcome = bench.register(&format!("{behind}{}", flows([2], ";expires=0")[0]));
    assert_eq!(outcome.status, 200);
    assert!(outcome.headers.iter().all(|(name, _)| *name != HeaderName::Require));
    assert_eq!(flow_ids(&bench), [Some(1)]);
    bench.register(&format!("{}Expires: 0\n", flows([1], "")[0]));
    assert!(bench.registrar.is_empty());
}

/// Each flow has its own time.
#[test]
fn a_flow_that_expires_leaves_the_other() {
    let mut bench = Bench::new();
    bench.register(&flows([1], ";expires=100")[0]);
    bench.register(&flows([2], ";expires=200")[0]);
    bench.now += secs(100);
    bench.registrar.purge(bench.now);
    assert_eq!(flow_ids(&bench), [Some(2)]);
    bench.now += secs(100);
    bench.registrar.purge(bench.now);
    assert!(bench.registrar.is_empty() && bench.registrar.flows.is_empty());
}

/// RFC 3261 10.3 step 7 for flows: 423 names the least, and nothing is bound.
#[test]
fn a_flow_for_too_brief_a_time_is_refused() {
    let mut bench = Bench::new();
    let outcome = bench.register(&flows([1], ";expires=10")[0]);
    assert_eq!((outcome.status, outcome.reason), (423, "Interval Too Brief"));
    assert_eq!(outcome.headers, [(HeaderName::MinExpires, "60".to_owned())]);
    assert!(bench.registrar.is_empty());
}

/// The bound of a user's contacts counts flows, not devices; a flow that is there is refreshed at it, and
/// may move to another address.
#[test]
fn flows_count_against_the_bound_of_a_user() {
    let mut bench = Bench::with(Config { bindings_per_user_max: 2, ..Config::default() });
    for flow in flows([1, 2], "") {
        assert_eq!(bench.register(&flow).status, 200);
    }
    assert_eq!(bench.register(&flows([3], "")[0]).status, 503);
    let moved = flows([2], "")[0].replace("10.0.0.1", "10.0.0.9");
    assert_eq!(bench.register(&moved).status, 200);
    assert_eq!(bench.uris(), ["sip:a@10.0.0.9", "sip:a@10.0.0.1"]);
}

/// RFC 3261 10.2.3: a query changes nothing and shows everything; whoever supports GRUUs sees those of
/// each device, flows of one device the same public one (RFC 5627 5.3).
#[test]
fn a_query_shows_all_flows_with_their_gruus() {
    let mut bench = Bench::new();
    for flow in flows([1, 2], ";q=0.4") {
        bench.register(&flow);
    }
    bench.register("Contact: <sip:a@10.0.0.2>;q=0.7\n");
    let serials = |bench: &Bench| bench.bindings().iter().map(|b| b.serial).collect::<Vec<_>>();
    let before = serials(&bench);
    let outcome = bench.register("Supported: gruu\n");
    let shown = contacts(&outcome);
    assert_eq!(shown.len(), 3);
    let public = "pub-gruu=\"sip:alice@example.org;gr=urn:uuid:1\"";
    assert_eq!(shown.iter().filter(|contact| contact.contains(public)).count(), 2);
    assert!(shown.iter().any(|c| c.contains(";q=0.400;") && c.contains("reg-id=2")), "{shown:?}");
    assert!(shown.iter().any(|c| c.contains("10.0.0.2>") && c.contains("q=0.700")), "{shown:?}");
    assert_eq!(serials(&bench), before);
}

/// RFC 3261 10.2.2, RFC 5627 5.4: with the last contact of its device a GRUU leads nowhere; a public one
/// leads to the device again when that comes back, a temporary one of before does not.
#[test]
fn a_star_ends_the_temporary_gruus() {
    let mut bench = Bench::new();
    let old = temporary(&bench.register(PHONE));
    bench.register("Supported: gruu\nContact: *\nExpires: 0\n");
    let public = |bench: &Bench| {
        let found = bench.registrar.lookup_instance(bench.now, ALICE, "urn:uuid:f81d4fae");
        matches!(found, Lookup::Bindings(_))
    };
    let leads = |bench: &Bench, user: &str| {
        matches!(bench.registrar.lookup_temporary(bench.now, user), Lookup::Bindings(_))
    };
    assert!(!public(&bench) && !leads(&bench, &old));
    bench.register_as("after", 1, PHONE);
    assert!(public(&bench) && !leads(&bench, &old));
}
