//! The node as a process: `ringfarm run` and `ringfarm demo` as a user or a script meets them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn ringfarm() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ringfarm"))
}

/// A node that is killed at the end of its test.
struct Node {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Node {
    /// Starts a node on any free port of loopback; gives its UDP address.
    fn start() -> (Node, String) {
        let mut child = ringfarm()
            .args(["run", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut ready = String::new();
        stdout.read_line(&mut ready).expect("a line");
        let address = ready
            .split_whitespace()
            .find_map(|word| word.strip_prefix("udp:"))
            .unwrap_or_else(|| panic!("{ready:?} names no UDP address"))
            .to_owned();
        (Node { child, stdout }, address)
    }

    /// Starts a node with a control socket in `dir` and these settings besides; gives the socket and what the
    /// node says when it is ready.
    fn with_socket(dir: &Path, settings: &str) -> (Node, PathBuf, String) {
        let (socket, file) = (dir.join("control.sock"), dir.join("x.toml"));
        let text = format!("[control]\nsocket = \"{}\"\n{settings}", socket.display());
        std::fs::write(&file, text).expect("it is written");
        let mut command = ringfarm();
        command.args(["run", "--listen", "127.0.0.1:0", "--config"]).arg(&file);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut ready = String::new();
        stdout.read_line(&mut ready).expect("it is ready");
        (Node { child, stdout }, socket, ready)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("the node lives");
    }

    /// The exit code, once the node has ended by itself.
    fn ended(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code().expect("an exit code");
            }
            assert!(Instant::now() < end, "the node does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_node_stops_cleanly_when_it_is_told_to() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut node, _) = Node::start();
        node.signal(signal);
        assert_eq!(node.ended(), 0, "{signal}");
        let lines: Vec<String> = node.stdout.by_ref().lines().map_while(Result::ok).collect();
        assert_eq!(lines.last().map(String::as_str), Some("ringfarm: stopped"));
    }
}

/// OPTIONS to the node at `address`, to be sent from `socket`.
fn ping(address: &str, socket: &UdpSocket) -> String {
    ping_from(address, "UDP", &socket.local_addr().expect("an address").to_string())
}

fn ping_from(address: &str, transport: &str, local: &str) -> String {
    format!(
        "OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch=z9hG4bKping;rport\r\n\
         Route: <sip:{address};lr>\r\nMax-Forwards: 70\r\nFrom: <sip:ping@{local}>;tag=p\r\n\
         To: <sip:{address}>\r\nCall-ID: ping\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// S56, S57: what a balancer or a person asks first.
#[test]
fn a_node_answers_options() {
    let (_node, address) = Node::start();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.send_to(ping(&address, &socket).as_bytes(), &address).expect("it is sent");
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer).expect("an answer");
    assert!(answer[..length].starts_with(b"SIP/2.0 200 OK\r\n"));
}

/// A heap of its own grows by a page at a time: more than a system call a turn of the signaling thread.
#[test]
fn the_threads_of_a_node_share_one_heap() {
    // Where glibc reserves a heap for a thread: 64 MiB, of which what is not in use yet is out of bounds.
    const RESERVED: std::ops::RangeInclusive<u64> = 32 << 20..=64 << 20;
    let (node, address) = Node::start();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.send_to(ping(&address, &socket).as_bytes(), &address).expect("it is sent");
    socket.recv(&mut [0; 2048]).expect("an answer: the signaling thread has allocated");
    let path = format!("/proc/{}/maps", node.child.id());
    let maps = std::fs::read_to_string(path).expect("its mappings");
    let reserved = maps.lines().filter(|line| line.contains(" ---p 00000000 00:00 0"));
    let heaps = reserved.filter(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let (start, end) = range.expect("a range of addresses");
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).expect("hex"));
        RESERVED.contains(&(end - start))
    });
    assert_eq!(heaps.count(), 0, "{maps}");
}

/// Media goes before signaling, and both before the rest of the host; without CAP_SYS_NICE none does.
#[test]
fn signaling_ranks_between_the_media_workers_and_the_rest_of_the_host() {
    let (node, _) = Node::start();
    let nice = |thread: &str| {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", node.child.id())).expect("threads");
        let stats = tasks.map(|task| {
            std::fs::read_to_string(task.expect("a thread").path().join("stat")).expect("its stat")
        });
        let own = stats.into_iter().find(|stat| stat.contains(thread)).expect("the thread");
        // proc_pid_stat(5): the name in parentheses is the second field, nice the nineteenth.
        let after_name = own.rsplit(')').next().expect("fields");
        after_name.split_whitespace().nth(16).expect("nice").parse::<i32>().expect("a number")
    };
    let ranks = (nice("(relay-0"), nice("(signaling"), nice("(ringfarm"));
    let rest = ranks.2;
    assert!(ranks == (-10, -5, rest) || ranks == (rest, rest, rest), "{ranks:?}");
}

/// A port that is taken is named, with what to do, and exit code 3.
#[test]
fn a_node_whose_port_is_taken_says_so_and_exits_3() {
    let (_node, address) = Node::start();
    let second = ringfarm().args(["run", "--listen", &address]).output().expect("the binary runs");
    assert_eq!(second.status.code(), Some(3));
    let said = stderr(&second);
    assert!(said.contains(&address) && said.contains("another process holds the port"), "{said}");
    assert_eq!(said.matches("os error 98").count(), 1, "{said}");
}

/// Row S66: a media address that is not there is no lack of ports, and no call has to fail to tell.
#[test]
fn a_node_whose_media_address_is_absent_says_so_and_exits_3() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    // An address of documentation (RFC 5737): no host has it.
    let settings = "[[media.networks]]\nname = \"dmz\"\npeers = [\"10.0.0.0/8\"]\naddress = \"203.0.113.77\"\n";
    std::fs::write(file.path(), settings).expect("it is written");
    let node = ringfarm().arg("run").arg("--config").arg(file.path()).output();
    let node = node.expect("the binary runs");
    assert_eq!(node.status.code(), Some(3));
    let said = stderr(&node);
    let wanted = "media.networks, dmz: address = 203.0.113.77 is not an address of this host";
    assert!(said.contains(wanted), "{said}");
}

/// The main promise: calls with audio and video, nothing lost, by the judgement of a process that
/// shares no code with the node.
#[test]
fn the_demo_relays_every_packet_of_every_call() {
    let output = ringfarm()
        .args(["demo", "--sessions", "4", "--seconds", "2", "--json"])
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key} in {report}"));
    assert_eq!(number("sessions_requested"), 4.0);
    assert_eq!(number("sessions_answered"), 4.0);
    assert_eq!(number("sessions_failed"), 0.0);
    assert_eq!(number("registrations_ok"), 8.0);
    assert_eq!(number("rtp_packets_lost"), 0.0);
    assert_eq!(number("rtcp_packets_lost"), 0.0);
    assert_eq!(number("rtp_packets_relayed"), number("rtp_packets_sent"));
    // Four calls, two seconds: 100 packets a second of audio and 120 of video each.
    assert!(number("rtp_packets_relayed") > 4.0 * 2.0 * 200.0);
    assert!(number("cpu_us_per_packet") > 0.0);
    for quantile in ["p50", "p99", "p999", "max"] {
        assert!(report["relay_latency_us"][quantile].as_f64().is_some_and(|us| us > 0.0));
    }
}

/// What `GET path` is answered: status and body.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("metrics are served");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// Figures can be scraped beside the calls, and count what has happened.
#[test]
fn a_node_tells_its_figures_and_its_health_over_http() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "[metrics]\nlisten = \"127.0.0.1:0\"\n").expect("it is written");
    let mut command = ringfarm();
    command.args(["run", "--listen", "127.0.0.1:0", "--config"]).arg(file.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary runs");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
    let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut node = Node { child, stdout };
    let mut ready = String::new();
    node.stdout.read_line(&mut ready).expect("a line");
    let sip = ready.split_whitespace().find_map(|word| word.strip_prefix("udp:"));
    let line =
        log.by_ref().lines().map_while(Result::ok).find(|l| l.contains("metrics are served"));
    let line = line.expect("the address is logged");
    let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let address = address.expect("an address").to_owned();

    assert_eq!(get(&address, "/healthz"), (200, "alive\n".to_owned()));
    assert_eq!(get(&address, "/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(get(&address, "/else").0, 404);

    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let from = socket.local_addr().expect("an address");
    let damaged = format!(
        "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKx\r\nCSeq: 1 OPTIONS\r\n\r\n"
    );
    socket.send_to(damaged.as_bytes(), sip.expect("an address")).expect("it is sent");
    socket.recv(&mut [0; 2048]).expect("a refusal");
    let counted = "ringfarm_sip_malformed_total{kind=\"header\"} 1\n";
    let end = Instant::now() + PATIENCE;
    let mut page = get(&address, "/metrics").1;
    // The answer leaves before the snapshot is handed over.
    while !page.contains(counted) && Instant::now() < end {
        page = get(&address, "/metrics").1;
    }
    for line in [
        counted,
        "ringfarm_ready 1\n",
        "ringfarm_sip_responses_sent_total{class=\"4xx\"} 1\n",
        "ringfarm_transport_udp_received_total 1\n",
        "ringfarm_subscriptions{package=\"presence\"} 0\n",
        "ringfarm_publications 0\n",
        "ringfarm_calls_ended_total{reason=\"refused\"} 0\n",
        "ringfarm_media_worker_sessions{worker=\"0\"} 0\n",
    ] {
        assert!(page.contains(line), "{line} is missing in {page}");
    }
    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended(), 0);
}

/// A running node is told by its control socket; a refresh is the first thing it can be told.
#[test]
fn a_node_is_told_to_refresh_by_its_control_socket() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut node, socket, _) = Node::with_socket(dir.path(), "");

    let refresh = || ringfarm().args(["refresh", "--socket"]).arg(&socket).output();
    let output = refresh().expect("the binary runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(output.stdout, b"refreshed\n");

    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended(), 0);
    assert!(!socket.exists(), "the socket goes with the node");
    let output = refresh().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot reach a node at"), "{}", stderr(&output));
}

/// While datagrams keep coming they are received without looking at anything else in most turns; what
/// else there is, is looked at all the same.
#[test]
fn datagrams_that_keep_coming_keep_out_neither_connections_nor_commands() {
    let dir = tempfile::tempdir().expect("a folder");
    let unbounded = "[defence]\nenabled = false\n[overload]\nenabled = false\n";
    let (mut node, control, ready) = Node::with_socket(dir.path(), unbounded);
    let listener = |transport: &str| {
        let found = ready.split_whitespace().find_map(|word| word.strip_prefix(transport));
        found.unwrap_or_else(|| panic!("{ready:?} names no address of {transport}")).to_owned()
    };
    let (udp, tcp) = (listener("udp:"), listener("tcp:"));

    let enough = AtomicBool::new(false);
    let flooded = AtomicUsize::new(0);
    let flood = || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let request = ping(&udp, &socket);
        // Without waiting for answers: the node's queue never becomes empty.
        while !enough.load(Ordering::Relaxed) {
            if socket.send_to(request.as_bytes(), &udp).is_ok() {
                flooded.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        // However this ends, the flood does.
        let stop = StopAtEnd(&enough);
        scope.spawn(flood);
        let end = Instant::now() + PATIENCE;
        while flooded.load(Ordering::Relaxed) < 20_000 && Instant::now() < end {
            std::thread::yield_now();
        }
        let mut phone = TcpStream::connect(&tcp).expect("it is connected");
        // It takes 2 s on a busy machine; 20, where the runtime is not asked every few milliseconds.
        phone.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let local = phone.local_addr().expect("an address");
        let request = ping_from(&tcp, "TCP", &local.to_string());
        phone.write_all(request.as_bytes()).expect("it is sent");
        let mut answer = [0; 12];
        phone.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"SIP/2.0 200 ");
        let bans = ringfarm().args(["bans", "--socket"]).arg(&control).output();
        assert_eq!(bans.expect("the binary runs").status.code(), Some(0));
        node.signal(Signal::SIGTERM);
        assert_eq!(node.ended(), 0);
        drop(stop);
    });
}

/// Sets its flag when it goes.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The list of bans: made, shown, lifted, and refused where it makes no sense.
#[test]
fn bans_are_listed_added_and_removed_by_the_control_socket() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut node, socket, _) = Node::with_socket(dir.path(), "");

    let bans = |args: &[&str]| {
        let output = ringfarm().arg("bans").args(args).arg("--socket").arg(&socket).output();
        let output = output.expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        (output.status.code(), said)
    };
    assert_eq!(bans(&[]), (Some(0), "nobody is banned\n".to_owned()));
    let add = ["add", "203.0.113.66", "--minutes", "5", "--reason", "premium numbers"];
    assert_eq!(bans(&add), (Some(0), "banned for 5 min: 203.0.113.66\n".to_owned()));
    let (code, said) = bans(&[]);
    assert!(code == Some(0) && said.contains("by operator: premium numbers"), "{said}");
    let list: serde_json::Value = serde_json::from_str(&bans(&["--json"]).1).expect("JSON");
    assert_eq!(list["bans"][0]["source"], "203.0.113.66");
    assert_eq!(bans(&["remove", "203.0.113.66"]).0, Some(0));
    for (args, wanted) in [
        (&["remove", "203.0.113.66"][..], "203.0.113.66 is not banned"),
        (&["add", "127.0.0.1"], "it is exempt"),
        (&["add", "203.0.113.66", "--minutes", "0"], "a ban lasts from 1"),
    ] {
        let (code, said) = bans(args);
        assert!(code == Some(1) && said.contains(wanted), "{said}");
    }
    node.signal(Signal::SIGTERM);
    assert_eq!(node.ended(), 0);
}
