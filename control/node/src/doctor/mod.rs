//! `ringfarm doctor`: what is wrong with this host, or with the balancer in front of a cluster, and the command that
//! mends it.

mod ask;
mod gather;
mod proc;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use control_core::doctor::{Finding, Severity, examine, examine_outside};
use serde_json::json;

use crate::cli::RunArgs;
use crate::control::SOCKET;
use crate::exit::Stop;
use crate::{output, settings_io};

/// Shown by `ringfarm doctor --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  ringfarm doctor --config /etc/ringfarm/ringfarm.toml    this host, for a node with these settings
  ringfarm doctor --from-outside 203.0.113.5              the balancer, as a phone on this host sees it
  ringfarm doctor --json                                  every check as one JSON object

Each finding says what is, why it hurts, and the command that mends it. Nothing is changed. From outside, some 60
OPTIONS are sent to the address that clients use, over UDP from several ports, in fragments, and over TCP: whatever
comes from elsewhere than was asked is told, as with a balancer that binds sessions of UDP.

Exit codes: 0 nothing that loses calls (there may be warnings; with --strict there are none), 1 something that does,
2 the command line or the settings are wrong.";

/// Where systemd's unit has the settings from.
const CONFIG: &str = "/etc/ringfarm/ringfarm.toml";

/// What is looked at.
#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorArgs {
    /// The node's settings file. By default /etc/ringfarm/ringfarm.toml, or the defaults where there is none.
    #[arg(long, value_name = "FILE", conflicts_with = "from_outside")]
    config: Option<PathBuf>,
    /// Look at the balancer instead, as a client: the address that clients use, with a port if it is not 5060.
    #[arg(long, value_name = "VIP", value_parser = vip)]
    from_outside: Option<SocketAddr>,
    /// Do not connect by TCP (with --from-outside).
    #[arg(long, requires = "from_outside")]
    udp_only: bool,
    /// The running node, if there is one (its control socket).
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Exit with 1 for warnings, too.
    #[arg(long)]
    strict: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Looks, and tells.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<(), Stop> {
    let findings = match args.from_outside {
        Some(vip) => {
            examine_outside(&ask::outside(vip, !args.udp_only).map_err(Stop::CannotStart)?)
        }
        None => examine(&gather::host(&settings(args)?, &args.socket)),
    };
    output::print(&if args.json { as_json(&findings) } else { as_text(&findings) })?;
    let worst = findings.iter().map(|finding| finding.severity).max();
    let bearable = if args.strict { Severity::Ok } else { Severity::Warning };
    if worst.is_none_or(|worst| worst <= bearable) { Ok(()) } else { Err(Stop::Reported) }
}

fn settings(args: &DoctorArgs) -> Result<control_core::settings::Settings, Stop> {
    let usual = Path::new(CONFIG);
    let config = args.config.clone().or_else(|| usual.exists().then(|| usual.to_owned()));
    settings_io::load(&RunArgs { config, listen: Vec::new() })
}

/// `ADDRESS` or `ADDRESS:PORT`.
fn vip(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse::<SocketAddr>();
    let at = with_port.or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 5060)));
    at.map_err(|_| {
        format!("{text:?} is no address; write for example 203.0.113.5 or [2001:db8::5]:5060")
    })
}

fn as_json(findings: &[Finding]) -> String {
    let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
    format!("{:#}\n", json!({ "worst": worst, "findings": findings }))
}

fn as_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let severity = match finding.severity {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Error => "ERROR",
        };
        text += &format!("{severity:<8} {:<16} {}\n", finding.check, finding.what);
        if finding.severity > Severity::Ok {
            text += &format!("{:25} why:  {}\n{:25} mend: {}\n", "", finding.why, "", finding.mend);
        }
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    text + &format!(
        "{errors} errors, {warnings} warnings, {} checks in order\n",
        count(Severity::Ok)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vip_is_read_with_and_without_a_port() {
        assert_eq!(vip("203.0.113.5").unwrap(), "203.0.113.5:5060".parse().unwrap());
        assert_eq!(vip("[2001:db8::5]:5070").unwrap(), "[2001:db8::5]:5070".parse().unwrap());
        assert_eq!(vip("2001:db8::5").unwrap(), "[2001:db8::5]:5060".parse().unwrap());
        assert!(vip("example.com").unwrap_err().contains("\"example.com\" is no address"));
    }

    #[test]
    fn a_finding_is_told_with_its_reason_and_its_command() {
        let finding = Finding {
            check: "arp",
            severity: Severity::Error,
            what: "arp_ignore of eth0 is 0".to_owned(),
            why: "it answers",
            mend: "sysctl -w x=1".to_owned(),
        };
        let text = as_text(&[finding]);
        assert!(text.starts_with("ERROR    arp              arp_ignore of eth0 is 0\n"), "{text}");
        assert!(text.contains("why:  it answers\n") && text.contains("mend: sysctl -w x=1\n"));
        assert!(text.ends_with("1 errors, 0 warnings, 0 checks in order\n"), "{text}");
    }
}
