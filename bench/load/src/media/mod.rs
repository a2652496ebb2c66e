//! The media side: threads that send RTP and RTCP and judge what arrives.

pub(crate) mod end;
pub(crate) mod flow;
mod inbox;
pub(crate) mod layout;
mod mmsg;
mod orders;
pub(crate) mod packet;
mod rtcp;
pub(crate) mod sockets;
pub(crate) mod stats;
mod window;
mod worker;

use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::ids::{Kind, SessionId, Side};
use crate::media::end::{End, Port};
use crate::media::flow::Remote;
use crate::media::inbox::Inbox;
use crate::media::layout::Layout;
use crate::media::mmsg::{BATCH, SendBatch};
use crate::media::orders::{Commander, orders};
use crate::media::packet::{Press, Shape};
use crate::media::sockets::{Binder, Pair};
use crate::media::stats::{Live, Snapshot, Tally};
use crate::media::worker::{Command, SocketKey, Worker};
use crate::os;

/// A session is started once and stopped once.
const COMMANDS_PER_SESSION: usize = 2;

/// Besides, times are forgotten once, and one command ends the thread.
const COMMANDS_BESIDES: usize = 2;

/// What the media side is to be.
#[derive(Clone, Debug)]
pub(crate) struct MediaConfig {
    pub(crate) sessions: u32,
    pub(crate) sessions_per_socket: u32,
    /// One thread for each; `None`: one thread that runs where it likes.
    pub(crate) cores: Option<Vec<usize>>,
    /// The machine has other cores, so that these may be taken by real-time priority.
    pub(crate) may_dominate: bool,
    pub(crate) bind: IpAddr,
    pub(crate) ports: Option<RangeInclusive<u16>>,
    pub(crate) audio: Shape,
    /// `None`: audio only.
    pub(crate) video: Option<Shape>,
    /// Whether the streams send RTCP.
    pub(crate) reports: bool,
    /// Tells this run's packets from any other's.
    pub(crate) run: u64,
}

/// The running media threads.
pub(crate) struct MediaPlane {
    layout: Layout,
    /// RTP addresses by group, side and kind.
    addresses: Vec<[[Option<SocketAddr>; 2]; 2]>,
    threads: Vec<MediaThread>,
}

struct MediaThread {
    commands: Commander,
    live: Arc<Live>,
    handle: JoinHandle<Tally>,
}

impl MediaPlane {
    /// Binds all sockets and starts the threads.
    ///
    /// # Errors
    /// Sockets or threads cannot be had; the message says how many were wanted.
    pub(crate) fn start(config: &MediaConfig) -> Result<MediaPlane> {
        let mut binder = Binder::new(config.bind, config.ports.clone());
        MediaPlane::start_on(config, |_| binder.pair())
    }

    /// The same on sockets that `bind` makes for each side, which need not be on one address, nor in
    /// this thread's network namespace.
    ///
    /// # Errors
    /// As [`MediaPlane::start`].
    pub(crate) fn start_on(
        config: &MediaConfig,
        mut bind: impl FnMut(Side) -> Result<Pair>,
    ) -> Result<MediaPlane> {
        let threads = config.cores.as_ref().map_or(1, |cores| cores.len().max(1));
        let layout = Layout {
            sessions: config.sessions,
            per_group: config.sessions_per_socket,
            threads: threads as u32,
        };
        let shapes = [config.audio, config.video.unwrap_or(Shape::AUDIO)];
        let press = Arc::new(Press::new(config.run, shapes));
        let mut addresses = Vec::new();
        let mut ends: Vec<Vec<End>> = (0..threads).map(|_| Vec::new()).collect();
        for group in 0..layout.groups() {
            let mut of_group = [[None; 2]; 2];
            for side in Side::BOTH {
                let pairs = bind_pairs(|| bind(side), config.video.is_some())
                    .with_context(|| sockets_hint(config, layout))?;
                of_group[side.index()] = pairs.each_ref().map(|pair| Some(pair.as_ref()?.address));
                let end = End::new(group, side, pairs, config.sessions_per_socket);
                ends[layout.thread(group) as usize].push(end);
            }
            addresses.push(of_group);
        }
        let mut plane = MediaPlane { layout, addresses, threads: Vec::new() };
        for (index, ends) in ends.into_iter().enumerate() {
            let core = config.cores.as_ref().and_then(|cores| cores.get(index).copied());
            let at = (index, core, config);
            plane.threads.push(spawn(at, layout, &press, ends)?);
        }
        Ok(plane)
    }

    /// The RTP address at which `side` of `session` receives `kind`; its RTCP port is the next one.
    pub(crate) fn address(&self, session: SessionId, side: Side, kind: Kind) -> Option<SocketAddr> {
        let group = self.layout.group(session) as usize;
        self.addresses[group][side.index()][kind.index()]
    }

    /// Lets both ends of `session` send to their `remotes` (`[side][kind]`) and expect from them.
    pub(crate) fn start_session(&self, session: SessionId, remotes: [[Option<Remote>; 2]; 2]) {
        self.tell(session, Command::Start(session, Box::new(remotes)));
    }

    /// Lets both ends of `session` send no more.
    pub(crate) fn stop_session(&self, session: SessionId) {
        self.tell(session, Command::Stop(session));
    }

    /// Times measured so far are not to count: the warm-up is over. May be said once.
    pub(crate) fn forget_times(&self) {
        for thread in &self.threads {
            thread.commands.send(Command::ForgetTimes);
        }
    }

    fn tell(&self, session: SessionId, command: Command) {
        let thread = self.layout.thread(self.layout.group(session)) as usize;
        // A thread that is gone has panicked, which `finish` reports.
        self.threads[thread].commands.send(command);
    }

    /// The counts so far.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for thread in &self.threads {
            sum.add(&thread.live);
        }
        sum
    }

    /// Ends the threads and returns what they counted.
    ///
    /// # Errors
    /// A thread has panicked.
    pub(crate) fn finish(self) -> Result<Tally> {
        let mut sum = Tally::new();
        for thread in self.threads {
            thread.commands.send(Command::Finish);
            let tally = thread.handle.join().map_err(|_| anyhow!("a media thread panicked"))?;
            sum.add(&tally);
        }
        Ok(sum)
    }
}

fn bind_pairs(mut bind: impl FnMut() -> Result<Pair>, video: bool) -> Result<[Option<Pair>; 2]> {
    let audio = bind()?;
    let video = if video { Some(bind()?) } else { None };
    Ok([Some(audio), video])
}

fn sockets_hint(config: &MediaConfig, layout: Layout) -> String {
    let sockets = layout.groups() * if config.video.is_some() { 8 } else { 4 };
    format!(
        "{sockets} media sockets are wanted at {} sessions a socket (raise --sessions-per-socket to need fewer)",
        config.sessions_per_socket
    )
}

fn spawn(
    (index, core, config): (usize, Option<usize>, &MediaConfig),
    layout: Layout,
    press: &Arc<Press>,
    ends: Vec<End>,
) -> Result<MediaThread> {
    let capacity = layout.sessions as usize * COMMANDS_PER_SESSION + COMMANDS_BESIDES;
    let (commands, orders) = orders(capacity);
    let live = Arc::new(Live::default());
    let worker = Worker {
        layout,
        press: Arc::clone(press),
        live: Arc::clone(&live),
        commands: orders,
        reports: config.reports,
        epoll: watch(&ends)?,
        inbox: Inbox::new(),
        batch: SendBatch::new(),
        batch_slots: [0; BATCH],
        ends,
        schedule: BinaryHeap::new(),
        tally: Tally::new(),
        sent: 0,
    };
    let may_dominate = config.may_dominate;
    let handle = std::thread::Builder::new()
        .name(format!("load-media-{index}"))
        .spawn(move || {
            let pinned = core.is_some_and(os::pin);
            os::prefer_punctuality(pinned && may_dominate);
            worker.run()
        })
        .context("starting a media thread")?;
    Ok(MediaThread { commands, live, handle })
}

fn watch(ends: &[End]) -> Result<Epoll> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("creating an epoll")?;
    for (at, end) in ends.iter().enumerate() {
        for kind in Kind::BOTH {
            let Some(pair) = &end.pairs[kind.index()] else { continue };
            for (port, socket) in [(Port::Rtp, &pair.rtp), (Port::Rtcp, &pair.rtcp)] {
                let key = SocketKey { end: at, kind, port };
                epoll
                    .add(socket, EpollEvent::new(EpollFlags::EPOLLIN, key.pack()))
                    .context("watching a media socket")?;
            }
        }
    }
    Ok(epoll)
}
