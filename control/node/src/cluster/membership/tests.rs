//! Several members in one process, on both engines.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use control_core::cluster::membership::{Fence, Notice, PeerState, Standing, Timing, ViewVerdict};
use control_core::cluster::{
    Capacity, Change, Incarnation, Load, LocalSettings, MemberName, Role, Scope, SettingKey,
    UnixMillis, UnixSeconds, Versions, View,
};
use control_core::mesh::{ClusterId, Hello};
use control_core::settings::{AddressPair, PortRange};
use tokio::sync::mpsc;

use super::mesh::{MeshNews, peers_of, view_frame};
use super::{End, Handle, News, Present, start};
use crate::cluster::engine::nats_servers::{ELECTED_WITHIN, Servers};
use crate::cluster::engine::{Coord, Embedded, EngineState};
use crate::cluster::mesh::MeshEvent;

/// Longest that anything may take, an election of the engine and a busy machine included.
const WITHIN: Duration = Duration::from_secs(60);

/// A lease outlasts what a busy machine holds up a task.
const TIMING: Timing = Timing {
    beat: Duration::from_millis(300),
    lease: Duration::from_secs(3),
    retry: Duration::from_millis(100),
    outcome: Duration::from_secs(5),
    change: Duration::from_secs(10),
};

struct Member {
    handle: Handle,
    news: mpsc::Receiver<News>,
}

impl Member {
    /// Member number `number` begins to join.
    fn start(engine: Coord, number: u16) -> Self {
        Self::start_at(engine, number, local(number))
    }

    fn start_at(engine: Coord, number: u16, local: LocalSettings) -> Self {
        let (handle, news) =
            start(engine, name(number), UnixSeconds(1), local, TIMING).expect("random numbers");
        Self { handle, news }
    }

    /// Waits until where the member stands is as wanted.
    async fn until(&self, what: &str, is: impl Fn(&Present) -> bool) -> Arc<Present> {
        let mut changes = self.handle.changes();
        let wait = changes.wait_for(|present| is(present));
        match tokio::time::timeout(WITHIN, wait).await {
            Ok(present) => present.expect("the task goes on").clone(),
            Err(_) => panic!("{what}: not within {WITHIN:?}: {:#?}", self.handle.present()),
        }
    }

    /// Waits until the member takes part in a view of just these.
    async fn sees(&self, members: &[u16]) -> Arc<Present> {
        let names: Vec<_> = members.iter().map(|number| name(*number)).collect();
        let is = |present: &Present| takes_part(present) && names_of(present) == names;
        self.until(&format!("a view of {names:?}"), is).await
    }

    /// Waits for a piece of news; what comes before it is dropped.
    async fn told(&mut self, what: &str, is: impl Fn(&News) -> bool) -> News {
        let wait = async {
            loop {
                let news = self.news.recv().await.expect("the task goes on");
                if is(&news) {
                    return news;
                }
            }
        };
        tokio::time::timeout(WITHIN, wait).await.unwrap_or_else(|_| panic!("{what}: never told"))
    }
}

fn name(number: u16) -> MemberName {
    MemberName::new(&format!("m{number}")).expect("a name")
}

fn local(number: u16) -> LocalSettings {
    let first = 20_000 + number * 1_000;
    LocalSettings {
        role: Role::Frontend,
        farm: None,
        call_legs: None,
        signals: None,
        capacity: None,
        media_ports: PortRange::new(first, first + 999).expect("a range"),
        wan_ip: AddressPair::default(),
        cluster_wan_ip: AddressPair::default(),
        mesh: format!("10.0.0.{number}:7000").parse().expect("an address"),
        sip: Vec::new(),
        protocol: Versions { oldest: 1, newest: 1 },
    }
}

fn takes_part(present: &Present) -> bool {
    matches!(present.standing, Standing::Part(_))
}

/// The names of the view's members, sorted.
fn names_of(present: &Present) -> Vec<MemberName> {
    let members = present.view.iter().flat_map(|view| &view.members);
    let names: BTreeSet<_> = members.map(|member| member.name.clone()).collect();
    names.into_iter().collect()
}

fn view(present: &Present) -> &View {
    present.view.as_ref().expect("a view")
}

/// Starts members 1 to 3 and waits until all see all.
async fn three(engines: [Coord; 3]) -> Vec<Member> {
    let numbered = engines.into_iter().zip(1..);
    let members: Vec<_> = numbered.map(|(engine, number)| Member::start(engine, number)).collect();
    for member in &members {
        member.sees(&[1, 2, 3]).await;
    }
    members
}

/// Which of `members` is the Controller; all agree.
async fn controller(members: &[Member]) -> usize {
    let is = |present: &Present| present.controller.is_some();
    let first = members[0].until("a Controller", is).await;
    let (controller, _, term) = first.controller.clone().expect("just seen");
    for member in members {
        let agrees = |present: &Present| {
            present
                .controller
                .as_ref()
                .is_some_and(|(name, _, of)| *name == controller && *of == term)
        };
        member.until("the same Controller", agrees).await;
    }
    let at = members.iter().position(|member| member.handle.present().is_controller.is_some());
    at.expect("the Controller knows it")
}

fn embedded() -> [Coord; 3] {
    let engine = Embedded::new();
    [engine.another_client(), engine.another_client(), engine].map(Coord::Embedded)
}

async fn nats(servers: &Servers, cluster: &str) -> [Coord; 3] {
    let coord = || servers.coord(cluster);
    let (a, b, c) = tokio::join!(coord(), coord(), coord());
    [a, b, c]
}

/// Each test on each engine.
macro_rules! on_each_engine {
    ($($test:ident),* $(,)?) => {
        mod on_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::embedded()).await;
            })*
        }
        mod on_nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let servers = super::Servers::shared();
                let cluster = stringify!($test).replace('_', "-");
                super::$test(super::nats(&servers, &cluster).await).await;
            })*
        }
    };
}

on_each_engine!(
    three_members_agree_on_one_view_and_one_controller,
    who_leaves_is_gone_at_once,
    the_death_of_the_controller_hands_its_role_over,
    a_changed_setting_is_known_to_all,
);

async fn three_members_agree_on_one_view_and_one_controller(engines: [Coord; 3]) {
    let members = three(engines).await;
    controller(&members).await;
    let controllers =
        members.iter().filter(|member| member.handle.present().is_controller.is_some()).count();
    assert_eq!(controllers, 1);
    let views: Vec<_> = members.iter().map(|member| member.handle.present()).collect();
    let newest = views.iter().map(|present| view(present).epoch).max().expect("three");
    for member in &members {
        let present = member.until("the newest view", |it| view(it).epoch >= newest).await;
        let ids: BTreeSet<_> = view(&present).members.iter().map(|member| member.id).collect();
        assert_eq!(ids.len(), 3);
        assert_eq!(present.engine, EngineState::Connected);
        assert_eq!(member.handle.members().await.expect("an answer").len(), 3);
    }
}

async fn who_leaves_is_gone_at_once(engines: [Coord; 3]) {
    let members = three(engines).await;
    let leaver = (controller(&members).await + 1) % 3;
    members[leaver].handle.leave().expect("there is room");
    members[leaver].until("it has left", |present| present.end == Some(End::Left)).await;
    let others: Vec<u16> = (1..=3).filter(|number| usize::from(*number) != leaver + 1).collect();
    let began = std::time::Instant::now();
    for number in &others {
        members[usize::from(*number) - 1].sees(&others).await;
    }
    assert!(began.elapsed() < TIMING.lease, "nobody waited for a lease to run out");
}

async fn the_death_of_the_controller_hands_its_role_over(engines: [Coord; 3]) {
    let mut members = three(engines).await;
    let dead = controller(&members).await;
    let before = members[dead].handle.present();
    // The task ends with its handle, as a process does that is killed: nothing is given back.
    drop(members.remove(dead));
    let others: Vec<u16> = (1..=3).filter(|number| usize::from(*number) != dead + 1).collect();
    for member in &members {
        let present = member.sees(&others).await;
        assert!(view(&present).epoch > view(&before).epoch);
    }
    controller(&members).await;
    let after = members[0].handle.present();
    let term = |present: &Present| present.controller.as_ref().map(|(_, _, term)| *term);
    assert!(term(&after) > term(&before));
    assert_eq!(members.iter().filter(|it| it.handle.present().is_controller.is_some()).count(), 1);
}

async fn a_changed_setting_is_known_to_all(engines: [Coord; 3]) {
    let members = three(engines).await;
    let change = |value: &str| Change {
        key: SettingKey::Farm,
        value: Some(value.to_owned()),
        by: "operator".to_owned(),
        at: UnixMillis(0),
    };
    let scope = || Scope::Member(name(2));
    members[0].handle.change(scope(), change("relay")).await.expect("a good change");
    let is = |present: &Present| {
        let member = present.view.as_ref().and_then(|view| view.member(&name(2)));
        member.is_some_and(|member| member.profile.farm.to_string() == "relay")
    };
    for member in &members {
        member.until("the setting", is).await;
        let document = member.handle.settings(scope()).await.expect("an answer");
        assert_eq!(document.expect("it is there").get(SettingKey::Farm), Some("relay"));
    }
    members[1].handle.change(scope(), change("perhaps")).await.expect_err("no such value");
}

/// B5: whoever was taken for dead comes back as another start of itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_taken_for_dead_is_fenced_and_joins_as_another_start() {
    let shared = Embedded::new();
    let cut_off = shared.another_client();
    let engines = [shared.clone(), cut_off.clone(), shared].map(Coord::Embedded);
    let mut members = three(engines).await;
    let before = members[1].handle.present();
    let Standing::Part(was) = before.standing else { panic!("{before:#?}") };
    cut_off.set_lost(true);
    members[0].sees(&[1, 3]).await;
    members[2].sees(&[1, 3]).await;
    // It cannot know yet, and keeps what it has.
    let alone = members[1].until("a lost engine", |it| it.engine != EngineState::Connected).await;
    assert_eq!((&alone.standing, names_of(&alone).len()), (&before.standing, 3));
    cut_off.set_lost(false);
    let fenced = members[1].told("fenced", |news| matches!(news, News::Fenced { .. })).await;
    // Its own record says the one, the view the other; either may come first.
    let reasons = [Fence::Removed, Fence::NotInView];
    assert!(reasons.iter().any(|why| fenced == News::Fenced { was, why: *why }), "{fenced:?}");
    let joined = members[1].told("joined", |news| matches!(news, News::Joined(_))).await;
    let News::Joined(again) = joined else { panic!("{joined:?}") };
    assert_eq!(again.id, was.id);
    assert!(again.incarnation > was.incarnation);
    for member in &members {
        let present = member.sees(&[1, 2, 3]).await;
        assert!(view(&present).holds(again.id, again.incarnation));
    }
}

/// A second process of a living member's name is told so and stays out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_of_one_name_is_refused() {
    let engine = Embedded::new();
    let first = Member::start(Coord::Embedded(engine.clone()), 1);
    first.sees(&[1]).await;
    // At another address: one that is at the same is the same process, started again.
    let elsewhere = LocalSettings { mesh: local(2).mesh, ..local(1) };
    let second = Member::start_at(Coord::Embedded(engine), 1, elsewhere);
    let refused = second.until("refused", |present| present.end.is_some()).await;
    assert!(matches!(refused.end, Some(End::Refused(_))), "{refused:#?}");
    assert!(takes_part(&first.handle.present()));
}

/// The last view stays while the engine is away, and nobody is taken for dead for that time.
async fn nothing_changes_while_the_engine_is_away(
    members: &[Member],
    lose: impl FnOnce(),
    bring_back: impl FnOnce(),
) {
    let before: Vec<_> = members.iter().map(|member| member.handle.present()).collect();
    lose();
    for member in members {
        member.until("a lost engine", |it| matches!(it.engine, EngineState::Lost { .. })).await;
    }
    // For longer than a lease.
    tokio::time::sleep(TIMING.lease + TIMING.beat * 2).await;
    for (member, before) in members.iter().zip(&before) {
        let present = member.handle.present();
        assert_eq!((&present.view, &present.standing), (&before.view, &before.standing));
    }
    bring_back();
    for member in members {
        member.until("an engine", |it| it.engine == EngineState::Connected).await;
    }
    // And for longer than a lease after it is back.
    tokio::time::sleep(TIMING.lease + TIMING.beat * 2).await;
    for (member, before) in members.iter().zip(&before) {
        assert_eq!(member.handle.present().standing, before.standing, "nobody was removed");
        member.sees(&[1, 2, 3]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_engine_that_is_away_for_longer_than_a_lease_costs_nobody_its_place() {
    let engine = Embedded::new();
    let mut members = three([(); 3].map(|()| Coord::Embedded(engine.clone()))).await;
    let (lose, back) = (|| engine.set_lost(true), || engine.set_lost(false));
    nothing_changes_while_the_engine_is_away(&members, lose, back).await;
    for notice in [Notice::EngineLost, Notice::EngineBack] {
        let wanted = News::Notice(notice);
        members[0].told("the engine's state", |news| *news == wanted).await;
    }
    let fourth = Member::start(Coord::Embedded(engine), 4);
    fourth.sees(&[1, 2, 3, 4]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_all_killed_and_come_back_cost_nobody_its_place() {
    let servers = Servers::start(3);
    let members = three(nats(&servers, "away").await).await;
    let all = || 0..servers.count();
    let kill = || all().for_each(|server| servers.kill(server));
    let run = || all().for_each(|server| servers.run(server));
    nothing_changes_while_the_engine_is_away(&members, kill, run).await;
    let fourth = Member::start(servers.coord("away").await, 4);
    fourth.sees(&[1, 2, 3, 4]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_engines_leader_costs_nobody_its_place() {
    let servers = Servers::start(3);
    let members = three(nats(&servers, "leader").await).await;
    let before: Vec<_> = members.iter().map(|member| member.handle.present()).collect();
    servers.kill(servers.leader("leader").await);
    let engine = servers.coord("leader").await;
    let fourth = Member::start(engine, 4);
    let joined = tokio::time::timeout(ELECTED_WITHIN, fourth.sees(&[1, 2, 3, 4])).await;
    assert!(joined.is_ok(), "the cluster changes again");
    for (member, before) in members.iter().zip(&before) {
        let present = member.sees(&[1, 2, 3, 4]).await;
        assert_eq!(present.standing, before.standing);
    }
    let starts = fourth.handle.present();
    assert!(view(&starts).members.iter().all(|member| member.incarnation == Incarnation(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_says_of_itself_is_seen_by_all() {
    let members = three(embedded()).await;
    let handle = &members[1].handle;
    let load = Load { calls: 77, cpu_permille: 500 };
    handle.load(load).expect("there is room");
    handle.drain(true).expect("there is room");
    let capacity = Capacity::new(250).expect("in range");
    handle.local(LocalSettings { capacity: Some(capacity), ..local(2) }).expect("there is room");
    let is = |present: &Present| {
        let member = present.view.as_ref().and_then(|view| view.member(&name(2)));
        member.is_some_and(|it| it.profile.draining && it.profile.capacity == capacity)
    };
    members[0].until("the profile", is).await;
    let busy = async {
        loop {
            let all = members[0].handle.members().await.expect("an answer");
            if all.iter().any(|it| it.member.name == name(2) && it.load == load) {
                return;
            }
            tokio::time::sleep(TIMING.retry).await;
        }
    };
    tokio::time::timeout(WITHIN, busy).await.expect("the load is seen with the next beat");
}

/// The mesh's word of member `number`, as `view` has it.
fn hello(view: &View, number: u16) -> Arc<Hello> {
    let member = view.member(&name(number)).expect("a member").clone();
    Arc::new(Hello::new(ClusterId([7; 16]), member, Load::default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_mesh_sees_of_others_is_known_to_the_membership() {
    let members = three(embedded()).await;
    let present = members[0].handle.present();
    let hello = hello(view(&present), 2);
    let id = hello.member.id;
    let down = |refused| {
        let incarnation = hello.member.incarnation;
        MeshEvent::PeerDown { member: id, incarnation, refused }
    };
    let mut news = MeshNews::default();
    for (event, state) in [
        (MeshEvent::PeerUp(hello.clone()), PeerState::Up),
        (MeshEvent::PeerSuspect(id), PeerState::Suspect),
        (MeshEvent::PeerRecovered(id), PeerState::Up),
        (down(false), PeerState::Down),
        (MeshEvent::PeerChanged(hello.clone()), PeerState::Up),
        (down(true), PeerState::Refused),
    ] {
        news.hand_on(&event, &members[0].handle).expect("there is room");
        let all = members[0].handle.members().await.expect("an answer");
        let seen = all.iter().find(|it| it.member.name == name(2)).expect("a member");
        assert_eq!(seen.peer, Some(state), "{event:?}");
    }
    let mut own = peers_of(view(&present), &name(1));
    own.sort();
    assert_eq!(own, [(name(2), local(2).mesh), (name(3), local(3).mesh)]);
}

/// The Controller sends its view over the mesh, too: a member whose engine is away follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_comes_over_the_mesh_is_taken_without_the_engine() {
    let shared = Embedded::new();
    let clients = [(); 3].map(|()| shared.another_client());
    let mut members = three(clients.clone().map(Coord::Embedded)).await;
    let controller = controller(&members).await;
    let other = (controller + 1) % 3;
    clients[other].set_lost(true);
    members[other].until("a lost engine", |it| it.engine != EngineState::Connected).await;
    let before = members[other].handle.present();
    let _fourth = Member::start(Coord::Embedded(shared), 4);
    let is_new = |view: &View| view.member(&name(4)).is_some();
    let is = |news: &News| matches!(news, News::Push { view, .. } if is_new(view));
    let News::Push { view: pushed, .. } = members[controller].told("a view to push", is).await
    else {
        panic!("just seen")
    };
    let mut news = MeshNews::default();
    let number = u16::try_from(controller + 1).expect("small");
    let hello = hello(&pushed, number);
    let from = hello.member.id;
    let handle = &members[other].handle;
    news.hand_on(&MeshEvent::PeerUp(hello), handle).expect("there is room");
    news.hand_on(&MeshEvent::Frame(from, view_frame(&pushed)), handle).expect("there is room");
    let after = members[other].until("the view", |it| is_new(view(it))).await;
    assert_eq!(after.standing, before.standing);
    assert!(matches!(after.engine, EngineState::Lost { .. }));
    // One that is older changes nothing, whoever sends it.
    let old = Box::new(view(&before).clone());
    let verdict = handle.view(name(number), old).expect("there is room").await.expect("an answer");
    assert_eq!(verdict, ViewVerdict::Old);
    assert!(is_new(view(&handle.present())));
}
