//! What relaying a packet costs: CPU time of the worker's thread per relayed packet at a given
//! number of streams, and how long the set-up of a session takes.
//!
//!     cargo run --release -p ringfarm-relay-engine --example relay_cost -- [STREAMS] [SECONDS] [PACKETS] [BURST] [BYTES] [SEGMENTS] [GATHER_US]
//!
//! One worker pinned to the first core, the generator and sink on the last; packets of BYTES (172),
//! PACKETS (50) a second a stream, BURST (1) one after the other, over loopback. A burst is a video
//! frame: it is sent with one system call (UDP_SEGMENT), and loopback keeps it together as the
//! receive merging of a network card would. SEGMENTS (1): whether the relay receives and sends
//! runs as one. GATHER_US (1000): how long it lets packets come together. Figures are printed,
//! never asserted.
#![expect(clippy::unwrap_used, reason = "a measuring tool may stop at the first thing that is odd")]

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use relay_core::api::*;
use relay_engine::{Engine, EngineConfig, WorkerCounters};
use smallvec::smallvec;

const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const TICK: Duration = Duration::from_millis(1);

fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<u64>().unwrap());
    let streams = arguments.next().unwrap_or(500);
    let seconds = arguments.next().unwrap_or(5);
    let rate = streams * arguments.next().unwrap_or(50);
    let load = Load {
        rate,
        burst: arguments.next().unwrap_or(1),
        bytes: arguments.next().unwrap_or(172) as usize,
    };
    let segments = arguments.next().unwrap_or(1) == 1;
    let gather = Duration::from_micros(arguments.next().unwrap_or(1000));
    let cores = core_affinity::get_core_ids().unwrap();
    core_affinity::set_for_current(*cores.last().unwrap());

    let (wake, woken) = sync_channel(1);
    let config = EngineConfig {
        ports: 1024..=65_535,
        idle: None,
        segments,
        gather,
        ..EngineConfig::new(vec![Some(cores[0].id)], [1; 32])
    };
    let wake = Arc::new(move || {
        // Full: a wake-up is waiting already.
        let _ = wake.try_send(());
    });
    let engine = Engine::start(config, wake).unwrap();
    let mut latency_us = Histogram::<u64>::new(3).unwrap();
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sink.set_nonblocking(true).unwrap();
    socket2::SockRef::from(&sink).set_recv_buffer_size(8 << 20).unwrap();
    // The kernel says when a packet arrived, however late this program looks.
    setsockopt(&sink, sockopt::ReceiveTimestampns, &true).unwrap();

    let mut set_up_us = Histogram::<u64>::new(3).unwrap();
    let mut targets = Vec::new();
    for session in 0..streams {
        let started = Instant::now();
        engine.submit(apply(session, load.traffic(), &sender, &sink)).unwrap();
        let event = loop {
            match engine.poll_event() {
                Some(event) => break event,
                None => woken.recv().unwrap(),
            }
        };
        set_up_us.record(started.elapsed().as_micros() as u64).unwrap();
        let Event::Applied { ports, .. } = event else { panic!("{event:?}") };
        targets.push(ports[0].unwrap()[0].rtp);
    }
    println!(
        "set-up of an audio session (4 sockets), {streams} in all: p50 {} us, p99 {} us, max {} us",
        set_up_us.value_at_quantile(0.5),
        set_up_us.value_at_quantile(0.99),
        set_up_us.max()
    );

    run(&sender, &sink, &targets, load, 1, &mut latency_us);
    latency_us.reset();
    let before = engine.counters().remove(0);
    let (sent, received) = run(&sender, &sink, &targets, load, seconds, &mut latency_us);
    report(&before, &engine.counters().remove(0), sent, received);
    println!(
        "latency from the sender's call to the sink's socket: p50 {} us, p99 {} us, p99.9 {} us",
        latency_us.value_at_quantile(0.5),
        latency_us.value_at_quantile(0.99),
        latency_us.value_at_quantile(0.999)
    );
    engine.stop();
}

fn apply(session: u64, traffic: Traffic, sender: &UdpSocket, sink: &UdpSocket) -> Command {
    let leg = |socket: &UdpSocket| {
        let rtp = socket.local_addr().unwrap();
        let remote = Remote { rtp, rtcp: rtp, learning: Learning::Signalled };
        StreamLeg {
            rtcp: RtcpMode::Separate,
            remote: Some(remote),
            sends: true,
            payload_types: PayloadTypes::NONE.with(0),
        }
    };
    let legs = [leg(sender), leg(sink)];
    let stream = StreamSpec { open: true, payload: Payload::Rtp { dtls: false }, traffic, legs };
    let spec = SessionSpec { local: [INSIDE, OUTSIDE], streams: smallvec![stream] };
    Command::Apply { session: SessionId(session), token: session, spec }
}

/// What is sent.
#[derive(Clone, Copy)]
struct Load {
    /// Packets a second, of all streams.
    rate: u64,
    /// Packets of a stream one after the other.
    burst: u64,
    bytes: usize,
}

impl Load {
    fn traffic(self) -> Traffic {
        if self.burst > 1 { Traffic::Video } else { Traffic::Audio }
    }
}

/// Sends bursts, spread evenly; returns how many packets were sent and came out.
fn run(
    sender: &UdpSocket,
    sink: &UdpSocket,
    targets: &[SocketAddr],
    load: Load,
    seconds: u64,
    latency_us: &mut Histogram<u64>,
) -> (u64, u64) {
    let Load { rate, burst, bytes } = load;
    let mut frame = vec![0; bytes * burst as usize];
    if burst > 1 {
        setsockopt(sender, sockopt::UdpGsoSegment, &(bytes as i32)).unwrap();
    }
    let total = rate * seconds;
    let (mut sent, mut received) = (0, 0);
    let started = Instant::now();
    while sent < total {
        let due = started.elapsed().as_micros() as u64 * total / (seconds * 1_000_000);
        while sent < due.min(total) {
            let target = (sent / burst) as usize % targets.len();
            let round = sent / burst / targets.len() as u64;
            for (place, packet) in (0..).zip(frame.chunks_mut(bytes)) {
                packet[0] = 0x80;
                packet[2..4].copy_from_slice(&((round * burst + place) as u16).to_be_bytes());
                packet[12..20].copy_from_slice(&now_ns().to_be_bytes());
            }
            sender.send_to(&frame, targets[target]).unwrap();
            sent += burst;
        }
        received += take(sink, latency_us);
        thread::sleep(TICK);
    }
    thread::sleep(Duration::from_millis(200));
    (sent, received + take(sink, latency_us))
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn take(sink: &UdpSocket, latency_us: &mut Histogram<u64>) -> u64 {
    let mut buffer = [0; 2048];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut count = 0;
    loop {
        let mut vectors = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<()>(sink.as_raw_fd(), &mut vectors, Some(&mut control), flags);
        let Ok(message) = message else { return count };
        let arrived = match message.cmsgs().unwrap().next() {
            Some(ControlMessageOwned::ScmTimestampns(at)) => Duration::from(at).as_nanos() as u64,
            _ => panic!("the kernel gives no time"),
        };
        let sent = u64::from_be_bytes(buffer[12..20].try_into().unwrap());
        latency_us.record(arrived.saturating_sub(sent) / 1000).unwrap();
        count += 1;
    }
}

fn report(before: &WorkerCounters, after: &WorkerCounters, sent: u64, received: u64) {
    let relayed = after.rtp_relayed - before.rtp_relayed;
    let cpu = after.cpu - before.cpu;
    println!("sent {sent}, relayed {relayed}, received {received}");
    println!(
        "CPU per relayed packet: {:.2} us; {:.1} packets a wake-up; {} times out of buffers",
        cpu.as_secs_f64() * 1e6 / relayed.max(1) as f64,
        relayed as f64 / (after.wakes - before.wakes).max(1) as f64,
        after.buffers_exhausted - before.buffers_exhausted
    );
}
