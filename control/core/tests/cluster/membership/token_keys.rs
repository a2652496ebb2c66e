//! Keys of tokens that are changed in the engine (B1).

use control_core::cluster::membership::{ChangeError, Output, Ticket};
use control_core::cluster::{
    Change, Key, Salt, Scope, SettingKey, SettingsDocument, TokenKeys, UnixMillis, UnixSeconds,
};

use super::world::{World, settled};

fn change(world: &mut World, at: usize, ticket: u64, to: Option<TokenKeys>) {
    let value = to.map(|keys| keys.to_string());
    let (key, by) = (SettingKey::TokenKeys, "ann".to_owned());
    let change = Change { key, value, by, at: UnixMillis(7) };
    let now = world.now();
    let membership = &mut world.processes[at].membership;
    membership.handle_settings_change(Ticket(ticket), Scope::Cluster, change, now);
    world.take_outputs(at);
}

fn answer(world: &World, at: usize, ticket: u64) -> Option<Result<(), ChangeError>> {
    world.processes[at].outputs.iter().find_map(|output| {
        let Output::SettingChanged { ticket: of, result } = output else { return None };
        (of.0 == ticket).then(|| result.clone())
    })
}

fn announced(fill: u8) -> TokenKeys {
    TokenKeys::default().announce(Salt([fill; 16])).expect("the first")
}

/// B1: who changes keys sees of each member that it reads the next one, before anybody writes it.
#[test]
fn a_key_that_is_announced_reaches_all_and_each_says_when_it_reads_it() {
    let mut world = settled(3);
    change(&mut world, 0, 1, Some(announced(1)));
    world.run(200);
    assert_eq!(answer(&world, 0, 1), Some(Ok(())));
    for at in 0..3 {
        assert_eq!(world.processes[at].membership.token_keys(), announced(1), "member {at}");
        assert_eq!(
            world.record(&format!("m{}", at + 1)).token_key,
            0,
            "its signaling does not yet"
        );
    }
    let now = world.now();
    world.processes[1].membership.handle_token_key(1, now);
    world.take_outputs(1);
    world.run(200);
    assert_eq!(world.record("m2").token_key, 1, "not only with the next beat");
    let status = world.processes[0].membership.members(world.now());
    let keys: Vec<u32> = status.map(|one| one.token_key).collect();
    assert_eq!(keys, [0, 1, 0]);
}

/// Two at once do not give one number to two keys, and nobody takes a key away.
#[test]
fn of_two_changes_at_once_one_is_made_and_the_other_is_told() {
    let mut world = settled(2);
    change(&mut world, 0, 1, Some(announced(1)));
    change(&mut world, 1, 2, Some(announced(2)));
    world.run(3_000);
    let answers = [answer(&world, 0, 1), answer(&world, 1, 2)];
    let made = answers.iter().filter(|answer| **answer == Some(Ok(()))).count();
    assert_eq!(made, 1, "{answers:?}");
    assert!(answers.iter().any(|one| matches!(one, Some(Err(ChangeError::Wrong(_))))));
    change(&mut world, 0, 3, None);
    world.run(3_000);
    assert!(matches!(answer(&world, 0, 3), Some(Err(ChangeError::Wrong(_)))));
    let document: SettingsDocument = world.value(&Key::ClusterSettings).expect("it stands there");
    assert_eq!(document.audit.len(), 1);
    assert_eq!(document.audit[0].new.as_deref(), Some("0, 1 announced"), "no salt");
}

/// An engine that has lost everything is given the keys again: tokens in calls that stand are of those.
#[test]
fn keys_do_not_go_back_when_the_engine_does() {
    let mut world = settled(2);
    let switched = announced(1).switch(UnixSeconds(9)).expect("announced");
    change(&mut world, 0, 1, Some(announced(1)));
    world.run(200);
    change(&mut world, 0, 2, Some(switched));
    world.run(200);
    (0..2).for_each(|at| world.cut_off(at));
    world.wipe();
    (0..2).for_each(|at| world.reconnect(at));
    world.run_until(30_000, "they are a cluster again", World::is_settled);
    let stands = |world: &World| world.value(&Key::ClusterSettings);
    world.run_until(3_000, "the keys are there", |world| {
        stands(world).is_some_and(|it: SettingsDocument| it.token_keys() == switched)
    });
    for process in &world.processes {
        assert_eq!(process.membership.token_keys(), switched);
    }
    let new = world.start("m9", World::settings(9));
    world.run_until(30_000, "it has joined", World::is_settled);
    assert_eq!(world.processes[new].membership.token_keys(), switched);
}
