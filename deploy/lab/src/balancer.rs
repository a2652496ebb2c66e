//! The balancer of a topology: the rules that `ringfarm lb render` gives to operators, and what moves the
//! shares of its frontends.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::members::Site;
use crate::plan::{FRONTENDS, Member, Method, SIP, VIP, public};
use crate::process;
use crate::report::Spread;
use crate::rules;
use crate::segment::{DEVICE, OUT};

/// Lets the balancer begin.
///
/// # Errors
/// The rules cannot be made, or nft refuses them.
pub(crate) fn start(site: Site<'_>, spread: Spread, binding: bool) -> Result<()> {
    let described = described(site, spread)?;
    let text = if binding {
        rules::binding_sessions()
    } else {
        let mut command = site.segment.balancer.command(site.ringfarm);
        command.args(["lb", "render", site.method.name(), "--for", "nftables", "--site"]);
        process::run(command.arg(described))?
    };
    let file = site.folder.join("balancer.nft");
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    process::run(site.segment.balancer.command("nft").arg("-f").arg(&file)).map(drop)
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
    let file = site.folder.join("site.toml");
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
