//! `ringfarm lb render`: the configuration of what stands in front of the cluster.

mod file;
mod follow;
mod members;

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use control_core::balancer::{Device, Method, Site, SiteMember, Spread, render};
use control_core::settings::AddressPair;

use crate::control::{Command, SOCKET, client};
use crate::exit::Stop;
use crate::output;

/// Shown by `ringfarm lb render --help`.
const EXAMPLES: &str = "\
Examples:
  ringfarm lb render single-ip-nat --for nftables --outside eth0 --vip 203.0.113.5
                                     over the farm members of the cluster that the node here is in
  ringfarm lb render dsr --for nftables --outside eth0 --vip 203.0.113.5 \\
      --member name=fe-1,lan=203.0.113.11 --member name=fe-2,lan=203.0.113.12
  ringfarm lb render multi-ip-nat --for nftables --site site.toml

Methods: single-ip-nat (one address for SIP and media), multi-ip (members have visible addresses for media),
multi-ip-nat (the balancer has an address for each member), dsr (answers pass the balancer by).

A site file has the same words as the options, and a table for each member:
  vip = [\"203.0.113.5\", \"2001:db8::5\"]
  outside = \"eth0\"
  [[member]]
  name = \"fe-1\"
  lan = [\"10.0.0.1\", \"fd00::1\"]
  ports = \"10000-19999\"

Exit codes: 0 printed, 2 the site or the command line is wrong. Nothing is changed on this host.";

/// What is to be done about balancers.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LbCommand {
    /// Print a balancer's configuration for the site's own addresses, with what to mind as comments.
    #[command(after_help = EXAMPLES)]
    Render(Box<RenderArgs>),
    /// On a balancer with nftables: ping the members, and give what is new to those that take it.
    #[command(after_help = follow::EXAMPLES)]
    Follow(follow::FollowArgs),
}

/// A site, and what to print for it.
#[derive(Args, Clone, Debug)]
pub(crate) struct RenderArgs {
    /// How the members stand behind the balancer: single-ip-nat, multi-ip, multi-ip-nat or dsr.
    #[arg(value_name = "METHOD", value_parser = method)]
    method: Method,
    /// What the configuration is for: nftables, keepalived, haproxy, f5, alteon, foundry; the members' side: linux, freebsd,
    /// solaris (dsr), ringfarm (their settings).
    #[arg(long = "for", value_name = "DEVICE", value_parser = device)]
    device: Device,
    /// The address that clients use; one a family.
    #[arg(long, value_name = "ADDRESS")]
    vip: Vec<IpAddr>,
    /// A member: name=NAME,lan=ADDRESS[,lan=ADDRESS][,wan=ADDRESS][,ports=FIRST-LAST]. Without one: those of the
    /// cluster that the node at --socket is in.
    #[arg(long, value_name = "MEMBER", value_parser = members::parse)]
    member: Vec<SiteMember>,
    /// A file that says all this (TOML); options go before it.
    #[arg(long, value_name = "FILE", conflicts_with = "member")]
    site: Option<PathBuf>,
    /// The network device towards the clients (nftables, keepalived).
    #[arg(long, value_name = "DEVICE")]
    outside: Option<String>,
    /// The one towards the members, where that is another one (dsr).
    #[arg(long, value_name = "DEVICE")]
    inside: Option<String>,
    /// How SIP is spread: source (what comes from one phone goes to one member) or packet (each for itself).
    #[arg(long, value_name = "HOW", value_parser = spread)]
    spread: Option<Spread>,
    /// UDP ports of SIP [default: 5060].
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    udp_port: Option<Vec<u16>>,
    /// TCP ports of SIP, over TLS or WebSocket or not [default: 5060,5061]; none: another program balances TCP.
    #[arg(long, value_name = "PORTS", value_parser = file::ports)]
    tcp_port: Option<file::Ports>,
    /// The port of the members' /readyz (metrics.listen), where the balancer can ask it: it tells who drains.
    #[arg(long, value_name = "PORT")]
    ready_port: Option<u16>,
    /// The node that is asked for the members (its control socket).
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
}

/// Does what is to be done.
pub(crate) fn execute(command: &LbCommand) -> Result<(), Stop> {
    let args = match command {
        LbCommand::Render(args) => args,
        LbCommand::Follow(args) => return follow::follow(args),
    };
    let site = site(args)?;
    match render(args.method, args.device, &site) {
        Ok(text) => output::print(&text),
        Err(troubles) => {
            let lines: Vec<String> = troubles.iter().map(ToString::to_string).collect();
            Err(Stop::Usage(anyhow!("{}", lines.join("\n"))))
        }
    }
}

/// The site: options, else the file, else the cluster.
fn site(args: &RenderArgs) -> Result<Site, Stop> {
    let mut site = match &args.site {
        Some(path) => file::read(path).map_err(Stop::Usage)?,
        None => file::empty(),
    };
    if !args.vip.is_empty() {
        site.vip = members::pair(&args.vip).map_err(|why| Stop::Usage(anyhow!("--vip: {why}")))?;
    }
    site.outside = args.outside.clone().or(site.outside);
    site.inside = args.inside.clone().or(site.inside);
    site.spread = args.spread.unwrap_or(site.spread);
    site.udp_ports = args.udp_port.clone().unwrap_or(site.udp_ports);
    site.tcp_ports = args.tcp_port.clone().map_or(site.tcp_ports, |ports| ports.0);
    site.ready_port = args.ready_port.or(site.ready_port);
    if !args.member.is_empty() {
        site.members.clone_from(&args.member);
    }
    if site.members.is_empty() && args.site.is_none() {
        site.members = of_cluster(&args.socket, site.vip)?;
    }
    Ok(site)
}

fn of_cluster(socket: &std::path::Path, vip: AddressPair) -> Result<Vec<SiteMember>, Stop> {
    let list = client::ask(socket, &Command::Members {}).map_err(|error| {
        Stop::Usage(error.context("there is no --member and no --site, and no cluster to ask"))
    })?;
    members::of_cluster(&list, vip).map_err(Stop::Usage)
}

fn method(word: &str) -> Result<Method, String> {
    Method::parse(word).ok_or_else(|| one_of(Method::ALL.map(Method::word).as_slice()))
}

fn device(word: &str) -> Result<Device, String> {
    Device::parse(word).ok_or_else(|| one_of(Device::ALL.map(Device::word).as_slice()))
}

fn spread(word: &str) -> Result<Spread, String> {
    Spread::parse(word).ok_or_else(|| one_of(&["source", "packet"]))
}

fn one_of(words: &[&str]) -> String {
    format!("write one of {}", words.join(", "))
}
