//! The cluster: its engine, its members' media ports.

use super::{Finding, Host};

/// Ports below which a process needs privileges, so that media never has them.
const PORTS_PRIVILEGED: usize = 1_024;

/// What one stream takes on one side of a call: RTP and RTCP.
const PORTS_PER_STREAM: usize = 2;

/// Whether the engine can be reached. No call needs it; changes do.
pub(super) fn engine(host: &Host, findings: &mut Vec<Finding>) {
    let lost: Vec<_> = host
        .engine
        .iter()
        .filter_map(|(server, tried)| tried.as_ref().err().map(|why| (server, why)))
        .collect();
    let why_some = "if others fail, too, members and settings cannot change; calls go on";
    let why_all =
        "nobody can join or leave, and no setting can change; calls go on with what is known";
    let all = lost.len() == host.engine.len();
    for (server, error) in &lost {
        let what = format!("the engine's server {server} cannot be reached: {error}");
        let mend = format!(
            "on {server}: systemctl status nats-server; and let this host's connections through"
        );
        findings.push(if all {
            Finding::error("engine", what, why_all, mend)
        } else {
            Finding::warning("engine", what, why_some, mend)
        });
    }
    if lost.is_empty() && !host.engine.is_empty() {
        findings.push(Finding::ok(
            "engine",
            format!("all {} servers can be reached", host.engine.len()),
        ));
    }
}

/// S60, S64: under one address each member has ports of its own, and there are not many.
pub(super) fn ranges(host: &Host, findings: &mut Vec<Finding>) {
    let mut overlaps = false;
    for (index, one) in host.members.iter().enumerate() {
        for other in &host.members[..index] {
            let Some(shared) = one.wan.iter().find(|wan| other.wan.contains(wan)) else { continue };
            if one.ports.overlaps(other.ports) {
                overlaps = true;
                findings.push(Finding::error(
                    "ranges",
                    format!(
                        "media ports {} of {} overlap {} of {} under {shared}",
                        one.ports, one.name, other.ports, other.name
                    ),
                    "packets of one member's calls reach the other one",
                    format!(
                        "ringfarm settings set member.media_ports FIRST-LAST --member {}",
                        one.name
                    ),
                ));
            }
        }
    }
    let Some(own) = host.members.first().filter(|_| !overlaps) else { return };
    let sharing: Vec<_> = host
        .members
        .iter()
        .filter(|other| other.wan.iter().any(|wan| own.wan.contains(wan)))
        .collect();
    if let ([_, _, ..], Some(wan)) = (sharing.as_slice(), own.wan.first()) {
        let ports: usize = sharing.iter().map(|member| member.ports.count()).sum();
        findings.push(Finding::ok(
            "ranges",
            format!(
                "{} members share {wan} with {ports} of {} ports: {} streams, counted once for each side of a call that \
                 is relayed",
                sharing.len(),
                65_536 - PORTS_PRIVILEGED,
                ports / PORTS_PER_STREAM
            ),
        ));
    }
}
