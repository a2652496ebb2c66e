//! What `ringfarm doctor` says of the balancer, from a client's host.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::members::Site;
use crate::plan::{Family, SIP, VIP};

/// The checks that have found that messages are lost.
///
/// # Errors
/// It does not run, or says something else.
pub(crate) fn ask(site: Site<'_>, family: Family) -> Result<Vec<String>> {
    let mut command = site.segment.clients.command(site.ringfarm);
    let vip = VIP.at(family, SIP).to_string();
    // Its exit code is part of the verdict, and the same is in what it prints.
    let output = command.args(["doctor", "--json", "--from-outside", &vip]).output();
    let output = output.context("starting ringfarm doctor")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&said).with_context(|| {
        format!("ringfarm doctor says {said}{}", String::from_utf8_lossy(&output.stderr))
    })?;
    let findings = report["findings"].as_array().into_iter().flatten();
    let errors = findings.filter(|finding| finding["severity"] == "error");
    Ok(errors.filter_map(|finding| finding["check"].as_str()).map(str::to_owned).collect())
}
