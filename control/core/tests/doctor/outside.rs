//! A balancer, as a client sees it.

use std::net::SocketAddr;

use control_core::doctor::{Asked, Finding, Outside, Severity, examine_outside};

use crate::{check_shape, worse};

const VIP: &str = "203.0.113.5:5060";

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn asked(bytes: usize, answers: &[&str]) -> Asked {
    let answers: Vec<SocketAddr> = answers.iter().map(|text| at(text)).collect();
    let status = (!answers.is_empty()).then_some(200);
    Asked { from: 40_000, bytes, answers, status }
}

/// Everything is as it should be.
fn outside() -> Outside {
    Outside {
        vip: at(VIP),
        small: vec![asked(400, &[VIP]); 40],
        large: vec![asked(3_500, &[VIP]); 5],
        tcp: Some(Ok(200)),
    }
}

fn examined(change: impl FnOnce(&mut Outside)) -> Vec<Finding> {
    let mut outside = outside();
    change(&mut outside);
    let findings = examine_outside(&outside);
    check_shape(&findings);
    findings
}

fn only(findings: &[Finding], check: &str, severity: Severity) {
    let bad: Vec<_> = findings.iter().filter(|finding| finding.severity > Severity::Ok).collect();
    assert!(
        bad.len() == 1 && bad[0].check == check && bad[0].severity == severity,
        "{findings:#?}"
    );
}

#[test]
fn a_balancer_that_is_as_it_should_be_is_told_so() {
    let findings = examined(|_| {});
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
}

/// S39: one answer from another port is enough, also one that comes beside a right one.
#[test]
fn an_answer_from_another_port_is_session_binding() {
    for answers in [&["203.0.113.5:5061"][..], &[VIP, "203.0.113.5:1025"][..]] {
        let findings = examined(|outside| outside.small[7] = asked(400, answers));
        only(&findings, "session_binding", Severity::Error);
        let told = worse(&findings, "session_binding")[0];
        assert!(told.mend.contains("ringfarm lb render single-ip-nat --for nftables"), "{told:?}");
    }
}

/// S38: the members' own address is no answer either.
#[test]
fn an_answer_from_another_address_is_told_apart() {
    let findings = examined(|outside| outside.small[0] = asked(400, &["203.0.113.12:5060"]));
    only(&findings, "source_address", Severity::Error);
}

#[test]
fn silence_is_an_error_whole_or_in_part_and_a_packet_may_be_lost() {
    let silent = |count: usize| examined(|outside| outside.small[..count].fill(asked(400, &[])));
    assert!(silent(4).iter().all(|finding| finding.severity == Severity::Ok));
    only(&silent(13), "answers", Severity::Error);
    let findings = silent(40);
    only(&findings, "answers", Severity::Error);
    assert!(findings[0].what.contains("none of 40"), "{findings:#?}");
}

#[test]
fn refusals_lost_fragments_and_missing_tcp_are_warnings() {
    let findings = examined(|outside| outside.small[3].status = Some(503));
    only(&findings, "answers", Severity::Warning);
    let findings = examined(|outside| outside.large[3].answers.clear());
    only(&findings, "fragments", Severity::Warning);
    let findings = examined(|outside| outside.tcp = Some(Err("connection refused".to_owned())));
    only(&findings, "tcp", Severity::Warning);
    assert!(examined(|outside| outside.tcp = None).iter().all(|one| one.check != "tcp"));
}
