//! `ringfarm refresh`: has a running node read again what may have changed outside it.

use serde_json::Value;

use crate::cli::RefreshArgs;
use crate::control::{Command, client};
use crate::exit::Stop;
use crate::output;

/// Tells the node and says what came of it.
pub(crate) fn refresh(args: &RefreshArgs) -> Result<(), Stop> {
    let result = client::ask(&args.node.socket, &Command::Refresh {})?;
    output::print(&if args.json { format!("{result:#}\n") } else { as_text(&result) })
}

fn as_text(result: &Value) -> String {
    let mut text = String::from("refreshed\n");
    if let Some(count) = result["certificates"].as_u64().filter(|count| *count > 0) {
        text += &format!("certificates read anew: {count}\n");
    }
    let absent = result["absent_addresses"].as_array().into_iter().flatten();
    for named in absent.filter_map(Value::as_str) {
        text += &format!("not an address of this host: {named}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_came_of_a_refresh_is_said_in_lines() {
        let result = json!({"certificates": 2, "absent_addresses": ["sip.listen[0] = 192.0.2.9"]});
        assert_eq!(
            as_text(&result),
            "refreshed\ncertificates read anew: 2\n\
             not an address of this host: sip.listen[0] = 192.0.2.9\n"
        );
        assert_eq!(as_text(&json!({"certificates": 0})), "refreshed\n");
    }
}
