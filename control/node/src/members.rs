//! `ringfarm members`, `ringfarm settings`, `ringfarm drain`: what a running member is asked and told.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde_json::Value;

use control_core::cluster::SettingKey;

use crate::cli::{DrainArgs, MembersArgs, SettingsArgs, SettingsCommand};
use crate::control::{Command, client};
use crate::exit::Stop;
use crate::output;

/// How often a node that drains is asked whether anything is left.
const ASKED_EVERY: Duration = Duration::from_millis(500);

/// Has a node drain; waits for the end of it if that is wanted.
pub(crate) fn drain(args: &DrainArgs) -> Result<(), Stop> {
    let begun = Instant::now();
    let mut result = client::ask(&args.node.socket, &Command::Drain {})?;
    if args.wait {
        loop {
            result = client::ask(&args.node.socket, &Command::Drained {})?;
            if result["drained"] == true {
                break;
            }
            let waited = begun.elapsed();
            if args.limit.is_some_and(|limit| waited.as_secs() >= u64::from(limit)) {
                let calls = &result["calls"];
                return Err(
                    anyhow!("not drained after {} s: {calls} calls", waited.as_secs()).into()
                );
            }
            thread::sleep(ASKED_EVERY);
        }
    }
    let text = match (args.wait, result["calls"].as_u64().unwrap_or_default()) {
        (true, _) => "drained\n".to_owned(),
        (false, calls) => format!("draining: {calls} calls go on\n"),
    };
    output::print(&if args.json { format!("{result:#}\n") } else { text })
}

/// Shows the members.
pub(crate) fn members(args: &MembersArgs) -> Result<(), Stop> {
    let list = client::ask(&args.node.socket, &Command::Members {})?;
    output::print(&if args.json { format!("{list:#}\n") } else { as_text(&list) })
}

/// Shows or changes settings.
pub(crate) fn settings(command: &SettingsCommand) -> Result<(), Stop> {
    let (of, order) = match command {
        SettingsCommand::Get { key, of } => {
            (of, Command::Settings { member: of.member.clone(), key: key.clone() })
        }
        SettingsCommand::Log { limit, of } => {
            (of, Command::SettingsLog { member: of.member.clone(), limit: *limit })
        }
        SettingsCommand::Keys { json } => return output::print(&keys(*json)),
        SettingsCommand::Set { key, value, of } => (of, set(key, Some(value.clone()), of)),
        SettingsCommand::Unset { key, of } => (of, set(key, None, of)),
    };
    let result = client::ask(&of.node.socket, &order)?;
    output::print(&if of.json { format!("{result:#}\n") } else { settings_text(&result) })
}

/// Every setting that can stand in the engine.
fn keys(as_json: bool) -> String {
    if as_json {
        let key = |key: SettingKey| {
            serde_json::json!({
                "key": key.name(), "of": key.of(), "effect": key.effect().to_string(),
                "about": key.about(),
            })
        };
        return format!("{:#}\n", Value::from_iter(SettingKey::ALL.map(key)));
    }
    let mut text = format!("{:<20} {:<18} {:<7} {}\n", "KEY", "OF", "ACTS", "WHAT");
    for key in SettingKey::ALL {
        let (of, effect) = (key.of(), key.effect().to_string());
        text += &format!("{:<20} {of:<18} {effect:<7} {}\n", key.name(), key.about());
    }
    text + "live: at once; drain: for new calls, while those that stand keep what they have\n"
}

/// Who gives a command, for the log of changes.
pub(crate) fn who() -> String {
    let by = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    by.unwrap_or_else(|_| "unknown".to_owned())
}

fn set(key: &str, value: Option<String>, of: &SettingsArgs) -> Command {
    Command::Set { member: of.member.clone(), key: key.to_owned(), value, by: who() }
}

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("-")
}

fn as_text(list: &Value) -> String {
    let engine = match word(&list["engine"], "state") {
        "lost" => format!("lost for {} s (calls go on)", list["engine"]["lost_s"]),
        state => state.to_owned(),
    };
    let mut text = format!(
        "this is {} ({}), farm {}; epoch {}, Controller {}, engine {engine}\n",
        word(list, "member"),
        word(list, "standing"),
        word(&list["farm"], "mode"),
        list["epoch"],
        word(list, "controller"),
    );
    if list["farm"]["minority"] == true {
        text += "it sees fewer than half of the farm and takes nothing new\n";
    }
    if list["farm"]["no_exit"] == true {
        text += "no farm member is there to send for it: what it has to send is answered 503\n";
    }
    for before in list["media_before"].as_array().into_iter().flatten() {
        text += &format!("calls still use media ports {} of before\n", word(before, "ports"));
    }
    text += &format!(
        "{:<16} {:>5} {:<9} {:<10} {:<18} {:>6} {:>6} {:>6} {:<13} {:<16} {}\n",
        "NAME",
        "ID",
        "ROLE",
        "STATE",
        "FARM",
        "WEIGHT",
        "CALLS",
        "CPU",
        "MEDIA PORTS",
        "WAN IP",
        "MESH"
    );
    for member in list["members"].as_array().into_iter().flatten() {
        text += &line(member);
    }
    text
}

fn line(member: &Value) -> String {
    let farm = &member["farm"];
    let farm = match (word(farm, "configured"), word(farm, "effective")) {
        (configured, effective) if configured == effective => effective.to_owned(),
        (configured, effective) => format!("{effective} ({configured})"),
    };
    let state = match (word(member, "state"), member["in_view"].as_bool()) {
        (_, Some(false)) if member["barred"] == true => "barred",
        (_, Some(false)) => word(member, "presence"),
        ("self" | "up", _) if member["draining"] == true => "draining",
        ("self" | "up", _) if member["joining"] == true => "joining",
        (state, _) => state,
    };
    let ports = &member["media_ports"];
    let wan_ip = &member["wan_ip"]["effective"];
    let wan_ip: Vec<&str> = ["v4", "v6"].iter().filter_map(|ip| wan_ip[*ip].as_str()).collect();
    let wan_ip = if wan_ip.is_empty() { "-".to_owned() } else { wan_ip.join(",") };
    format!(
        "{:<16} {:>5} {:<9} {:<10} {:<18} {:>6} {:>6} {:>6} {:<13} {:<16} {}\n",
        word(member, "name"),
        format!("{}.{}", member["id"], member["incarnation"]),
        word(member, "role"),
        state,
        farm,
        member["capacity"].to_string(),
        member["calls"].to_string(),
        format!("{}%", member["cpu_permille"].as_u64().unwrap_or_default() / 10),
        format!("{}-{}", ports[0], ports[1]),
        wan_ip,
        word(member, "mesh"),
    )
}

fn settings_text(result: &Value) -> String {
    if let Some(key) = result["key"].as_str() {
        let mut text = match result["value"].as_str() {
            Some(value) => format!("{key} = {value}\n"),
            None => format!("{key} is no longer set there\n"),
        };
        if result["is_known"] == false {
            let name = word(result, "member");
            text += &format!("no member {name} has joined yet: it will have that when it does\n");
        }
        if result["effect"] == "drain" {
            text += "new calls have it; those that stand keep what they have\n";
        }
        return text;
    }
    if let Some(changes) = result["changes"].as_array() {
        let mut text: String = changes.iter().map(change).collect();
        if changes.is_empty() {
            text = "nothing has been changed\n".to_owned();
        }
        return text;
    }
    let mut text = String::new();
    for (key, value) in result["values"].as_object().into_iter().flatten() {
        text += &format!("{key} = {}\n", value.as_str().unwrap_or_default());
    }
    if text.is_empty() {
        text = "nothing is set there\n".to_owned();
    }
    if let Some(last) = result["audit"].as_array().and_then(|audit| audit.last()) {
        text += &format!("# last changed {}", change(last));
    }
    text
}

/// A line of the log of changes.
fn change(audit: &Value) -> String {
    let of = audit["member"].as_str().map(|name| format!(" of {name}")).unwrap_or_default();
    format!(
        "{} by {}: {}{of} {} -> {}\n",
        output::utc(audit["at"].as_u64().unwrap_or_default() / 1_000),
        word(audit, "by"),
        word(audit, "key"),
        word(audit, "old"),
        word(audit, "new")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list() -> Value {
        json!({
            "member": "fe-1", "standing": "member", "epoch": 4, "controller": "fe-2",
            "engine": {"state": "lost", "lost_s": 7},
            "farm": {"mode": "member", "minority": false},
            "members": [{
                "name": "be-1", "id": 3, "incarnation": 2, "role": "backend", "in_view": true,
                "presence": "here", "state": "up", "draining": false,
                "farm": {"configured": "auto", "effective": "relay"}, "capacity": 100,
                "calls": 12, "cpu_permille": 347, "media_ports": [20_000, 29_999],
                "wan_ip": {"effective": {"v4": "203.0.113.5", "v6": null}},
                "mesh": "10.0.0.3:7443",
            }],
        })
    }

    #[test]
    fn each_member_is_a_line_below_how_the_cluster_does() {
        let text = as_text(&list());
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some(
                "this is fe-1 (member), farm member; epoch 4, Controller fe-2, engine lost for 7 s \
                 (calls go on)"
            )
        );
        let words: Vec<&str> = lines.nth(1).unwrap_or_default().split_whitespace().collect();
        let wanted = [
            "be-1",
            "3.2",
            "backend",
            "up",
            "relay",
            "(auto)",
            "100",
            "12",
            "34%",
            "20000-29999",
            "203.0.113.5",
            "10.0.0.3:7443",
        ];
        assert_eq!(words, wanted);
    }

    #[test]
    fn a_member_that_drains_or_is_out_of_the_view_is_marked() {
        let mut list = list();
        list["members"][0]["draining"] = true.into();
        assert!(as_text(&list).contains(" draining "));
        list["members"][0]["draining"] = false.into();
        list["members"][0]["joining"] = true.into();
        assert!(as_text(&list).contains(" joining "));
        list["members"][0]["in_view"] = false.into();
        list["members"][0]["presence"] = "removed".into();
        assert!(as_text(&list).contains(" removed "));
    }

    #[test]
    fn a_setting_of_a_member_that_nobody_knows_is_said_to_wait_for_it() {
        let result = json!({
            "member": "fe-11", "key": "member.capacity", "value": "7", "effect": "live",
            "is_known": false,
        });
        let text = settings_text(&result);
        assert!(text.contains("no member fe-11 has joined yet"), "{text}");
    }

    #[test]
    fn the_log_of_changes_says_when_who_whose_and_what() {
        let result = json!({
            "changes": [{"at": 1_700_000_000_123_u64, "by": "ann", "key": "member.farm",
                "member": "be-1", "old": null, "new": "relay"}],
        });
        assert_eq!(
            settings_text(&result),
            "2023-11-14T22:13:20Z by ann: member.farm of be-1 - -> relay\n"
        );
    }

    #[test]
    fn every_setting_is_listed_with_whose_it_is_and_when_it_acts() {
        let text = keys(false);
        for key in SettingKey::ALL {
            assert!(text.lines().any(|line| line.starts_with(key.name())), "{text}");
        }
        let listed: Value = serde_json::from_str(&keys(true)).expect("JSON");
        assert_eq!(listed[6]["effect"], "drain", "{listed}");
    }

    #[test]
    fn settings_are_shown_with_who_changed_them() {
        let result = json!({
            "values": {"member.farm": "relay"},
            "audit": [{"at": 1_700_000_000_123_u64, "by": "ann", "key": "member.farm",
                "old": null, "new": "relay"}],
        });
        assert_eq!(
            settings_text(&result),
            "member.farm = relay\n# last changed 2023-11-14T22:13:20Z by ann: member.farm - -> relay\n"
        );
        assert_eq!(settings_text(&json!({"values": {}})), "nothing is set there\n");
        assert_eq!(
            settings_text(&json!({"key": "a", "value": null})),
            "a is no longer set there\n"
        );
    }
}
