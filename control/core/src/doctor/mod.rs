//! What is wrong with a host, and the command that mends it.
//!
//! Facts come in ([`Host`] from the node's host, [`Outside`] from a client's), findings go out. Each says what is, why
//! that hurts, and what to do, as a command where there is one. Nothing here looks at the host itself.

mod cluster;
mod conntrack;
mod host;
mod network;
mod outside;
mod system;

pub use conntrack::Tracked;
pub use host::{Address, Arp, Ends, Host, MediaOf, Occupied};
pub use outside::{Asked, Outside, examine_outside};

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is wrong.
    Ok,
    /// It works, and something will hurt one day.
    Warning,
    /// Calls or messages are lost.
    Error,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name, for programs.
    pub check: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is.
    pub what: String,
    /// Why that hurts; empty where nothing is wrong.
    pub why: &'static str,
    /// What to do: a command, where one does; empty where nothing is wrong.
    pub mend: String,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Finding {
        let severity = Severity::Ok;
        Finding { check, severity, what: what.into(), why: "", mend: String::new() }
    }

    fn warning(
        check: &'static str,
        what: impl Into<String>,
        why: &'static str,
        mend: impl Into<String>,
    ) -> Finding {
        Finding { check, severity: Severity::Warning, what: what.into(), why, mend: mend.into() }
    }

    fn error(
        check: &'static str,
        what: impl Into<String>,
        why: &'static str,
        mend: impl Into<String>,
    ) -> Finding {
        Finding { severity: Severity::Error, ..Finding::warning(check, what, why, mend) }
    }
}

/// Every check of the node's host, in the order in which things are best mended.
#[must_use]
pub fn examine(host: &Host) -> Vec<Finding> {
    let checks: [fn(&Host, &mut Vec<Finding>); 10] = [
        system::io_uring,
        system::descriptors,
        network::kernel_ports,
        network::occupied,
        network::addresses,
        network::silence,
        network::conntrack,
        cluster::engine,
        cluster::ranges,
        system::clock_and_certificates,
    ];
    let mut findings = Vec::new();
    checks.iter().for_each(|check| check(host, &mut findings));
    findings
}
