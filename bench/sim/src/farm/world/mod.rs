//! The event loop of a farm: phones, a spreader, members, their mesh and the engine, under one clock.

mod cluster;
mod end;
mod forge;
mod sip;
mod stream;
mod trouble;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use control_core::cluster::membership::{self, EngineOp, Nonce, Outcome};
use control_core::cluster::{FarmSetting, View};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use signaling_core::farm::{Errand, Identity};
use signaling_core::transport::{Arrival, ConnectionId, Target, Transmit};

use super::Report;
use super::check::Ledger;
use super::engine::{Change, Store};
use super::phone::{Phone, Timer};
use super::plan::{CALLS_FROM, CALLS_UNTIL, Plan};
use super::process::{Keys, Process};
use super::text::Text;
use crate::Trace;
use crate::clock::Clock;
use stream::Stream;

/// What one member sends another.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    Relay {
        from: Identity,
        errand: Errand,
        arrival: Arrival,
        bytes: Bytes,
    },
    Registrations {
        bytes: Bytes,
        is_copy: bool,
    },
    Ask {
        user: Arc<str>,
        token: u64,
    },
    Told {
        bytes: Bytes,
        token: u64,
    },
    View(Arc<View>),
    /// A member that is set to `Relay` has something sent.
    SendOut(Transmit),
    /// Somebody's message for a connection of the member that gets this.
    Write(Transmit),
    /// What it was to write could not be written.
    Undelivered(Target),
    /// A connection of the member that says so has ended.
    Closed(ConnectionId),
}

/// Why a proxy core has something to say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    /// Whatever is no other member's errand.
    Own,
    /// What another member has given it.
    Errand(Identity, Errand),
    /// It sends for another one.
    SendsFor,
}

#[derive(Debug)]
enum Event {
    ToMember {
        slot: usize,
        phone: usize,
        bytes: Bytes,
    },
    ToPhone {
        phone: usize,
        bytes: Bytes,
    },
    Connect(usize),
    /// Over a connection, to its member or to its phone.
    Up {
        stream: usize,
        bytes: Bytes,
    },
    Down {
        stream: usize,
        bytes: Bytes,
    },
    Phone(usize, Timer),
    Mesh {
        from: usize,
        slot: usize,
        life: u64,
        frame: Frame,
    },
    Wake {
        slot: usize,
        life: u64,
    },
    Cluster {
        slot: usize,
        life: u64,
    },
    Apply {
        slot: usize,
        life: u64,
        op: EngineOp,
        tells: bool,
    },
    Outcome {
        slot: usize,
        life: u64,
        nonce: Nonce,
        outcome: Outcome,
    },
    Watch {
        slot: usize,
        life: u64,
        change: Change,
    },
    Peer {
        observer: usize,
        target: usize,
        version: u64,
        state: membership::PeerState,
    },
    Hello {
        observer: usize,
        target: usize,
    },
    Start(usize),
    Trouble(usize),
    Heal,
    EngineBack,
    Unsplit,
    Drained {
        slot: usize,
        life: u64,
    },
    NewKey(Keys),
    Secrets {
        slot: usize,
        life: u64,
        keys: Keys,
    },
    Forge,
    Calm,
}

struct Slot {
    name: String,
    /// What it is set to; `None`: nothing, so that it takes what is new.
    farm: Option<FarmSetting>,
    process: Option<Process>,
    /// The spreader has not noticed yet that nobody is there.
    gone_until: Instant,
    /// Its side of a split.
    side: bool,
    /// The last view that its process went by.
    seen_epoch: u64,
}

/// Copies of one message that are lost in a row, wherever. More would end transactions by their timers,
/// which is no fault of a member.
const LOSSES_IN_A_ROW_MAX: u8 = 2;

pub(super) struct World<'t> {
    seed: u64,
    plan: Plan,
    clock: Clock<Event>,
    epoch: Instant,
    rng: ChaCha8Rng,
    phones: Vec<Phone>,
    /// Of each message, how many copies were lost in a row.
    lost: HashMap<u64, u8>,
    slots: Vec<Slot>,
    lives: u64,
    versions: BTreeMap<(usize, usize), u64>,
    store: Store,
    engine_lost: bool,
    split: Option<bool>,
    /// Troubles that are not over.
    pending: usize,
    calm_since: Instant,
    is_frozen: bool,
    ledger: Ledger,
    keys: Keys,
    homes: Vec<Option<usize>>,
    streams: Vec<Stream>,
    /// When the last message arrives that has to keep its place between two members.
    in_order: BTreeMap<(usize, usize), Instant>,
    /// How often each kind of thing has happened.
    met: BTreeMap<&'static str, u64>,
    events: u64,
    fingerprint: u64,
    trace: Option<Trace<'t>>,
}

/// A run that breaks its rules without end is over.
const VIOLATIONS_MAX: usize = 100;

/// What does not come to rest in this time never will.
const END: Duration = Duration::from_secs(1_500);

impl<'t> World<'t> {
    pub(super) fn new(seed: u64, trace: Option<Trace<'t>>) -> World<'t> {
        let plan = Plan::draw(seed);
        let clock = Clock::new();
        let epoch = clock.now();
        let mut world = World {
            seed,
            epoch,
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x5eed),
            phones: (0..plan.phones).map(|at| Phone::new(at, plan.streams[at])).collect(),
            lost: HashMap::new(),
            slots: Vec::new(),
            lives: 0,
            versions: BTreeMap::new(),
            store: Store::default(),
            engine_lost: false,
            split: None,
            pending: 0,
            calm_since: epoch,
            is_frozen: false,
            ledger: Ledger::new(epoch, plan.calls.clone()),
            keys: Keys::default(),
            homes: plan.homes.clone(),
            streams: Vec::new(),
            in_order: BTreeMap::new(),
            met: BTreeMap::new(),
            events: 0,
            fingerprint: HASH_BASE,
            trace,
            plan,
            clock,
        };
        world.schedule();
        world
    }

    fn schedule(&mut self) {
        let plan = self.plan.clone();
        let others = plan.others.iter().copied().map(Some);
        for farm in std::iter::repeat_n(None, plan.members).chain(others) {
            let slot = self.add_slot(farm);
            let at = self.epoch + self.draw(0, 2_000);
            self.clock.at(at, Event::Start(slot));
        }
        for (at, phone) in plan.registers {
            let event = match plan.streams[phone] && at < CALLS_FROM {
                true => Event::Connect(phone),
                false => Event::Phone(phone, Timer::Register),
            };
            self.clock.at(self.epoch + at, event);
        }
        for (at, from, to) in plan.options {
            self.clock.at(self.epoch + at, Event::Phone(from, Timer::Options(to)));
        }
        for (number, call) in plan.calls.iter().enumerate() {
            let event = Event::Phone(call.caller, Timer::Call(number));
            self.clock.at(self.epoch + call.at, event);
        }
        for at in plan.forgeries {
            self.clock.at(self.epoch + at, Event::Forge);
        }
        if let Some(at) = plan.new_key {
            self.clock.at(self.epoch + at, Event::NewKey(Keys::NewIsTaken));
        }
        for (number, (at, _)) in plan.disturbances.iter().enumerate() {
            self.clock.at(self.epoch + *at, Event::Trouble(number));
        }
        self.clock.at(self.epoch + CALLS_UNTIL + Duration::from_secs(5), Event::Calm);
    }

    /// A time between so many milliseconds.
    fn draw(&mut self, from: u64, until: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..=until))
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(super) fn run(mut self) -> Report {
        while let Some(event) = self.clock.advance() {
            let is_hopeless = self.ledger.violations.len() > VIOLATIONS_MAX;
            if self.clock.elapsed() > END || is_hopeless {
                break;
            }
            self.events += 1;
            self.note(&event);
            self.happen(event);
        }
        self.finish()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToMember { slot, phone, bytes } => self.datagram(slot, phone, bytes),
            Event::ToPhone { phone, bytes } => {
                self.with_phone(phone, |phone, cx| phone.handle_message(cx, &bytes));
            }
            Event::Connect(phone) => self.connect_phone(phone),
            Event::Up { stream, bytes } => self.comes_up(stream, bytes),
            Event::Down { stream, bytes } => self.comes_down(stream, &bytes),
            Event::Phone(phone, timer) => {
                self.with_phone(phone, |phone, cx| phone.handle_timer(cx, timer));
            }
            Event::Mesh { from, slot, life, frame } => self.frame(from, slot, life, frame),
            Event::Wake { slot, life } => self.wake(slot, life),
            Event::Cluster { slot, life } => self.cluster_timer(slot, life),
            Event::Apply { slot, life, op, tells } => self.apply(slot, life, op, tells),
            Event::Outcome { slot, life, nonce, outcome } => {
                self.with_cluster(slot, life, |m, now| m.handle_outcome(nonce, outcome, now));
            }
            Event::Watch { slot, life, change } => self.watched(slot, life, &change),
            Event::Peer { observer, target, version, state } => {
                self.peer(observer, target, version, state);
            }
            Event::Hello { observer, target } => self.hello(observer, target),
            Event::Start(slot) => self.start(slot),
            Event::Trouble(number) => self.trouble(number),
            Event::Heal => self.heal(),
            Event::EngineBack => self.engine_back(),
            Event::Unsplit => self.ledger_split(),
            Event::Drained { slot, life } => self.drained(slot, life),
            Event::NewKey(keys) => self.new_key(keys),
            Event::Secrets { slot, life, keys } => self.give_secrets(slot, life, keys),
            Event::Forge => self.forge(),
            Event::Calm => self.calm(),
        }
    }

    /// Such a thing has happened.
    pub(super) fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    fn process(&mut self, slot: usize, life: u64) -> Option<&mut Process> {
        self.slots.get_mut(slot)?.process.as_mut().filter(|process| process.life == life)
    }

    fn note(&mut self, event: &Event) {
        let (what, bytes): (String, &[u8]) = match event {
            Event::ToMember { slot, phone, bytes } => {
                (format!("u{phone} -> m{slot} {}", first_line(bytes)), bytes)
            }
            Event::ToPhone { phone, bytes } => {
                (format!("-> u{phone} {}", first_line(bytes)), bytes)
            }
            Event::Up { stream, bytes } => {
                (format!("{} {}", self.stream_name(*stream, "->"), first_line(bytes)), bytes)
            }
            Event::Down { stream, bytes } => {
                (format!("{} {}", self.stream_name(*stream, "<-"), first_line(bytes)), bytes)
            }
            Event::Mesh { from, slot, frame, .. } => match frame {
                Frame::Relay { errand, bytes, .. } => {
                    (format!("m{from} => m{slot} {errand:?} {}", first_line(bytes)), bytes)
                }
                Frame::Registrations { bytes, is_copy } => {
                    let what = if *is_copy { "all" } else { "changed" };
                    (format!("m{from} => m{slot} registrations, {what}"), bytes)
                }
                Frame::Ask { user, .. } => (format!("m{from} => m{slot} asks for {user}"), &[]),
                Frame::Told { bytes, .. } => (format!("m{from} => m{slot} tells"), bytes),
                Frame::View(view) => (format!("m{from} => m{slot} view {}", view.epoch), &[]),
                Frame::Write(Transmit { bytes, .. }) => {
                    (format!("m{from} => m{slot} write {}", first_line(bytes)), bytes)
                }
                Frame::Undelivered(target) => {
                    (format!("m{from} => m{slot} undelivered to {:?}", target.connection), &[])
                }
                Frame::Closed(connection) => {
                    (format!("m{from} => m{slot} closed {connection:?}"), &[])
                }
                Frame::SendOut(Transmit { bytes, .. }) => {
                    (format!("m{from} => m{slot} send {}", first_line(bytes)), bytes)
                }
            },
            Event::Watch { slot, change, .. } => (format!("m{slot} sees {}", change.key), &[]),
            Event::Trouble(number) => (format!("{:?}", self.plan.disturbances[*number].1), &[]),
            Event::Phone(phone, timer) => (format!("u{phone} {timer:?}"), &[]),
            other @ (Event::Wake { .. }
            | Event::Cluster { .. }
            | Event::Outcome { .. }
            | Event::Apply { .. }
            | Event::Peer { .. }
            | Event::Hello { .. }
            | Event::Start(_)
            | Event::Connect(_)
            | Event::Heal
            | Event::EngineBack
            | Event::Unsplit
            | Event::Drained { .. }
            | Event::NewKey(_)
            | Event::Secrets { .. }
            | Event::Forge
            | Event::Calm) => {
                if self.trace.is_none() {
                    return;
                }
                (format!("{other:?}"), &[])
            }
        };
        let at = self.clock.elapsed();
        let time = (at.as_nanos() as u64).to_le_bytes();
        for part in [&time, what.as_bytes(), bytes] {
            self.fingerprint = hash(self.fingerprint, part);
        }
        if let Some(trace) = &mut self.trace {
            trace(at, &what, bytes);
        }
    }
}

/// What [`hash`] begins with.
const HASH_BASE: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, eight bytes at a time: the history of a seed is megabytes long.
fn hash(before: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(before, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x100_0000_01b3).rotate_left(23)
    })
}

fn first_line(bytes: &[u8]) -> String {
    let Some(text) = Text::read(bytes) else { return String::new() };
    format!("{} [{}, {}]", text.start, text.call_id(), text.header("CSeq"))
}
