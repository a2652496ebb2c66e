//! Drives headless baresip 1.0: each instance plays a tone and records what it hears.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{AUTHORITY, DOMAIN, Place, Process, Transport, User, wait_for};
use crate::tone::Recording;

/// What a test that uses this needs installed.
pub(crate) const BARESIP: &str = "baresip";

/// The first port of its media range.
pub(crate) const MEDIA_FIRST: u16 = 16000;
/// The last port of its media range.
pub(crate) const MEDIA_LAST: u16 = 16099;

const CONTROL_PORT: u16 = 4444;
const STARTED: Duration = Duration::from_secs(10);
const ANSWERED: Duration = Duration::from_secs(10);
const ENDED: Duration = Duration::from_secs(10);

/// What a phone does besides calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras<'e> {
    /// Lines of its configuration.
    pub(crate) config: &'e str,
    /// Parameters of its account: `NAME=VALUE;NAME=VALUE`.
    pub(crate) account: &'e str,
    /// Its contacts.
    pub(crate) contacts: &'e str,
    /// The domain of the user, where it is not the node's.
    pub(crate) domain: Option<&'e str>,
}

/// A running baresip that is registered at the node, answers every call and plays a tone.
pub(crate) struct Baresip {
    process: Process,
    control: RefCell<Control>,
    dir: PathBuf,
}

impl Baresip {
    /// Starts it as `user` on the host `local`; returns once the node has accepted its
    /// registration.
    pub(crate) fn start(
        lab: &dyn Place,
        user: &User,
        local: impl Into<IpAddr>,
        transport: Transport,
        hertz: u32,
    ) -> Baresip {
        Baresip::start_with(lab, user, local, transport, hertz, Extras::default())
    }

    /// As [`Baresip::start`], with more to do.
    pub(crate) fn start_with(
        lab: &dyn Place,
        user: &User,
        local: impl Into<IpAddr>,
        transport: Transport,
        hertz: u32,
        extras: Extras<'_>,
    ) -> Baresip {
        let local = local.into();
        let dir = lab.path(&user.name);
        let write = |name: &str, text: String| {
            fs::create_dir_all(&dir)
                .and_then(|()| fs::write(dir.join(name), text))
                .unwrap_or_else(|e| panic!("cannot write baresip's {name}: {e}"));
        };
        let mut text = config(local, hertz, &dir.display().to_string());
        if transport == Transport::Tls {
            let authorities = lab.path(AUTHORITY);
            let _ = writeln!(text, "sip_cafile {}", authorities.display());
        }
        text += extras.config;
        write("config", text);
        let account = account(user, lab.sip(local, transport), transport, extras);
        write("accounts", account);
        write("contacts", extras.contacts.to_owned());
        let mut command: Command = lab.host_of(local).command(BARESIP);
        // -s: it prints its SIP messages, which a failed test shows.
        command.arg("-f").arg(&dir).arg("-s").current_dir(&dir);
        let mut process = Process::spawn(&user.name, &mut command);
        let control = Control::connect(lab, local);
        // Registered before we were connected, so the event may have gone unheard: its log has it
        // too.
        process.wait_line("its registration", STARTED, |line| {
            line.contains("200 OK") && line.contains("binding")
        });
        Baresip { process, control: RefCell::new(control), dir }
    }

    /// What it has printed so far, with its SIP messages.
    pub(crate) fn printed(&self) -> String {
        self.process.lines().join("\n")
    }

    /// Calls `user`@our domain and waits for the answer.
    pub(crate) fn call(&self, user: &User) {
        self.command("dial", &format!("{}@{DOMAIN}", user.name));
        self.wait_event("CALL_ESTABLISHED", ANSWERED);
    }

    /// Puts the call on hold; returns once the other side has agreed.
    pub(crate) fn hold(&self) {
        self.renegotiate("hold");
    }

    /// Takes the call off hold; returns once the other side has agreed.
    pub(crate) fn resume(&self) {
        self.renegotiate("resume");
    }

    /// Does something that needs no answer.
    pub(crate) fn tell(&self, command: &str) {
        self.command(command, "");
    }

    /// Waits until it has said something, in whatever colours.
    pub(crate) fn wait_said(&mut self, what: &str) {
        self.process.wait_line(what, ANSWERED, |line| plain(line).contains(what));
    }

    /// Ends the call.
    pub(crate) fn hang_up(&self) {
        self.command("hangup", "");
    }

    /// Waits until the call has ended.
    pub(crate) fn wait_call_end(&self) {
        self.wait_event("CALL_CLOSED", ENDED);
    }

    /// Unregisters, ends and returns what it heard.
    pub(crate) fn quit(mut self) -> Recording {
        self.command("quit", "");
        let status = self.process.wait_end(ENDED);
        assert!(status.success(), "baresip ended with {status}");
        let file = self
            .recording()
            .unwrap_or_else(|| panic!("baresip recorded nothing in {}", self.dir.display()));
        Recording::read(&file).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The bytes of its recording so far: grows while audio arrives.
    pub(crate) fn recorded_bytes(&self) -> u64 {
        self.recording()
            .and_then(|file| fs::metadata(file).ok())
            .map_or(0, |metadata| metadata.len())
    }

    fn recording(&self) -> Option<PathBuf> {
        let files = fs::read_dir(&self.dir).ok()?.flatten().map(|entry| entry.path());
        // It names them dump-DATE-dec.wav (decoded, so heard) and dump-DATE-enc.wav (to be encoded,
        // so played).
        files.into_iter().find(|path| path.to_string_lossy().ends_with("-dec.wav"))
    }

    fn renegotiate(&self, command: &str) {
        let before = self.control.borrow().count("CALL_REMOTE_SDP");
        self.command(command, "");
        self.control
            .borrow_mut()
            .wait(command, ANSWERED, |control| control.count("CALL_REMOTE_SDP") > before);
    }

    fn command(&self, command: &str, parameters: &str) {
        self.control.borrow_mut().send(command, parameters);
    }

    fn wait_event(&self, event: &str, limit: Duration) {
        self.control.borrow_mut().wait(event, limit, |control| control.count(event) > 0);
    }
}

/// A line without the codes for colours: `ESC [ ... m`.
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.split_once('m').map_or(part, |(_, text)| text));
    rest.fold(first, |plain, text| plain + text)
}

/// The connection to its module `ctrl_tcp`: JSON objects in netstrings.
struct Control {
    stream: TcpStream,
    unread: Vec<u8>,
    events: Vec<String>,
}

impl Control {
    fn connect(lab: &dyn Place, local: IpAddr) -> Control {
        let mut stream = None;
        wait_for("baresip's control port", STARTED, || {
            stream = lab.host_of(local).enter(|| TcpStream::connect((local, CONTROL_PORT)).ok());
            stream.is_some()
        });
        let stream = stream.unwrap_or_else(|| panic!("no control connection to baresip"));
        Control { stream, unread: Vec::new(), events: Vec::new() }
    }

    fn count(&self, event: &str) -> usize {
        self.events.iter().filter(|seen| *seen == event).count()
    }

    fn send(&mut self, command: &str, parameters: &str) {
        let text = json!({ "command": command, "params": parameters }).to_string();
        let sent = self.stream.write_all(format!("{}:{text},", text.len()).as_bytes());
        sent.unwrap_or_else(|e| panic!("baresip does not take commands: {e}"));
    }

    fn wait(&mut self, what: &str, limit: Duration, done: impl Fn(&Control) -> bool) {
        let deadline = Instant::now() + limit;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "baresip: waited {limit:?} in vain for {what}; its events: {:?}",
                self.events
            );
            self.read(left);
        }
    }

    fn read(&mut self, limit: Duration) {
        let mut bytes = [0; 4096];
        let set = self.stream.set_read_timeout(Some(limit.max(Duration::from_millis(1))));
        set.unwrap_or_else(|e| panic!("cannot set a timeout: {e}"));
        match self.stream.read(&mut bytes) {
            Ok(0) => panic!("baresip closed its control connection; its events: {:?}", self.events),
            Ok(length) => self.unread.extend_from_slice(&bytes[..length]),
            // The deadline is for the caller to judge.
            Err(_) => return,
        }
        while let Some(object) = take_netstring(&mut self.unread) {
            if let Some(event) = object["type"].as_str() {
                self.events.push(event.to_owned());
            }
            assert!(object["ok"] != Value::Bool(false), "baresip refused a command: {object}");
        }
    }
}

/// Takes one complete `LENGTH:JSON,` off the front.
fn take_netstring(bytes: &mut Vec<u8>) -> Option<Value> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&bytes[..colon]).ok()?.parse().ok()?;
    let text = bytes.get(colon + 1..colon + 1 + length)?;
    let object =
        serde_json::from_slice(text).unwrap_or_else(|e| panic!("baresip sent no JSON: {e}"));
    // The comma after it, too.
    bytes.drain(..bytes.len().min(colon + length + 2));
    Some(object)
}

fn account(user: &User, proxy: SocketAddr, transport: Transport, extras: Extras<'_>) -> String {
    let Extras { account: more, domain, .. } = extras;
    let domain = domain.unwrap_or(DOMAIN);
    let (name, password, transport) = (&user.name, &user.password, transport.name());
    format!(
        "<sip:{name}@{domain};transport={transport}>;auth_user={name};auth_pass={password};\
         outbound=\"sip:{proxy};transport={transport}\";regint=300;answermode=auto;\
         audio_codecs=pcma/8000/1;{more}\n"
    )
}

fn config(local: IpAddr, hertz: u32, dir: &str) -> String {
    let [sip, control] = [5060, CONTROL_PORT].map(|port| SocketAddr::new(local, port));
    // ausine makes two channels of 48 kHz and nothing else. The audio that arrives is played into a
    // bridge that has no other end, and recorded by sndfile on the way.
    format!(
        "poll_method epoll\n\
         sip_listen {sip}\n\
         net_interface {local}\n\
         audio_source ausine,{hertz}\n\
         audio_player aubridge,sink\n\
         audio_alert aubridge,alert\n\
         ausrc_srate 48000\n\
         ausrc_channels 2\n\
         audio_buffer 20-160\n\
         audio_txmode thread\n\
         audio_level no\n\
         statmode_default off\n\
         rtp_ports {MEDIA_FIRST}-{MEDIA_LAST}\n\
         rtcp_mux no\n\
         jitter_buffer_delay 5-10\n\
         rtp_stats yes\n\
         module_path /usr/lib/baresip/modules\n\
         module g711.so\n\
         module ausine.so\n\
         module aubridge.so\n\
         module sndfile.so\n\
         snd_path {dir}\n\
         module_tmp uuid.so\n\
         module_tmp account.so\n\
         module_app menu.so\n\
         module_app ctrl_tcp.so\n\
         ctrl_tcp_listen {control}\n"
    )
}
