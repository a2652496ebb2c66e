//! The balancer of a topology: rules of the kernel, and nothing else.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::plan::{Method, SIP};
use crate::process;
use crate::report::Spread;
use crate::rules;
use crate::segment::Segment;

/// Lets the balancer begin.
///
/// # Errors
/// nft refuses the rules.
pub(crate) fn start(
    segment: &Segment,
    method: Method,
    spread: Spread,
    binding: bool,
    folder: &Path,
) -> Result<()> {
    let file = folder.join("balancer.nft");
    fs::write(&file, rules::render(method, spread, binding))
        .with_context(|| format!("writing {}", file.display()))?;
    process::run(segment.balancer.command("nft").arg("-f").arg(&file)).map(drop)
}

/// The connections that its kernel tracks for SIP over UDP or for media: there should be none (S37).
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn tracked(segment: &Segment) -> Result<u64> {
    let path = "/proc/net/nf_conntrack";
    let listing = process::run(segment.balancer.command("cat").arg(path))?;
    let is_ours = |line: &&str| {
        let ports = line
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("dport=").or_else(|| word.strip_prefix("sport=")));
        let mut ports = ports.filter_map(|port| port.parse::<u16>().ok());
        line.contains(" udp ") && ports.any(|port| port == SIP || port >= 10_000)
    };
    Ok(listing.lines().filter(is_ours).count() as u64)
}
