//! Clusters of real processes on loopback: members with keys, mesh and engine, phones whose packets each
//! reach any member. Needs `deploy/test --install` (nats-server), and no privileges.

mod deaths;
mod drain;
mod engine;
mod lamps;
mod member;
#[path = "../nats/mod.rs"]
mod nats;
mod pause;
mod phone;
mod rotation;
mod standing;

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;

use member::{Cluster, logs, of, outcome};
use phone::Phone;

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

fn sip(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.members.iter().map(|member| member.sip).collect()
}

/// Makes `count` calls, each with phones of its own, and ends them from either side.
fn make_calls(cluster: &Cluster, members: &[SocketAddr], count: u64) {
    let callee = |number: u64| Phone::new(&format!("b{number}"), 2 * number + 1);
    let mut callees: Vec<Phone> = (0..count).map(callee).collect();
    for callee in &mut callees {
        assert_eq!(callee.register(members), 200, "{}", logs(cluster));
    }
    // The others know it a moment after the phone does.
    for member in cluster.members.iter().filter(|member| members.contains(&member.sip)) {
        member.until("it knows the phones", |list| list["registrations"].as_u64() >= Some(count));
    }
    for (number, mut callee) in (0..count).zip(callees) {
        let mut caller = Phone::new(&format!("a{number}"), 2 * number);
        let (mut outgoing, mut incoming) = caller
            .call(members, &mut callee)
            .unwrap_or_else(|status| panic!("call {number}: {status}\n{}", logs(cluster)));
        let ended = if number % 2 == 0 {
            caller.hang_up(members, &mut outgoing, &mut callee)
        } else {
            callee.hang_up(members, &mut incoming, &mut caller)
        };
        assert_eq!(ended, 200, "call {number}\n{}", logs(cluster));
    }
}

/// B1, S20: whichever member a packet reaches, its call goes on.
#[test]
fn calls_go_on_whichever_member_each_of_their_packets_reaches() {
    let cluster = Cluster::start(3);
    make_calls(&cluster, &sip(&cluster), 12);
    for member in &cluster.members {
        let farm = &member.list()["farm"];
        assert_eq!(farm["mode"], "member", "{farm}");
        assert!(farm["relayed_in"].as_u64() > Some(0), "{}: {farm}", member.name);
        assert!(farm["relayed_out"].as_u64() > Some(0), "{}: {farm}", member.name);
        assert_eq!(farm["relay_failed"], 0, "{}: {farm}", member.name);
    }
}

/// A connection's messages are written by the member that has it, whoever handles the call.
#[test]
fn a_phone_with_a_connection_to_one_member_is_called_through_any() {
    let cluster = Cluster::start(2);
    let members = sip(&cluster);
    let mut callee = Phone::connected("tcp", 1, members[0]);
    assert_eq!(callee.register(&members), 200, "{}", logs(&cluster));
    for member in &cluster.members {
        member.until("it knows the phone", |list| list["registrations"] == 1);
    }
    for number in 0..8 {
        let mut caller = Phone::new(&format!("c{number}"), number);
        let (mut call, _) = caller
            .call(&members, &mut callee)
            .unwrap_or_else(|status| panic!("call {number}: {status}\n{}", logs(&cluster)));
        assert_eq!(caller.hang_up(&members, &mut call, &mut callee), 200, "{}", logs(&cluster));
    }
}

/// S27: what operators see.
#[test]
fn members_are_listed_with_what_they_are_and_how_they_do() {
    let cluster = Cluster::start(2);
    let list = cluster.members[1].until("a Controller", |list| list["controller"].is_string());
    assert_eq!((&list["member"], &list["standing"]), (&"n2".into(), &"member".into()));
    assert!(list["epoch"].as_u64() > Some(0), "{list:#}");
    assert_eq!(list["engine"]["state"], "connected");
    let first = of(&list, "n1");
    assert_eq!((&first["role"], &first["state"]), (&"frontend".into(), &"up".into()));
    assert_eq!(first["farm"], serde_json::json!({"configured": "auto", "effective": "member"}));
    assert_eq!(first["media_ports"], serde_json::json!([21_000, 21_999]));
    assert_eq!(of(&list, "n2")["state"], "self");
}

/// Settings of the cluster are validated, kept with who changed them, and used by the members.
#[test]
fn a_setting_of_a_member_is_changed_from_another_one_and_used() {
    let cluster = Cluster::start(2);
    let [first, second] = &cluster.members[..] else { panic!("two members") };
    first.ask(&["settings", "set", "member.farm", "disabled", "--member", "n2"]);
    second.until("its own setting", |list| list["farm"]["mode"] == "disabled");
    let shown = second.ask(&["settings", "get", "--member", "n2"]);
    assert_eq!(shown["values"]["member.farm"], "disabled");
    assert_eq!(shown["audit"][0]["new"], "disabled");
    let args = ["settings", "set", "member.farm", "perhaps", "--member", "n2", "--socket"];
    let (code, error) = outcome(&args, &first.socket());
    assert!(code == Some(1) && error.contains("\"member\", \"disabled\""), "{error}");
}

/// S60, S63: under one address each member has ports of its own, and who would take another's is told whose.
#[test]
fn media_ports_that_another_member_has_are_refused_with_both_names() {
    let cluster = Cluster::start(2);
    let [first, second] = &cluster.members[..] else { panic!("two members") };
    first.ask(&["settings", "set", "cluster.wan_ip", "203.0.113.5"]);
    second.until("the address is everybody's", |list| {
        ["n1", "n2"].iter().all(|name| of(list, name)["wan_ip"]["effective"]["v4"] == "203.0.113.5")
    });
    let args =
        ["settings", "set", "member.media_ports", "21500-22499", "--member", "n1", "--socket"];
    let (code, error) = outcome(&args, &second.socket());
    assert_eq!(code, Some(1), "{error}");
    for word in ["member.media_ports", "n1", "n2", "21500-22499", "203.0.113.5"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    first.ask(&["settings", "set", "member.media_ports", "31000-31999", "--member", "n1"]);
    second.until("its new ports", |list| of(list, "n1")["media_ports"][0] == 31_000);
    // Nothing used those before, so they are given back, and another member may have them.
    let given_back =
        |list: &serde_json::Value| list["media_before"].as_array().is_some_and(Vec::is_empty);
    first.until("the ports before are free", given_back);
    let begun = std::time::Instant::now();
    let args =
        ["settings", "set", "member.media_ports", "21000-22999", "--member", "n2", "--socket"];
    while outcome(&args, &second.socket()).0 != Some(0) {
        assert!(begun.elapsed() < PATIENCE, "{}", logs(&cluster));
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = second.ask(&["settings", "log"]);
    let changes = log["changes"].as_array().expect("a list");
    let said: Vec<_> =
        changes.iter().map(|one| (one["key"].as_str(), one["member"].as_str())).collect();
    let of = |key, member| (Some(key), member);
    let ports = "member.media_ports";
    let wanted = [of("cluster.wan_ip", None), of(ports, Some("n1")), of(ports, Some("n2"))];
    assert_eq!(said, wanted, "{log:#}");
}

/// A host that is lost with its keys is no member any more; its name comes back with a new certificate, and
/// with the number that was its own.
#[test]
fn nobody_speaks_with_who_has_the_keys_of_a_member_that_was_removed() {
    let mut cluster = Cluster::start(2);
    let number = of(&cluster.members[0].list(), "n2")["id"].clone();
    let removed = cluster.members[0].ask(&["cluster", "remove", "n2"]);
    assert_eq!(removed["was_alive"], true, "{removed}");
    let is_out = |list: &serde_json::Value| {
        let member = of(list, "n2");
        member["connected"] == false && member["in_view"] == false
    };
    cluster.members[0].until("it is out", is_out);
    assert!(cluster.members[0].log().contains("n2 is out of the cluster"), "{}", logs(&cluster));
    // It has heard of it and goes: what is its own by now nobody else knows.
    assert_eq!(cluster.members[1].ended(), Some(1), "{}", logs(&cluster));
    let why = "n2 was taken out of the cluster after its certificate was issued";
    assert!(cluster.members[1].log().contains(why), "{}", logs(&cluster));
    let (code, _) = cluster.members[1].refused_start();
    assert_eq!(code, Some(3), "{}", logs(&cluster));
    assert!(is_out(&cluster.members[0].list()));
    cluster.members[1].renew_keys(&cluster.members[0]);
    cluster.members[1].run();
    cluster.await_all_up();
    assert_eq!(of(&cluster.members[0].list(), "n2")["id"], number);
    let (code, error) =
        outcome(&["cluster", "remove", "n7", "--socket"], &cluster.members[0].socket());
    assert!(code == Some(1) && error.contains("there are n1, n2"), "{error}");
    let (code, error) =
        outcome(&["cluster", "remove", "n1", "--socket"], &cluster.members[0].socket());
    assert!(code == Some(1) && error.contains("have another one remove it"), "{error}");
}

/// B4: who drains says so, gives what is new to the others, and ends once nothing is left.
#[test]
fn a_member_that_drains_loses_no_call_and_then_ends() {
    let mut cluster = Cluster::start(2);
    let members = sip(&cluster);
    let mut phone = Phone::new("ping", 1);
    assert_eq!(phone.ping(members[0]), 200);
    cluster.members[0].ask(&["drain"]);
    assert_eq!(phone.ping(members[0]), 503);
    cluster.members[1].until("it drains", |list| of(list, "n1")["draining"] == true);
    let before = cluster.members[0].list()["farm"]["relayed_out"].as_u64();
    make_calls(&cluster, &members, 4);
    assert!(cluster.members[0].list()["farm"]["relayed_out"].as_u64() > before);
    cluster.members[0].signal(Signal::SIGTERM);
    assert_eq!(cluster.members[0].ended(), Some(0), "{}", cluster.members[0].log());
    cluster.members[1].until("it has left", |list| of(list, "n1")["in_view"] == false);
    make_calls(&cluster, &members[1..], 2);
}

/// B5: only calls of a member that is killed may suffer; it comes back as another start of itself.
#[test]
fn the_others_go_on_when_a_member_is_killed_and_it_comes_back() {
    let mut cluster = Cluster::start(3);
    let members = sip(&cluster);
    cluster.members[2].kill();
    for member in &cluster.members[..2] {
        member.until("it is down", |list| {
            let state = &of(list, "n3")["state"];
            state != "up" && state != "suspect"
        });
    }
    make_calls(&cluster, &members[..2], 6);
    cluster.members[2].run();
    cluster.await_all_up();
    assert_eq!(of(&cluster.members[0].list(), "n3")["incarnation"], 2);
    make_calls(&cluster, &members, 6);
}

/// The engine is on no call's path.
#[test]
fn calls_go_on_while_the_engine_is_away() {
    let mut cluster = Cluster::start(2);
    let members = sip(&cluster);
    cluster.engine.kill();
    cluster.members[0].until("it is lost", |list| list["engine"]["state"] == "lost");
    make_calls(&cluster, &members, 4);
    cluster.engine.run_again();
    cluster.members[0].until("it is back", |list| list["engine"]["state"] == "connected");
    make_calls(&cluster, &members, 2);
}

/// Without keys there is no member.
#[test]
fn a_member_without_keys_does_not_start_and_says_how_to_get_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("settings.toml");
    let settings = format!(
        "[[sip.listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:15060\"\n[cluster]\nstate = \"{}\"\n\
         listen = \"127.0.0.1:7443\"\n[control]\nsocket = \"{}\"\n",
        folder.path().join("keys").display(),
        folder.path().join("control.sock").display()
    );
    std::fs::write(&file, settings).expect("settings");
    let (code, error) = outcome(&["run", "--config"], &file);
    assert_eq!(code, Some(3), "{error}");
    for word in ["ringfarm cluster init", "ringfarm cluster join"] {
        assert!(error.contains(word), "{error}");
    }
}
