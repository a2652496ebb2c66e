//! A member that was taken for dead and is not: it is another start of itself before it takes part.

use control_core::cluster::membership::{Fence, Output, Standing};
use control_core::cluster::{Incarnate, Incarnation, Presence};

use super::world::{World, settled};

fn fences(world: &World, at: usize) -> Vec<(Incarnate, Fence)> {
    let fence = |output: &Output| {
        if let Output::Fenced { was, why } = output { Some((*was, *why)) } else { None }
    };
    world.processes[at].outputs.iter().filter_map(fence).collect()
}

/// B5.
#[test]
fn a_frozen_member_is_removed_and_comes_back_as_another_start_of_itself() {
    let mut world = settled(3);
    let victim = (0..3).find(|at| *at != world.controller()).expect("three members");
    let member = world.processes[victim].name.to_string();
    let was = world.record(&member).member.incarnate();
    world.freeze(victim);
    world.run(15_000);
    assert_eq!(world.record(&member).presence, Presence::Removed);
    assert!(!world.view().holds(was.id, was.incarnation));
    world.thaw(victim);
    world.run_until(5_000, "it is back", World::is_settled);
    assert_eq!(fences(&world, victim).len(), 1);
    assert_eq!(fences(&world, victim)[0].0, was);
    let now = world.record(&member).member.incarnate();
    assert_eq!((now.id, now.incarnation), (was.id, Incarnation(was.incarnation.0 + 1)));
    assert_eq!(world.processes[victim].membership.standing(), Standing::Part(now));
    // It is the same process: what it had begun goes on.
    let view = world.view();
    let continues = |view: &control_core::cluster::View| {
        view.by_id(was.id).map(|member| member.profile.continues.clone())
    };
    assert_eq!(continues(&view), Some(vec![was.incarnation]));
    assert_eq!(world.processes[victim].membership.profile().continues, [was.incarnation]);
    // B5: one that has really ended is continued by nobody.
    world.kill(victim);
    world.start(&member, World::settings(victim as u8 + 1));
    world.run_until(60_000, "another process is there", |world| {
        let view = world.view();
        view.by_id(was.id).is_some_and(|member| member.incarnation > now.incarnation)
    });
    assert_eq!(continues(&world.view()), Some(Vec::new()));
}

#[test]
fn a_member_that_was_frozen_for_less_than_its_lease_is_as_before() {
    let mut world = settled(3);
    let victim = (0..3).find(|at| *at != world.controller()).expect("three members");
    let epoch = world.view().epoch;
    world.freeze(victim);
    world.run(7_000);
    world.thaw(victim);
    world.run(30_000);
    assert_eq!(world.view().epoch, epoch);
    assert_eq!(fences(&world, victim), []);
}

/// Whoever sleeps has seen nobody move; it must not take the others for dead when it wakes.
#[test]
fn a_controller_that_was_frozen_for_a_moment_removes_nobody() {
    let mut world = settled(3);
    let controller = world.controller();
    let epoch = world.view().epoch;
    world.freeze(controller);
    world.run(7_000);
    world.thaw(controller);
    world.run(30_000);
    assert_eq!(world.controller(), controller);
    assert_eq!(world.view().epoch, epoch);
    for at in 0..3 {
        assert_eq!(fences(&world, at), []);
    }
}

#[test]
fn a_view_without_a_member_that_was_in_one_fences_it() {
    let mut world = settled(3);
    let victim = (0..3).find(|at| *at != world.controller()).expect("three members");
    let own = world.record(&world.processes[victim].name.to_string()).member.incarnate();
    world.cut_off(victim);
    let mut view = world.view();
    view.epoch = view.epoch.next();
    view.members.retain(|member| member.incarnate() != own);
    let (now, from) = (world.now(), view.controller.clone());
    world.processes[victim].membership.handle_view(&from, view, now);
    world.take_outputs(victim);
    assert_eq!(fences(&world, victim), [(own, Fence::NotInView)]);
    assert_eq!(world.processes[victim].membership.standing(), Standing::Outside);
}

/// Neither of two processes with one name and one address takes it back and forth; the one that has
/// lost it waits until the other is gone.
#[test]
fn a_member_whose_name_was_taken_by_a_process_that_died_takes_it_back_after_the_lease() {
    let mut world = settled(1);
    let was = world.record("m1").member.incarnate();
    world.freeze(0);
    world.run(25_000);
    let second = world.start("m1", World::settings(1));
    world.run(100);
    world.vanish(second);
    world.thaw(0);
    world.run(15_000);
    assert_eq!(fences(&world, 0), [(was, Fence::Replaced)]);
    assert_eq!(world.processes[0].membership.standing(), Standing::Outside);
    world.run_until(10_000, "two leases are over", World::is_settled);
    assert_eq!(world.record("m1").member.incarnation, Incarnation(was.incarnation.0 + 2));
}

#[test]
fn a_frozen_member_whose_name_was_taken_is_fenced_and_refused() {
    let mut world = settled(3);
    let victim = (0..3).find(|at| *at != world.controller()).expect("three members");
    let member = world.processes[victim].name.to_string();
    let was = world.record(&member).member.incarnate();
    world.freeze(victim);
    world.run(15_000);
    world.start(&member, World::settings(77));
    world.run(5_000);
    world.thaw(victim);
    world.run(15_000);
    assert_eq!(fences(&world, victim).len(), 1);
    assert!(world.processes[victim].has(|output| matches!(output, Output::Refused(_))));
    assert_eq!(world.record(&member).member.incarnation, Incarnation(was.incarnation.0 + 1));
}
