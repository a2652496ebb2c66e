//! What a seed stands for: how many members, how bad the network is, who calls whom, and what goes wrong.

use std::time::Duration;

use control_core::cluster::FarmSetting;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::net::Link;

/// The members have become a cluster by then: the first campaign waits for a lease.
pub(super) const REGISTERS_FROM: Duration = Duration::from_secs(16);
/// Everybody has registered by then, however much was lost.
pub(super) const CALLS_FROM: Duration = Duration::from_secs(22);
/// The last call begins, and the last thing goes wrong.
pub(super) const CALLS_UNTIL: Duration = Duration::from_secs(70);

/// How a call is meant to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The callee answers after so long.
    Answer(Duration),
    /// The callee refuses after so long.
    Reject(Duration),
    /// The caller cancels after the first time, the callee would answer after the second.
    Cancel(Duration, Duration),
}

/// What one call does.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallPlan {
    pub(super) at: Duration,
    pub(super) caller: usize,
    pub(super) callee: usize,
    pub(super) wish: Wish,
    /// After the answer: the caller (true) or the callee sends a re-INVITE.
    pub(super) refresh: Option<(Duration, bool)>,
    /// After the answer: the caller (true) or the callee hangs up.
    pub(super) hangup: (Duration, bool),
}

/// What goes wrong, or is done by an operator. Members are drawn when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disturbance {
    /// SIGKILL: the state is gone, the host refuses connections.
    Crash {
        /// It is started again after so long.
        back: Option<Duration>,
        /// The host vanishes with it: nobody is refused.
        host: bool,
        /// It is the Controller that dies.
        controller: bool,
    },
    /// A new member.
    Join,
    /// A member drains, and leaves when it is empty.
    Drain,
    /// Some members cannot reach the others.
    Split {
        /// For how long.
        lasts: Duration,
        /// They cannot reach the engine either.
        engine: bool,
    },
    /// The connection of some phone ends.
    Disconnect,
    /// Nobody can reach the engine.
    EngineLost(Duration),
    /// The engine takes no writes: its leader is dead.
    EngineStalled(Duration),
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Members that take what is new.
    pub(super) members: usize,
    /// Others: what they are set to.
    pub(super) others: Vec<FarmSetting>,
    pub(super) phones: usize,
    /// Phones that send what belongs to no call to one of those others.
    pub(super) homes: Vec<Option<usize>>,
    /// Phones that are on a connection.
    pub(super) streams: Vec<bool>,
    /// When the key of tokens changes.
    pub(super) new_key: Option<Duration>,
    /// Between phones and members.
    pub(super) link: Link,
    /// Between members: the longest way, and the share of messages that are lost or come twice.
    pub(super) mesh_delay: Duration,
    pub(super) mesh_loss: f64,
    pub(super) mesh_twice: f64,
    /// The longest way to the engine, and operations of unknown outcome.
    pub(super) engine_delay: Duration,
    pub(super) engine_unknown: f64,
    /// REGISTERs, OPTIONS to a user, and attempts to steer by a token that is none.
    pub(super) registers: Vec<(Duration, usize)>,
    pub(super) options: Vec<(Duration, usize, usize)>,
    pub(super) forgeries: Vec<Duration>,
    pub(super) calls: Vec<CallPlan>,
    pub(super) disturbances: Vec<(Duration, Disturbance)>,
}

fn ms(rng: &mut ChaCha8Rng, from: u64, until: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=until))
}

impl Plan {
    pub(super) fn draw(seed: u64) -> Plan {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let members = match rng.random_range(0..1000) {
            0..840 => rng.random_range(3..=5),
            840..980 => rng.random_range(6..=9),
            980..996 => rng.random_range(10..=20),
            _ => rng.random_range(21..=50),
        };
        let phones = rng.random_range(2..=4);
        let bad = rng.random_range(0..4);
        let loss = [0.0, 0.05, 0.15, 0.25][bad];
        let twice = [0.0, 0.05, 0.1, 0.2][rng.random_range(0..4)];
        let delay_max = ms(rng, 2, 150);
        let link = Link::new(loss, twice, Duration::from_millis(1), delay_max);
        let calls: Vec<CallPlan> =
            (0..rng.random_range(2..=5)).map(|_| call(rng, phones)).collect();
        let mut registers: Vec<_> =
            (0..phones).map(|phone| (REGISTERS_FROM + ms(rng, 0, 500), phone)).collect();
        let (from, until) = (CALLS_FROM.as_millis() as u64, CALLS_UNTIL.as_millis() as u64);
        for _ in 0..rng.random_range(0..=2) {
            registers.push((ms(rng, from, until), rng.random_range(0..phones)));
        }
        let options = (0..rng.random_range(0..=2))
            .map(|_| {
                (ms(rng, from, until), rng.random_range(0..phones), rng.random_range(0..phones))
            })
            .collect();
        let forgeries = (0..rng.random_range(0..=2)).map(|_| ms(rng, from, until)).collect();
        let count = [0, 1, 1, 1, 2, 2, 3, 4][rng.random_range(0..8)];
        let disturbances = (0..count).map(|_| (moment(rng, &calls), disturbance(rng))).collect();
        let rarely = |rng: &mut ChaCha8Rng, share| {
            if rng.random_bool(0.3) { share } else { 0.0 }
        };
        let others = others(rng);
        let homes = (0..phones).map(|_| home(rng, members, others.len())).collect();
        let share = if rng.random_bool(0.3) { 0.5 } else { 0.0 };
        let streams = (0..phones).map(|_| rng.random_bool(share)).collect();
        let new_key = rng.random_bool(0.2).then(|| ms(rng, from, until));
        Plan {
            members,
            others,
            phones,
            homes,
            streams,
            new_key,
            link,
            mesh_delay: ms(rng, 1, 20),
            mesh_loss: rarely(rng, 0.03),
            mesh_twice: rarely(rng, 0.03),
            engine_delay: ms(rng, 1, 60),
            engine_unknown: rarely(rng, 0.05),
            registers,
            options,
            forgeries,
            calls,
            disturbances,
        }
    }
}

fn others(rng: &mut ChaCha8Rng) -> Vec<FarmSetting> {
    if rng.random_bool(0.7) {
        return Vec::new();
    }
    let settings = [FarmSetting::Disabled, FarmSetting::Relay, FarmSetting::Auto];
    (0..rng.random_range(1..=2)).map(|_| settings[rng.random_range(0..3)]).collect()
}

fn home(rng: &mut ChaCha8Rng, members: usize, others: usize) -> Option<usize> {
    (others > 0 && rng.random_bool(0.5)).then(|| members + rng.random_range(0..others))
}

fn call(rng: &mut ChaCha8Rng, phones: usize) -> CallPlan {
    let caller = rng.random_range(0..phones);
    let callee = (caller + rng.random_range(1..phones)) % phones;
    let ring = ms(rng, 0, 15_000);
    let wish = match rng.random_range(0..10) {
        0..5 => Wish::Answer(ring),
        5..7 => Wish::Reject(ring),
        // Half of them cross the answer.
        7 => Wish::Cancel(ring, ring + ms(rng, 0, 300)),
        _ => Wish::Cancel(ring, ring + Duration::from_secs(8)),
    };
    let talk = ms(rng, 500, 25_000);
    let refresh = rng.random_bool(0.4).then(|| (talk / 2, rng.random_bool(0.5)));
    CallPlan {
        at: ms(rng, CALLS_FROM.as_millis() as u64, CALLS_UNTIL.as_millis() as u64),
        caller,
        callee,
        wish,
        refresh,
        hangup: (talk, rng.random_bool(0.5)),
    }
}

/// When something goes wrong: mostly while a call is being set up.
fn moment(rng: &mut ChaCha8Rng, calls: &[CallPlan]) -> Duration {
    let (from, until) = (CALLS_FROM.as_millis() as u64, CALLS_UNTIL.as_millis() as u64);
    match calls.get(rng.random_range(0..calls.len() * 3 / 2)) {
        Some(call) => call.at + ms(rng, 0, 3_000),
        None => ms(rng, from, until),
    }
}

fn disturbance(rng: &mut ChaCha8Rng) -> Disturbance {
    match rng.random_range(0..13) {
        0..4 => {
            let back = rng.random_bool(0.7).then(|| ms(rng, 50, 15_000));
            let (host, controller) = (rng.random_bool(0.3), rng.random_bool(0.25));
            Disturbance::Crash { back, host, controller }
        }
        4..6 => Disturbance::Join,
        6..8 => Disturbance::Drain,
        8..10 => Disturbance::Split { lasts: ms(rng, 300, 18_000), engine: rng.random_bool(0.5) },
        10 => Disturbance::Disconnect,
        11 => Disturbance::EngineLost(ms(rng, 500, 15_000)),
        _ => Disturbance::EngineStalled(ms(rng, 500, 15_000)),
    }
}
