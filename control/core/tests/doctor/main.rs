//! What is found wrong with hosts and balancers, and what is said to mend it.

mod host;
mod outside;

use control_core::doctor::{Finding, Severity};

/// The findings of one check that are worse than nothing.
fn worse<'f>(findings: &'f [Finding], check: &str) -> Vec<&'f Finding> {
    let worse = |finding: &&Finding| finding.check == check && finding.severity > Severity::Ok;
    findings.iter().filter(worse).collect()
}

/// Every finding says what to do, or that nothing is wrong.
fn check_shape(findings: &[Finding]) {
    for finding in findings {
        let is_ok = finding.severity == Severity::Ok;
        assert_eq!(finding.why.is_empty(), is_ok, "{finding:?}");
        assert_eq!(finding.mend.is_empty(), is_ok, "{finding:?}");
        assert!(!finding.what.is_empty() && !finding.what.contains('\n'), "{finding:?}");
    }
}
