//! A browser's SIP stack, JsSIP, over WebSocket in the clear and over TLS. It does not call: its media would
//! be DTLS-SRTP with ICE, which the relay does not speak.

use std::path::Path;
use std::time::Duration;

use crate::harness::{AUTHORITY, CALLER, DOMAIN, Lab, NODE, Process, Settings};

/// What runs it.
const NODE_JS: &str = "node";
const LIMIT: Duration = Duration::from_secs(10);
const WS_PORT: u16 = 8080;
const WSS_PORT: u16 = 8443;

/// Where `deploy/test` installs it, in the versions of `websocket/package-lock.json`.
const MODULES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/sip-over-websocket/node_modules");

/// RFC 7118: browsers register (one over TLS, whose certificate they verify), are refused with a wrong
/// password, send each other messages, subscribe to each other's packages and to what the node tells of users,
/// and unregister.
#[test]
fn browsers_register_send_messages_and_subscribe() {
    assert!(
        Path::new(MODULES).is_dir(),
        "JsSIP is not installed in {MODULES}: run `deploy/test --install`"
    );
    let listen = |transport: &str, port: u16| {
        format!("\n[[sip.listen]]\ntransport = \"{transport}\"\naddress = \"{NODE}:{port}\"\n")
    };
    let more = listen("ws", WS_PORT) + &listen("wss", WSS_PORT);
    let settings = Settings { tls: true, more, ..Settings::with_users(&["alice", "bob"]) };
    let lab = Lab::start(&settings, &[NODE_JS]);
    let script = lab.write("phones.js", include_str!("websocket/phones.js"));
    let mut command = lab.host(CALLER).command(NODE_JS);
    command.arg(script).arg(format!("ws://{NODE}:{WS_PORT}"));
    command.arg(format!("wss://{NODE}:{WSS_PORT}")).arg(DOMAIN);
    command.args(settings.users.iter().map(|user| &user.password));
    command.env("NODE_PATH", MODULES).env("NODE_EXTRA_CA_CERTS", lab.path(AUTHORITY));
    let mut phones = Process::spawn("phones", &mut command);
    let status = phones.wait_end(LIMIT);
    phones.wait_line("unregistered", LIMIT, |line| line == "unregistered");
    assert!(status.success(), "the phones ended with {status}");
    let steps = [
        "stranger refused 401",
        "registered",
        "messages",
        "watched a phone",
        "watched by the node",
        "unregistered",
    ];
    assert_eq!(phones.lines(), steps);
    lab.finish(&[]);
}
