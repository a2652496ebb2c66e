//! An engine in memory, a mesh and processes, all under one clock in milliseconds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control_core::cluster::membership::{
    Ask, EngineLink, EngineOp, Identity, Membership, Nonce, Notice, Outcome, Output, PeerState,
    Standing, Timing,
};
use control_core::cluster::{
    Document, Incarnate, Instance, Key, LocalSettings, MemberName, MemberRecord, Revision,
    UnixMillis, UnixSeconds, View,
};

use super::checks::Checks;
use crate::make::name;
use crate::settings::local;

/// Random numbers of a seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// What goes wrong by chance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// Longest way to the engine, back, of a watch's news and of a frame, each.
    pub(crate) delay_ms: u64,
    /// Operations whose outcome is unknown: not carried out, carried out, or carried out later.
    pub(crate) unknown_percent: u64,
    /// Operations that are refused.
    pub(crate) unavailable_percent: u64,
    /// Views that the mesh loses.
    pub(crate) lost_percent: u64,
}

#[derive(Debug)]
enum Event {
    Apply { process: usize, op: EngineOp, fate: Fate },
    Outcome { nonce: Nonce, outcome: Outcome },
    Watch { key: Key, revision: Revision, bytes: Option<Vec<u8>> },
    Pushed { from: MemberName, view: Arc<View> },
    Peer { name: MemberName, incarnate: Incarnate, state: PeerState },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fair,
    Silent,
}

/// A process that is, or was, a member.
pub(crate) struct Process {
    pub(crate) name: MemberName,
    pub(crate) membership: Membership,
    pub(crate) is_alive: bool,
    is_frozen: bool,
    is_cut_off: bool,
    held: Vec<Event>,
    /// Everything but operations that came out.
    pub(crate) outputs: Vec<Output>,
    /// When it last got an input.
    timer: u64,
}

impl Process {
    pub(crate) fn notices(&self) -> Vec<String> {
        let notice = |output: &Output| {
            if let Output::Notice(notice) = output { Some(notice.to_string()) } else { None }
        };
        self.outputs.iter().filter_map(notice).collect()
    }

    pub(crate) fn has(&self, wanted: impl Fn(&Output) -> bool) -> bool {
        self.outputs.iter().any(wanted)
    }
}

pub(crate) struct World {
    start: Instant,
    pub(crate) now_ms: u64,
    pub(crate) dice: Dice,
    pub(crate) trouble: Trouble,
    /// When certificates of processes that start are issued.
    pub(crate) certified: u64,
    /// The engine takes no writes.
    pub(crate) is_stalled: bool,
    values: BTreeMap<Key, (Revision, Vec<u8>)>,
    last_revision: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    bodies: BTreeMap<u64, Event>,
    last_event: u64,
    pub(crate) processes: Vec<Process>,
    pub(crate) checks: Checks,
    /// The latest that news for a process is under way: a watch keeps its order.
    watched_until: BTreeMap<usize, u64>,
}

const ENGINE: usize = usize::MAX;

impl World {
    #[expect(clippy::disallowed_methods, reason = "an instant to count from; it is never read")]
    pub(crate) fn new(seed: u64, trouble: Trouble) -> World {
        World {
            start: Instant::now(),
            now_ms: 0,
            dice: Dice(seed),
            trouble,
            certified: 1_000,
            is_stalled: false,
            values: BTreeMap::new(),
            last_revision: 0,
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            last_event: 0,
            processes: Vec::new(),
            checks: Checks::default(),
            watched_until: BTreeMap::new(),
        }
    }

    /// A world in which nothing goes wrong.
    pub(crate) fn calm() -> World {
        World::new(1, Trouble::default())
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now_ms)
    }

    /// Settings of a frontend at 10.0.0.`host`.
    pub(crate) fn settings(host: u8) -> LocalSettings {
        LocalSettings { mesh: ([10, 0, 0, host], 7000).into(), ..local() }
    }

    /// A process starts; its number.
    pub(crate) fn start(&mut self, member: &str, local: LocalSettings) -> usize {
        let at = self.processes.len();
        let instance = Instance(1_000 + at as u64);
        let certified = UnixSeconds(self.certified);
        let identity = Identity { name: name(member), instance, certified };
        let unix = UnixMillis(1_000_000 + self.dice.roll(1_000_000));
        let membership = Membership::new(identity, local, Timing::default(), self.now(), unix);
        self.processes.push(Process {
            name: name(member),
            membership,
            is_alive: true,
            is_frozen: false,
            is_cut_off: false,
            held: Vec::new(),
            outputs: Vec::new(),
            timer: self.now_ms,
        });
        self.connect(at);
        self.meet(at);
        at
    }

    /// The engine's present values, then its link.
    fn connect(&mut self, at: usize) {
        let now = self.now();
        let values = self.values.clone();
        let process = &mut self.processes[at];
        for (key, (revision, bytes)) in &values {
            process.membership.handle_value(key, *revision, Some(bytes), now);
        }
        process.membership.handle_engine(EngineLink::Back, now);
        self.take_outputs(at);
    }

    /// The mesh shows a new process what is up.
    fn meet(&mut self, at: usize) {
        for other in 0..self.processes.len() {
            if other != at && self.processes[other].is_alive {
                self.report(at, other, PeerState::Up);
            }
        }
    }

    fn incarnate(&self, at: usize) -> Option<Incarnate> {
        match self.processes[at].membership.standing() {
            Standing::Outside => None,
            Standing::Waiting(own) | Standing::Part(own) => Some(own),
        }
    }

    /// The mesh tells process `at` how it sees `other`.
    fn report(&mut self, at: usize, other: usize, state: PeerState) {
        let Some(incarnate) = self.incarnate(other) else { return };
        let name = self.processes[other].name.clone();
        let delay = self.delay();
        self.schedule(delay, at, Event::Peer { name, incarnate, state });
    }

    /// The mesh tells everybody how `other` is seen.
    pub(crate) fn report_to_all(&mut self, other: usize, state: PeerState) {
        for at in 0..self.processes.len() {
            if at != other {
                self.report(at, other, state);
            }
        }
    }

    /// The process ends at once; its host refuses connections.
    pub(crate) fn kill(&mut self, at: usize) {
        self.processes[at].is_alive = false;
        self.report_to_all(at, PeerState::Refused);
    }

    /// The process ends at once, and its host with it: nobody is refused.
    pub(crate) fn vanish(&mut self, at: usize) {
        self.processes[at].is_alive = false;
        self.report_to_all(at, PeerState::Down);
    }

    pub(crate) fn freeze(&mut self, at: usize) {
        self.processes[at].is_frozen = true;
        self.report_to_all(at, PeerState::Down);
    }

    pub(crate) fn is_frozen(&self, at: usize) -> bool {
        self.processes[at].is_frozen
    }

    pub(crate) fn thaw(&mut self, at: usize) {
        self.processes[at].is_frozen = false;
        let now = self.now();
        self.processes[at].membership.handle_timeout(now);
        self.take_outputs(at);
        for event in std::mem::take(&mut self.processes[at].held) {
            self.deliver(at, event);
        }
        self.report_to_all(at, PeerState::Up);
    }

    pub(crate) fn is_cut_off(&self, at: usize) -> bool {
        self.processes[at].is_cut_off
    }

    /// The process loses the engine.
    pub(crate) fn cut_off(&mut self, at: usize) {
        self.processes[at].is_cut_off = true;
        let now = self.now();
        self.processes[at].membership.handle_engine(EngineLink::Lost, now);
        self.take_outputs(at);
    }

    pub(crate) fn reconnect(&mut self, at: usize) {
        self.processes[at].is_cut_off = false;
        self.connect(at);
    }

    /// The engine loses everything.
    pub(crate) fn wipe(&mut self) {
        self.values.clear();
        self.last_revision = 0;
        self.checks.forget();
    }

    /// Someone writes to the engine past everything.
    pub(crate) fn write(&mut self, key: &Key, bytes: Vec<u8>) {
        self.last_revision += 1;
        let revision = Revision(self.last_revision);
        self.values.insert(key.clone(), (revision, bytes.clone()));
        self.announce(key, revision, Some(bytes));
    }

    pub(crate) fn value<D: Document>(&self, key: &Key) -> Option<D> {
        let (_, bytes) = self.values.get(key)?;
        Some(D::from_bytes(bytes).expect("what members write can be read"))
    }

    pub(crate) fn view(&self) -> View {
        self.value(&Key::View).expect("there is a view")
    }

    /// Names in the engine's view.
    pub(crate) fn in_view(&self) -> Vec<String> {
        self.view().members.iter().map(|member| member.name.to_string()).collect()
    }

    pub(crate) fn record(&self, member: &str) -> MemberRecord {
        self.value(&Key::Member(name(member))).expect("there is a record")
    }

    /// Everything that happens in `ms`.
    pub(crate) fn run(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(next) = self.next().filter(|next| *next <= until) {
            self.now_ms = next.max(self.now_ms);
            self.step();
        }
        self.now_ms = until;
    }

    /// As [`World::run`] until `done`.
    pub(crate) fn run_until(&mut self, most_ms: u64, what: &str, done: impl Fn(&World) -> bool) {
        let until = self.now_ms + most_ms;
        while !done(self) {
            let next = self.next().filter(|next| *next <= until);
            let next = next.unwrap_or_else(|| panic!("not within {most_ms} ms: {what}"));
            self.now_ms = next.max(self.now_ms);
            self.step();
        }
    }

    fn next(&self) -> Option<u64> {
        let event = self.events.peek().map(|Reverse((at, _, _))| *at);
        let awake = self.processes.iter().filter(|process| process.is_alive && !process.is_frozen);
        awake.map(|process| process.timer).chain(event).min()
    }

    fn step(&mut self) {
        let due = self.events.peek().is_some_and(|Reverse((at, _, _))| *at <= self.now_ms);
        if due && let Some(Reverse((_, serial, to))) = self.events.pop() {
            let event = self.bodies.remove(&serial).expect("every event has a body");
            self.deliver(to, event);
            return;
        }
        let now = self.now();
        for at in 0..self.processes.len() {
            let process = &mut self.processes[at];
            if process.is_alive && !process.is_frozen && process.timer <= self.now_ms {
                process.membership.handle_timeout(now);
                self.take_outputs(at);
            }
        }
    }

    fn schedule(&mut self, delay: u64, to: usize, event: Event) {
        self.last_event += 1;
        self.events.push(Reverse((self.now_ms + delay, self.last_event, to)));
        self.bodies.insert(self.last_event, event);
    }

    fn delay(&mut self) -> u64 {
        self.dice.roll(self.trouble.delay_ms + 1)
    }

    fn deliver(&mut self, to: usize, event: Event) {
        if let Event::Apply { process, op, fate } = event {
            return self.apply(process, op, fate);
        }
        let now = self.now();
        let process = &mut self.processes[to];
        if !process.is_alive {
            return;
        }
        if process.is_frozen {
            process.held.push(event);
            return;
        }
        let membership = &mut process.membership;
        match event {
            Event::Apply { .. } => {}
            Event::Outcome { nonce, outcome } => membership.handle_outcome(nonce, outcome, now),
            Event::Watch { key, revision, bytes } => {
                if !process.is_cut_off {
                    membership.handle_value(&key, revision, bytes.as_deref(), now);
                }
            }
            Event::Pushed { from, view } => {
                membership.handle_view(&from, View::clone(&view), now);
            }
            Event::Peer { name, incarnate, state } => {
                membership.handle_peer(&name, incarnate, state, now);
            }
        }
        self.take_outputs(to);
    }

    pub(crate) fn take_outputs(&mut self, at: usize) {
        while let Some(output) = self.processes[at].membership.poll_output() {
            let output = match output {
                Output::Engine(op) => {
                    self.begin(at, op);
                    continue;
                }
                Output::Push { to, view } => {
                    self.push(at, to.as_ref(), &view);
                    continue;
                }
                other @ (Output::Joined(_)
                | Output::ViewChanged(_)
                | Output::ProfileChanged(_)
                | Output::Fenced { .. }
                | Output::Refused(_)
                | Output::Left
                | Output::SettingChanged { .. }
                | Output::Notice(_)) => other,
            };
            self.checks.told(at, &output);
            let joined = matches!(output, Output::Joined(_));
            self.processes[at].outputs.push(output);
            if joined {
                self.report_to_all(at, PeerState::Up);
                self.meet(at);
            }
        }
        let timer = self.processes[at].membership.poll_timeout();
        let ms = timer.saturating_duration_since(self.start).as_micros().div_ceil(1_000);
        self.processes[at].timer = u64::try_from(ms).expect("short").max(self.now_ms + 1);
    }

    fn push(&mut self, at: usize, to: Option<&MemberName>, view: &Arc<View>) {
        for other in 0..self.processes.len() {
            let is_meant = to.is_none_or(|name| self.processes[other].name == *name);
            if other == at || !is_meant || self.dice.chance(self.trouble.lost_percent) {
                continue;
            }
            let delay = self.delay();
            let event =
                Event::Pushed { from: self.processes[at].name.clone(), view: Arc::clone(view) };
            self.schedule(delay, other, event);
        }
    }

    fn begin(&mut self, process: usize, op: EngineOp) {
        let nonce = op.nonce;
        let there = self.delay();
        let back = there + self.delay();
        let is_read = matches!(op.ask, Ask::Read);
        if self.processes[process].is_cut_off || self.dice.chance(self.trouble.unavailable_percent)
        {
            let outcome = Outcome::Unavailable;
            return self.schedule(back, process, Event::Outcome { nonce, outcome });
        }
        if self.dice.chance(self.trouble.unknown_percent) {
            let outcome = Outcome::Unknown;
            self.schedule(back, process, Event::Outcome { nonce, outcome });
            // Never, now, or when nobody reckons with it any more.
            let late = [None, Some(there), Some(there + 3_000)][self.dice.roll(3) as usize];
            if let Some(late) = late.filter(|_| !is_read) {
                let event = Event::Apply { process, op, fate: Fate::Silent };
                self.schedule(late, ENGINE, event);
            }
            return;
        }
        self.schedule(there, ENGINE, Event::Apply { process, op, fate: Fate::Fair });
    }

    fn apply(&mut self, process: usize, op: EngineOp, fate: Fate) {
        let outcome = match op.ask {
            Ask::Read => Outcome::Value(self.values.get(&op.key).cloned()),
            Ask::Write { .. } if self.is_stalled => Outcome::Unavailable,
            Ask::Write { expected, bytes } => {
                self.compare_and_set(process, &op.key, expected, bytes)
            }
        };
        if fate == Fate::Fair {
            let delay = self.delay();
            self.schedule(delay, process, Event::Outcome { nonce: op.nonce, outcome });
        }
    }

    fn compare_and_set(
        &mut self,
        process: usize,
        key: &Key,
        expected: Option<Revision>,
        bytes: Vec<u8>,
    ) -> Outcome {
        if self.values.get(key).map(|(revision, _)| *revision) != expected {
            return Outcome::Conflict;
        }
        self.checks.written(process, key, &bytes);
        self.last_revision += 1;
        let revision = Revision(self.last_revision);
        self.values.insert(key.clone(), (revision, bytes.clone()));
        self.announce(key, revision, Some(bytes));
        Outcome::Done(revision)
    }

    fn announce(&mut self, key: &Key, revision: Revision, bytes: Option<Vec<u8>>) {
        for at in 0..self.processes.len() {
            let delay = self.delay();
            let after =
                self.watched_until.get(&at).map_or(0, |until| until.saturating_sub(self.now_ms));
            let delay = delay.max(after);
            self.watched_until.insert(at, self.now_ms + delay);
            let event = Event::Watch { key: key.clone(), revision, bytes: bytes.clone() };
            self.schedule(delay, at, event);
        }
    }

    /// Whether those that live are the view, everybody goes by it, and one of them is the Controller.
    pub(crate) fn is_settled(&self) -> bool {
        let Some(view) = self.value::<View>(&Key::View) else { return false };
        let living: Vec<&Process> = self.processes.iter().filter(|p| p.is_alive).collect();
        let expected: BTreeSet<Incarnate> = living
            .iter()
            .filter_map(|process| match process.membership.standing() {
                Standing::Part(own) => Some(own),
                Standing::Outside | Standing::Waiting(_) => None,
            })
            .collect();
        let members: BTreeSet<Incarnate> = view.members.iter().map(|m| m.incarnate()).collect();
        let controllers = living.iter().filter(|p| p.membership.is_controller().is_some()).count();
        expected.len() == living.len()
            && members == expected
            && controllers == 1
            && living.iter().all(|process| process.membership.epoch() == view.epoch)
    }

    /// Who is the Controller, of those that live.
    pub(crate) fn controller(&self) -> usize {
        let is =
            |process: &Process| process.is_alive && process.membership.is_controller().is_some();
        self.processes.iter().position(is).expect("there is a Controller")
    }
}

/// `count` frontends m1, m2, .. that are settled.
pub(crate) fn settled(count: u8) -> World {
    let mut world = World::calm();
    for host in 1..=count {
        world.start(&format!("m{host}"), World::settings(host));
        world.run(10);
    }
    world.run_until(5_000, "they become a cluster", World::is_settled);
    world
}

/// Whether `output` is a notice of that kind.
pub(crate) fn is_notice(output: &Output, wanted: impl Fn(&Notice) -> bool) -> bool {
    matches!(output, Output::Notice(notice) if wanted(notice))
}
