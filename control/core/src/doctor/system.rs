//! The kernel, limits, the clock, certificates.

use super::{Finding, Host};

/// Descriptors that a node needs beside those of SIP connections: listeners, workers' rings, the cluster, logs.
const DESCRIPTORS_BESIDE: u64 = 1_024;

/// Days before its end at which a certificate is spoken of: renewed a month ahead, so that by then something went wrong.
const CERTIFICATE_DAYS: i64 = 30;
const DAY_S: i64 = 86_400;

/// What the media engine needs of the kernel.
pub(super) fn io_uring(host: &Host, findings: &mut Vec<Finding>) {
    let kernel = &host.kernel;
    findings.push(match &host.io_uring {
        Ok(()) => {
            Finding::ok("io_uring", format!("Linux {kernel} has all that the media engine needs"))
        }
        Err(lacks) => {
            let (what, mend) =
                lacks.split_once("; ").or(lacks.split_once(": ")).unwrap_or((lacks, ""));
            Finding::error(
                "io_uring",
                format!("Linux {kernel}: {what}"),
                "the node does not start without it",
                if mend.is_empty() { "use Linux 6.1 or later" } else { mend },
            )
        }
    });
}

/// Descriptors bound connections over TCP, TLS and WebSocket; media has none of its own.
pub(super) fn descriptors(host: &Host, findings: &mut Vec<Finding>) {
    let (has, needs) = (host.descriptors_max, host.connections_max + DESCRIPTORS_BESIDE);
    findings.push(if has >= needs {
        Finding::ok("descriptors", format!("{has} descriptors, and {needs} are needed at most"))
    } else {
        Finding::warning(
            "descriptors",
            format!(
                "a process here may have {has} descriptors, and with limits.tcp_connections = {} it may need {needs}",
                host.connections_max
            ),
            "further connections are closed as they come",
            format!("systemctl edit ringfarm    # [Service] LimitNOFILE={}", needs.next_power_of_two()),
        )
    });
}

/// A wrong clock breaks what is dated, though no call: certificates, tokens to join, logs.
pub(super) fn clock_and_certificates(host: &Host, findings: &mut Vec<Finding>) {
    match host.is_clock_kept {
        Some(true) => findings.push(Finding::ok("clock", "the system says that its clock is kept right")),
        Some(false) => findings.push(Finding::warning(
            "clock",
            "nothing keeps this host's clock right, as far as the kernel knows",
            "certificates and tokens are judged by it, and members' logs cannot be laid side by side",
            "timedatectl set-ntp true    # or start chronyd",
        )),
        None => {}
    }
    for ends in &host.certificates {
        let (file, days) = (&ends.file, ends.left_s / DAY_S);
        findings.push(if ends.left_s <= 0 {
            let why = "nobody who checks it speaks with this node any more";
            Finding::error("certificate", format!("{file} has ended"), why, ends.renew)
        } else if ends.left_s < CERTIFICATE_DAYS * DAY_S {
            let what = format!("{file} ends in {days} days");
            Finding::warning(
                "certificate",
                what,
                "from then on nobody who checks it speaks with this node",
                ends.renew,
            )
        } else {
            Finding::ok("certificate", format!("{file} is good for {days} days"))
        });
    }
}
