//! What the commands about the cluster answer: its members, its settings.

use std::time::{SystemTime, UNIX_EPOCH};

use control_core::cluster::membership::{MemberStatus, PeerState, Standing};
use control_core::cluster::{Change, MemberName, PlacementSetting, Scope, SettingKey, UnixMillis};
use serde_json::{Value, json};
use signaling_core::farm::{Counters, Mode};

use super::farm::FarmFigures;
use super::metrics::Figures;
use crate::cluster::engine::EngineState;
use crate::cluster::member::MemberHandle;
use crate::cluster::membership::Present;
use crate::cluster::mesh::PeerFigures;
use crate::control::Answer;

/// Everything there is to say of the cluster's members, as this one sees them.
pub(super) fn list(member: &MemberHandle, figures: &Figures) -> Answer {
    let present = member.present();
    let mesh = member.mesh();
    let members: Vec<Value> = member
        .members()?
        .iter()
        .map(|status| {
            let name = &status.member.name;
            let peer = mesh.peers.iter().find(|peer| peer.name == *name);
            one(status, peer, name == member.name(), present.barred.contains_key(name))
        })
        .collect();
    let view = present.view.as_deref();
    Ok(json!({
        "member": member.name().as_str(),
        "standing": standing(present.standing),
        "epoch": view.map_or(0, |view| view.epoch.0),
        "controller": present.controller.as_ref().map(|(name, _, _)| name.as_str()),
        "term": present.controller.as_ref().map_or(0, |(_, _, term)| term.0),
        "is_controller": present.is_controller.is_some(),
        "engine": engine(&present),
        "token_key": {
            "writes": present.token_keys.writes().number,
            "reads": present.token_keys.also().map(|also| also.number),
        },
        "farm": figures.farm.as_ref().map(farm),
        "registrations": figures.registrations,
        "media_before": member
            .earlier_media()
            .iter()
            .map(|media| json!({ "ports": media.ports.to_string(), "wan_ip": media.wan_ip }))
            .collect::<Vec<_>>(),
        "members": members,
    }))
}

const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Outside => "outside",
        Standing::Waiting(_) => "waiting",
        Standing::Part(_) => "member",
    }
}

fn engine(present: &Present) -> Value {
    match present.engine {
        EngineState::Connected => json!({ "state": "connected", "lost_s": 0 }),
        EngineState::Lost { since } => {
            json!({ "state": "lost", "lost_s": since.elapsed().as_secs() })
        }
    }
}

fn farm(farm: &FarmFigures) -> Value {
    let mode = match farm.mode {
        Mode::Member => "member",
        Mode::Disabled => "disabled",
        Mode::Relay => "relay",
    };
    json!({
        "mode": mode,
        "draining": farm.draining,
        "joining": farm.joining,
        "minority": farm.minority,
        "no_exit": farm.no_exit,
        "decisions": Counters::KINDS
            .iter()
            .zip(farm.counters.decided)
            .map(|(kind, count)| ((*kind).to_owned(), Value::from(count)))
            .collect::<serde_json::Map<String, Value>>(),
        "relayed_out": farm.relayed_out.iter().sum::<u64>(),
        "relayed_in": farm.relayed_in.iter().sum::<u64>(),
        "relay_failed": farm.relay_failed,
    })
}

fn one(status: &MemberStatus, peer: Option<&PeerFigures>, is_own: bool, is_barred: bool) -> Value {
    let member = &status.member;
    let profile = &member.profile;
    let placement = |setting: PlacementSetting| setting.effective(profile.role, true);
    let state = if is_own { Some("self") } else { status.peer.map(peer_state) };
    let load = peer.map_or(status.load, |peer| peer.load);
    json!({
        "name": member.name.as_str(),
        "id": member.id.get(),
        "incarnation": member.incarnation.0,
        "role": profile.role.word(),
        "presence": status.presence,
        "in_view": status.in_view,
        "controller": status.is_controller,
        "state": state,
        "draining": profile.draining,
        "barred": is_barred,
        "joining": status.joining,
        "token_key": status.token_key,
        "farm": { "configured": profile.farm.word(), "effective": status.farm },
        "call_legs": {
            "configured": profile.call_legs.word(), "effective": placement(profile.call_legs)
        },
        "signals": { "configured": profile.signals.word(), "effective": placement(profile.signals) },
        "capacity": profile.capacity.get(),
        "media_ports": [profile.media_ports.first(), profile.media_ports.last()],
        "wan_ip": { "effective": profile.wan_ip, "own": profile.own_wan_ip },
        "mesh": profile.mesh,
        "sip": profile.sip,
        "calls": load.calls,
        "cpu_permille": load.cpu_permille,
        "last_beat_s": status.still_for.as_secs(),
        "epoch": peer.map(|peer| peer.epoch.0),
        "connected": peer.is_some_and(|peer| peer.is_connected),
        "reached_at": peer.and_then(|peer| peer.address),
        "heard_incarnation": peer.and_then(|peer| peer.id).map(|(_, incarnation)| incarnation.0),
        "rtt_us": peer.map(|peer| u64::try_from(peer.rtt.as_micros()).unwrap_or(u64::MAX)),
    })
}

const fn peer_state(state: PeerState) -> &'static str {
    match state {
        PeerState::Up => "up",
        PeerState::Suspect => "suspect",
        PeerState::Down => "down",
        PeerState::Refused => "refused",
    }
}

fn scope(member: Option<&str>) -> Result<Scope, String> {
    match member {
        None => Ok(Scope::Cluster),
        Some(name) => MemberName::new(name).map(Scope::Member),
    }
}

/// What stands in the engine, and who has changed it.
pub(super) fn settings(member: &MemberHandle, of: Option<&str>, key: Option<&str>) -> Answer {
    let scope = scope(of)?;
    let key = key.map(|key| SettingKey::parse(key, &scope)).transpose()?;
    let document = member.settings(scope)?.unwrap_or_default();
    let values: serde_json::Map<String, Value> = document
        .values
        .iter()
        .filter(|(name, _)| key.is_none_or(|key| key.name() == name.as_str()))
        .map(|(name, value)| {
            // Salts are for the members.
            let is_secret = name == SettingKey::TokenKeys.name();
            let shown = if is_secret { document.token_keys().shown() } else { value.clone() };
            (name.clone(), Value::from(shown))
        })
        .collect();
    let audit = document.audit.iter().filter(|audit| {
        key.is_none_or(|key| serde_json::to_value(audit).is_ok_and(|it| it["key"] == key.name()))
    });
    let audit: Vec<Value> = audit.filter_map(|audit| serde_json::to_value(audit).ok()).collect();
    Ok(json!({ "member": of, "values": values, "audit": audit }))
}

/// Changes one.
pub(super) fn set(
    member: &MemberHandle,
    of: Option<&str>,
    key: &str,
    value: Option<String>,
    by: String,
) -> Answer {
    let scope = scope(of)?;
    let key = SettingKey::parse(key, &scope)?;
    if key == SettingKey::TokenKeys {
        return Err(format!("{key} is changed by `ringfarm cluster rotate-key` alone"));
    }
    let is_known = match &scope {
        Scope::Cluster => true,
        Scope::Member(name) => member.members()?.iter().any(|known| known.member.name == *name),
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let change = Change { key, value: value.clone(), by: by.clone(), at };
    member.change(scope.clone(), change).map_err(|why| format!("{key} of {scope}: {why}"))?;
    tracing::warn!(%scope, key = key.name(), value = value.as_deref(), by, "setting changed");
    Ok(json!({
        "member": of,
        "key": key.name(),
        "value": value,
        "effect": key.effect().to_string(),
        "is_known": is_known,
    }))
}

/// Takes a member out for good: nobody speaks any more with who shows a certificate of its that there is now.
pub(super) fn remove(member: &MemberHandle, name: &str, by: String) -> Answer {
    let name = MemberName::new(name)?;
    if name == *member.name() {
        return Err(format!(
            "{name} is the member that was asked; have another one remove it (--socket), or stop it"
        ));
    }
    let known = member.members()?;
    let Some(lost) = known.iter().find(|known| known.member.name == name) else {
        let names: Vec<&str> = known.iter().map(|known| known.member.name.as_str()).collect();
        return Err(format!("no member {name} has ever joined; there are {}", names.join(", ")));
    };
    let is_alive = lost.peer == Some(PeerState::Up);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let value = Some(since.as_secs().to_string());
    set(member, Some(name.as_str()), SettingKey::Barred.name(), value, by)?;
    Ok(json!({ "member": name.as_str(), "was_alive": is_alive }))
}

/// Who has changed what: of one member, or of all and the cluster.
pub(super) fn log(member: &MemberHandle, of: Option<&str>, limit: usize) -> Answer {
    let scopes: Vec<Scope> = match scope(of)? {
        Scope::Cluster => {
            let members = member.members()?;
            let members = members.iter().map(|known| Scope::Member(known.member.name.clone()));
            std::iter::once(Scope::Cluster).chain(members).collect()
        }
        one @ Scope::Member(_) => vec![one],
    };
    let mut changes = Vec::new();
    for scope in scopes {
        let whose = match &scope {
            Scope::Cluster => None,
            Scope::Member(name) => Some(name.to_string()),
        };
        let document = member.settings(scope)?.unwrap_or_default();
        for audit in &document.audit {
            let mut change = serde_json::to_value(audit).map_err(|error| error.to_string())?;
            change["member"] = json!(whose);
            changes.push((audit.at, change));
        }
    }
    changes.sort_by_key(|(at, _)| *at);
    let beyond = changes.len().saturating_sub(limit);
    let changes: Vec<Value> = changes.drain(beyond..).map(|(_, change)| change).collect();
    Ok(json!({ "member": of, "changes": changes, "left_out": beyond }))
}
