//! `ringfarm bench mesh`: what the way between two members costs. Two meshes of this process, over real
//! TLS on the loopback; what is measured is what a relayed message meets.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use control_core::cluster::{
    Capacity, FarmSetting, Incarnation, Member, MemberId, MemberName, PlacementSetting, Profile,
    Role,
};
use control_core::mesh::{Errand, Frame, Hop, ListenerKind, PROTOCOL, Sip};
use control_core::settings::{AddressPair, PortRange};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde_json::json;

use super::keys::StateDir;
use super::mesh::{Config, Inbox, Mesh, MeshEvent, MeshHandle, Pump, SendError, Wake};
use crate::exit::Stop;
use crate::output;

pub(crate) const EXAMPLES: &str = "\
Examples:
  ringfarm bench mesh                 latency, messages a second, processor time of each
  ringfarm bench mesh --json          the same as one JSON object
  ringfarm bench mesh --bytes 1200    with larger messages

It needs no privileges and no network beyond this machine's own 127.0.0.0/8.";

/// What is measured.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct MeshArgs {
    /// How long each part takes, in seconds: 1 to 60.
    #[arg(long, value_name = "T", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Length of a relayed message, in bytes: 1 to 60000.
    #[arg(long, value_name = "N", default_value_t = 800, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    bytes: u32,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Requests in flight in the second part.
const IN_FLIGHT: usize = 32;
/// Messages that one turn of a busy signaling thread relays to one member.
const BATCH: u32 = 16;
/// Messages a second in the part that measures processor time at a load that is no flood.
const PACED: u32 = 5_000;
/// How long anything may take that should be there at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures and prints.
pub(crate) fn execute(args: &MeshArgs) -> Result<(), Stop> {
    let figures = measure(args)?;
    if args.json {
        return output::print(&format!("{}\n", figures.json(args)));
    }
    output::print(&figures.text(args))
}

/// A run of requests.
struct Asked {
    p50_us: f64,
    p99_us: f64,
    per_second: f64,
}

/// A run of relayed messages.
struct Relayed {
    per_second: f64,
    /// Processor time of sender and receiver together, the kernel's included.
    cpu_us: f64,
    /// Messages written at a time.
    per_write: f64,
}

struct Results {
    one: Asked,
    many: Asked,
    paced: Relayed,
    flood: Relayed,
}

fn measure(args: &MeshArgs) -> anyhow::Result<Results> {
    let dir = tempfile_dir()?;
    let measured = Pair::start(&dir).and_then(|pair| {
        let time = Duration::from_secs(args.seconds.into());
        let results = Results {
            one: pair.ask(time, 1)?,
            many: pair.ask(time, IN_FLIGHT)?,
            paced: pair.relay(time, args.bytes, Some(PACED))?,
            flood: pair.relay(time, args.bytes, None)?,
        };
        pair.stop();
        Ok(results)
    });
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    measured
}

fn tempfile_dir() -> anyhow::Result<std::path::PathBuf> {
    let number = u64::from_le_bytes(super::keys::random()?);
    Ok(std::env::temp_dir().join(format!("ringfarm-mesh-{number:016x}")))
}

/// Two members that are connected.
struct Pair {
    one: Mesh,
    two: Mesh,
    /// The second one's inboxes have something.
    woken: Receiver<()>,
    second: MemberId,
}

fn waker() -> (Wake, Receiver<()>) {
    let (sender, woken): (SyncSender<()>, _) = sync_channel(1);
    let wake = move || {
        // Full: who waits has been woken already.
        let _ = sender.try_send(());
    };
    (Arc::new(wake), woken)
}

impl Pair {
    fn start(dir: &std::path::Path) -> anyhow::Result<Pair> {
        let second = MemberId::FIRST.next().context("two numbers")?;
        let now = SystemTime::now();
        let (n1, n2) = (name("n1")?, name("n2")?);
        let state = StateDir::new(dir);
        let keys = state.init(&n1, now)?;
        let authority = state.authority()?.context("its authority is there")?;
        let other = super::keys::Keys::for_member(&keys, &authority, &n2, now)?;
        let ((quiet, ready), (wake, woken)) = (waker(), waker());
        let one = start(member(n1, MemberId::FIRST)?, keys, quiet)?;
        let two = start(member(n2.clone(), second)?, other, wake)?;
        one.handle.set_peers(&[(n2, two.address)]);
        let pair = Pair { one, two, woken, second };
        pair.await_connection(&ready)?;
        Ok(pair)
    }

    fn await_connection(&self, ready: &Receiver<()>) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        let is_up =
            |handle: &MeshHandle| handle.figures().peers.iter().any(|peer| peer.is_connected);
        while !is_up(&self.one.handle) || !is_up(&self.two.handle) {
            ensure!(Instant::now() < end, "the two members do not connect");
            // Whether there was something or not: it is looked at above.
            let _ = ready.recv_timeout(Duration::from_millis(10));
        }
        Ok(())
    }

    fn stop(self) {
        self.one.stop();
        self.two.stop();
    }

    /// Takes what has come for the second member's signaling thread, as that does, until `end`.
    fn pump(&self, end: Instant, mut take: impl FnMut(MeshEvent)) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut pump = Pump::new(&self.two.handle);
            let mut events = Vec::new();
            while Instant::now() < end {
                // Whether there is something or not: it is looked at below.
                let _ = tokio::time::timeout(Duration::from_millis(20), pump.readable()).await;
                pump.read_ready();
                self.two.signaling.drain(&mut events);
                events.drain(..).for_each(&mut take);
            }
        });
        Ok(())
    }

    /// Takes what has come for the second member, until `end`.
    fn serve(&self, inbox: &Inbox, end: Instant, mut take: impl FnMut(MeshEvent)) {
        let mut events = Vec::new();
        while Instant::now() < end {
            inbox.drain(&mut events);
            if events.is_empty() {
                // As above.
                let _ = self.woken.recv_timeout(Duration::from_millis(20));
            }
            events.drain(..).for_each(&mut take);
        }
    }

    /// Requests that are answered at once, so many at a time.
    fn ask(&self, time: Duration, in_flight: usize) -> anyhow::Result<Asked> {
        let end = Instant::now() + time;
        let (handle, second) = (&self.one.handle, self.second);
        let asking = thread::scope(|scope| {
            let asker = scope.spawn(move || asker(handle, second, end, in_flight));
            self.serve(&self.two.control, end + Duration::from_millis(200), |event| {
                if let MeshEvent::Frame(from, Frame::Request(request)) = event {
                    // The asker notices what was not sent.
                    let _ = self.two.handle.reply(from, request.id, Ok(request.body.0));
                }
            });
            asker.join().map_err(|_| anyhow::anyhow!("the asker has panicked"))?
        });
        let mut times = asking?;
        ensure!(!times.is_empty(), "no request was answered");
        times.sort_unstable();
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times[index.min(times.len() - 1)].as_secs_f64() * 1e6
        };
        let per_second = times.len() as f64 / time.as_secs_f64();
        Ok(Asked { p50_us: at(0.50), p99_us: at(0.99), per_second })
    }

    /// Messages in one direction, in batches as a signaling thread has them: as many as are taken, or so
    /// many a second.
    fn relay(&self, time: Duration, bytes: u32, rate: Option<u32>) -> anyhow::Result<Relayed> {
        let frame = message(bytes)?;
        let before = (cpu()?, self.written());
        let start = Instant::now();
        let end = start + time;
        let (sent, got) = thread::scope(|scope| {
            let (handle, second, frame) = (&self.one.handle, self.second, &frame);
            let sender = scope.spawn(move || flood(handle, second, frame, start..end, rate));
            let mut got = 0_u64;
            let taken = self.pump(end + Duration::from_millis(300), |event| {
                got += u64::from(matches!(event, MeshEvent::Frame(_, Frame::SipRelay(..))));
            });
            let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender has panicked"));
            (taken.and(sent), got)
        });
        let (sent, took) = (sent??, start.elapsed());
        ensure!(got > 0 && got <= sent, "{sent} messages were sent and {got} have come");
        let (cpu, written) = (cpu()? - before.0, self.written());
        let per_write = (written.0 - before.1.0) as f64 / (written.1 - before.1.1).max(1) as f64;
        let cpu_us = cpu.as_secs_f64() * 1e6 / got as f64;
        let per_second = got as f64 / took.min(time).as_secs_f64();
        Ok(Relayed { per_second, cpu_us, per_write })
    }

    /// Frames and writes of the first member.
    fn written(&self) -> (u64, u64) {
        let peers = self.one.handle.figures().peers;
        let sum = |of: fn(&super::mesh::PeerFigures) -> u64| peers.iter().map(of).sum();
        (sum(|peer| peer.frames_out), sum(|peer| peer.writes))
    }
}

/// Relays this message for that time; how often it was taken.
fn flood(
    handle: &MeshHandle,
    to: MemberId,
    frame: &Frame,
    time: Range<Instant>,
    rate: Option<u32>,
) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let mut pump = Pump::new(handle);
    let mut sent = 0_u64;
    while Instant::now() < time.end {
        if let Some(rate) = rate {
            let due = time.start + Duration::from_secs_f64(sent as f64 / f64::from(rate));
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        pump.read_now();
        let mut is_full = false;
        for _ in 0..BATCH {
            let taken = pump.send(to, frame);
            sent += u64::from(taken.is_ok());
            is_full |= taken == Err(SendError::Full);
        }
        pump.flush();
        if is_full {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(sent)
}

/// How long each request took.
fn asker(
    handle: &MeshHandle,
    second: MemberId,
    end: Instant,
    in_flight: usize,
) -> anyhow::Result<Vec<Duration>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = Bytes::from_static(b"0123456789abcdef");
    runtime.block_on(async {
        let asking = (0..in_flight).map(|_| async {
            let mut times = Vec::new();
            while Instant::now() < end {
                let before = Instant::now();
                handle.request(second, body.clone(), PATIENCE).await?;
                times.push(before.elapsed());
            }
            anyhow::Ok(times)
        });
        let all = futures_util::future::try_join_all(asking).await?;
        Ok(all.into_iter().flatten().collect())
    })
}

fn start(member: Member, keys: super::keys::Keys, wake: Wake) -> anyhow::Result<Mesh> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let (wake_signaling, wake_control) = (Arc::clone(&wake), wake);
    Mesh::start(Config { listen, member, keys, tokens: None, wake_signaling, wake_control })
}

fn name(text: &str) -> anyhow::Result<MemberName> {
    MemberName::new(text).map_err(anyhow::Error::msg)
}

fn member(name: MemberName, id: MemberId) -> anyhow::Result<Member> {
    let profile = Profile {
        role: Role::Frontend,
        farm: FarmSetting::Auto,
        call_legs: PlacementSetting::Auto,
        signals: PlacementSetting::Auto,
        draining: false,
        joining: false,
        continues: Vec::new(),
        capacity: Capacity::USUAL,
        media_ports: PortRange::new(20_000, 29_999).map_err(anyhow::Error::msg)?,
        wan_ip: AddressPair::default(),
        own_wan_ip: AddressPair::default(),
        mesh: SocketAddr::from(([127, 0, 0, 1], 0)),
        sip: Vec::new(),
        protocol: PROTOCOL,
    };
    Ok(Member { name, id, incarnation: Incarnation(1), profile })
}

fn message(bytes: u32) -> anyhow::Result<Frame> {
    let address = SocketAddr::from(([127, 0, 0, 1], 5060));
    let listener = ListenerKind::Address;
    let hop = Hop { transport: 0, listener, local: address, remote: address, connection: 0 };
    let bytes = vec![b'x'; usize::try_from(bytes)?].into();
    Ok(Frame::SipRelay(Errand { why: 2, asked: 0 }, Sip { hop, bytes }))
}

/// Processor time of this process until now.
fn cpu() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("the system does not say")?;
    let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(us)?))
}

impl Results {
    fn text(&self, args: &MeshArgs) -> String {
        let asked = |what: &str, asked: &Asked| {
            let Asked { p50_us, p99_us, per_second } = asked;
            format!("{what:<36}p50 {p50_us:7.1} us   p99 {p99_us:7.1} us   {per_second:8.0}/s\n")
        };
        let relayed = |what: String, relayed: &Relayed| {
            let Relayed { per_second, cpu_us, per_write } = relayed;
            format!(
                "{what:<36}CPU {cpu_us:7.2} us   {per_write:5.1} a write   {per_second:11.0}/s\n"
            )
        };
        let bytes = args.bytes;
        asked("request and reply, one at a time", &self.one)
            + &asked(&format!("request and reply, {IN_FLIGHT} at a time"), &self.many)
            + &relayed(format!("messages of {bytes} bytes, {PACED}/s"), &self.paced)
            + &relayed(format!("messages of {bytes} bytes, a flood"), &self.flood)
    }

    fn json(&self, args: &MeshArgs) -> serde_json::Value {
        let asked = |asked: &Asked| {
            json!({
                "p50_us": asked.p50_us, "p99_us": asked.p99_us, "per_second": asked.per_second,
            })
        };
        let relayed = |relayed: &Relayed| {
            json!({
                "per_second": relayed.per_second, "cpu_us": relayed.cpu_us,
                "per_write": relayed.per_write,
            })
        };
        json!({
            "bytes": args.bytes, "seconds": args.seconds,
            "request": { "one": asked(&self.one), "many": asked(&self.many), "in_flight": IN_FLIGHT },
            "relay": { "paced": relayed(&self.paced), "flood": relayed(&self.flood), "paced_rate": PACED },
        })
    }
}
