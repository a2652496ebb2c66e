//! Draining and leaving.

use control_core::cluster::membership::{Output, Standing};
use control_core::cluster::{Farm, FarmSetting, Presence, Role};

use super::world::{World, settled};

/// B4: the others hear at once who takes no new work.
#[test]
fn a_member_that_drains_is_marked_in_the_next_view_and_unmarked_when_it_changes_its_mind() {
    let mut world = settled(3);
    for draining in [true, false] {
        let now = world.now();
        world.processes[1].membership.handle_drain(draining, now);
        world.take_outputs(1);
        world.run(50);
        assert_eq!(world.view().members[1].profile.draining, draining);
        assert!(matches!(world.processes[1].membership.standing(), Standing::Part(_)));
    }
}

/// S23 in a living cluster: `Auto` of a backend follows the farm.
#[test]
fn an_auto_backend_relays_as_long_as_a_frontend_takes_new_work() {
    let mut world = World::calm();
    let settings = World::settings(1);
    world.start("be", control_core::cluster::LocalSettings { role: Role::Backend, ..settings });
    world.run_until(100, "it is alone", World::is_settled);
    let farm = |world: &World| {
        let view = world.view();
        view.farm(&view.members[0])
    };
    assert_eq!(world.view().members[0].profile.farm, FarmSetting::Auto);
    assert_eq!(farm(&world), Farm::Disabled);
    let frontend = world.start("fe", World::settings(2));
    world.run_until(100, "a frontend joins", World::is_settled);
    assert_eq!(farm(&world), Farm::Relay);
    let now = world.now();
    world.processes[frontend].membership.handle_drain(true, now);
    world.take_outputs(frontend);
    world.run(50);
    assert_eq!(farm(&world), Farm::Disabled);
}

#[test]
fn a_member_that_leaves_is_out_of_the_view_at_once_and_says_so() {
    let mut world = settled(3);
    let leaver = (0..3).find(|at| *at != world.controller()).expect("three members");
    let now = world.now();
    world.processes[leaver].membership.handle_leave(now);
    world.take_outputs(leaver);
    world.run(50);
    assert!(world.processes[leaver].has(|output| *output == Output::Left));
    assert!(!world.processes[leaver].has(|output| matches!(output, Output::Fenced { .. })));
    let member = world.processes[leaver].name.to_string();
    assert_eq!(world.record(&member).presence, Presence::Left);
    assert_eq!(world.in_view().len(), 2);
    world.run(30_000);
    assert_eq!(world.record(&member).presence, Presence::Left, "it does not come back by itself");
}

#[test]
fn a_process_that_never_joined_leaves_at_once() {
    let mut world = World::calm();
    let at = world.start("fe1", World::settings(1));
    let now = world.now();
    world.processes[at].membership.handle_leave(now);
    world.take_outputs(at);
    assert!(world.processes[at].has(|output| *output == Output::Left));
}
