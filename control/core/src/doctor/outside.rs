//! What a balancer does to answers, as a client sees it.

use std::net::{IpAddr, SocketAddr};

use super::Finding;

/// Questions of which more are lost than by chance: a tenth.
const LOST_MAX_TENTHS: usize = 1;

/// A question and its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The local port that it was sent from.
    pub from: u16,
    /// Its size in bytes.
    pub bytes: usize,
    /// Where answers came from: one, unless something is wrong.
    pub answers: Vec<SocketAddr>,
    /// Status of the first one.
    pub status: Option<u16>,
}

/// Facts from a client's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The address and port that were asked.
    pub vip: SocketAddr,
    /// Questions that fit a packet, each with a Call-ID of its own, so that a farm spreads them over its members.
    pub small: Vec<Asked>,
    /// Questions that come in fragments.
    pub large: Vec<Asked>,
    /// Connecting by TCP, and asking there; `None`: it was not tried.
    pub tcp: Option<Result<u16, String>>,
}

/// Every check of a balancer from the outside.
#[must_use]
pub fn examine_outside(outside: &Outside) -> Vec<Finding> {
    let mut findings = Vec::new();
    let vip = outside.vip;
    let asked = outside.small.len();
    let silent = outside.small.iter().filter(|asked| asked.answers.is_empty()).count();
    if silent == asked {
        findings.push(Finding::error(
            "answers",
            format!("none of {asked} OPTIONS to udp {vip} was answered"),
            "no phone can register or call over UDP",
            format!("tcpdump -ni any 'udp port {}'    # on the balancer, then on a member: who gets them?", vip.port()),
        ));
    } else {
        sources(outside, &mut findings);
        losses(outside, silent, &mut findings);
        fragments(outside, &mut findings);
    }
    tcp(outside, &mut findings);
    findings
}

/// S37, S39: an answer from elsewhere is dropped by most phones, and by every firewall before them.
fn sources(outside: &Outside, findings: &mut Vec<Finding>) {
    let vip = outside.vip;
    let all = outside.small.iter().chain(&outside.large).flat_map(|asked| &asked.answers);
    let wrong: Vec<SocketAddr> = all.copied().filter(|source| *source != vip).collect();
    let Some(first) = wrong.first() else {
        findings.push(Finding::ok("session_binding", format!("every answer came from {vip}")));
        return;
    };
    let count = wrong.len();
    let same_address: fn(&SocketAddr, IpAddr) -> bool = |source, ip| source.ip() == ip;
    findings.push(if wrong.iter().all(|source| same_address(source, vip.ip())) {
        Finding::error(
            "session_binding",
            format!("{count} answers came from another port than {vip}, the first from {first}"),
            "the balancer binds sessions: an answer of another member than the one that it gave the request to gets \
             another source port, and phones and firewalls drop it",
            format!(
                "switch session binding (UDP connection tracking, persistence) off for UDP port {}; on a Linux balancer: \
                 ringfarm lb render single-ip-nat --for nftables | nft -f -",
                vip.port()
            ),
        )
    } else {
        Finding::error(
            "source_address",
            format!("{count} answers came from another address than {vip}, the first from {first}"),
            "phones and firewalls drop answers from an address that they have not asked",
            "let the balancer rewrite the source of what leaves the members' SIP port, or, with direct return, give the members \
             the VIP on lo: ringfarm lb render dsr --for linux",
        )
    });
}

fn losses(outside: &Outside, silent: usize, findings: &mut Vec<Finding>) {
    let asked = outside.small.len();
    if silent * 10 > asked * LOST_MAX_TENTHS {
        findings.push(Finding::error(
            "answers",
            format!("{silent} of {asked} OPTIONS to udp {} were not answered", outside.vip),
            "so many of the phones' messages are lost, too: a member that the balancer still sends to is gone, or cannot answer",
            "ringfarm members    # on a member: who is down? then take it out of the balancer, or run ringfarm lb follow there",
        ));
        return;
    }
    let refused =
        outside.small.iter().filter_map(|asked| asked.status).find(|status| *status >= 500);
    if let Some(status) = refused {
        findings.push(Finding::warning(
            "answers",
            format!("an OPTIONS was answered {status}"),
            "a member refuses what is new: it drains, is overloaded, or sees too little of the cluster",
            "ringfarm members    # on a member",
        ));
        return;
    }
    findings.push(Finding::ok(
        "answers",
        format!("{} of {asked} OPTIONS were answered", asked - silent),
    ));
}

/// S27: SIP messages of some kB are common, and over UDP they come in fragments.
fn fragments(outside: &Outside, findings: &mut Vec<Finding>) {
    let Some(bytes) = outside.large.first().map(|asked| asked.bytes) else { return };
    let asked = outside.large.len();
    let answered = outside.large.iter().filter(|asked| !asked.answers.is_empty()).count();
    findings.push(if answered == asked {
        Finding::ok("fragments", format!("OPTIONS of {bytes} bytes arrive over UDP"))
    } else {
        Finding::warning(
            "fragments",
            format!("{} of {asked} OPTIONS of {bytes} bytes were not answered", asked - answered),
            "large INVITEs over UDP are lost: the balancer, or a firewall, does not put fragments together or sends them to \
             different members",
            "let fragments through; on a Linux balancer use the rules of ringfarm lb render METHOD --for nftables, and have \
             phones use TCP meanwhile",
        )
    });
}

fn tcp(outside: &Outside, findings: &mut Vec<Finding>) {
    match &outside.tcp {
        None => {}
        Some(Ok(status)) => {
            findings.push(Finding::ok("tcp", format!("tcp {} answers ({status})", outside.vip)));
        }
        Some(Err(error)) => findings.push(Finding::warning(
            "tcp",
            format!("tcp {}: {error}", outside.vip),
            "phones and servers that use TCP, and whoever has a large message to send, cannot reach the cluster",
            "balance TCP, too, or take tcp out of the settings (sip.listen) and of DNS",
        )),
    }
}
