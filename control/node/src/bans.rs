//! `ringfarm bans`: whom a running node does not listen to.

use serde_json::Value;

use crate::cli::{BansArgs, BansCommand};
use crate::control::{Command, client};
use crate::exit::Stop;
use crate::output;

/// Asks the node, or tells it, and says what came of it.
pub(crate) fn bans(args: &BansArgs) -> Result<(), Stop> {
    let (order, done) = match &args.command {
        None => {
            let list = client::ask(&args.node.socket, &Command::Bans {})?;
            return output::print(&if args.json { format!("{list:#}\n") } else { as_text(&list) });
        }
        Some(BansCommand::Add { source, minutes, reason }) => {
            let reason = reason.clone();
            let order = Command::Ban { source: *source, minutes: *minutes, reason };
            (order, format!("banned for {minutes} min: {source}\n"))
        }
        Some(BansCommand::Remove { source }) => {
            (Command::Unban { source: *source }, format!("no longer banned: {source}\n"))
        }
    };
    client::ask(&args.node.socket, &order)?;
    output::print(&if args.json { "{}\n".to_owned() } else { done })
}

fn as_text(list: &Value) -> String {
    let mut text = String::new();
    for ban in list["bans"].as_array().into_iter().flatten() {
        let word = |key: &str| ban[key].as_str().unwrap_or_default();
        let seconds = |key: &str| ban[key].as_u64().unwrap_or_default();
        let left = seconds("left_s");
        let age = (seconds("until_unix_s") - left).saturating_sub(seconds("since_unix_s"));
        text += &format!(
            "{:<24} since {:>5} min, for {:>5} min more, by {}: {}\n",
            word("source"),
            age / 60,
            left.div_ceil(60),
            word("rule"),
            word("reason")
        );
    }
    if text.is_empty() {
        text = "nobody is banned\n".to_owned();
    }
    let dropped = list["dropped"].as_object().into_iter().flatten();
    let counts: Vec<String> = dropped
        .filter(|(_, count)| count.as_u64() != Some(0))
        .map(|(rule, count)| format!("{rule} {count}"))
        .collect();
    if !counts.is_empty() {
        text += &format!("dropped in silence since the start, by rule: {}\n", counts.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ban_is_a_line_with_since_expiry_rule_and_reason() {
        let list = json!({
            "bans": [{
                "source": "203.0.113.66", "rule": "defence.ban_failures",
                "reason": "wrong credentials", "since_unix_s": 1_000, "until_unix_s": 1_600,
                "left_s": 300,
            }],
            "dropped": {"scanner": 7, "rate": 0},
        });
        assert_eq!(
            as_text(&list),
            "203.0.113.66             since     5 min, for     5 min more, by defence.ban_failures: \
             wrong credentials\ndropped in silence since the start, by rule: scanner 7\n"
        );
        assert_eq!(as_text(&json!({"bans": []})), "nobody is banned\n");
    }
}
