//! `ringfarm cluster`: keys of a member, made and shown. Nothing of it needs a running node here; a node
//! that joins asks the one that runs where its token was made.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use control_core::cluster::MemberName;
use control_core::mesh::JoinToken;
use serde_json::json;

use super::join::{join, renew};
use super::keys::{Keys, StateDir, fingerprint};
use crate::cli::NodeArgs;
use crate::control::{Command, client};
use crate::exit::Stop;
use crate::members;
use crate::output;

/// How long a change of keys waits for members: one that is dead is none any more by then.
const ALL_READ_WITHIN: Duration = Duration::from_secs(30);
/// How often it asks meanwhile.
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// Where a member's keys are, unless something else is said.
const STATE: &str = "/var/lib/ringfarm/cluster";

pub(crate) const EXAMPLES: &str = "\
Examples:
  ringfarm cluster init --name fe-1                 on the first node: a cluster of one member
  ringfarm cluster token --address 10.0.0.1:7443    there: lets one node in, within an hour
  ringfarm cluster join rf1-... --name fe-2         on the next node
  ringfarm cluster show                             who this node is, of which cluster, until when
  ringfarm cluster renew                            another certificate, where ca.key is
  ringfarm cluster renew rf1-...                    elsewhere, by a token of `cluster token --replace fe-2`
  ringfarm cluster remove fe-2                      its host is lost: nobody speaks with its keys any more
  ringfarm cluster rotate-key                       another key for the tokens in SIP messages

The first node has to run (with [cluster] in its settings) when another joins. Its folder holds ca.key, by
which members are let in: keep a copy of it in a safe place. To let members in elsewhere, or when the first
node is gone, put ca.key and the folder issued/ into another member's folder (chmod 600) and start it anew.

A certificate is good for ten years, that of the authority for thirty; the log warns 30, 7 and 1 days ahead. A
name that was removed comes back by `cluster token --replace NAME`; its number is given to nobody else.";

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
    /// Get this member another certificate, which is used from its next start on.
    Renew {
        /// Made by `ringfarm cluster token --replace NAME` where ca.key is; needed where it is not. "-": it
        /// is read from standard input.
        #[arg(value_name = "TOKEN")]
        token: Option<String>,
        #[command(flatten)]
        state: StateArgs,
        /// Print the result as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Take a member whose host is lost out of the cluster: from now on no member speaks with who has its
    /// keys.
    Remove {
        /// The member.
        #[arg(value_name = "NAME", value_parser = MemberName::new)]
        name: MemberName,
        #[command(flatten)]
        node: NodeArgs,
        /// Print the result as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Change the key by which members know their own messages: announced to all of them first, used once each
    /// of them reads it. Calls go on.
    RotateKey {
        #[command(flatten)]
        node: NodeArgs,
        /// Also if the key was changed less than a day ago: what was begun under the one before loses its way.
        #[arg(long)]
        force: bool,
        /// Print the result as one JSON object.
        #[arg(long)]
        json: bool,
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
        ClusterCommand::Renew { token, state, json } => {
            let token = token.as_deref().map(read_token).transpose().map_err(Stop::Usage)?;
            renew_certificate(token.as_ref(), &state.dir())?;
            let shown = show(&state.state, *json)?;
            let said = "renewed; start the node anew to use it\n";
            output::print(&if *json { shown } else { shown + said })
        }
        ClusterCommand::Remove { name, node, json } => remove(name, node, *json),
        ClusterCommand::RotateKey { node, force, json } => rotate_key(node, *force, *json),
        ClusterCommand::Show { state, json } => {
            let shown = show(&state.state, *json)?;
            output::print(&shown)
        }
    }
}

fn renew_certificate(token: Option<&JoinToken>, state: &StateDir) -> anyhow::Result<()> {
    if let Some(token) = token {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        return runtime.block_on(renew(token, state)).map(drop);
    }
    let renewed = state.renew_here(SystemTime::now())?;
    renewed.map(drop).ok_or_else(|| {
        anyhow!(
            "there is no ca.key here: where it is, run `ringfarm cluster token --replace NAME --address \
             ADDRESS:PORT`, then here `ringfarm cluster renew TOKEN`"
        )
    })
}

fn remove(name: &MemberName, node: &NodeArgs, as_json: bool) -> Result<(), Stop> {
    let order = Command::Remove { name: name.to_string(), by: members::who() };
    let result = client::ask(&node.socket, &order)?;
    if as_json {
        return output::print(&format!("{result:#}\n"));
    }
    let mut text = format!(
        "{name} is out: no member speaks with who has its keys. They know what all members do: give the \
         engine's account another password, then run `ringfarm cluster rotate-key`, and again once calls \
         of today have ended\n"
    );
    if result["was_alive"] == true {
        text += "it was alive: it lets its calls end and stops; if it does not, stop it\n";
    }
    output::print(&text)
}

fn rotate_key(node: &NodeArgs, force: bool, as_json: bool) -> Result<(), Stop> {
    let step = |key: Option<u32>| {
        client::ask(&node.socket, &Command::RotateKey { key, force, by: members::who() })
    };
    let mut result = step(None)?;
    let number = result["key"].as_u64().and_then(|number| u32::try_from(number).ok());
    let number = number.context("the node does not say which key it has announced")?;
    let begun = Instant::now();
    while result["done"] != true {
        result = step(Some(number))?;
        if result["done"] != true && begun.elapsed() >= ALL_READ_WITHIN {
            let behind = result["waits_for"].as_array().into_iter().flatten();
            let behind: Vec<&str> = behind.filter_map(|name| name.as_str()).collect();
            return Err(anyhow!(
                "key {number} is announced, and not every member reads it yet ({}): the one before stays in \
                 use; look at `ringfarm members`, then run this again to go on",
                behind.join(", ")
            )
            .into());
        }
        thread::sleep(ASKED_EVERY);
    }
    let text =
        format!("tokens are made with key {number}; those of the one before are read still\n");
    output::print(&if as_json { format!("{result:#}\n") } else { text })
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
    let [own, authority] = state.ends()?.map(|(_, end)| unix(end));
    let left_days = own.saturating_sub(unix(SystemTime::now())) / 86_400;
    if as_json {
        let shown = json!({
            "cluster": cluster, "member": name, "ca_sha256": vouched, "lets_members_in": lets_in,
            "names_given": names, "certificate_ends": own, "certificate_left_days": left_days,
            "ca_ends": authority,
        });
        return Ok(format!("{shown}\n"));
    }
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write!(text, "cluster  {cluster}\nmember   {name}\nvouched  {vouched} (SHA-256)\n");
    let _ = writeln!(
        text,
        "until    {} ({left_days} days), the authority until {}",
        output::utc(own),
        output::utc(authority)
    );
    if lets_in {
        let _ = writeln!(text, "names    {} (this member lets others in)", names.join(", "));
    }
    Ok(text)
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
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
