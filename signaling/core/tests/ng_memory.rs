//! What a controller's call takes of memory on this side of the relay, and that nothing of it stays.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use relay_core::api::{CloseCause, Command, Event, LocalPorts, SessionReport, SessionSpec};
use signaling_core::call::{LearningPolicy, MediaAddresses};
use signaling_core::ng::{Config, Ng, Output};
use signaling_core::proxy::LocalAddresses;
use signaling_core::transport::{Arrival, ListenerId, Transport};

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// With what the system's allocator adds to a block: a header of 8 bytes, rounded up to 16.
fn block(size: usize) -> isize {
    ((size + 8).next_multiple_of(16).max(32)).cast_signed()
}

fn count(bytes: isize) {
    // The thread's value may be gone while the thread ends; nothing is measured then.
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(block(layout.size()));
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-block(layout.size()));
        // SAFETY: as above; the pointer came from `alloc` or `realloc`, that is, from the system.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(block(size) - block(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A power of two, so that tables that double are neither at their best nor at their worst.
const CALLS: u32 = 1024;

struct Addresses;

impl LocalAddresses for Addresses {
    fn local_for(&mut self, _: SocketAddr) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
    }
}

impl MediaAddresses for Addresses {
    fn bind(&self, signaling: IpAddr) -> IpAddr {
        signaling
    }

    fn advertised(&self, local: IpAddr) -> IpAddr {
        local
    }
}

struct Bench {
    ng: Ng,
    now: Instant,
    cookie: u32,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
    fn new() -> Bench {
        let now = Instant::now();
        let config = Config {
            allow: vec!["192.0.2.0/24".parse().unwrap()],
            interfaces: Vec::new(),
            learning: LearningPolicy::Strict,
            calls_max: 1 << 20,
            call_lifetime: Duration::from_secs(3600),
            unix: Duration::ZERO,
        };
        Bench { ng: Ng::new(now, config, Box::new(Addresses), Box::new(Addresses)), now, cookie: 0 }
    }

    /// A command whose strings are all given as `key` and `value`.
    fn ask(&mut self, entries: &[(&str, &str)]) {
        self.cookie += 1;
        let mut datagram = format!("{}_1 d", self.cookie);
        for (key, value) in entries {
            datagram += &format!("{}:{key}{}:{value}", key.len(), value.len());
        }
        datagram += "e";
        let arrival = Arrival {
            transport: Transport::Udp,
            listener: ListenerId(0),
            local: SocketAddr::from(([192, 0, 2, 1], 2223)),
            remote: SocketAddr::from(([192, 0, 2, 9], 40_000)),
            connection: None,
        };
        self.ng.handle_datagram(self.now, &arrival, &Bytes::from(datagram));
        let mut replies = 0;
        while let Some(output) = self.ng.poll_output() {
            match output {
                Output::Media(command) => self.ng.handle_media(carried_out(*command)),
                Output::Transmit(transmit) => {
                    let is_ok = transmit.bytes.windows(4).any(|w| w == b"2:ok");
                    assert!(is_ok, "{:?}", transmit.bytes);
                    replies += 1;
                }
                Output::Record(_) => {}
                Output::Notice(notice) => panic!("{notice}"),
            }
        }
        assert_eq!(replies, 1);
    }

    fn set_up(&mut self, call: u32) {
        let id = format!("{call:08x}-a-call@proxy.example");
        let offer = [("call-id", &*id), ("command", "offer"), ("from-tag", "a"), ("sdp", SDP)];
        self.ask(&offer);
        let answer = [
            ("call-id", &*id),
            ("command", "answer"),
            ("from-tag", "a"),
            ("sdp", SDP),
            ("to-tag", "b"),
        ];
        self.ask(&answer);
    }

    fn delete(&mut self, call: u32) {
        let id = format!("{call:08x}-a-call@proxy.example");
        self.ask(&[("call-id", &id), ("command", "delete"), ("from-tag", "a")]);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.ng.handle_timeout(self.now);
    }

    /// Sets up calls and ends them, and lets their replies be forgotten.
    fn round(&mut self) {
        (0..CALLS).for_each(|call| self.set_up(call));
        (0..CALLS).for_each(|call| self.delete(call));
        self.pass(Duration::from_secs(12));
    }
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n\
    m=video 4002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";

fn carried_out(command: Command) -> Event {
    match command {
        Command::Apply { session, token, spec } => {
            let SessionSpec { local, streams } = spec;
            let ports = local.map(|ip| {
                let rtp = SocketAddr::new(ip, 10_000);
                LocalPorts { rtp, rtcp: rtp }
            });
            Event::Applied { session, token, ports: streams.iter().map(|_| Some(ports)).collect() }
        }
        Command::Close { session } => {
            let report = SessionReport::default();
            Event::Closed { session, cause: CloseCause::Asked, report }
        }
        Command::Report { session, token } => Event::Report { session, token, report: None },
    }
}

fn per_call(live: isize) -> isize {
    live / CALLS.cast_signed() as isize
}

/// A session takes at most 8 kB in all, and the relay's side of it needs the most of that. Measured:
/// 2.1 kB, with the tables at their emptiest and with what is kept of the call's two requests in case
/// that they come again.
#[test]
fn a_call_with_audio_and_video_takes_little() {
    let mut bench = Bench::new();
    let before = LIVE.get();
    (0..CALLS).for_each(|call| bench.set_up(call));
    let bytes = per_call(LIVE.get() - before);
    assert!(bytes <= 2_300, "{bytes} bytes a call");
}

#[test]
fn calls_that_have_ended_leave_nothing() {
    let mut bench = Bench::new();
    // The tables find their sizes.
    (0..4).for_each(|_| bench.round());
    let before = LIVE.get();
    for _ in 0..4 {
        bench.round();
        assert_eq!(LIVE.get(), before);
    }
    assert_eq!((bench.ng.calls(), bench.ng.sessions()), (0, 0));
}
