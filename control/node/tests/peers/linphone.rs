//! Linphone, a second phone beside baresip: its own SIP stack (belle-sip), its own TLS (mbedTLS), which
//! believes in no certificate that it has no authority for, and GRUUs.

use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{
    AUTHORITY, CALLEE, CALLEE_HUNG_UP, CALLER, CALLER_HUNG_UP, DOMAIN, Direction, Lab, Meter, NODE,
    Process, Settings, Transport, User, wait_for,
};

const LINPHONE: &str = "linphone-daemon";
/// What its package brings along.
const SPEECH: &str = "/usr/share/sounds/linphone/hello8000.wav";
const MEDIA_PORT: u16 = 16000;
const LIMIT: Duration = Duration::from_secs(10);
/// A second of audio.
const HEARD: u64 = 50;

/// A running phone, which answers every call.
struct Linphone {
    _process: Process,
    socket: PathBuf,
    /// It serves one connection at a time, and not well if they come and go.
    control: RefCell<UnixStream>,
}

impl Linphone {
    /// Starts it as `user`; it registers by itself. `authority`: the file with what it believes in.
    fn start(
        lab: &Lab,
        user: &User,
        local: Ipv4Addr,
        transport: Transport,
        authority: &Path,
    ) -> Linphone {
        let dir = lab.path(&user.name);
        // Without a place for its database it does not start at all.
        let data = dir.join(".local/share/linphone");
        let host = lab.host(local);
        host.knows(DOMAIN, NODE.into());
        fs::create_dir_all(&data)
            .and_then(|()| fs::write(dir.join("rc"), config(user, transport, authority)))
            .unwrap_or_else(|e| panic!("cannot write linphone's settings: {e}"));
        // It takes a name and puts it into /tmp, wherever that is.
        let name = format!("{}-linphone", host.name());
        let mut command = host.command(LINPHONE);
        command.current_dir(&dir).env("HOME", &dir).env_remove("XDG_DATA_HOME");
        command.args(["--auto-answer", "--disable-stats-events", "--pipe", &name, "--config"]);
        command.arg(dir.join("rc")).arg("--log").arg(dir.join("log"));
        let process = Process::spawn(&user.name, &mut command).with_evidence([dir.join("log")]);
        let socket = Path::new("/tmp").join(name);
        let mut control = None;
        wait_for("linphone to take commands", LIMIT, || {
            control = UnixStream::connect(&socket).ok();
            control.is_some()
        });
        let control = control.unwrap_or_else(|| panic!("waited for it"));
        Linphone { _process: process, socket, control: RefCell::new(control) }
    }

    /// What it answers to a command.
    fn tell(&self, command: &str) -> String {
        let mut stream = self.control.borrow_mut();
        let mut answer = [0; 4096];
        let length = stream
            .set_read_timeout(Some(LIMIT))
            .and_then(|()| stream.write_all(format!("{command}\n").as_bytes()))
            .and_then(|()| stream.read(&mut answer));
        let length = length.unwrap_or_else(|e| panic!("linphone says nothing to {command}: {e}"));
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    fn wait(&self, command: &str, wanted: &str) {
        wait_for(&format!("{wanted} from linphone"), LIMIT, || self.tell(command).contains(wanted));
    }

    fn wait_registered(&self) {
        self.wait("register-status ALL", "LinphoneRegistrationOk");
    }
}

impl Drop for Linphone {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
    }
}

fn config(user: &User, transport: Transport, authority: &Path) -> String {
    let User { name, password } = user;
    let (by, authority) = (transport.name(), authority.display());
    format!(
        "[sip]\nsip_port=-1\nsip_tcp_port=-1\nsip_tls_port=-1\nuse_ipv6=0\ndefault_proxy=0\nroot_ca={authority}\n\
         verify_server_certs=1\nverify_server_cn=1\n[net]\nfirewall_policy=0\n[rtp]\naudio_rtp_port={MEDIA_PORT}\n\
         [proxy_0]\nreg_proxy=<sip:{DOMAIN};transport={by}>\nreg_route=<sip:{DOMAIN};transport={by};lr>\n\
         reg_identity=sip:{name}@{DOMAIN}\nreg_expires=600\nreg_sendregister=1\npublish=0\n\
         [auth_info_0]\nusername={name}\npasswd={password}\nrealm={DOMAIN}\n"
    )
}

fn lab() -> Lab {
    let settings = Settings { tls: true, ..Settings::with_users(&["alice", "bob"]) };
    Lab::start(&settings, &[LINPHONE])
}

fn hears(name: &'static str, host: Ipv4Addr) -> Direction {
    let (from, to): (IpAddr, IpAddr) = (NODE.into(), host.into());
    Direction { name, from, to, ports: MEDIA_PORT..=MEDIA_PORT, swallow: false }
}

fn call(transports: [Transport; 2], by_caller: bool) {
    let lab = lab();
    let meter = Meter::start(&lab, &[hears("to_alice", CALLER), hears("to_bob", CALLEE)]);
    let authority = lab.path(AUTHORITY);
    let alice = Linphone::start(&lab, &User::new("alice"), CALLER, transports[0], &authority);
    let bob = Linphone::start(&lab, &User::new("bob"), CALLEE, transports[1], &authority);
    alice.wait_registered();
    bob.wait_registered();
    alice.tell(&format!("call sip:bob@{DOMAIN}"));
    for phone in [&alice, &bob] {
        phone.wait("call-status", "LinphoneCallStreamsRunning");
        phone.tell(&format!("incall-player-start {SPEECH}"));
    }
    for name in ["to_alice", "to_bob"] {
        wait_for("a second of audio", LIMIT, || meter.packets(name) >= HEARD);
    }
    let (ends, hears) = if by_caller { (&alice, &bob) } else { (&bob, &alice) };
    ends.tell("terminate");
    hears.wait("call-status", "No current call");
    drop((alice, bob));
    lab.finish(&[if by_caller { CALLER_HUNG_UP } else { CALLEE_HUNG_UP }]);
}

/// Two of them, over UDP and TCP: both register and hear each other; the callee hangs up.
#[test]
fn a_second_kind_of_phone_calls_over_udp_and_tcp() {
    call([Transport::Udp, Transport::Tcp], false);
}

/// Over TLS, with the node's certificate for its domain verified (RFC 5922); the caller hangs up.
#[test]
fn a_second_kind_of_phone_calls_over_tls() {
    call([Transport::Tls, Transport::Tls], true);
}

/// A phone that does not know the authority does not register: what the node shows is looked at.
#[test]
fn a_phone_that_verifies_leaves_a_node_alone_that_it_cannot_believe() {
    let lab = lab();
    // Nobody's.
    let other =
        lab.write("other.pem", &fs::read_to_string(lab.path("node.pem")).unwrap_or_default());
    let alice = Linphone::start(&lab, &User::new("alice"), CALLER, Transport::Tls, &other);
    alice.wait("register-status ALL", "LinphoneRegistrationFailed");
    drop(alice);
    lab.finish(&[]);
}
