//! Joining: a name's number, an incarnation, a place in the view.

use control_core::cluster::membership::{JoinError, Output, Standing};
use control_core::cluster::{Epoch, Incarnation, Key, Presence};

use super::world::{World, settled};
use crate::make::name;

fn refused(world: &World, at: usize) -> Option<JoinError> {
    world.processes[at]
        .outputs
        .iter()
        .find_map(|output| if let Output::Refused(why) = output { Some(why.clone()) } else { None })
}

#[test]
fn the_first_member_becomes_the_controller_and_publishes_itself() {
    let mut world = World::calm();
    world.start("fe1", World::settings(1));
    world.run_until(100, "it joins without waiting for any lease", World::is_settled);
    let view = world.view();
    assert_eq!(world.in_view(), ["fe1"]);
    assert_eq!(view.epoch, Epoch(1));
    assert_eq!(view.controller, name("fe1"));
    assert_eq!(view.members[0].incarnation, Incarnation(1));
}

#[test]
fn members_that_join_get_numbers_of_their_own_and_are_admitted_at_once() {
    let mut world = settled(1);
    world.start("m2", World::settings(2));
    world.start("m3", World::settings(3));
    world.run_until(100, "the Controller sees their records move", World::is_settled);
    let ids: Vec<u16> = world.view().members.iter().map(|member| member.id.get()).collect();
    assert_eq!(ids, [1, 2, 3]);
}

/// B5: a restarted member keeps its number and is another start of itself.
#[test]
fn a_restarted_member_keeps_its_number_and_gets_another_incarnation() {
    let mut world = settled(2);
    let before = world.record("m2").member.incarnate();
    world.kill(1);
    world.start("m2", World::settings(2));
    world.run_until(100, "it listens where its earlier self did", World::is_settled);
    let after = world.record("m2").member.incarnate();
    assert_eq!(after.id, before.id);
    assert_eq!(after.incarnation, Incarnation(before.incarnation.0 + 1));
}

#[test]
fn a_second_process_with_the_name_of_a_living_one_is_refused_with_where_that_is() {
    let mut world = settled(2);
    let second = world.start("m2", World::settings(9));
    world.run_until(10_000, "it sees the other one live", |world| refused(world, second).is_some());
    assert_eq!(
        refused(&world, second).map(|why| why.to_string()),
        Some(
            "a member m2 is alive at 10.0.0.2:7000; stop that one, or give this one another name"
                .to_owned()
        )
    );
    world.run(30_000);
    assert_eq!(
        world.processes[1].membership.standing(),
        Standing::Part(world.record("m2").member.incarnate())
    );
    assert_eq!(world.record("m2").member.incarnation, Incarnation(1));
}

#[test]
fn a_name_whose_process_is_gone_is_taken_elsewhere_once_its_lease_has_run_out() {
    let mut world = settled(2);
    world.vanish(1);
    let second = world.start("m2", World::settings(9));
    world.run(9_000);
    assert_eq!(world.processes[second].membership.standing(), Standing::Outside);
    world.run_until(3_000, "the lease is over", World::is_settled);
    assert_eq!(world.record("m2").member.incarnation, Incarnation(2));
    assert_eq!(refused(&world, second), None);
}

/// What it has not seen move may have moved: it hears first, and acts then.
#[test]
fn a_process_that_has_slept_does_not_take_a_name_for_free_before_it_has_heard_what_happened() {
    let mut world = settled(2);
    let second = world.start("m2", World::settings(9));
    world.run(1);
    world.freeze(second);
    world.run(25_000);
    let now = world.now();
    let membership = &mut world.processes[second].membership;
    membership.handle_timeout(now);
    let ops: Vec<_> = std::iter::from_fn(|| membership.poll_output()).collect();
    assert_eq!(ops, []);
}

/// With nothing else that moves, an engine that takes no writes cannot be told from a dead member.
#[test]
fn a_name_is_taken_after_a_longer_time_where_nothing_else_moves() {
    let mut world = settled(1);
    world.vanish(0);
    let second = world.start("m1", World::settings(9));
    world.run(19_000);
    assert_eq!(world.processes[second].membership.standing(), Standing::Outside);
    world.run_until(3_000, "two leases are over", World::is_settled);
}

#[test]
fn a_record_that_only_stands_there_is_not_admitted() {
    let mut world = settled(1);
    world.run(5_000);
    let mut old = world.record("m1");
    old.member.name = name("old");
    old.member.id = control_core::cluster::MemberId::new(77).expect("not 0");
    // As if it had stood there before anybody started.
    for at in 0..world.processes.len() {
        world.cut_off(at);
    }
    world.write(&Key::Member(name("old")), control_core::cluster::Document::to_bytes(&old));
    world.reconnect(0);
    world.run(60_000);
    assert_eq!(world.in_view(), ["m1"]);
    assert_eq!(world.record("old").presence, Presence::Removed);
}

#[test]
fn without_the_engine_nobody_joins_and_it_happens_once_it_is_there() {
    let mut world = settled(1);
    world.is_stalled = true;
    let late = world.start("m2", World::settings(2));
    world.run(5_000);
    assert_eq!(world.processes[late].membership.standing(), Standing::Outside);
    world.is_stalled = false;
    world.run_until(3_000, "it joins", World::is_settled);
}

/// B3: until it knows what the others know it takes nothing new, and nobody publishes a view for that.
#[test]
fn a_member_that_comes_is_joining_until_it_has_its_copy_or_some_seconds_have_passed() {
    let mut world = settled(2);
    let is_joining = |world: &World, at: usize| world.processes[at].membership.is_joining();
    world.run(control_core::cluster::membership::JOINING_MAX.as_millis() as u64 + 100);
    assert!((0..2).all(|at| !is_joining(&world, at)), "nobody waits for ever");
    for has_copy in [true, false] {
        let name = if has_copy { "copied" } else { "waits" };
        let at = world.start(name, World::settings(if has_copy { 3 } else { 4 }));
        world.run_until(2_000, "it takes part", World::is_settled);
        assert!(is_joining(&world, at) && world.processes[at].membership.profile().joining);
        world.run(100);
        assert!(world.record(name).joining, "the others can tell");
        let epoch = world.view().epoch;
        if has_copy {
            let now = world.now();
            world.processes[at].membership.handle_copied(now);
            world.take_outputs(at);
        } else {
            world.run(2_000);
            assert!(is_joining(&world, at));
            world.run(1_500);
        }
        assert!(!is_joining(&world, at) && !world.processes[at].membership.profile().joining);
        world.run(100);
        assert!(!world.record(name).joining);
        assert_eq!(world.view().epoch, epoch);
    }
}

#[test]
fn a_member_that_is_alone_has_nothing_to_wait_for() {
    let world = settled(1);
    assert!(!world.processes[0].membership.is_joining());
}
