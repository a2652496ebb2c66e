//! What a session takes of memory, and that nothing of it stays.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use relay_core::api::*;
use relay_core::ports::{PortRange, Seed};
use relay_core::{Action, Relay, RelayConfig};
use smallvec::smallvec;

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// With what the system's allocator adds to a block: a header of 8 bytes, rounded up to 16.
fn block(size: usize) -> isize {
    (size + 8).next_multiple_of(16).max(32).cast_signed()
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

/// A power of two, as tables double: they are full then.
const SESSIONS: u64 = 1024;
const REST: Duration = Duration::from_secs(30);

struct Bench {
    relay: Relay,
    now: Instant,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
    fn new() -> Bench {
        let config = RelayConfig {
            ports: PortRange::new(1024..=65_535).unwrap(),
            rest: REST,
            idle: Some(Duration::from_secs(3600)),
            slots_max: 131_072,
            seed: Seed([1; 32]),
        };
        Bench { relay: Relay::new(config), now: Instant::now() }
    }

    /// The engine's part, for which every operation succeeds; how many events came.
    fn work(&mut self) -> usize {
        while let Some(action) = self.relay.poll_action() {
            match action {
                Action::Open { slot, .. } => self.relay.handle_opened(self.now, slot, Ok(())),
                Action::Connect { slot, peer } => self.relay.handle_connected(slot, peer, true),
                Action::Shut { slot } => self.relay.handle_shut(self.now, slot),
            }
        }
        std::iter::from_fn(|| self.relay.poll_event()).count()
    }

    fn command(&mut self, command: Command) {
        self.relay.handle_command(self.now, command);
        assert_eq!(self.work(), 1);
    }

    /// An audio and a video stream between peers that send from where they say.
    fn set_up(&mut self, session: u64) {
        let leg = |host: u8| {
            let rtp = SocketAddr::from(([198, 51, 100, host], 4000));
            let remote = Remote { rtp, rtcp: rtp, learning: Learning::Signalled };
            StreamLeg {
                rtcp: RtcpMode::Separate,
                remote: Some(remote),
                sends: true,
                payload_types: PayloadTypes::ANY,
            }
        };
        let payload = Payload::Rtp { dtls: false };
        let stream =
            StreamSpec { open: true, payload, traffic: Traffic::Audio, legs: [leg(1), leg(2)] };
        let local = [1, 2].map(|host| IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)));
        let spec = SessionSpec { local, streams: smallvec![stream.clone(), stream] };
        self.command(Command::Apply { session: SessionId(session), token: session, spec });
    }

    fn close(&mut self, session: u64) {
        self.command(Command::Close { session: SessionId(session) });
    }

    /// Sets up sessions under new names and closes them.
    fn round(&mut self, round: u64) {
        let sessions = round * SESSIONS..(round + 1) * SESSIONS;
        sessions.clone().for_each(|session| self.set_up(session));
        sessions.for_each(|session| self.close(session));
        self.now += REST;
        self.relay.handle_timeout(self.now);
    }
}

/// A node's session takes at most 8 kB in all, of which this is the most (measured: 4.4 kB). The
/// tables of ports are made with the first session and do not count.
#[test]
fn a_session_with_audio_and_video_takes_little() {
    let mut bench = Bench::new();
    bench.set_up(0);
    let before = LIVE.get();
    (1..SESSIONS).for_each(|session| bench.set_up(session));
    let bytes = (LIVE.get() - before) / (SESSIONS - 1).cast_signed() as isize;
    assert!(bytes <= 4_600, "{bytes} bytes a session");
}

#[test]
fn sessions_that_have_ended_leave_nothing() {
    let mut bench = Bench::new();
    // The tables find their sizes.
    (0..2).for_each(|round| bench.round(round));
    let before = LIVE.get();
    for round in 2..8 {
        bench.round(round);
        assert_eq!(LIVE.get(), before);
    }
    assert_eq!((bench.relay.sessions(), bench.relay.slots(), bench.relay.ports_used()), (0, 0, 0));
}
