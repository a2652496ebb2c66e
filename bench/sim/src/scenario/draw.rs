//! Drawing a scenario.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use signaling_core::transport::Transport;

use super::{Callee, Change, Device, DevicePart, HangUp, Reply, Scenario, Script, Side, Step};
use crate::settings::Settings;
use crate::{AgentId, CallNo, NodeId};

/// Users for so many calls: few enough that most have several calls at once.
fn users_for(calls: u32) -> usize {
    (calls as usize / 3).clamp(4, 400)
}

impl Scenario {
    /// A scenario for these settings.
    pub fn draw(settings: &Settings, rng: &mut ChaCha8Rng) -> Scenario {
        let count = users_for(settings.calls);
        let mut scenario = Scenario { devices: Vec::new(), users: Vec::new(), calls: Vec::new() };
        for i in 0..count {
            let user = (format!("user{i}"), format!("secret{i}"));
            let devices = if rng.random_bool(0.35) { 2 } else { 1 };
            for _ in 0..devices {
                let id = AgentId(scenario.devices.len());
                scenario.devices.push(draw_device(settings, rng, id, &user));
            }
            scenario.users.push(user);
        }
        scenario.users.push(("absent".to_owned(), "absent".to_owned()));
        for no in 0..settings.calls {
            let script = draw_call(settings, rng, &scenario, CallNo(no));
            scenario.calls.push(script);
        }
        scenario
    }
}

fn draw_device(
    settings: &Settings,
    rng: &mut ChaCha8Rng,
    id: AgentId,
    user: &(String, String),
) -> Device {
    let (high, low) = ((id.0 / 250) as u8, (id.0 % 250) as u8 + 1);
    let ip = IpAddr::V4(Ipv4Addr::new(198, 18, high, low));
    let own_ip = if rng.random_bool(settings.nat_share) {
        IpAddr::V4(Ipv4Addr::new(192, 168, high, low))
    } else {
        ip
    };
    let tcp = rng.random_bool(settings.tcp_share);
    Device {
        id,
        user: user.0.clone(),
        password: user.1.clone(),
        home: NodeId(rng.random_range(0..settings.members)),
        transport: if tcp { Transport::Tcp } else { Transport::Udp },
        ip,
        own_ip,
    }
}

fn between(rng: &mut ChaCha8Rng, from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(rng.random_range(from_ms..=to_ms))
}

fn draw_call(settings: &Settings, rng: &mut ChaCha8Rng, scenario: &Scenario, no: CallNo) -> Script {
    let caller = AgentId(rng.random_range(0..scenario.devices.len()));
    let callee = draw_callee(rng, scenario, caller);
    let late_offer = rng.random_bool(0.15);
    let mut devices = BTreeMap::new();
    if let Callee::User(name) = &callee {
        for device in scenario.devices.iter().filter(|d| d.user == *name) {
            devices.insert(device.id, draw_part(rng, late_offer));
        }
    }
    let talk = between(rng, 300, 25_000);
    let sides = [Side::Caller, Side::Callee];
    let hang_up = match rng.random_range(0..10) {
        0 => HangUp::Both,
        1..=5 => HangUp::By(Side::Caller),
        _ => HangUp::By(Side::Callee),
    };
    let dies = rng.random_bool(0.06);
    let death = dies.then(|| (sides[rng.random_range(0..2)], between(rng, 0, 8000)));
    Script {
        no,
        at: rng.random_range(Duration::ZERO..=settings.spread),
        caller,
        callee,
        wrong_password: rng.random_bool(0.03),
        late_offer,
        video: rng.random_bool(0.3),
        cancel: draw_cancel(rng),
        devices,
        talk,
        hang_up,
        steps: draw_steps(rng, talk),
        death,
    }
}

fn draw_callee(rng: &mut ChaCha8Rng, scenario: &Scenario, caller: AgentId) -> Callee {
    match rng.random_range(0..40) {
        0 => Callee::Unknown,
        1 => Callee::Unregistered("absent".to_owned()),
        _ => {
            let own = &scenario.devices[caller.0].user;
            let others: Vec<_> =
                scenario.users.iter().filter(|(name, _)| name != own && name != "absent").collect();
            let name = others.choose(rng).map_or_else(String::new, |(name, _)| name.clone());
            Callee::User(name)
        }
    }
}

/// Mostly right when something else happens, now and then long after.
fn draw_cancel(rng: &mut ChaCha8Rng) -> Option<Duration> {
    match rng.random_range(0..10) {
        0 => Some(between(rng, 0, 300)),
        1 => Some(between(rng, 300, 12_000)),
        _ => None,
    }
}

fn draw_part(rng: &mut ChaCha8Rng, late_offer: bool) -> DevicePart {
    let reply = match rng.random_range(0..20) {
        0..=11 => Reply::Accept(between(rng, 0, 9000)),
        12 => Reply::Accept(between(rng, 40_000, 150_000)),
        13 => Reply::Accept(Duration::ZERO),
        14 | 15 => Reply::Refuse(486, between(rng, 0, 4000)),
        16 => Reply::Refuse(603, between(rng, 0, 6000)),
        17 => Reply::Ring,
        18 => Reply::FallSilent,
        _ => Reply::Silent,
    };
    DevicePart {
        rings_after: between(rng, 0, 400),
        // Without PRACK an offer cannot go in a provisional response (RFC 3261 13.2.1).
        early_media: !late_offer && rng.random_bool(0.3),
        reply,
    }
}

fn draw_steps(rng: &mut ChaCha8Rng, talk: Duration) -> Vec<Step> {
    const CHANGES: [Change; 9] = [
        Change::Hold,
        Change::OldHold,
        Change::Resume,
        Change::Resume,
        Change::Move,
        Change::Move,
        Change::Refused,
        Change::Ask,
        Change::Widen,
    ];
    let count = if rng.random_bool(0.5) { rng.random_range(1..=5) } else { 0 };
    let mut steps: Vec<Step> = (0..count)
        .map(|_| Step {
            after: rng.random_range(Duration::ZERO..=talk),
            by: if rng.random_bool(0.5) { Side::Caller } else { Side::Callee },
            change: *CHANGES.choose(rng).unwrap_or(&Change::Resume),
        })
        .collect();
    steps.sort_by_key(|step| step.after);
    steps
}
