//! The engine away, stalled, behind or empty: nothing runs out, and nobody is removed for it.

use control_core::cluster::membership::{EngineLink, Notice, Output, Standing};
use control_core::cluster::{Key, MemberName};

use super::world::{World, is_notice, settled};
use crate::make::name;

fn nobody_is_fenced(world: &World) {
    for process in &world.processes {
        assert!(!process.has(|output| matches!(output, Output::Fenced { .. })), "{}", process.name);
        assert!(matches!(process.membership.standing(), Standing::Part(_)));
    }
}

#[test]
fn while_the_engine_is_lost_the_last_view_stays_and_afterwards_nobody_is_missing() {
    let mut world = settled(3);
    let view = world.view();
    (0..3).for_each(|at| world.cut_off(at));
    world.run(120_000);
    for process in &world.processes {
        assert_eq!(process.membership.view().map(|view| view.epoch), Some(view.epoch));
        assert_eq!(process.membership.engine(), EngineLink::Lost);
        assert!(process.notices().join("\n").contains("engine cannot be reached"));
    }
    for at in 0..3 {
        world.reconnect(at);
        world.run(4_000);
    }
    world.run(30_000);
    nobody_is_fenced(&world);
    assert_eq!(world.view().epoch, view.epoch);
    assert_eq!(world.view().term, view.term);
}

/// A dead leader of the engine stops writes for 5 to 10 s and leaves connections up.
#[test]
fn an_engine_that_takes_no_writes_for_longer_than_a_lease_makes_nobody_dead() {
    let mut world = settled(5);
    let view = world.view();
    for stall_ms in [5_000, 11_000, 40_000] {
        world.is_stalled = true;
        world.run(stall_ms);
        world.is_stalled = false;
        world.run(15_000);
    }
    nobody_is_fenced(&world);
    assert_eq!(world.view(), view);
}

/// Who comes while the engine takes no writes sees all leases stand still, and is the first to judge them.
#[test]
fn a_member_that_comes_while_the_engine_takes_no_writes_takes_nobody_for_dead() {
    for waits_ms in (8_000..10_000).step_by(150) {
        let mut world = settled(4);
        let term = world.view().term;
        world.is_stalled = true;
        world.run(3_000);
        world.start("late", World::settings(5));
        world.run(waits_ms);
        world.is_stalled = false;
        world.run(15_000);
        nobody_is_fenced(&world);
        assert_eq!(world.view().term, term, "{waits_ms} ms: another Controller");
        assert_eq!(world.in_view().len(), 5);
    }
}

#[test]
fn a_member_that_dies_while_the_engine_is_away_is_removed_one_lease_after_it_is_back() {
    let mut world = settled(3);
    (0..3).for_each(|at| world.cut_off(at));
    world.vanish(2);
    world.run(60_000);
    (0..2).for_each(|at| world.reconnect(at));
    world.run(9_000);
    assert_eq!(world.in_view(), ["m1", "m2", "m3"]);
    world.run_until(6_000, "its lease has run out", |world| world.in_view() == ["m1", "m2"]);
}

#[test]
fn one_member_that_loses_the_engine_is_removed_and_comes_back_by_itself() {
    let mut world = settled(3);
    let victim = (0..3).find(|at| *at != world.controller()).expect("three members");
    world.cut_off(victim);
    world.run(20_000);
    assert_eq!(world.in_view().len(), 2);
    world.reconnect(victim);
    world.run_until(5_000, "it is back", World::is_settled);
    assert!(world.processes[victim].has(|output| matches!(output, Output::Fenced { .. })));
}

#[test]
fn an_engine_that_has_lost_everything_gets_it_back_and_no_number_or_epoch_is_used_again() {
    let mut world = settled(3);
    let before = world.view();
    world.run(5_000);
    (0..3).for_each(|at| world.cut_off(at));
    world.wipe();
    (0..3).for_each(|at| world.reconnect(at));
    world.run(5_000);
    world.start("new", World::settings(9));
    world.run_until(30_000, "they are a cluster again", World::is_settled);
    nobody_is_fenced(&world);
    let after = world.view();
    assert!(after.epoch > before.epoch && after.term > before.term);
    for member in &before.members {
        assert!(after.holds(member.id, member.incarnation), "{} goes on", member.name);
    }
    assert!(
        world.processes[0].has(|o| is_notice(o, |n| matches!(n, Notice::EngineWentBack { .. })))
    );
}

/// A member of newer software may write what this one cannot read.
#[test]
fn a_record_that_cannot_be_read_is_told_and_its_member_stays_while_it_moves() {
    let mut world = settled(3);
    world.vanish(2);
    let key = Key::Member(name("m3"));
    for beat in 0..10 {
        world.write(&key, format!("{{\"version\":99,\"beat\":{beat}}}").into_bytes());
        world.run(2_000);
    }
    assert_eq!(world.in_view(), ["m1", "m2", "m3"]);
    let notices = world.processes[0].notices().join("\n");
    assert!(notices.contains("members.m3 in the cluster's engine is left alone: "), "{notices}");
    world.run_until(13_000, "it stands still", |world| world.in_view() == ["m1", "m2"]);
}

#[test]
fn a_settings_document_that_cannot_be_read_changes_nothing() {
    let mut world = settled(2);
    let epoch = world.view().epoch;
    world.write(&Key::ClusterSettings, b"nonsense".to_vec());
    world.write(&Key::MemberSettings(MemberName::new("m1").expect("a name")), b"{}".to_vec());
    world.run(10_000);
    assert_eq!(world.view().epoch, epoch);
}

/// The clocks of members differ by days; nothing is decided by them.
#[test]
fn members_with_clocks_far_apart_are_one_cluster() {
    // Each process of these worlds starts its calendar elsewhere.
    let world = settled(5);
    nobody_is_fenced(&world);
    assert!(world.view().published.0 > 1_000_000);
}
