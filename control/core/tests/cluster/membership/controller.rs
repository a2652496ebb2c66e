//! The Controller: one, replaced when it is gone, and never two that publish.

use control_core::cluster::membership::{Notice, Output, PeerState, Standing, ViewVerdict};
use control_core::cluster::{Epoch, Key, Presence, Term, View};

use super::world::{World, is_notice, settled};
use crate::make::name;

#[test]
fn a_controller_that_vanishes_is_replaced_after_its_lease_with_the_next_term() {
    let mut world = settled(3);
    let before = world.view();
    let old = world.controller();
    world.vanish(old);
    world.run(9_000);
    assert_eq!(world.view().term, before.term, "its lease may still be alive");
    world.run_until(8_000, "another takes over and removes it", World::is_settled);
    assert_eq!(world.view().term, Term(before.term.0 + 1));
    assert_eq!(world.in_view().len(), 2);
}

#[test]
fn a_controller_whose_host_refuses_everybody_is_replaced_after_a_missed_beat() {
    let mut world = settled(3);
    let old = world.controller();
    world.kill(old);
    world.run_until(5_500, "another takes over and removes it", World::is_settled);
    assert_eq!(world.in_view().len(), 2);
}

#[test]
fn a_controller_that_leaves_gives_its_lease_back_and_is_followed_at_once() {
    let mut world = settled(3);
    let old = world.controller();
    let now = world.now();
    world.processes[old].membership.handle_leave(now);
    world.take_outputs(old);
    world.run_until(100, "it has left", |world| {
        world.processes[old].has(|output| *output == Output::Left)
    });
    world.processes[old].is_alive = false;
    world.run_until(200, "another has taken over", World::is_settled);
    assert_eq!(world.in_view().len(), 2);
}

#[test]
fn a_controller_that_restarts_does_not_go_on_in_its_old_term() {
    let mut world = settled(2);
    let before = world.view();
    let old = world.controller();
    let local = World::settings(old as u8 + 1);
    let member = world.processes[old].name.to_string();
    world.kill(old);
    world.start(&member, local);
    world.run_until(500, "somebody takes over at once", World::is_settled);
    assert!(world.view().term > before.term);
}

#[test]
fn a_frozen_controller_that_wakes_up_publishes_nothing_more() {
    let mut world = settled(3);
    let old = world.controller();
    world.freeze(old);
    world.run(20_000);
    let term = world.view().term;
    world.thaw(old);
    world.run_until(5_000, "it comes back as a plain member", World::is_settled);
    assert_eq!(world.view().term, term);
    assert_ne!(world.controller(), old);
    assert!(world.processes[old].has(|o| is_notice(o, |n| matches!(n, Notice::LostController(_)))));
}

/// The evidence of the mesh counts only with a beat that was missed, and only if most give it.
#[test]
fn a_member_that_renews_its_lease_stays_whatever_the_mesh_says() {
    let mut world = settled(3);
    world.report_to_all(2, PeerState::Refused);
    world.run(60_000);
    assert_eq!(world.in_view(), ["m1", "m2", "m3"]);
    assert_eq!(world.record("m3").presence, Presence::Here);
}

#[test]
fn a_member_that_most_are_refused_by_is_removed_sooner_than_its_lease_ends() {
    let mut world = settled(3);
    let victim = (0..3).find(|at| *at != world.controller()).expect("three members");
    world.kill(victim);
    world.run_until(5_500, "a beat is missed", |world| world.in_view().len() == 2);
    let notices = world.processes[world.controller()].notices().join("\n");
    assert!(notices.contains("is no longer a member: its host refuses connections"), "{notices}");
}

#[test]
fn a_member_that_only_one_of_many_is_refused_by_keeps_its_lease() {
    let mut world = settled(4);
    let controller = world.controller();
    let victim = (0..4).find(|at| *at != controller).expect("four members");
    world.vanish(victim);
    let own = world.record(&world.processes[victim].name.to_string()).member.incarnate();
    let (now, member) = (world.now(), world.processes[victim].name.clone());
    let refused = PeerState::Refused;
    world.processes[controller].membership.handle_peer(&member, own, refused, now);
    world.take_outputs(controller);
    world.run(9_000);
    assert_eq!(world.in_view().len(), 4);
    world.run_until(4_000, "the lease ends", |world| world.in_view().len() == 3);
    let notices = world.processes[world.controller()].notices().join("\n");
    assert!(notices.contains("it has given no sign of life"), "{notices}");
}

/// The epoch rule of the Interpretation: a member keeps the last list and refuses an older one.
#[test]
fn members_refuse_older_epochs_older_terms_other_senders_and_nonsense() {
    let mut world = settled(2);
    let view = world.view();
    let now = world.now();
    let member = (0..2).find(|at| *at != world.controller()).expect("two members");
    let membership = &mut world.processes[member].membership;
    let mut offer = |from: &str, change: &dyn Fn(&mut View)| {
        let mut offered = View { epoch: Epoch(view.epoch.0 + 5), ..view.clone() };
        change(&mut offered);
        membership.handle_view(&name(from), offered, now)
    };
    let controller = view.controller.to_string();
    let from = controller.as_str();
    assert_eq!(offer(from, &|v| v.epoch = view.epoch), ViewVerdict::Old);
    assert_eq!(offer(from, &|v| v.epoch = Epoch(0)), ViewVerdict::Old);
    assert_eq!(offer(from, &|v| v.term = Term(view.term.0 - 1)), ViewVerdict::OldTerm);
    assert_eq!(offer("m9", &|_| {}), ViewVerdict::NotTheController);
    assert_eq!(offer(from, &|v| v.members.reverse()), ViewVerdict::Unsound);
    assert_eq!(offer(from, &|_| {}), ViewVerdict::Accepted);
}

/// A view of an older Controller is refused as soon as the new one's lease is seen.
#[test]
fn a_view_of_a_term_that_is_over_is_refused_before_the_next_view_comes() {
    let mut world = settled(2);
    let view = world.view();
    let member = (0..2).find(|at| *at != world.controller()).expect("two members");
    let mut lease: control_core::cluster::ControllerLease =
        world.value(&Key::Controller).expect("there is one");
    lease.term = Term(lease.term.0 + 1);
    let now = world.now();
    let membership = &mut world.processes[member].membership;
    let bytes = control_core::cluster::Document::to_bytes(&lease);
    membership.handle_value(
        &Key::Controller,
        control_core::cluster::Revision(u64::MAX),
        Some(&bytes),
        now,
    );
    let newer = View { epoch: Epoch(view.epoch.0 + 1), ..view.clone() };
    assert_eq!(membership.handle_view(&view.controller, newer, now), ViewVerdict::OldTerm);
}

#[test]
fn views_reach_members_over_the_mesh_before_the_engine_tells_them() {
    let mut world = settled(2);
    let member = (0..2).find(|at| *at != world.controller()).expect("two members");
    world.cut_off(member);
    let epoch = world.processes[member].membership.epoch();
    world.start("m3", World::settings(3));
    world.run(100);
    assert!(world.processes[member].membership.epoch() > epoch);
    assert!(matches!(world.processes[member].membership.standing(), Standing::Part(_)));
}

#[test]
fn what_changes_only_in_how_busy_members_are_makes_no_view() {
    let mut world = settled(3);
    let epoch = world.view().epoch;
    for round in 0..30 {
        for process in &mut world.processes {
            let load = control_core::cluster::Load { calls: round, cpu_permille: 5 };
            process.membership.handle_load(load);
        }
        world.run(1_000);
    }
    assert_eq!(world.view().epoch, epoch);
    assert!(world.record("m2").load.calls > 20);
}
