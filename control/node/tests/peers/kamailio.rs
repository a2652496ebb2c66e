//! Kamailio 5.6 as somebody else's proxy, on a host of its own.

use std::time::Duration;

use crate::harness::{
    AUTHORITY, CALLEE, DOMAIN, NG_PORT, NODE, NODE_PORT, NODE_TLS_PORT, OUTSIDE_DOMAIN, PEER,
    PROXY, Place, Process, Transport, wait_for,
};

/// What a test that uses this needs installed.
pub(crate) const KAMAILIO: &str = "kamailio";

const STARTED: Duration = Duration::from_secs(15);

/// A running proxy that routes our domain to the node and the outside domain to the called host's
/// port.
pub(crate) struct Kamailio {
    process: Process,
}

impl Kamailio {
    /// Returns once it listens. `callee_port` is where the users of the outside domain are.
    pub(crate) fn start(lab: &dyn Place, callee_port: u16) -> Kamailio {
        Kamailio::start_over(lab, Transport::Udp, callee_port)
    }

    /// As [`Kamailio::start`], with this transport between the two proxies. Over TLS each has the other
    /// show a certificate for its address.
    pub(crate) fn start_over(lab: &dyn Place, transport: Transport, callee_port: u16) -> Kamailio {
        let node = lab.sip(PROXY.into(), transport);
        let template = include_str!("kamailio.cfg")
            .replace("@NODE@", &format!("{node};transport={}", transport.name()))
            .replace("@TLS@", &if transport == Transport::Tls { tls(lab) } else { String::new() });
        Kamailio::start_with(lab, &template, callee_port)
    }

    /// As [`Kamailio::start`], for a proxy that sends every call to the called host's port and has
    /// its media relayed by the node.
    pub(crate) fn start_with_ng(lab: &dyn Place, callee_port: u16) -> Kamailio {
        Kamailio::start_with(lab, include_str!("kamailio_ng.cfg"), callee_port)
    }

    /// As [`Kamailio::start`], for a registrar that calls its users along the Paths of their registrations.
    pub(crate) fn start_registrar(lab: &dyn Place) -> Kamailio {
        Kamailio::start_with(lab, include_str!("kamailio_registrar.cfg"), 0)
    }

    fn start_with(lab: &dyn Place, template: &str, callee_port: u16) -> Kamailio {
        let config = template
            .replace("@PROXY@", &PROXY.to_string())
            .replace("@DOMAIN@", DOMAIN)
            .replace("@NODE@", &format!("{NODE}:{NODE_PORT}"))
            .replace("@NG@", &format!("{NODE}:{NG_PORT}"))
            .replace("@OUTSIDE@", OUTSIDE_DOMAIN)
            .replace("@CALLEE@", &format!("{CALLEE}:{callee_port}"));
        let config = lab.write("kamailio.cfg", &config);
        let mut command = lab.host_of(PROXY.into()).command(KAMAILIO);
        // -DD -E: in the foreground, log to stderr. -m, -M: MiB of shared and private memory, for a
        // few calls.
        command.arg("-f").arg(&config).args(["-DD", "-E", "-m", "32", "-M", "8"]);
        command.arg("-Y").arg(lab.path("")).arg("-w").arg(lab.path(""));
        let process = Process::spawn("kamailio", &mut command);
        wait_for("kamailio to listen", STARTED, || {
            lab.host_of(PROXY.into()).udp_sockets(5060..=5060).len() == 1
        });
        Kamailio { process }
    }

    /// What its module was told of a call that a BYE ends: RTP packets that the node has relayed.
    pub(crate) fn wait_relayed(&mut self) -> u64 {
        let told = |line: &str| -> Option<u64> {
            let (_, rtp) = line.split_once("relayed RTP: ")?;
            rtp.split_whitespace().nth(2)?.parse().ok()
        };
        self.process.wait_line("$rtpstat", Duration::from_secs(5), |line| told(line).is_some());
        self.process.lines().iter().find_map(|line| told(line)).unwrap_or_default()
    }

    /// Waits until it has passed on a request of this method.
    pub(crate) fn wait_passed_on(&mut self, method: &str) {
        let wanted = format!("passed on {method}");
        self.process
            .wait_line(&wanted, Duration::from_secs(5), |line| line.trim_end().ends_with(&wanted));
    }
}

/// The settings that have it listen and connect over TLS.
fn tls(lab: &dyn Place) -> String {
    let [certificate, key, authority] =
        [format!("{PEER}.pem"), format!("{PEER}.key"), AUTHORITY.to_owned()]
            .map(|name| lab.path(&name).display().to_string());
    let file = lab.write(
        "kamailio_tls.cfg",
        &["server", "client"].map(|side| {
            // As a server it asks for no certificate: the node shows one only as a server.
            let verify = if side == "client" { "yes" } else { "no" };
            format!(
                "[{side}:default]\nmethod = TLSv1.2+\nverify_certificate = {verify}\nrequire_certificate = {verify}\n\
                 private_key = {key}\ncertificate = {certificate}\nca_list = {authority}\n\n"
            )
        })
        .concat(),
    );
    format!(
        "enable_tls=yes\nlisten=tls:{PROXY}:{NODE_TLS_PORT}\nloadmodule \"tls.so\"\n\
         modparam(\"tls\", \"config\", \"{}\")\n",
        file.display()
    )
}
