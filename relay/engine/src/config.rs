//! What an engine is started with.

use std::ops::RangeInclusive;
use std::time::Duration;

use relay_core::SLOTS_MAX;
use relay_core::api::Traffic;
use relay_core::ports::Seed;

use crate::error::StartError;
use crate::priority::Priority;

/// A Differentiated Services code point (RFC 2474), 0..=63.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dscp(u8);

impl Dscp {
    /// Expedited forwarding (RFC 3246), what RFC 4594 4.1 asks for telephony.
    pub const EXPEDITED: Dscp = Dscp(46);
    /// AF41 (RFC 2597), what RFC 4594 4.3 asks for video conferences.
    pub const CONVERSATIONAL_VIDEO: Dscp = Dscp(34);
    /// Best effort.
    pub const BEST_EFFORT: Dscp = Dscp(0);

    /// The code point with this number, 0..=63.
    ///
    /// # Errors
    /// [`NotADscp`] for a number above 63.
    pub const fn new(code: u8) -> Result<Dscp, NotADscp> {
        if code < 64 { Ok(Dscp(code)) } else { Err(NotADscp(code)) }
    }

    /// The byte of the IPv4 TOS or IPv6 traffic class field, its ECN bits zero.
    #[must_use]
    pub const fn traffic_class(self) -> u8 {
        self.0 << 2
    }
}

/// How packets are marked, by what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Markings {
    /// [`Traffic::Audio`].
    pub audio: Dscp,
    /// [`Traffic::Video`].
    pub video: Dscp,
    /// [`Traffic::Other`].
    pub other: Dscp,
}

impl Markings {
    /// The code point of such packets.
    #[must_use]
    pub const fn of(self, traffic: Traffic) -> Dscp {
        match traffic {
            Traffic::Audio => self.audio,
            Traffic::Video => self.video,
            Traffic::Other => self.other,
        }
    }
}

impl Default for Markings {
    /// EF for audio (RFC 4594 4.1), AF41 for video (4.3), best effort for the rest: EF is served
    /// before everything else, so what may be bulk has no place in it.
    fn default() -> Markings {
        Markings {
            audio: Dscp::EXPEDITED,
            video: Dscp::CONVERSATIONAL_VIDEO,
            other: Dscp::BEST_EFFORT,
        }
    }
}

/// The number is not that of a code point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("DSCP {0} is not one of 0..=63")]
pub struct NotADscp(pub u8);

/// Sizes of a worker's ring. The defaults suit every load; tests make them small to force the
/// cases that a busy ring meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizes {
    /// Submission queue entries, a power of two: how many packets are sent with one system call.
    pub submissions: u32,
    /// Completion queue entries, a power of two, at least as many as `submissions`.
    pub completions: u32,
    /// Sockets in the table of one ring. At most RLIMIT_NOFILE, to which a larger number is cut; a
    /// worker with more sockets has further rings.
    pub table: u32,
}

impl Default for RingSizes {
    /// 1,024 submissions: a batch is bounded by the receive buffers long before. 8,192 completions:
    /// one for every receive buffer of the default, and as many again for everything else. Tables as
    /// large as the system allows.
    fn default() -> RingSizes {
        RingSizes { submissions: 1024, completions: 8192, table: u32::MAX }
    }
}

/// What an [`Engine`](crate::Engine) is started with.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// One entry a worker: the core that it is pinned to, `None` to leave it to the scheduler.
    pub workers: Vec<Option<usize>>,
    /// The member's media ports, which all workers share. Rounded inwards to whole pairs.
    pub ports: RangeInclusive<u16>,
    /// How long a closed port rests before it is used again.
    pub rest: Duration,
    /// A session whose peers announced that they send, and do not for this long, is closed;
    /// `None`: never.
    pub idle: Option<Duration>,
    /// Most sockets that one worker holds, 1..=[`SLOTS_MAX`]. RLIMIT_NOFILE bounds how many share a
    /// table, not how many there are; its soft limit is raised to the hard one at start.
    pub sockets_per_worker: u32,
    /// Receive buffers of one worker, a power of two up to 32,768.
    pub buffers_per_worker: u16,
    /// Bytes of one receive buffer; 44 of them are not payload. A longer datagram is dropped and
    /// counted.
    pub buffer_bytes: u32,
    /// Marks every packet that is sent.
    pub dscp: Markings,
    /// SO_RCVBUF of each socket in bytes; `None`: the system's default.
    pub socket_receive_bytes: Option<usize>,
    /// Most commands of one worker that may be under way at once, 1..=65,536.
    pub commands_outstanding_max: usize,
    /// Decides the order in which ports are given out: draw it from the system's randomness.
    pub seed: Seed,
    /// Sizes of the rings.
    pub ring: RingSizes,
    /// How the workers rank against other threads of the host. Where that is not permitted they
    /// run as they are; the counters and one line in the log say so.
    pub priority: Priority,
    /// A worker without a sign of life for so long is lost: its calls end and the others go on. At
    /// least 100 ms; below some seconds a busy host may make a healthy worker look hung.
    pub stall: Duration,
    /// Whether packets of the same length that go the same way one after the other (a video frame)
    /// are handed to the kernel as one (UDP_SEGMENT), and whether the kernel may do the same with
    /// received video (UDP_GRO). On the network they stay apart.
    pub segments: bool,
    /// Under load a worker waits so long for packets to come together, so that they share a
    /// wake-up and a system call: the most that it adds to a packet's way, 0 to 10 ms. A packet
    /// that comes after a longer pause goes at once, and enough packets end the wait. Needs Linux
    /// 6.12; without it no packet waits.
    pub gather: Duration,
}

impl EngineConfig {
    /// `workers` and `seed` as given; ports 10000..=59999, 30 s of rest, 60 s idle, up to 131,072
    /// sockets (every port of two addresses) and 4,096 buffers of 2,048 bytes per worker, DSCP as [`Markings`] has it, 1,024 commands outstanding,
    /// nice -10, lost after 5 s without a sign of life, packets gathered for up to 1 ms.
    #[must_use]
    pub fn new(workers: Vec<Option<usize>>, seed: [u8; 32]) -> EngineConfig {
        EngineConfig {
            workers,
            ports: 10_000..=59_999,
            rest: Duration::from_secs(30),
            idle: Some(Duration::from_secs(60)),
            sockets_per_worker: 131_072,
            buffers_per_worker: 4096,
            buffer_bytes: 2048,
            dscp: Markings::default(),
            socket_receive_bytes: None,
            commands_outstanding_max: 1024,
            seed: Seed(seed),
            ring: RingSizes::default(),
            priority: Priority::Nice(-10),
            stall: Duration::from_secs(5),
            segments: true,
            gather: Duration::from_millis(1),
        }
    }

    /// Checks everything that needs no system call.
    ///
    /// # Errors
    /// [`StartError::Config`] names the first field that cannot be used.
    pub fn validate(&self) -> Result<(), StartError> {
        let bad = |field, why| Err(StartError::Config { field, why });
        if self.workers.is_empty() || self.workers.len() > WORKERS_MAX {
            return bad("workers", "between 1 and 256 workers are needed");
        }
        if !(1..=SLOTS_MAX).contains(&self.sockets_per_worker) {
            return bad("sockets_per_worker", "must be between 1 and 16777216");
        }
        if !self.buffers_per_worker.is_power_of_two() {
            return bad("buffers_per_worker", "must be a power of two up to 32768");
        }
        if !(BUFFER_BYTES_MIN..=BUFFER_BYTES_MAX).contains(&self.buffer_bytes) {
            return bad("buffer_bytes", "must be between 256 and 65536");
        }
        if self.stall < STALL_MIN {
            return bad("stall", "must be at least 100 ms");
        }
        if self.gather > GATHER_MAX {
            return bad("gather", "must be at most 10 ms");
        }
        if !self.priority.is_valid() {
            return bad("priority", "nice is -20 to 19, real-time 1 to 99");
        }
        if !(1..=COMMANDS_OUTSTANDING_MAX).contains(&self.commands_outstanding_max) {
            return bad("commands_outstanding_max", "must be between 1 and 65536");
        }
        let RingSizes { submissions, completions, table } = self.ring;
        if table == 0 {
            return bad("ring", "a table needs a place");
        }
        if !submissions.is_power_of_two()
            || !completions.is_power_of_two()
            || completions < submissions
        {
            return bad("ring", "sizes must be powers of two, completions at least submissions");
        }
        Ok(())
    }
}

/// A turn of a worker's loop takes a few milliseconds at most.
const STALL_MIN: Duration = Duration::from_millis(100);
/// Half a packet time of common telephony: more would be heard as jitter.
const GATHER_MAX: Duration = Duration::from_millis(10);
/// More workers than any host of today has use for; a worker's number fits one byte.
const WORKERS_MAX: usize = 256;
/// The header, an IPv6 source address and a G.711 packet of 20 ms.
const BUFFER_BYTES_MIN: u32 = 256;
/// A UDP datagram has at most 65,507 bytes.
const BUFFER_BYTES_MAX: u32 = 65_536;
/// Bounds the memory of the queues: an event takes a few hundred bytes.
const COMMANDS_OUTSTANDING_MAX: usize = 65_536;
