//! `ringfarm cluster rotate-key`: another key for the farm's tokens (B1), step by step. Whoever asks comes back
//! until it is done; nobody is waited for here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control_core::cluster::{Change, Salt, Scope, SettingKey, TokenKeys, UnixMillis, UnixSeconds};
use serde_json::json;

use crate::cluster::engine::EngineState;
use crate::cluster::keys::random;
use crate::cluster::member::MemberHandle;
use crate::control::Answer;

/// What was begun under the key before the present one loses its way with the next change: calls last for less
/// than this, as a rule.
const CALLS_LAST: Duration = Duration::from_secs(24 * 3600);

/// Announces the next key, unless one is announced already: its number.
pub(super) fn begin(member: &MemberHandle, is_forced: bool, by: &str) -> Answer {
    let present = member.present();
    if let EngineState::Lost { .. } = present.engine {
        return Err(
            "the cluster's engine cannot be reached, and keys are agreed on there".to_owned()
        );
    }
    let keys = present.token_keys;
    if let Some(next) = keys.announced() {
        return Ok(json!({ "key": next.number, "done": false }));
    }
    let now = unix();
    let used_for = Duration::from_secs(now.as_secs().saturating_sub(keys.since().0));
    if keys.also().is_some() && used_for < CALLS_LAST && !is_forced {
        return Err(format!(
            "the key was changed {} minutes ago: what was begun under the one before, which is read still, \
             would lose its way now; wait until such calls have ended, or give --force",
            used_for.as_secs() / 60
        ));
    }
    let salt = Salt(random().map_err(|error| format!("{error:#}"))?);
    let next = keys.announce(salt).ok_or("there have been as many keys as there can be")?;
    change(member, &next, by)?;
    tracing::warn!(key = next.newest(), by, "the next key of tokens is announced");
    Ok(json!({ "key": next.newest(), "done": false }))
}

/// Has tokens made with the announced key `number` once every member reads it; says whether they are.
pub(super) fn go_on(member: &MemberHandle, number: u32, by: &str) -> Answer {
    let keys = member.present().token_keys;
    if keys.writes().number >= number {
        return Ok(json!({ "key": number, "done": true, "waits_for": [] }));
    }
    let members = member.members()?;
    // Who is not there reads the keys before it joins.
    let there = members.iter().filter(|one| one.presence.is_lease());
    let behind: Vec<&str> =
        there.filter(|one| one.token_key < number).map(|one| one.member.name.as_str()).collect();
    let Some(next) = keys.switch(UnixSeconds(unix().as_secs())).filter(|_| behind.is_empty())
    else {
        return Ok(json!({ "key": number, "done": false, "waits_for": behind }));
    };
    change(member, &next, by)?;
    tracing::warn!(key = number, by, "tokens are made with another key");
    Ok(json!({ "key": number, "done": true, "waits_for": [] }))
}

fn change(member: &MemberHandle, keys: &TokenKeys, by: &str) -> Result<(), String> {
    let at = UnixMillis(u64::try_from(unix().as_millis()).unwrap_or(u64::MAX));
    let (key, value) = (SettingKey::TokenKeys, Some(keys.to_string()));
    member.change(Scope::Cluster, Change { key, value, by: by.to_owned(), at })
}

fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
