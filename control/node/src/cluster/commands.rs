//! `ringfarm cluster`: keys of a member, made and shown. Nothing of it needs a running node here; a node
//! that joins asks the one that runs where its token was made.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use control_core::cluster::MemberName;
use control_core::mesh::JoinToken;
use serde_json::json;

use super::join::join;
use super::keys::{Keys, StateDir, fingerprint};
use crate::exit::Stop;
use crate::output;

/// Where a member's keys are, unless something else is said.
const STATE: &str = "/var/lib/ringfarm/cluster";

pub(crate) const EXAMPLES: &str = "\
Examples:
  ringfarm cluster init --name fe-1                 on the first node: a cluster of one member
  ringfarm cluster token --address 10.0.0.1:7443    there: lets one node in, within an hour
  ringfarm cluster join rf1-... --name fe-2         on the next node
  ringfarm cluster show                             who this node is, and of which cluster

The first node has to run (with [cluster] in its settings) when another joins. Its folder holds ca.key, by
which members are let in: keep a copy of it in a safe place.";

/// What is to be done.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum ClusterCommand {
    /// Make a cluster, whose first member this node is.
    Init {
        #[command(flatten)]
        state: StateArgs,
        /// The member's name: lower-case letters, digits and hyphens. By default this host's name.
        #[arg(long, value_name = "NAME", value_parser = MemberName::new)]
        name: Option<MemberName>,
    },
    /// Make a token that lets one node in.
    Token {
        #[command(flatten)]
        state: StateArgs,
        /// Where the other node reaches this member (cluster.advertise in its settings).
        #[arg(long, value_name = "ADDRESS:PORT")]
        address: SocketAddr,
        /// How long it is good: a number with s, m, h or d; at most 7d.
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
        valid: Duration,
        /// The member of this name is gone, and the node that joins takes its place.
        #[arg(long, value_name = "NAME", value_parser = MemberName::new)]
        replace: Option<MemberName>,
    },
    /// Become a member of the cluster that a token is of.
    Join {
        /// The token; "-": it is read from standard input, where nobody sees it in a list of processes.
        #[arg(value_name = "TOKEN")]
        token: String,
        #[command(flatten)]
        state: StateArgs,
        /// The member's name: lower-case letters, digits and hyphens. By default this host's name.
        #[arg(long, value_name = "NAME", value_parser = MemberName::new)]
        name: Option<MemberName>,
    },
    /// Show who this node is, and of which cluster.
    Show {
        #[command(flatten)]
        state: StateArgs,
        /// Print the result as one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// The folder of a member's keys.
#[derive(Args, Clone, Debug)]
pub(crate) struct StateArgs {
    /// The folder of this member's keys (cluster.state in its settings).
    #[arg(long, value_name = "DIR", default_value = STATE)]
    state: PathBuf,
}

impl StateArgs {
    fn dir(&self) -> StateDir {
        StateDir::new(&self.state)
    }
}

/// Does it.
pub(crate) fn execute(command: &ClusterCommand) -> Result<(), Stop> {
    match command {
        ClusterCommand::Init { state, name } => {
            let name = name_or_host(name.as_ref()).map_err(Stop::Usage)?;
            let keys = state.dir().init(&name, SystemTime::now())?;
            output::print(&format!(
                "made the cluster {}; this node is its member {name}\n{}",
                keys.identity.cluster,
                settings_hint(&state.state)
            ))
        }
        ClusterCommand::Token { state, address, valid, replace } => {
            let tokens = state.dir().tokens();
            let token = tokens.make(*address, *valid, replace.clone(), SystemTime::now())?;
            output::print(&format!("{token}\n"))
        }
        ClusterCommand::Join { token, state, name } => {
            let token = read_token(token).map_err(Stop::Usage)?;
            let name = name_or_host(name.as_ref()).map_err(Stop::Usage)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.context("cannot start the runtime")?;
            let keys = runtime.block_on(join(&token, &name, &state.dir()))?;
            output::print(&format!(
                "this node is the member {name} of the cluster {}\n{}",
                keys.identity.cluster,
                settings_hint(&state.state)
            ))
        }
        ClusterCommand::Show { state, json } => {
            let shown = show(&state.state, *json)?;
            output::print(&shown)
        }
    }
}

fn settings_hint(state: &Path) -> String {
    // A node may be started from another folder than this command.
    let state = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
    format!("put into its settings:\n\n[cluster]\nstate = \"{}\"\n", state.display())
}

fn read_token(text: &str) -> anyhow::Result<JoinToken> {
    if text != "-" {
        return Ok(JoinToken::parse(text)?);
    }
    let mut text = String::new();
    // Longer than any token.
    let read = std::io::stdin().take(4_096).read_to_string(&mut text);
    read.context("cannot read the token from standard input")?;
    Ok(JoinToken::parse(&text)?)
}

fn name_or_host(name: Option<&MemberName>) -> anyhow::Result<MemberName> {
    if let Some(name) = name {
        return Ok(name.clone());
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let first = host.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    MemberName::new(&first)
        .map_err(|why| anyhow!("this host's name does not do: {why}; give --name"))
}

fn show(path: &Path, as_json: bool) -> anyhow::Result<String> {
    let state = StateDir::new(path);
    let Keys { identity, ca, .. } = state.load()?;
    let lets_in = state.authority()?.is_some();
    let names = if lets_in { state.tokens().issued_names()? } else { Vec::new() };
    let vouched: String = fingerprint(&ca).iter().map(|byte| format!("{byte:02x}")).collect();
    let (cluster, name) = (identity.cluster.to_string(), identity.name.to_string());
    if as_json {
        let shown = json!({
            "cluster": cluster, "member": name, "ca_sha256": vouched, "lets_members_in": lets_in,
            "names_given": names,
        });
        return Ok(format!("{shown}\n"));
    }
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write!(text, "cluster  {cluster}\nmember   {name}\nvouched  {vouched} (SHA-256)\n");
    if lets_in {
        let _ = writeln!(text, "names    {} (this member lets others in)", names.join(", "));
    }
    Ok(text)
}

/// Longest life of a token.
const VALID_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time; write for example 90s, 30m, 1h or 7d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 24 * 3_600,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
    let time = Duration::from_secs(number.saturating_mul(seconds));
    if time.is_zero() || time > VALID_MAX {
        return Err(format!("{text} is out of range; choose 1s to 7d"));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_bound() {
        for (text, seconds) in [("90s", 90), ("30m", 1_800), ("1h", 3_600), ("7d", 604_800)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "1", "h", "-1h", "1w", "1.5h", "ä", "0s", "8d", "99999999999999999999d"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
