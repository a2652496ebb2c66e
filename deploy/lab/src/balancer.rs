//! The balancer of a topology: the rules that `ringfarm lb render` gives to operators, and what moves the
//! shares of its frontends.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::members::Site;
use crate::plan::{FRONTENDS, Member, Method, SIP, VIP, public};
use crate::process::{self, Process};
use crate::report::Spread;
use crate::rules;
use crate::segment::{DEVICE, OUT};

/// Whoever moves the shares has asked each frontend within this.
const FOLLOWS: Duration = Duration::from_secs(10);
/// The description of the site, for `ringfarm lb`.
const SITE: &str = "site.toml";
/// What marks begin with, to which the number of a member is added.
const MARK_BASE: usize = 0x5246_0000;

/// Lets the balancer begin.
///
/// # Errors
/// The rules cannot be made, or nft refuses them.
pub(crate) fn start(site: Site<'_>, spread: Spread, binding: bool) -> Result<()> {
    let described = described(site, spread)?;
    let text = if binding {
        rules::binding_sessions()
    } else {
        let mut command = lb(site, "render");
        command.args(["--for", "nftables", "--site"]);
        process::run(command.arg(described))?
    };
    let file = site.folder.join("balancer.nft");
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    process::run(site.segment.balancer.command("nft").arg("-f").arg(&file)).map(drop)
}

/// `ringfarm lb`, on the balancer.
fn lb(site: Site<'_>, what: &str) -> Command {
    let mut command = site.segment.balancer.command(site.ringfarm);
    command.args(["lb", what, site.method.name()]);
    command
}

/// Pings the frontends from now on, and moves the shares of those that are gone or drain.
///
/// # Errors
/// It does not start.
pub(crate) fn follow(site: Site<'_>) -> Result<Process> {
    let mut command = lb(site, "follow");
    command.arg("--site").arg(site.folder.join(SITE));
    let mut process = Process::spawn("balancer", &mut command, site.folder)?;
    process.wait("its first line", FOLLOWS, site.stop, |said| !said.is_empty())?;
    Ok(process)
}

/// Whether a frontend has no share of what is new any more.
///
/// # Errors
/// The balancer has no rules.
pub(crate) fn has_left(site: Site<'_>, host: u8) -> Result<bool> {
    let family = if site.method == Method::Dsr { "netdev" } else { "inet" };
    let mut command = site.segment.balancer.command("nft");
    let listing = process::run(command.args(["list", "map", family, "ringfarm", "bucket"]))?;
    let place = FRONTENDS.iter().position(|other| *other == host).context("a frontend")?;
    // Shares are marked by their members' numbers.
    Ok(!listing.contains(&format!(": {:#010x}", MARK_BASE + place + 1)))
}

/// The site, as an operator describes it.
fn described(site: Site<'_>, spread: Spread) -> Result<PathBuf> {
    let spread = match spread {
        Spread::Random => "packet",
        Spread::Source => "source",
    };
    let outside = if site.method == Method::Dsr { DEVICE } else { OUT };
    let pair = |[v4, v6]: [std::net::IpAddr; 2]| format!("[\"{v4}\", \"{v6}\"]");
    let mut text = format!(
        "vip = {}\noutside = \"{outside}\"\ninside = \"{DEVICE}\"\nspread = \"{spread}\"\n",
        pair(VIP.both())
    );
    for member in FRONTENDS.map(|host| Member { host }) {
        let ports = member.ports(site.method);
        let _infallible = write!(
            text,
            "\n[[member]]\nname = \"{}\"\nlan = {}\nports = \"{}-{}\"\n",
            member.name(),
            pair(member.own(site.method).both()),
            ports.start(),
            ports.end()
        );
        if site.method == Method::MultiIpNat {
            text += &format!("wan = {}\n", pair(public(member.host).both()));
        }
    }
    let file = site.folder.join(SITE);
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

/// The connections that its kernel tracks for SIP over UDP or for media: there should be none (S37).
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn tracked(site: Site<'_>) -> Result<u64> {
    let path = "/proc/net/nf_conntrack";
    let listing = process::run(site.segment.balancer.command("cat").arg(path))?;
    let is_ours = |line: &&str| {
        let ports = line
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("dport=").or_else(|| word.strip_prefix("sport=")));
        let mut ports = ports.filter_map(|port| port.parse::<u16>().ok());
        line.contains(" udp ") && ports.any(|port| port == SIP || port >= 10_000)
    };
    Ok(listing.lines().filter(is_ours).count() as u64)
}
