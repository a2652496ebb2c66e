//! A farm whose members cannot reach each other, all of them or one way, or cannot reach the engine.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::harness::{CALLER, PROXY, run, wait_for};
use crate::lab::{ENGINE, Farm, Segment};
use crate::member::{MESH, Member, OPEN};
use crate::phones::{Callee, Caller, SHARED, SIP};

/// Silence is seen after 1 s; a lease is void after 10 s.
const SEEN: Duration = Duration::from_secs(40);
/// So many users are spread over every member that takes something.
const USERS: u32 = 6;

/// Which packets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Of the mesh, those to the member.
    MeshInwards,
    /// Of the mesh, those from the member.
    MeshOutwards,
    /// Of the mesh, both.
    Mesh,
    /// All between the member and the others or the engine.
    All,
}

fn cut(segment: &Segment, member: Ipv4Addr, others: &[Ipv4Addr], cut: Cut) {
    let engine = if cut == Cut::All { &ENGINE[..] } else { &[] };
    let who: Vec<String> = others.iter().chain(engine).map(ToString::to_string).collect();
    let who = format!("{{ {} }}", who.join(", "));
    let what = if cut == Cut::All { String::new() } else { format!("tcp dport {MESH}") };
    let back = if cut == Cut::All { String::new() } else { format!("tcp sport {MESH}") };
    let chain = |hook: &str, side: &str, is_cut: bool| {
        let rules = [&what, &back].map(|what| format!("ip {side} {who} {what} drop\n"));
        let rules = if is_cut { rules.concat() } else { String::new() };
        format!("chain {hook} {{ type filter hook {hook} priority 0;\n{rules}}}\n")
    };
    let ruleset = format!(
        "table ip cut {{\n{}{}}}",
        chain("input", "saddr", cut != Cut::MeshOutwards),
        chain("output", "daddr", cut != Cut::MeshInwards)
    );
    run(segment.host(member).command("nft").arg(ruleset));
}

fn heal(segment: &Segment, member: Ipv4Addr) {
    run(segment.host(member).command("nft").args(["delete", "table", "ip", "cut"]));
}

fn at(member: &Member<'_>) -> SocketAddr {
    SocketAddr::new(member.address.into(), SIP)
}

/// The statuses of registrations of new users by way of that member.
fn registrations(phone: &mut Caller, by: &Member<'_>, round: &str) -> Vec<Option<u16>> {
    let contact = SocketAddr::new(CALLER.into(), 9);
    (0..USERS).map(|number| phone.register(at(by), &format!("{round}-{number}"), contact)).collect()
}

fn wait_split(lone: &Member<'_>, others: &[&Member<'_>]) {
    wait_for("the member to find itself in the minority", SEEN, || {
        lone.figure("ringfarm_farm_minority") > 0.5 && others.iter().all(|other| other.sees() == 2)
    });
}

/// B3, B5: whoever sees fewer than half of the farm takes nothing new and keeps what it has; the others go on.
/// That holds whichever packets are lost, and afterwards there is one farm again: one list of members, one
/// Controller, and no call that two members own.
#[test]
fn of_a_farm_that_is_split_the_larger_part_goes_on_and_the_smaller_keeps_what_it_has() {
    let segment = Segment::create();
    let farm = Farm::start_with(&segment, 3, 0, OPEN);
    let callee = Callee::start(&segment);
    let mut phone = Caller::new(&segment, CALLER);
    let mut call = phone.call("bob");
    wait_for("the call to be somebody's", SEEN, || farm.figure(CALLS) > 0.5);
    let is_owner = |member: &&Member<'_>| member.figure(CALLS) > 0.5;
    let owners: Vec<_> = farm.frontends.iter().filter(is_owner).collect();
    let [owner] = owners[..] else { panic!("{} members own the call", owners.len()) };
    let others: Vec<&Member<'_>> =
        farm.frontends.iter().filter(|other| other.address != owner.address).collect();
    let addresses: Vec<Ipv4Addr> = others.iter().map(|other| other.address).collect();
    for kind in [Cut::MeshInwards, Cut::MeshOutwards, Cut::All] {
        cut(&segment, owner.address, &addresses, kind);
        wait_split(owner, &others);
        let refused = registrations(&mut phone, owner, &format!("lone-{kind:?}"));
        assert_eq!(refused, [Some(503); USERS as usize], "{kind:?}: the smaller part");
        for other in &others {
            let taken = registrations(&mut phone, other, &format!("{}-{kind:?}", other.address));
            assert_eq!(taken, [Some(200); USERS as usize], "{kind:?}: the larger part");
        }
        // What is not the others' is lost with them: the call is looked at where all of it arrives.
        segment.spread_over(&[owner.address]);
        assert_eq!(phone.ask_within(&mut call, "INFO", at(owner)), Some(200), "{kind:?}");
        segment.spread_over(&farm.addresses());
        let unreachable = phone.ask_within(&mut call, "INFO", at(others[0]));
        assert!(matches!(unreachable, Some(503 | 481)), "{kind:?}: {unreachable:?}");
        if kind == Cut::All {
            wait_for("the others to go on without it", SEEN, || {
                others.iter().all(|other| other.figure(MEMBERS) < 2.5)
            });
        }
        heal(&segment, owner.address);
        farm.wait_met();
        wait_one_farm(&farm);
        if kind != Cut::All {
            assert_eq!(phone.ask_within(&mut call, "INFO", at(others[0])), Some(200), "{kind:?}");
        }
    }
    // It was taken for dead, and knows it: its call goes on, whoever is asked, and is nobody else's.
    assert_eq!(phone.ask_within(&mut call, "BYE", at(others[0])), Some(200));
    assert_eq!(callee.requests("INVITE").len(), 1);
    assert_eq!(callee.requests("BYE").len(), 1);
    let known = |member: &Member<'_>| member.figure("ringfarm_sip_registrations") as u32;
    // Bob, and those that each of the others has taken in each round.
    wait_for("all to know the same registrations", SEEN, || {
        farm.frontends.iter().all(|member| known(member) == 1 + 2 * 3 * USERS)
    });
}

/// Calls that are up on a member.
const CALLS: &str = "ringfarm_sip_calls";
/// Members that a member knows of.
const MEMBERS: &str = "ringfarm_cluster_members";

fn wait_one_farm(farm: &Farm<'_>) {
    wait_for("one list of members and one Controller", SEEN, || {
        let epochs: Vec<f64> =
            farm.frontends.iter().map(|member| member.figure("ringfarm_cluster_epoch")).collect();
        let controllers = farm.figure("ringfarm_cluster_controller");
        let is_minority = farm.figure("ringfarm_farm_minority") > 0.5;
        epochs.windows(2).all(|two| (two[0] - two[1]).abs() < 0.5)
            && (controllers - 1.0).abs() < 0.5
            && !is_minority
    });
}

/// Nothing of a call waits for the engine: while nobody reaches it, everybody takes and keeps as before.
#[test]
fn a_farm_that_cannot_reach_its_engine_goes_on() {
    let segment = Segment::create();
    let farm = Farm::start_with(&segment, 3, 0, OPEN);
    let _callee = Callee::start(&segment);
    let mut phone = Caller::new(&segment, PROXY);
    let mut call = phone.call("bob");
    for address in farm.addresses() {
        cut(&segment, address, &[], Cut::All);
    }
    for (number, member) in farm.frontends.iter().enumerate() {
        let taken = registrations(&mut phone, member, &format!("user-{number}"));
        assert_eq!(taken, [Some(200); USERS as usize], "{}", member.address);
        assert_eq!(phone.ask_within(&mut call, "INFO", at(member)), Some(200));
        assert_eq!(member.sees(), 3);
    }
    let mut another = phone.call("bob");
    assert_eq!(phone.ask_within(&mut another, "BYE", SHARED), Some(200));
    farm.addresses().into_iter().for_each(|address| heal(&segment, address));
    assert_eq!(phone.ask_within(&mut call, "BYE", SHARED), Some(200));
    farm.wait_met();
    wait_one_farm(&farm);
}

/// B2, B3: two members that cannot reach each other, while both reach the third and the engine, are members both:
/// nobody is taken for dead, each takes what is new, and nothing that comes once is handled twice. What is the
/// other's is answered 503 there, and goes on by way of the third.
#[test]
fn two_members_that_cannot_reach_each_other_go_on_with_all_others() {
    let segment = Segment::create();
    let farm = Farm::start_with(&segment, 3, 0, OPEN);
    let callee = Callee::start(&segment);
    let mut phone = Caller::new(&segment, CALLER);
    let mut call = phone.call("bob");
    wait_for("the call to be somebody's", SEEN, || farm.figure(CALLS) > 0.5);
    let (owner, others): (Vec<_>, Vec<_>) =
        farm.frontends.iter().partition(|member| member.figure(CALLS) > 0.5);
    let ([owner], [cut_off, third]) = (&owner[..], &others[..]) else {
        panic!("{} members own the call", owner.len())
    };
    let epoch = owner.figure(EPOCH);
    cut(&segment, owner.address, &[cut_off.address], Cut::Mesh);
    wait_for("the two to miss each other", SEEN, || {
        (owner.sees(), cut_off.sees(), third.sees()) == (2, 2, 3)
    });
    assert_eq!(phone.ask_within(&mut call, "INFO", at(owner)), Some(200));
    assert_eq!(phone.ask_within(&mut call, "INFO", at(third)), Some(200));
    assert_eq!(phone.ask_within(&mut call, "INFO", at(cut_off)), Some(503));
    for member in &farm.frontends {
        let taken = registrations(&mut phone, member, &format!("pair-{}", member.address));
        assert_eq!(taken, [Some(200); USERS as usize], "by way of {}", member.address);
    }
    let before = callee.requests("INVITE").len();
    for number in 1..=CALLS_MADE {
        let mut another = phone.call("bob");
        assert_eq!(phone.ask_within(&mut another, "BYE", at(third)), Some(200));
        assert_eq!(callee.requests("INVITE").len(), before + number, "each INVITE comes once");
        assert_eq!(callee.requests("BYE").len(), number);
    }
    assert!((owner.figure(EPOCH) - epoch).abs() < 0.5, "nobody was taken for dead");
    heal(&segment, owner.address);
    farm.wait_met();
    wait_one_farm(&farm);
    assert_eq!(phone.ask_within(&mut call, "INFO", at(cut_off)), Some(200));
    assert_eq!(phone.ask_within(&mut call, "BYE", SHARED), Some(200));
    // Bob, and those that each has taken; whom the two did not tell each other of, they do now.
    let known = |member: &Member<'_>| member.figure("ringfarm_sip_registrations") as u32;
    wait_for("all to know the same registrations", SEEN, || {
        farm.frontends.iter().all(|member| known(member) == 1 + 3 * USERS)
    });
}

/// The number of the list of members that a member goes by.
const EPOCH: &str = "ringfarm_cluster_epoch";
/// Enough for each member to take one, nearly always.
const CALLS_MADE: usize = 6;
