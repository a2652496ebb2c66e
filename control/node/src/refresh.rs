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
    match result["certificates"].as_u64() {
        Some(0) | None => "refreshed\n".to_owned(),
        Some(count) => format!("refreshed; certificates read anew: {count}\n"),
    }
}
