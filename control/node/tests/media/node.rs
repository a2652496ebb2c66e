//! A running node, what it logs, and a stop that is waited for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Lines that a process has written, for others to wait for.
type Lines = Arc<(Mutex<Vec<String>>, Condvar)>;

/// A node that is killed at the end of its test.
pub(crate) struct Node {
    child: Child,
    logged: Lines,
    /// Where SIP is listened for; media is bound to the same IP address.
    pub(crate) sip: SocketAddr,
    /// Where ng commands are received.
    pub(crate) ng: SocketAddr,
    _settings: NamedTempFile,
}

impl Node {
    /// Starts a node with an open domain, one worker and these `[media]` keys on an address of the
    /// loopback network that no other test uses, so that all ports on it are ours.
    pub(crate) fn start(media: &str) -> Node {
        Node::listening(0, media)
    }

    /// The same, with SIP on this port; `{home}` in the settings is its address.
    pub(crate) fn listening(port: u16, media: &str) -> Node {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let place = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = Ipv4Addr::new(127, 1 + high % 250, low, place);
        let media = media.replace("{home}", &home.to_string());
        let mut settings = NamedTempFile::new().expect("a temporary file");
        write!(
            settings,
            "[node]\nworkers = 1\n[media]\naddresses = [\"{home}\"]\n{media}\n[ng]\nlisten = \"127.0.0.1:0\"\n\
             [[sip.listen]]\ntransport = \"udp\"\naddress = \"{home}:{port}\"\n"
        )
        .expect("it can be written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfarm"))
            .args(["run", "--config"])
            .arg(settings.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let said = collect(child.stdout.take().expect("its output is piped"));
        let logged = collect(child.stderr.take().expect("its log is piped"));
        let find = |mark: &str| {
            let line = wait(&said, &|line| line.contains(mark), mark);
            let word = line.split(mark).nth(1).and_then(|rest| rest.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
        };
        let (sip, ng) = (find("udp:"), find("  ng  "));
        Node { child, logged, sip, ng, _settings: settings }
    }

    /// Waits for a line in the log that contains this.
    pub(crate) fn wait_logged(&self, what: &str) -> String {
        wait(&self.logged, &|line| line.contains(what), what)
    }

    /// The `media` part of the line that is logged for this call at its end.
    pub(crate) fn media_of(&self, call_id: &str) -> String {
        let name = format!("call_id=\"{call_id}\"");
        let ended = |line: &str| line.contains("call ended") && line.contains(&name);
        let line = wait(&self.logged, &ended, &name);
        let media = line.split("media=\"").nth(1).and_then(|rest| rest.split('"').next());
        media.unwrap_or_else(|| panic!("{line:?}")).to_owned()
    }

    /// How many lines of the log contain this.
    pub(crate) fn logged(&self, what: &str) -> usize {
        let lines = self.logged.0.lock().expect("no reader has panicked");
        lines.iter().filter(|line| line.contains(what)).count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, so that the node never writes into a closed or full pipe.
fn collect(from: impl std::io::Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let shared = Arc::clone(&lines);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            shared.0.lock().expect("no reader has panicked").push(line);
            shared.1.notify_all();
        }
    });
    lines
}

fn wait(lines: &Lines, fits: &dyn Fn(&str) -> bool, what: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = lines.0.lock().expect("no reader has panicked");
    loop {
        if let Some(line) = seen.iter().find(|line| fits(line)) {
            return line.clone();
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "no {what:?} in {seen:#?}");
        seen = lines.1.wait_timeout(seen, left).expect("no reader has panicked").0;
    }
}
